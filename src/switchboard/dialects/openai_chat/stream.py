"""Reading a streamed answer: the client's half. Either decoded to events, or left as it is (`OpenAITap`)."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET
from mypy_extensions import mypyc_attr

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import (
    Done,
    Event,
    Failed,
    Finish,
    Metered,
    Ping,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.ports import Context, Meter, Phase
from switchboard.dialects import _openai_shapes as shapes
from switchboard.dialects._streams import EventTap, cut, whole_events
from switchboard.dialects.openai_chat.call import NOT_JSON, read_error, usage_of
from switchboard.dialects.openai_chat.encoder import DONE_EVENT
from switchboard.wire.sse import EventSplitter, is_one_event, parse_event

_DONE: Final = b"[DONE]"
_CONTENT: Final = Phase.CONTENT
_ENDED: Final = Phase.DONE  # or FAILED


class _Choices:
    """Which choices were begun and which are whole: what tells a complete stream from a cut one."""

    __slots__ = ("begun", "finished", "wanted")

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.begun: set[int] = set()
        self.finished: set[int] = set()

    @property
    def complete(self) -> bool:
        return len(self.finished) >= self.wanted and self.begun == self.finished

    def saw(self, choices: list[shapes.ChunkChoice]) -> None:
        for c in choices:
            self.begun.add(c.index)
            if c.finish_reason is not None:
                self.finished.add(c.index)


def _read_chunk(payload: bytes) -> shapes.Chunk | UpstreamError:
    """One event's data. An object with a member of an unexpected type counts as an event that says nothing."""
    try:
        chunk = shapes.decode_chunk(payload)
    except NOT_JSON:
        try:
            value = shapes.decode_any(payload)
        except NOT_JSON:
            value = None
        if isinstance(value, dict):
            if value.get("error") is not None:
                return read_error(shapes.encode(value["error"]), Fault.EVENT)
            return shapes.Chunk(choices=[] if isinstance(value.get("choices"), list) else UNSET)
        return UpstreamError(Fault.PROTOCOL, f"an event that is not a JSON object: {payload[:200]!r}")
    return _checked(chunk)


def _checked(chunk: shapes.Chunk) -> shapes.Chunk | UpstreamError:
    """`chunk`, unless it tells an error."""
    if chunk.error is not UNSET and bytes(chunk.error) != b"null":
        return read_error(chunk.error, Fault.EVENT)
    return chunk


@mypyc_attr(allow_interpreted_subclasses=True)
class OpenAIDecoder:
    """OpenAI's stream in, events out."""

    def __init__(self, context: Context) -> None:
        self._limit = context.max_event
        self._splitter = EventSplitter(context.max_event)
        self._choices = _Choices(context.choices)
        self._calls: set[tuple[int, int]] = set()
        self._nameless: dict[tuple[int, int], ToolCall] = {}
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """Events that are whole with `data`; after `Done` or `Failed` none."""
        if self._splitter.between and is_one_event(data) and len(data) <= self._limit:
            return self._event(data[6:-2])
        frames, error = whole_events(self._splitter, data)
        out: list[Event] = []
        for f in frames:
            out += self._event(f.data)
        return out if error is None or self._ended else [*out, *self._fail(error)]

    def _fail(self, error: UpstreamError) -> list[Event]:
        self._ended = True
        return [Failed(error)]

    def _event(self, payload: bytes | None) -> list[Event]:
        if self._ended:
            return []
        if payload is None:
            return [Ping()]
        if payload == _DONE:
            self._ended = True
            return [Done()]
        chunk = _read_chunk(payload)
        if isinstance(chunk, UpstreamError):
            return self._fail(chunk)
        out: list[Event] = []
        if chunk.choices:
            self._choices.saw(chunk.choices)
            for choice in chunk.choices:
                self._choice(choice, out)
        if chunk.usage is not None:
            out.append(Metered(usage_of(chunk.usage)))
        return out or [Ping()]

    def _choice(self, choice: shapes.ChunkChoice, out: list[Event]) -> None:
        d, n = choice.delta, choice.index
        if d is not None:
            if d.content:
                out.append(Text(d.content, n))
            thought = d.reasoning_content or d.reasoning
            if thought:
                out.append(Reasoning(thought, n))
            if d.refusal:
                out.append(Refusal(d.refusal, n))
            for call in d.tool_calls or ():
                self._tool_call(call, n, out)
        elif choice.text:
            out.append(Text(choice.text, n))
        if choice.finish_reason is not None:
            for key in [k for k in self._nameless if k[0] == n]:
                self._begin(key, out)
            out.append(Finish(choice.finish_reason, n))

    def _tool_call(self, call: shapes.ToolCallDelta, choice: int, out: list[Event]) -> None:
        key = (choice, call.index)
        function = call.function or shapes.FunctionDelta()
        if key in self._calls:
            if function.arguments:
                out.append(ToolCallArguments(call.index, function.arguments, choice))
            return
        # some servers tell a call's name after its first piece
        begun = self._nameless.setdefault(key, ToolCall("", "", ""))
        begun.id = begun.id or call.id or ""
        begun.name = function.name or ""
        begun.arguments += function.arguments or ""
        if begun.name:
            self._begin(key, out)

    def _begin(self, key: tuple[int, int], out: list[Event]) -> None:
        """Tell of a call that has waited for its name."""
        choice, index = key
        call = self._nameless.pop(key)
        self._calls.add(key)
        out.append(ToolCallBegin(index, call.id or f"call_{choice}_{index}", call.name, choice))
        if call.arguments:
            out.append(ToolCallArguments(index, call.arguments, choice))

    def eof(self) -> list[Event]:
        """`Done` if every choice had its ``finish_reason``, else `Failed` (cut)."""
        if self._ended:
            return []
        if parse_event(self._splitter.rest).data == _DONE or self._choices.complete:
            self._ended = True
            return [Done()]
        return self._fail(cut())


