"""``/v1/messages``: Anthropic's own surface, over any provider."""

from __future__ import annotations

from typing import Any

from switchboard.core.errors import Problem
from switchboard.core.masking import spellings
from switchboard.core.ports import ClientDialect
from switchboard.core.types import Lines, Op, RequestHead
from switchboard.dialects.anthropic_messages import AnthropicMessages, read_request
from switchboard.surface import problem as shapes
from switchboard.surface.json_surface import JsonSurface

_MESSAGES = AnthropicMessages()


class Messages(JsonSurface):
    """``POST /v1/messages``. `nesting` is how deep a body may be; `secrets` never show."""

    name = "anthropic_v1"
    documents = False

    def __init__(self, *, nesting: int, secrets: tuple[str, ...] = ()) -> None:
        super().__init__(nesting=nesting)
        self._secrets = spellings(secrets)

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        return _MESSAGES, read_request(value, body, head.headers)

    def problem(self, problem: Problem, request_id: str, dialect: ClientDialect | None) -> tuple[int, Lines, bytes]:
        """See `core.ports.Surface`."""
        return shapes.anthropic(problem, request_id, self._secrets)
