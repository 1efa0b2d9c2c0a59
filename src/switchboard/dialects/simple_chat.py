"""The simplest chat wire: ``data: {"content": "…", "done": false}``, at the end ``{"content": "", "done": true}``.

A tool call is one frame, when it is whole: ``{"content": "", "done": false, "tool_call": {id, name, arguments}}``.
Requests are OpenAI's (`dialects.openai_chat.read_request`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from switchboard.core.errors import Problem
from switchboard.core.events import Answer, Done, Event, Refusal, Text, ToolCall
from switchboard.core.ports import Context
from switchboard.core.types import Lines
from switchboard.dialects._openai_shapes import encode
from switchboard.dialects._tool_calls import ToolCalls


class _Frame(Struct, gc=False):
    content: str
    done: bool
    tool_call: ToolCall | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    error: dict[str, Any] | UnsetType = UNSET


_LAST = b"data: " + encode(_Frame("", True)) + b"\n\n"


def _event(frame: _Frame) -> bytes:
    return b"data: " + encode(frame) + b"\n\n"


class SimpleEncoder:
    """Writes frames of ``content`` and ``done``. Only the first choice is told."""

    content_type = b"text/event-stream"
    whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b": keep-alive\n\n"

    def __init__(self) -> None:
        self._calls = ToolCalls()

    def encode(self, events: Sequence[Event]) -> bytes:
        """A frame a piece of text, a frame a whole tool call, the last frame on `Done`."""
        out = []
        for e in events:
            if isinstance(e, Text | Refusal):
                if e.choice == 0 and e.text:
                    out.append(_event(_Frame(e.text, False)))
                continue
            out += [_event(_Frame("", False, call)) for call in self._calls.whole_with(e)]
            if isinstance(e, Done):
                out.append(_LAST)
        return b"".join(out)

    def whole(self, answer: Answer) -> bytes:
        """``{"content", "done": true}``, and ``tool_calls`` where there are some."""
        first = answer.choices[0]
        return encode(_Frame(first.text or first.refusal, True, tool_calls=first.tool_calls or UNSET))

    def error(self, problem: Problem) -> bytes:
        """A frame with ``error``; no frame with ``done: true`` follows it."""
        return _event(_Frame("", False, error={"message": problem.message, "code": problem.code}))


class SimpleChat:
    """The dialect; the server's half only."""

    name = "simple_chat"

    def encoder(self, context: Context) -> SimpleEncoder:
        return SimpleEncoder()