@mypyc_attr(allow_interpreted_subclasses=True)
class OpenAITap(EventTap):
    """Leaves the stream as it is, event by event: reads along for usage and errors, takes out only the usage chunk
    that this server asked for and the client did not."""

    __slots__ = ("_choices", "_keep_usage", "_limit")

    def __init__(self, context: Context, meter: Meter) -> None:
        super().__init__(context, meter)
        self._keep_usage = context.include_usage
        self._limit = context.max_event
        self._choices = _Choices(context.choices)

    def feed(self, data: bytes) -> bytes:
        """The events that are whole with `data`, as they came."""
        if self._splitter.between and is_one_event(data) and len(data) <= self._limit:
            return data if self._passes(data[6:-2]) else b""
        return super().feed(data)

    def _passes(self, payload: bytes | None) -> bool:
        if self.phase >= _ENDED:
            return False
        if payload is None:  # a comment
            return self.phase is _CONTENT
        if payload == _DONE:
            self.phase = _ENDED
            return True
        try:
            chunk = shapes.decode_chunk(payload)
        except NOT_JSON:
            return self._passes_read(_read_chunk(payload))
        choices = chunk.choices
        if choices and len(choices) == 1 and chunk.usage is None and chunk.error is UNSET:
            # what nearly all events are: a piece of the only choice, with nothing else to look after
            choice = choices[0]
            delta = choice.delta
            if (
                choice.finish_reason is None
                and delta is not None
                and delta.content
                and delta.tool_calls is None
                and delta.reasoning_content is None
                and delta.reasoning is None
                and delta.refusal is None
            ):
                self._choices.begun.add(choice.index)
                self._meter.saw(1, len(delta.content))
                self.phase = _CONTENT
                return True
        return self._passes_read(_checked(chunk))

    def _passes_read(self, chunk: shapes.Chunk | UpstreamError) -> bool:
        if isinstance(chunk, UpstreamError):
            return self._fail(chunk)
        choices = chunk.choices
        if chunk.usage is not None:
            self._meter.usage(usage_of(chunk.usage))
            if not choices and not self._keep_usage:
                return False
        if choices:
            self._choices.saw(choices)
            size = 0
            for c in choices:
                if c.delta is not None:
                    size += _size(c.delta)
                elif c.text:
                    size += len(c.text)
            self._meter.saw(1, size)
        if choices is not UNSET:
            self.phase = _CONTENT
        return self.phase is _CONTENT

    def eof(self) -> bytes:
        """Completes a stream whose ``[DONE]`` is missing though every choice was finished."""
        if self.phase >= _ENDED:
            return b""
        if parse_event(self._splitter.rest).data == _DONE or self._choices.complete:
            self.phase = _ENDED
            return DONE_EVENT
        self._fail(cut())
        return b""


def _size(delta: shapes.Delta) -> int:
    size = len(delta.content) if delta.content else 0
    thought = delta.reasoning_content or delta.reasoning
    if thought:
        size += len(thought)
    if delta.refusal:
        size += len(delta.refusal)
    for call in delta.tool_calls or ():
        if call.function is not None and call.function.arguments:
            size += len(call.function.arguments)
    return size
