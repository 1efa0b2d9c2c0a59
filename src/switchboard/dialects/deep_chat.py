"""What the ``deep-chat`` web component sends and expects of a server.

Source: deep-chat documentation, "Connect" and "Response": a request is ``{"messages": [{"role", "text"}]}`` with the
roles ``user`` and ``ai``; an answer is ``{"text": "…"}``, streamed as ``data: {"text": "…"}``; an error is
``{"error": "text"}``. There is no ``stream`` member: a component that streams sends ``accept: text/event-stream``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from switchboard.core.errors import Problem
from switchboard.core.events import Answer, Event, Refusal, Text
from switchboard.core.ports import Context
from switchboard.core.types import Generate, Lines
from switchboard.dialects._openai_shapes import encode
from switchboard.dialects.openai_chat import invalid

_ROLES = {"user": "user", "ai": "assistant", "assistant": "assistant", "system": "system"}


class _Message(Struct):
    text: str | None = None
    role: str = "user"


class _Request(Struct):
    messages: list[_Message]
    model: str | None = None
    stream: bool | None = None


def read_request(body: dict[str, Any], *, streams: bool) -> Generate:
    """The operation a deep-chat body asks for. `streams`: the request accepts an event stream. Raises `Problem`."""
    try:
        request = msgspec.convert(body, _Request)
    except msgspec.ValidationError as e:
        raise invalid(str(e)) from None
    messages: list[dict[str, Any]] = []
    op = Generate(
        request.model or "", streams if request.stream is None else request.stream, messages=messages, params={}
    )
    for i, m in enumerate(request.messages):
        role = _ROLES.get(m.role)
        if role is None:
            where = f"messages[{i}].role"
            raise Problem("INVALID_REQUEST", f"{where}: '{m.role[:40]}' is not a role; use user or ai.", param=where)
        if m.text is None:
            op.drop(f"messages[{i}]")  # a message of files or HTML only
        else:
            messages.append({"role": role, "content": m.text})
    if not messages:
        raise Problem("INVALID_REQUEST", "messages: at least one message with text is needed.", param="messages")
    for name in body:
        if name not in ("messages", "model", "stream", "conversation_id", "audio"):
            op.drop(name)
    return op


class DeepChatEncoder:
    """Writes ``{"text"}``."""

    content_type = b"text/event-stream"
    whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b": keep-alive\n\n"

    def encode(self, events: Sequence[Event]) -> bytes:
        pieces = [e.text for e in events if isinstance(e, Text | Refusal) and e.choice == 0 and e.text]
        return b"".join([b"data: " + encode({"text": t}) + b"\n\n" for t in pieces])

    def whole(self, answer: Answer) -> bytes:
        return encode({"text": answer.choices[0].text or answer.choices[0].refusal})

    def error(self, problem: Problem) -> bytes:
        return b"data: " + encode({"error": problem.message}) + b"\n\n"


class DeepChat:
    """The dialect; the server's half only."""

    name = "deep_chat"

    def encoder(self, context: Context) -> DeepChatEncoder:
        return DeepChatEncoder()
