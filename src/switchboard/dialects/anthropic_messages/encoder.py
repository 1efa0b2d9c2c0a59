"""Writing an answer: the server's half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

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


class _Call(Struct):
    """A tool call that waits until those before it are whole."""

    id: str
    name: str
    json: str = ""


class AnthropicEncoder:
    """Writes Anthropic's events. One block is open at a time: a tool call that begins before another is whole waits.

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
        self._current: int | None = None  # the tool call that it is
        self._json = ""  # what that was called with so far
        self._waiting: dict[int, _Call] = {}
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
                self._one(e)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _one(self, e: Event) -> None:
        match e:
            case Text() | Refusal():
                if e.text:
                    self._block("text", text="")
                    self._delta("text_delta", text=e.text)
            case Reasoning():
                self._block("thinking", thinking="", signature="")
                self._delta("thinking_delta", thinking=e.text)
            case ReasoningEnd():
                self._reasoned(e)
            case ToolCallBegin():
                self._call(e)
            case ToolCallArguments():
                self._arguments(e)
            case Finish():
                self._settle_calls()
                self._stop = shapes.STOP.get(e.reason, "end_turn")

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._out.append(_frame("message_start", message=_message(self._c, [], None, self._usage)))

    def _block(self, kind: str, **empty: Any) -> None:
        """Have a block of `kind` open; a tool call's is always a new one."""
        if self._open == kind != "tool_use":
            return
        self._settle_calls()
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
            self._current = None
            self._out.append(_frame("content_block_stop", index=self._index))

    def _reasoned(self, e: ReasoningEnd) -> None:
        if e.redacted:
            self._block("redacted_thinking", data=e.redacted)
        else:
            self._block("thinking", thinking="", signature="")
            if e.signature:
                self._delta("signature_delta", signature=e.signature)
        self._close()

    # ---- tool calls

    def _call(self, e: ToolCallBegin) -> None:
        if self._current is not None and not _is_whole(self._json):
            self._waiting[e.index] = _Call(e.id, e.name)
        else:
            self._open_call(e.index, e.id, e.name)

    def _open_call(self, index: int, call: str, name: str) -> None:
        self._close()
        waiting, self._waiting = self._waiting, {}  # they are no reason to settle: this one is the first of them
        self._block("tool_use", id=tool_id(call), name=name, input={})
        self._waiting = waiting
        self._current = index
        self._json = ""

    def _arguments(self, e: ToolCallArguments) -> None:
        if e.index == self._current:
            self._json += e.json
            self._delta("input_json_delta", partial_json=e.json)
        elif e.index in self._waiting:
            self._waiting[e.index].json += e.json

    def _settle_calls(self) -> None:
        """Write the tool calls that wait: nothing more comes for those before them."""
        for index, call in list(self._waiting.items()):
            del self._waiting[index]
            self._open_call(index, call.id, call.name)
            if call.json:
                self._json = call.json
                self._delta("input_json_delta", partial_json=call.json)

    # ---- the end

    def _end(self) -> None:
        self._settle_calls()
        self._begin()
        self._close()
        delta = {"stop_reason": self._stop, "stop_sequence": None}
        self._out.append(_frame("message_delta", delta=delta, usage=shapes.usage_out(self._usage)))
        self._out.append(STOP_EVENT)

    def whole(self, answer: Answer) -> bytes:
        """A ``message``."""
        first = answer.choices[0]
        stop = shapes.STOP.get(first.finish, "end_turn")
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


def _is_whole(json: str) -> bool:
    try:
        shapes.decode_any(json)
    except shapes.NOT_JSON:
        return False
    return True


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
        blocks.append({"type": "text", "text": choice.text or choice.refusal})
    for call in choice.tool_calls:
        blocks.append({"type": "tool_use", "id": tool_id(call.id), "name": call.name, "input": _input(call.arguments)})
    return blocks


def _input(arguments: str) -> Any:
    try:
        value = shapes.decode_any(arguments or "{}")
    except shapes.NOT_JSON:
        return {"arguments": arguments}
    return value if isinstance(value, dict) else {"arguments": value}
