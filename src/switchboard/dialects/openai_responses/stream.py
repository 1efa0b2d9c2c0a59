"""Reading a streamed answer: the client's half. Either decoded to events, or left as it is (`ResponsesTap`)."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import (
    Done,
    Event,
    Finish,
    Metered,
    Ping,
    Reasoning,
    ReasoningEnd,
    Refusal,
    Text,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.ports import Context, Meter, Phase
from switchboard.dialects._streams import EventDecoder, cut, whole_events
from switchboard.dialects.openai_responses import shapes
from switchboard.dialects.openai_responses.call import failure, finish_of, read_error, reasoning_text
from switchboard.wire.sse import EventSplitter, SSEvent

_PREAMBLE: Final = Phase.PREAMBLE
_CONTENT: Final = Phase.CONTENT
_ENDED: Final = Phase.DONE  # or FAILED
#: Events that tell of a response and nothing of what it says.
_BEFORE: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_LAST: Final = frozenset({"response.completed", "response.incomplete"})
_FAILED: Final = frozenset({"error", "response.failed", "response.cancelled"})
#: What some servers end every stream with.
_DONE: Final = b"[DONE]"


def _refused(event: shapes.StreamEvent, payload: bytes) -> UpstreamError | None:
    """The error that `event` tells, if any."""
    if event.type in _FAILED or (event.error is not UNSET and not shapes.is_null(event.error)):
        if event.response is not None:
            error = failure(event.response)
            return error or UpstreamError(Fault.EVENT, f"{event.type}, and nothing says why")
        return read_error(payload, Fault.EVENT)
    return None


def _read(frame: SSEvent, kind: type[shapes.DecodedEvent] | None = None) -> shapes.StreamEvent | UpstreamError:
    """One event. An object with a member of an unexpected type is read for its type alone."""
    payload = frame.data or b""
    try:
        event = shapes.decode_event(payload) if kind is None else shapes.decode_whole_event(payload)
    except shapes.NOT_JSON:
        try:
            value = shapes.decode_any(payload)
        except shapes.NOT_JSON:
            value = None
        if not isinstance(value, dict):
            return UpstreamError(Fault.PROTOCOL, f"an event that is not a JSON object: {payload[:200]!r}")
        name = value.get("type")
        event = (kind or shapes.StreamEvent)(name if isinstance(name, str) else "")
        if value.get("error") is not None:
            return read_error(payload, Fault.EVENT)
    event.type = event.type or frame.name.decode("utf-8", "replace")
    return _refused(event, payload) or event


class ResponsesDecoder(EventDecoder):
    """A Responses stream in, events out. Of items that came without pieces, what they hold when they are done."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._told: set[int] = set()  # items of which there were pieces
        self._calls: dict[int, int] = {}  # output index → which call of the answer

    def _frame(self, frame: SSEvent, out: list[Event]) -> None:
        if not frame.data or frame.data == _DONE:
            out.append(Ping())
            return
        e = _read(frame, shapes.DecodedEvent)
        if isinstance(e, UpstreamError):
            self._fail(e, out)
            return
        assert isinstance(e, shapes.DecodedEvent)
        before = len(out)
        if e.type in _LAST:
            self._last(e, out)
        elif e.type == "response.output_item.added":
            if e.item is not None and e.item.type == "function_call":
                self._call(e, e.item, out)
        elif e.type == "response.output_item.done":
            if e.item is not None:
                self._done(e, e.item, out)
        elif e.type == "response.reasoning_summary_part.added":
            if e.summary_index:
                out.append(Reasoning("\n\n"))
        elif isinstance(e.delta, str) and e.delta:
            self._delta(e, e.delta, out)
        if len(out) == before:
            out.append(Ping())

    def _last(self, e: shapes.DecodedEvent, out: list[Event]) -> None:
        head = e.response or shapes.ResponseHead()
        out.append(Finish(finish_of(head, called=bool(self._calls))))
        if head.usage is not None:
            out.append(Metered(shapes.usage_of(head.usage)))
        out.append(Done())
        self._ended = True

    def _delta(self, e: shapes.DecodedEvent, delta: str, out: list[Event]) -> None:
        match e.type:
            case "response.output_text.delta":
                out.append(Text(delta))
            case "response.refusal.delta":
                out.append(Refusal(delta))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                out.append(Reasoning(delta))
            case "response.function_call_arguments.delta" if e.output_index in self._calls:
                out.append(ToolCallArguments(self._calls[e.output_index], delta))
            case _:
                return
        self._told.add(e.output_index)

    def _call(self, e: shapes.DecodedEvent, item: shapes.OutputItem, out: list[Event]) -> None:
        number = self._calls.setdefault(e.output_index, len(self._calls))
        out.append(ToolCallBegin(number, item.call_id or f"call_{number}", item.name or ""))

    def _done(self, e: shapes.DecodedEvent, item: shapes.OutputItem, out: list[Event]) -> None:
        told = e.output_index in self._told
        if item.type == "function_call":
            if e.output_index not in self._calls:
                self._call(e, item, out)
            if not told and item.arguments:
                out.append(ToolCallArguments(self._calls[e.output_index], item.arguments))
        elif item.type == "reasoning":
            text = "" if told else reasoning_text(item)
            if text:
                out.append(Reasoning(text))
            if told or text:
                out.append(ReasoningEnd())
        elif item.type == "message" and not told:
            for part in item.content or ():
                if part.refusal:
                    out.append(Refusal(part.refusal))
                elif part.text:
                    out.append(Text(part.text))


