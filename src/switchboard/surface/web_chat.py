"""``POST /api/chat``: one URL for the frontends of several documents, each of which sees its own format.

Which one a request gets is the setting ``chat.format``; ``auto`` goes by the query ``?format=``, by a ``format``
parameter of ``accept``, and then by what the body looks like.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qs

from switchboard.core.errors import Problem
from switchboard.core.ports import ClientDialect
from switchboard.core.types import Generate, Lines, Op, RequestHead
from switchboard.dialects import deep_chat, openai_chat, ui_message_stream
from switchboard.dialects.deep_chat import DeepChat
from switchboard.dialects.openai_chat import OpenAIChat
from switchboard.dialects.simple_chat import SimpleChat
from switchboard.dialects.text_stream import TextStream
from switchboard.dialects.ui_message_stream import UIMessageStream
from switchboard.surface import problem as shapes
from switchboard.surface.json_surface import JsonSurface

DIALECTS: Final[dict[str, ClientDialect]] = {
    "openai": OpenAIChat(),
    "simple": SimpleChat(),
    "ui": UIMessageStream(),
    "text": TextStream(),
    "deep_chat": DeepChat(),
}
FORMATS: Final = ("auto", *DIALECTS)

#: Members that the documents name and that are no part of an OpenAI request.
_EXTRAS: Final = ("conversation_id", "userId", "audio")
#: … and those of them that ask for something that is not there (yet).
_MISSING: Final = ("audio",)
_NAME: Final = re.compile(r"[A-Za-z0-9._:~-]{0,128}")
_DEEP_CHAT: Final = DIALECTS["deep_chat"]


class WebChat(JsonSurface):
    """``POST /api/chat`` and wherever else the settings put it."""

    name = "web_chat"
    failure = "CHAT_ERROR"

    def __init__(self, *, format: str, nesting: int) -> None:  # noqa: A002  the setting's name
        super().__init__(nesting=nesting)
        self._format = format

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        if not isinstance(value, dict):
            raise Problem("INVALID_REQUEST", "The body must be a JSON object.")
        chosen = self._asked(head) or (self._format if self._format != "auto" else _look(value))
        if "messages" not in value and isinstance(value.get("message"), str):
            op = _echo_test(value)
        else:
            op = self._operation(value, body, head)
        for name in _MISSING:
            if value.get(name) is not None:
                op.drop(name)
        for name in _EXTRAS:
            op.params.pop(name, None)
        _conversation(op, value)
        return DIALECTS[chosen], op

    def _operation(self, value: dict[str, Any], body: bytes, head: RequestHead) -> Generate:
        """The conversation's shape is read from the body whatever the answer's format is."""
        shape = _shape(value)
        if shape == "ui":
            return ui_message_stream.read_request(value)
        if shape == "deep_chat":
            streams = b"text/event-stream" in head.headers.get(b"accept", b"")
            return deep_chat.read_request(value, streams=streams)
        op = openai_chat.read_request(value, body, stream_default=True)
        _only_documented_roles(op)
        for name in ("id", "trigger", "messageId"):
            op.params.pop(name, None)
        return op

    def _asked(self, head: RequestHead) -> str:
        """The format that the query or ``accept`` names; "" where neither does. Raises `Problem` for an unknown one."""
        asked: str | None = None
        if b"format=" in head.query:
            query = parse_qs(head.query.decode("latin-1"), keep_blank_values=True)
            asked = query.get("format", [None])[0]
        elif b"format=" in head.headers.get(b"accept", b""):
            for part in head.headers[b"accept"].decode("latin-1").replace(",", ";").split(";"):
                name, _, text = part.strip().partition("=")
                if name == "format":
                    asked = text.strip('"')
        if asked is None or asked == "auto":
            return ""
        if asked not in DIALECTS:
            text = f"format: '{asked[:32]}' is not one of {', '.join(FORMATS)}."
            raise Problem("INVALID_REQUEST", text, param="format")
        return asked

    def problem(self, problem: Problem, request_id: str, dialect: ClientDialect | None) -> tuple[int, Lines, bytes]:
        """See `core.ports.Surface`."""
        if dialect is _DEEP_CHAT:
            return shapes.deep_chat(problem, request_id)
        return super().problem(problem, request_id, dialect)


def _conversation(op: Generate, value: dict[str, Any]) -> None:
    """Which conversation the request belongs to, if the server is to hold it: ``conversation_id``, or the ``id`` of useChat, which
    always sends what was said before, too."""
    ui = _shape(value) == "ui"
    named = value.get("conversation_id", value.get("id") if ui else None)
    for name, text in (("conversation_id", named), ("userId", value.get("userId"))):
        if text is not None and (not isinstance(text, str) or _NAME.fullmatch(text) is None):
            said = f"{name}: up to 128 letters, digits and . _ : ~ - are allowed."
            raise Problem("INVALID_REQUEST", said, param=name)
    op.conversation = named
    op.user = value.get("userId") or ""
    op.whole = ui


def _shape(value: dict[str, Any]) -> str:
    """How the messages are written: "ui", "deep_chat" or "" (OpenAI's way)."""
    messages = value.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    if isinstance(first, dict) and "content" not in first:
        if "parts" in first:
            return "ui"
        if any(isinstance(m, dict) and "text" in m for m in messages or ()):
            return "deep_chat"
    return ""


def _look(value: dict[str, Any]) -> str:
    """The format of an answer by the looks of the request."""
    return _shape(value) or ("openai" if "model" in value or "max_tokens" in value else "simple")


def _echo_test(value: dict[str, Any]) -> Generate:
    """``{"message": "…"}``: one user message, answered whole."""
    model = value.get("model")
    op = Generate(
        model=model if isinstance(model, str) else "",
        messages=[{"role": "user", "content": value["message"]}],
        stream=value.get("stream") is True,
        params={},
    )
    for name in value:
        if name not in ("message", "model", "stream", "timestamp", *_EXTRAS):
            op.drop(name)
    return op


def _only_documented_roles(op: Generate) -> None:
    for i, m in enumerate(op.messages):
        if m["role"] == "function":
            where = f"messages[{i}].role"
            text = f"{where}: 'function' is not a role; a role is one of system, user, assistant, tool."
            raise Problem("INVALID_REQUEST", text, param=where)
