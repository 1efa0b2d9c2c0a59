"""Writing an answer: the server's half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw, Struct

from switchboard.core.errors import Problem
from switchboard.core.events import (
    Answer,
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
from switchboard.dialects.openai_chat import error_body
from switchboard.dialects.openai_responses import shapes
from switchboard.dialects.openai_responses.response import Answering, failed_code


class _Item(Struct):
    """An item that is not whole: its place in the output, what it is so far, and the pieces of its newest part, of the
    kind `part` ("": none)."""

    index: int
    body: dict[str, Any]
    pieces: list[str]
    part: str = ""

    @property
    def where(self) -> dict[str, Any]:
        return {"item_id": self.body["id"], "output_index": self.index}

    def text(self) -> str:
        """The newest part, which begins anew."""
        text = "".join(self.pieces)
        self.pieces.clear()
        return text


class ResponsesEncoder:
    """Writes the events of a response. A message or a passage of thinking is closed before the next item begins, a tool
    call when its arguments are whole or nothing more comes: pieces of several calls may come mixed.

    `members` are those of the request, of which the response says many again. Only the first choice is told.
    """

    content_type = b"text/event-stream; charset=utf-8"
    whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b": keep-alive\n\n"

    def __init__(self, context: Context, members: Mapping[str, Raw]) -> None:
        self._c = context
        self._members = members
        self._answering = Answering(context, members)
        self._frames: list[bytes] = []
        self._number = 0  # of the next event
        self._items = 0  # that were begun
        self._output: dict[int, dict[str, Any]] = {}  # whole items by their place
        self._open: _Item | None = None  # a message or a passage of thinking
        self._calls: dict[int, _Item] = {}  # open ones by the index that the events give them
        self._ids: set[str] = set()  # of calls
        self._usage = Usage()
        self._finish = "stop"
        self._last: dict[str, Any] = {}  # the response once it is whole

    def encode(self, events: Sequence[Event]) -> bytes:
        """Frames for `events`; the response is whole on `Done`."""
        for e in events:
            if isinstance(e, Metered):
                self._usage = e.usage
            elif isinstance(e, Done):
                self._end()
            elif getattr(e, "choice", 0) == 0:
                self._take(e)
        out = b"".join(self._frames)
        self._frames.clear()
        return out

    def _take(self, e: Event) -> None:
        match e:
            case Text():
                if e.text:
                    self._say("output_text", e.text, {"logprobs": []})
            case Refusal():
                if e.text:
                    self._say("refusal", e.text, {})
            case Reasoning():
                if e.text:
                    self._think(e.text)
            case ReasoningEnd():
                self._thought(e)
            case ToolCallBegin():
                self._call(e)
            case ToolCallArguments():
                call = self._calls.get(e.index)
                if call is not None and e.json:
                    call.pieces.append(e.json)
                    self._frame("response.function_call_arguments.delta", **call.where, delta=e.json)
            case Finish():
                self._finish = e.reason
                self._settle()

    # ---- events on the wire

    def _frame(self, name: str, **members: Any) -> None:
        data = shapes.encode({"type": name, "sequence_number": self._number} | members)
        self._number += 1
        self._frames.append(b"event: %b\ndata: %b\n\n" % (name.encode(), data))

    def _begin(self) -> None:
        if self._number == 0:
            for name in ("created", "in_progress"):
                self._frame(f"response.{name}", response=self._answering.response("in_progress", []))

    def _add(self, kind: str, prefix: str, **members: Any) -> _Item:
        """Begin an item."""
        self._begin()
        body = {"id": f"{prefix}{self._answering.name}_{self._items}", "type": kind} | members
        item = _Item(self._items, body, [])
        self._items += 1
        self._frame("response.output_item.added", output_index=item.index, item=body)
        return item

    def _done(self, item: _Item) -> None:
        """`item` is whole."""
        self._output[item.index] = item.body
        self._frame("response.output_item.done", output_index=item.index, item=item.body)

    # ---- messages

    def _say(self, kind: str, text: str, more: dict[str, Any]) -> None:
        item = self._open
        if item is None or item.body["type"] != "message":
            self._close()
            item = self._open = self._add("message", "msg_", status="in_progress", role="assistant", content=[])
        if item.part != kind:
            self._end_part(item)
            item.part = kind
            place = len(item.body["content"])
            self._frame("response.content_part.added", **item.where, content_index=place, part=_part(kind, ""))
        item.pieces.append(text)
        place = len(item.body["content"])
        self._frame(f"response.{kind}.delta", **item.where, content_index=place, delta=text, **more)

    def _end_part(self, item: _Item) -> None:
        if not item.part:
            return
        part, place = _part(item.part, item.text()), len(item.body["content"])
        if item.part == "refusal":
            self._frame("response.refusal.done", **item.where, content_index=place, refusal=part["refusal"])
        else:
            told = {"text": part["text"], "logprobs": []}
            self._frame("response.output_text.done", **item.where, content_index=place, **told)
        self._frame("response.content_part.done", **item.where, content_index=place, part=part)
        item.body["content"].append(part)
        item.part = ""

    # ---- thinking

    def _think(self, text: str) -> None:
        item = self._open
        if item is None or item.body["type"] != "reasoning":
            item = self._passage()
        if not item.part:
            item.part = "summary_text"
            self._frame("response.reasoning_summary_part.added", **item.where, summary_index=0, part=_summary(""))
        item.pieces.append(text)
        self._frame("response.reasoning_summary_text.delta", **item.where, summary_index=0, delta=text)

    def _passage(self) -> _Item:
        self._close()
        self._open = self._add("reasoning", shapes.OWN_REASONING, summary=[])
        return self._open

    def _thought(self, e: ReasoningEnd) -> None:
        item, sealed = self._open, shapes.seal(e)
        if item is None or item.body["type"] != "reasoning" or e.redacted:
            if sealed is None:
                return
            item = self._passage()
        if sealed is not None:
            item.body["encrypted_content"] = sealed
        self._close()

    def _close(self, status: str = "completed") -> None:
        """Close the message or passage that is open."""
        item, self._open = self._open, None
        if item is None:
            return
        if item.body["type"] == "message":
            self._end_part(item)
            item.body["status"] = status
        elif item.part:
            text = item.text()
            self._frame("response.reasoning_summary_text.done", **item.where, summary_index=0, text=text)
            self._frame("response.reasoning_summary_part.done", **item.where, summary_index=0, part=_summary(text))
            item.body["summary"].append(_summary(text))
        self._done(item)

    # ---- tool calls

    def _call(self, e: ToolCallBegin) -> None:
        self._close()
        for index, call in list(self._calls.items()):
            if index == e.index or is_whole("".join(call.pieces)):
                self._called(self._calls.pop(index))
        name = e.id or f"call_{self._items}"
        if name in self._ids:  # clients tell calls apart by it
            name = f"{name}_{self._items}"
        self._ids.add(name)
        about = {"status": "in_progress", "call_id": name, "name": e.name, "arguments": ""}
        self._calls[e.index] = self._add("function_call", "fc_", **about)

    def _called(self, call: _Item, status: str = "completed") -> None:
        """Close a call."""
        arguments = call.text()
        if not arguments:  # a call without arguments is JSON all the same
            arguments = "{}"
            self._frame("response.function_call_arguments.delta", **call.where, delta=arguments)
        self._frame("response.function_call_arguments.done", **call.where, arguments=arguments)
        call.body |= {"arguments": arguments, "status": status}
        self._done(call)

    # ---- the end

    def _settle(self) -> None:
        """Close all that is open: nothing more comes."""
        cut = self._finish in shapes.INCOMPLETE
        self._close("incomplete" if cut else "completed")
        for call in self._calls.values():
            broken = cut and not is_whole("".join(call.pieces))
            self._called(call, "incomplete" if broken else "completed")
        self._calls.clear()

    def _end(self) -> None:
        self._begin()
        self._settle()
        reason = shapes.INCOMPLETE.get(self._finish)
        status = "completed" if reason is None else "incomplete"
        self._last = self._answering.response(status, self._whole_items(), self._usage, reason=reason)
        self._frame(f"response.{status}", response=self._last)

    def _whole_items(self) -> list[dict[str, Any]]:
        return [self._output[i] for i in sorted(self._output)]

    def whole(self, answer: Answer) -> bytes:
        """A ``response``: what a stream of the same answer ends with."""
        encoder = ResponsesEncoder(self._c, self._members)
        encoder.encode(answer.events())
        return shapes.encode(encoder._last)

    def error(self, problem: Problem) -> bytes:
        """An ``error`` event and, where the response has begun, ``response.failed``.

        The error stands in the event twice: as the reference has it, and as an object, which is how OpenAI's server
        writes it and what makes the SDKs raise.
        """
        told = error_body(problem)
        told["code"] = told["code"] or "server_error"
        begun = self._number > 0
        flat = {name: told[name] for name in ("code", "message", "param")}
        self._frame("error", **flat, error=told)
        if begun:
            error = {"code": failed_code(problem), "message": problem.message}
            failed = self._answering.response("failed", self._whole_items(), self._usage, error=error)
            self._frame("response.failed", response=failed)
        out = b"".join(self._frames)
        self._frames.clear()
        return out


def _part(kind: str, text: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": kind, "refusal": text}
    return {"type": kind, "annotations": [], "logprobs": [], "text": text}


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}