class ResponsesTap:
    """Leaves the stream as it is, event by event, and reads along for usage and errors. The events that only tell of the
    response are held until it says something, so that an error before that has a status of its own."""

    __slots__ = ("_held", "_limit", "_meter", "_size", "_splitter", "error", "phase")

    def __init__(self, context: Context, meter: Meter) -> None:
        self.phase = _PREAMBLE
        self.error: UpstreamError | None = None
        self._meter = meter
        self._splitter = EventSplitter(context.max_event)
        self._held: list[bytes] = []
        self._size = 0  # of what is held, in bytes
        self._limit = context.max_event

    def feed(self, data: bytes) -> bytes:
        """The events that are whole with `data`, as they came."""
        frames, error = whole_events(self._splitter, data)
        passed = b"".join([self._passed(f) for f in frames])
        if error is not None and self.phase < _ENDED:
            self._fail(error)
        return passed

    def _fail(self, error: UpstreamError) -> bytes:
        self.phase = Phase.FAILED
        self.error = error
        return b""

    def _passed(self, frame: SSEvent) -> bytes:
        """Read one event; what goes on to the client with it."""
        if self.phase >= _ENDED:
            return b""
        if not frame.data or frame.data == _DONE:  # a comment, or an end that is none
            return frame.raw if self.phase is _CONTENT and not frame.data else b""
        e = _read(frame)
        if isinstance(e, UpstreamError):
            return self._fail(e)
        if e.response is not None and e.response.usage is not None:
            self._meter.usage(shapes.usage_of(e.response.usage))
        if isinstance(e.delta, str):
            self._meter.saw(1, len(e.delta))
        if self.phase is _CONTENT and e.type not in _LAST:
            return frame.raw
        self._held.append(frame.raw)
        self._size += len(frame.raw)
        if e.type in _LAST:
            self.phase = Phase.DONE
        elif (e.type.startswith("response.") and e.type not in _BEFORE) or self._size > self._limit:
            self.phase = _CONTENT
        else:
            return b""
        held, self._held = self._held, []
        return b"".join(held)

    def eof(self) -> bytes:
        """A stream that had no last event is cut."""
        if self.phase < _ENDED:
            self._fail(cut())
        return b""
