"""Reading a streamed answer: the client's half. Either decoded to events, or left as it is (`AnthropicTap`)."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET
from mypy_extensions import mypyc_attr

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import (
    Done,
    Event,
    Finish,
    Metered,
    Ping,
    Reasoning,
    ReasoningEnd,
    Text,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.ports import Context, Meter, Phase
from switchboard.dialects._streams import EventDecoder, EventTap, cut
from switchboard.dialects.anthropic_messages import shapes
from switchboard.dialects.anthropic_messages.call import read_error
from switchboard.wire.sse import SSEvent

_CONTENT: Final = Phase.CONTENT
_ENDED: Final = Phase.DONE  # or FAILED


def _read_event(payload: bytes) -> shapes.StreamEvent | UpstreamError:
    """One event's data. An object with a member of an unexpected type counts as an event that says nothing."""
    try:
        event = shapes.decode_event(payload)
    except shapes.NOT_JSON:
        try:
            value = shapes.decode_any(payload)
        except shapes.NOT_JSON:
            value = None
        if not isinstance(value, dict):
            return UpstreamError(Fault.PROTOCOL, f"an event that is not a JSON object: {payload[:200]!r}")
        if value.get("error") is not None:
            return read_error(shapes.encode(value["error"]), Fault.EVENT)
        return shapes.StreamEvent("ping")
    if event.error is not UNSET and (event.type == "error" or bytes(event.error) != b"null"):
        return read_error(event.error, Fault.EVENT)
    return event


@mypyc_attr(allow_interpreted_subclasses=True)
class AnthropicDecoder(EventDecoder):
    """Anthropic's stream in, events out."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._counter = shapes.Counter()
        self._blocks: dict[int, str] = {}  # open ones: what they are
        self._calls: dict[int, int] = {}  # tool calls: block index → which call of the answer
        self._argued: set[int] = set()  # tool calls that have arguments
        self._signature: dict[int, str] = {}
        self._stopped = False

    def _frame(self, frame: SSEvent, out: list[Event]) -> None:
        if frame.data is None:
            out.append(Ping())
            return
        e = _read_event(frame.data)
        if isinstance(e, UpstreamError):
            self._fail(e, out)
            return
        before = len(out)
        match e.type:
            case "content_block_delta":
                self._delta(e, out)
            case "content_block_start":
                try:
                    self._start(e, out)
                except UnicodeDecodeError:
                    self._fail(UpstreamError(Fault.PROTOCOL, "a tool's input that is not UTF-8"), out)
            case "content_block_stop":
                self._stop(e.index, out)
            case "message_start":
                if e.message is not None and e.message.usage is not None:
                    out.append(Metered(self._counter.add(e.message.usage)))
            case "message_delta":
                if e.usage is not None:
                    out.append(Metered(self._counter.add(e.usage)))
                if e.delta is not None and e.delta.stop_reason is not None:
                    self._stopped = True
                    out.append(Finish(shapes.FINISH.get(e.delta.stop_reason, "stop")))
            case "message_stop":
                self._ended = True
                out.append(Done())
        if len(out) == before:
            out.append(Ping())

    def _start(self, e: shapes.StreamEvent, out: list[Event]) -> None:
        block = e.content_block
        if block is None:
            return
        self._blocks[e.index] = block.type
        match block.type:
            case "text":
                if block.text:
                    out.append(Text(block.text))
            case "thinking":
                self._signature[e.index] = block.signature or ""
                if block.thinking:
                    out.append(Reasoning(block.thinking))
            case "redacted_thinking":
                out.append(ReasoningEnd(redacted=block.data or ""))
            case "tool_use":
                given = "" if block.input is UNSET else bytes(block.input).decode()
                number = self._calls.setdefault(e.index, len(self._calls))
                out.append(ToolCallBegin(number, block.id or f"call_{number}", block.name or ""))
                if given not in ("", "{}", "null"):
                    self._argued.add(e.index)
                    out.append(ToolCallArguments(number, given))

    def _delta(self, e: shapes.StreamEvent, out: list[Event]) -> None:
        d = e.delta
        if d is None:
            return
        if d.text:
            out.append(Text(d.text))
        elif d.partial_json:
            number = self._calls.get(e.index)
            if number is not None:
                self._argued.add(e.index)
                out.append(ToolCallArguments(number, d.partial_json))
        elif d.thinking:
            out.append(Reasoning(d.thinking))
        elif d.signature:
            self._signature[e.index] = self._signature.get(e.index, "") + d.signature

    def _stop(self, index: int, out: list[Event]) -> None:
        kind = self._blocks.pop(index, "")
        if kind == "thinking":
            out.append(ReasoningEnd(self._signature.pop(index, "")))
        elif kind == "tool_use" and index not in self._argued:
            out.append(ToolCallArguments(self._calls[index], "{}"))  # a call without arguments is JSON all the same

    def eof(self) -> list[Event]:
        """`Done` if a stop reason had come, else `Failed` (cut)."""
        if self._ended or not self._stopped:
            return super().eof()
        self._ended = True
        return [Done()]


@mypyc_attr(allow_interpreted_subclasses=True)
class AnthropicTap(EventTap):
    """Leaves the stream as it is, event by event, and reads along for usage and errors."""

    __slots__ = ("_counter", "_stopped")

    def __init__(self, context: Context, meter: Meter) -> None:
        super().__init__(context, meter)
        self._counter = shapes.Counter()
        self._stopped = False

    def _passes(self, payload: bytes | None) -> bool:
        if self.phase >= _ENDED:
            return False
        if payload is None:  # a comment
            return self.phase is _CONTENT
        e = _read_event(payload)
        if isinstance(e, UpstreamError):
            return self._fail(e)
        kind = e.type
        if kind == "content_block_delta":
            d = e.delta
            if d is not None:
                self._meter.saw(1, len(d.text or d.partial_json or d.thinking or ""))
            self.phase = _CONTENT
        elif kind == "ping":
            return self.phase is _CONTENT
        elif kind == "message_stop":
            self.phase = _ENDED
        else:
            usage = e.usage if kind == "message_delta" else e.message.usage if e.message is not None else None
            if usage is not None:
                self._meter.usage(self._counter.add(usage))
            if kind == "message_delta" and e.delta is not None and e.delta.stop_reason is not None:
                self._stopped = True
            self.phase = _CONTENT
        return True

    def eof(self) -> bytes:
        """Completes a stream whose ``message_stop`` is missing though a stop reason had come."""
        if self.phase >= _ENDED:
            return b""
        if self._stopped:
            self.phase = _ENDED
            return STOP_EVENT
        self._fail(cut())
        return b""


STOP_EVENT: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
