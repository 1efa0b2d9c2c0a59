"""``/v1/messages``: Anthropic's own surface, over any provider."""

from __future__ import annotations

from switchboard.core.errors import Problem
from switchboard.core.masking import spellings
from switchboard.core.ports import ClientDialect
from switchboard.core.types import Generate, Lines, RequestHead
from switchboard.dialects.anthropic_messages import AnthropicMessages, read_request
from switchboard.surface import problem as shapes
from switchboard.wire.json_body import load_json

_MESSAGES = AnthropicMessages()


class Messages:
    """``POST /v1/messages``. `nesting` is how deep a body may be; `secrets` never show."""

    name = "anthropic_v1"
    documents = False
    failure = "INTERNAL_ERROR"

    def __init__(self, *, nesting: int, secrets: tuple[str, ...] = ()) -> None:
        self._nesting = nesting
        self._secrets = spellings(secrets)

    def read(self, head: RequestHead, body: bytes) -> tuple[ClientDialect, Generate]:
        """See `core.ports.Surface`."""
        return _MESSAGES, read_request(load_json(body, self._nesting), body, head.headers)

    def problem(self, problem: Problem, request_id: str, dialect: ClientDialect | None) -> tuple[int, Lines, bytes]:
        """See `core.ports.Surface`."""
        return shapes.anthropic(problem, request_id, self._secrets)
