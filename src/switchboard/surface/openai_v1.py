"""``/v1``: OpenAI's own surface, for clients whose base URL is all that changes."""

from __future__ import annotations

from switchboard.core.errors import Problem
from switchboard.core.masking import spellings
from switchboard.core.ports import ClientDialect
from switchboard.core.types import Generate, Lines, RequestHead
from switchboard.dialects.openai_chat import OpenAIChat, read_request
from switchboard.surface import problem as shapes
from switchboard.wire.json_body import load_json

_CHAT = OpenAIChat()


class ChatCompletions:
    """``POST /v1/chat/completions``. `nesting` is how deep a body may be; `secrets` never show."""

    name = "openai_v1"
    documents = False
    failure = "INTERNAL_ERROR"

    def __init__(self, *, nesting: int, secrets: tuple[str, ...] = ()) -> None:
        self._nesting = nesting
        self._secrets = spellings(secrets)

    def read(self, head: RequestHead, body: bytes) -> tuple[ClientDialect, Generate]:
        """See `core.ports.Surface`."""
        return _CHAT, read_request(load_json(body, self._nesting), body)

    def problem(self, problem: Problem, request_id: str, dialect: ClientDialect | None) -> tuple[int, Lines, bytes]:
        """See `core.ports.Surface`."""
        return shapes.openai(problem, request_id, self._secrets)
