"""Writing an answer: the server's half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mypy_extensions import mypyc_attr

from switchboard.core.errors import Problem
from switchboard.core.events import (
    Answer,
    Choice,
    Done,
    Event,
    Finish,
    Metered,
    Reasoning,
    ReasoningEnd,
    Refusal,
    Text,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.ports import Context
from switchboard.core.types import Lines, Usage
from switchboard.dialects._tool_calls import is_whole
from switchboard.dialects.anthropic_messages import shapes
from switchboard.dialects.anthropic_messages.messages_out import tool_id
from switchboard.dialects.anthropic_messages.stream import STOP_EVENT

#: What Anthropic calls a kind of error, by its status.
_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_type(status: int) -> str:
    """What Anthropic calls an error with `status`."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def _frame(name: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), shapes.encode({"type": name} | members))


class _Call:
    """A tool call that waits until what is before it is whole."""

    def __init__(self, index: int, id: str, name: str) -> None:  # noqa: A002  it is the wire's name
        self.index = index
        self.id = id
        self.name = name
        self.json = ""


@mypyc_attr(allow_interpreted_subclasses=True)
class AnthropicEncoder:
    """Writes Anthropic's events. One block is open at a time: what comes while a tool call is not whole waits for that.

    Only the first choice is told.
    """

    content_type = b"text/event-stream; charset=utf-8"
    whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def __init__(self, context: Context) -> None:
        self._c = context
        self._out: list[bytes] = []
        self._begun = False
        self._index = -1  # of the newest block
        self._open = ""  # what it is
        self._call: int | None = None  # the tool call that it is
        self._json = ""  # what that was called with so far
        self._later: list[_Call | Event] = []  # what came before that was whole
        self._called = False
        self._usage = Usage()
        self._stop = "end_turn"

    def encode(self, events: Sequence[Event]) -> bytes:
        """Anthropic's events for `events`; the message ends on `Done`."""
        for e in events:
            if isinstance(e, Metered):
                self._usage = e.usage
            elif isinstance(e, Done):
                self._end()
            elif getattr(e, "choice", 0) == 0:
                self._take(e)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _take(self, e: Event) -> None:
        if isinstance(e, Finish):
            self._settle()
            called = self._called and e.reason == "stop"  # as some servers end a turn that calls tools
            self._stop = "tool_use" if called else shapes.STOP.get(e.reason, "end_turn")
        elif isinstance(e, ToolCallArguments):
            self._arguments(e)
        elif isinstance(e, Text | Refusal | Reasoning | ReasoningEnd | ToolCallBegin):
            self._later.append(_Call(e.index, e.id, e.name) if isinstance(e, ToolCallBegin) else e)
            self._go_on()

    def _go_on(self) -> None:
        """Write what waits, as far as the open tool call lets it."""
        while self._later and (self._call is None or is_whole(self._json)):
            self._one(self._later.pop(0))

    def _settle(self) -> None:
        """Write all that waits: nothing more comes for any tool call."""
        while self._later:
            self._one(self._later.pop(0))

    def _one(self, e: _Call | Event) -> None:
        match e:
            case _Call():
                self._block("tool_use", id=tool_id(e.id), name=e.name, input={})
                self._called = True
                self._call, self._json = e.index, e.json
                if e.json:
                    self._delta("input_json_delta", partial_json=e.json)
            case Text() | Refusal():
                if e.text:
                    self._block("text", text="")
                    self._delta("text_delta", text=e.text)
            case Reasoning():
                self._block("thinking", thinking="", signature="")
                self._delta("thinking_delta", thinking=e.text)
            case ReasoningEnd():
                self._reasoned(e)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._out.append(_frame("message_start", message=_message(self._c, [], None, self._usage)))

    def _block(self, kind: str, **empty: Any) -> None:
        """Have a block of `kind` open; a tool call's is always a new one."""
        if self._open == kind != "tool_use":
            return
        self._begin()
        self._close()
        self._index += 1
        self._open = kind
        self._out.append(_frame("content_block_start", index=self._index, content_block={"type": kind} | empty))

    def _delta(self, kind: str, **what: Any) -> None:
        self._out.append(_frame("content_block_delta", index=self._index, delta={"type": kind} | what))

    def _close(self) -> None:
        if self._open:
            self._open = ""
            self._call = None
            self._out.append(_frame("content_block_stop", index=self._index))

    def _reasoned(self, e: ReasoningEnd) -> None:
        if e.redacted:
            self._block("redacted_thinking", data=e.redacted)
        else:
            self._block("thinking", thinking="", signature="")
            if e.signature:
                self._delta("signature_delta", signature=e.signature)
        self._close()

    def _arguments(self, e: ToolCallArguments) -> None:
        if e.index == self._call:
            self._json += e.json
            self._delta("input_json_delta", partial_json=e.json)
            return
        for waiting in self._later:
            if isinstance(waiting, _Call) and waiting.index == e.index:
                waiting.json += e.json

    # ---- the end

    def _end(self) -> None:
        self._settle()
        self._begin()
        self._close()
        delta = {"stop_reason": self._stop, "stop_sequence": None}
        self._out.append(_frame("message_delta", delta=delta, usage=shapes.usage_out(self._usage)))
        self._out.append(STOP_EVENT)

    def whole(self, answer: Answer) -> bytes:
        """A ``message``."""
        first = answer.choices[0]
        stop = "tool_use" if first.tool_calls and first.finish == "stop" else shapes.STOP.get(first.finish, "end_turn")
        return shapes.encode(_message(self._c, _content(first), stop, answer.usage or Usage()))

    def error(self, problem: Problem) -> bytes:
        """An ``error`` event; no ``message_stop`` follows it."""
        told = {"type": error_type(problem.status), "message": problem.message}
        return _frame("error", error=told)


def _message(c: Context, content: list[dict[str, Any]], stop: str | None, usage: Usage) -> dict[str, Any]:
    return {
        "id": "msg_" + c.id.removeprefix("chatcmpl-"),
        "type": "message",
        "role": "assistant",
        "model": c.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": shapes.usage_out(usage),
    }


def _content(choice: Choice) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for passage in choice.thinking:
        if passage.redacted:
            blocks.append({"type": "redacted_thinking", "data": passage.redacted})
        else:
            blocks.append({"type": "thinking", "thinking": passage.text, "signature": passage.signature})
    if choice.reasoning and not choice.thinking:
        blocks.append({"type": "thinking", "thinking": choice.reasoning, "signature": ""})
    if choice.text or choice.refusal:
        blocks.append({"type": "text", "text": choice.text + choice.refusal})
    for call in choice.tool_calls:
        blocks.append({"type": "tool_use", "id": tool_id(call.id), "name": call.name, "input": _input(call.arguments)})
    return blocks


def _input(arguments: str) -> Any:
    try:
        value = shapes.decode_any(arguments or "{}")
    except shapes.NOT_JSON:
        return {"arguments": arguments}
    return value if isinstance(value, dict) else {"arguments": value}
