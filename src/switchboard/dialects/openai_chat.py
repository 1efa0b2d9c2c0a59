"""OpenAI's chat wire, both halves: ``POST /v1/chat/completions``.

Source: the OpenAI API reference, "Chat completions" and "Streaming". A stream is one ``data:`` line of JSON an event and
ends with ``data: [DONE]``; an error in the middle of it is a ``data:`` line with a top-level ``error``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.events import (
    Answer,
    Choice,
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
from switchboard.core.types import Generate, Headers, Lines, Usage
from switchboard.dialects import _openai_shapes as shapes
from switchboard.wire.sse import EventSplitter, EventTooLargeError, parse_event

_DONE: Final = b"[DONE]"
_DONE_EVENT: Final = b"data: [DONE]\n\n"
_SAMPLING: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_PREAMBLE: Final = Phase.PREAMBLE
_CONTENT: Final = Phase.CONTENT
_ENDED: Final = Phase.DONE  # or FAILED
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


# ---- reading a request (the server's half)


def read_request(body: Any, raw: bytes, *, stream_default: bool = False) -> Generate:
    """The operation that an OpenAI chat request asks for. `body` is `raw` decoded (`wire.json_body.load_json`).

    Raises `Problem` that names the field at fault.
    """
    request = check_request(body)
    members: dict[str, Any] = dict(shapes.decode_members(raw))
    raw_messages = members.pop("messages")
    members.pop("model", None)
    members.pop("stream", None)
    options = request.stream_options
    return Generate(
        model=request.model or "",
        messages=body["messages"],
        stream=stream_default if request.stream is None else request.stream,
        params=members,
        raw_messages=raw_messages,
        include_usage=bool(options and options.include_usage),
    )


def check_request(body: Any) -> shapes.ChatRequest:
    """Check the types of the members that are known. Raises `Problem`."""
    if not isinstance(body, dict):
        raise Problem("INVALID_REQUEST", "The body must be a JSON object.")
    if "messages" not in body:
        raise Problem("INVALID_REQUEST", "messages: this field is required.", param="messages")
    try:
        request = msgspec.convert(body, shapes.ChatRequest)
    except msgspec.ValidationError as e:
        raise invalid(str(e)) from None
    if not request.messages:
        raise Problem("INVALID_REQUEST", "messages: at least one message is needed.", param="messages")
    for name, value in (
        ("max_tokens", request.max_tokens),
        ("max_completion_tokens", request.max_completion_tokens),
        ("n", request.n),
    ):
        if value is not None and value < 1:
            raise Problem("INVALID_REQUEST", f"{name}: must be at least 1.", param=name)
    for i, message in enumerate(request.messages):
        if type(message.content) is not str or message.role == "tool":
            _check_message(message, f"messages[{i}]")
    return request


def _check_message(message: shapes.ChatMessage, place: str) -> None:
    content = message.content
    if content is None:
        if message.role not in ("assistant", "function"):
            where = f"{place}.content"
            raise Problem("INVALID_REQUEST", f"{where}: this field is required.", param=where)
    elif not isinstance(content, str):
        for j, part in enumerate(content):
            if not isinstance(part.get("type"), str):
                where = f"{place}.content[{j}].type"
                raise Problem("INVALID_REQUEST", f"{where}: a string is required.", param=where)
    if message.role == "tool" and message.tool_call_id is None:
        where = f"{place}.tool_call_id"
        raise Problem("INVALID_REQUEST", f"{where}: this field is required.", param=where)


def invalid(complaint: str) -> Problem:
    """msgspec's complaint as a `Problem`: "Expected `int`, got `str` - at `$.n`" names the field ``n``."""
    what, _, where = complaint.partition(" - at `$")
    field = where.rstrip("`").removeprefix(".") or "body"
    if what.startswith("Invalid enum value") and field.endswith(".role"):
        what += "; a role is one of system, user, assistant, tool"
    if what.startswith("Object missing required field"):
        missing = what.split("`")[1]
        field = missing if field == "body" else f"{field}.{missing}"
        what = "this field is required"
    what = what.replace("`", "")
    return Problem("INVALID_REQUEST", f"{field}: {what[0].lower()}{what[1:]}.", param=field)


# ---- writing an answer (the server's half)


class OpenAIEncoder:
    """Writes `chat.completion` and `chat.completion.chunk` objects."""

    content_type = b"text/event-stream"
    whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b": keep-alive\n\n"

    def __init__(self, context: Context) -> None:
        self._c = context
        self._started: set[int] = set()
        self._usage: Usage | None = None

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        c = self._c
        body = {"id": c.id, "object": "chat.completion.chunk", "created": c.created, "model": c.model}
        return b"data: " + shapes.encode(body | {"choices": choices} | more) + b"\n\n"

    def _delta(self, choice: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        if choice not in self._started:
            self._started.add(choice)
            delta = {"role": "assistant"} | delta
        return self._chunk([{"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}])

    def _one(self, e: Event) -> bytes:
        match e:
            case Text():
                return self._delta(e.choice, {"content": e.text})
            case Reasoning():
                return self._delta(e.choice, {"reasoning_content": e.text})
            case Refusal():
                return self._delta(e.choice, {"refusal": e.text})
            case ToolCallBegin():
                function = {"name": e.name, "arguments": ""}
                call = {"index": e.index, "id": e.id, "type": "function", "function": function}
                return self._delta(e.choice, {"tool_calls": [call]})
            case ToolCallArguments():
                return self._delta(e.choice, {"tool_calls": [{"index": e.index, "function": {"arguments": e.json}}]})
            case Finish():
                return self._delta(e.choice, {}, e.reason)
            case Metered():
                self._usage = e.usage
                return b""
            case Done():
                usage = b""
                if self._c.include_usage and self._usage is not None:
                    usage = self._chunk([], usage=usage_out(self._usage))
                return usage + _DONE_EVENT
            case _:
                return b""

    def encode(self, events: Sequence[Event]) -> bytes:
        """Chunks for `events`; usage, where it was asked for, and ``[DONE]`` on `Done`."""
        return b"".join([self._one(e) for e in events])

    def whole(self, answer: Answer) -> bytes:
        """A ``chat.completion``."""
        c = self._c
        body: dict[str, Any] = {"id": c.id, "object": "chat.completion", "created": c.created, "model": c.model}
        body["choices"] = [
            {"index": i, "message": _message_out(x), "logprobs": None, "finish_reason": x.finish or "stop"}
            for i, x in enumerate(answer.choices)
        ]
        if answer.usage is not None:
            body["usage"] = usage_out(answer.usage)
        return shapes.encode(body)

    def error(self, problem: Problem) -> bytes:
        """A ``data:`` frame with ``error``, as the SDKs expect it in the middle of a stream."""
        return b"data: " + shapes.encode({"error": error_body(problem)}) + b"\n\n"


def _message_out(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text or None, "refusal": choice.refusal or None}
    if choice.text == "" and not choice.tool_calls and not choice.refusal:
        message["content"] = ""
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["tool_calls"] = [
            {"id": t.id, "type": "function", "function": {"name": t.name, "arguments": t.arguments}}
            for t in choice.tool_calls
        ]
    return message


def usage_out(usage: Usage) -> shapes.UsageOut:
    """`usage` as OpenAI writes it."""
    details = shapes.TokenDetailsOut(usage.cached)
    return shapes.UsageOut(usage.input, usage.output, usage.input + usage.output, details)


def error_body(problem: Problem) -> dict[str, Any]:
    """OpenAI's error object for `problem`: the provider's own type and code where its refusal is passed on."""
    u = problem.upstream
    code: str | None = problem.code.lower()
    return {
        "message": problem.message,
        "type": (u and u.type) or problem.type,
        "param": u.param if u else problem.param,
        "code": u.code if u else code,
    }


# ---- asking a provider and reading its answer (the client's half)


def build_body(op: Generate, model: str, capabilities: Capabilities) -> bytes:
    """The body of a chat request for `op`: members as they came, `model` replaced, usage asked for in streams."""
    members: dict[str, Any] = {"model": model}
    members["messages"] = op.messages if op.raw_messages is None else op.raw_messages
    members.update(op.params)
    if capabilities.completion_tokens is not None and capabilities.completion_tokens.fullmatch(model):
        limit = members.pop("max_tokens", None)
        if limit is not None:
            members.setdefault("max_completion_tokens", limit)
    if capabilities.fixed_sampling is not None and capabilities.fixed_sampling.fullmatch(model):
        for name in _SAMPLING:
            if members.pop(name, None) is not None:
                op.drop(name)
    options = members.pop("stream_options", None)
    if op.stream:
        members["stream"] = True
        if capabilities.stream_usage:
            members["stream_options"] = _with_usage(options)
        elif options is not None:
            members["stream_options"] = options
    return shapes.encode(members)


_USAGE_ASKED: Final = Raw(b'{"include_usage":true}')


def _with_usage(options: Any) -> Any:
    if options is None:
        return _USAGE_ASKED
    own = shapes.decode_any(options) if isinstance(options, Raw) else options
    return {**own, "include_usage": True} if isinstance(own, dict) else _USAGE_ASKED


def usage_of(usage: shapes.TokenUsage) -> Usage:
    """OpenAI's counts as ours."""
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details is not None else None
    return Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, cached or 0)


def read_error(raw: bytes | Raw, fault: Fault, status: int = 0, retry_after: str | None = None) -> UpstreamError:
    """OpenAI's error object (or whatever stands in its place) as an `UpstreamError`."""
    value: Any = None
    with contextlib.suppress(*_NOT_JSON):
        value = shapes.decode_any(raw)
    if isinstance(value, dict) and isinstance(value.get("error"), dict | str):
        value = value["error"]
    if isinstance(value, dict):
        code = shapes.text_of(value.get("code"))
        if not status and code and code.isdigit() and len(code) == 3:
            status = int(code)
        return UpstreamError(
            fault,
            shapes.text_of(value.get("message")) or "",
            status=status,
            type=shapes.text_of(value.get("type")),
            param=shapes.text_of(value.get("param")),
            code=code,
            retry_after=retry_after,
        )
    message = value if isinstance(value, str) else bytes(raw)[:500].decode("utf-8", "replace")
    return UpstreamError(fault, message, status=status, retry_after=retry_after)


class _Choices:
    """Which choices were begun and which are whole: what tells a complete stream from a cut one."""

    __slots__ = ("begun", "finished")

    def __init__(self) -> None:
        self.begun: set[int] = set()
        self.finished: set[int] = set()

    @property
    def complete(self) -> bool:
        return bool(self.begun) and self.begun == self.finished

    def saw(self, choices: list[shapes.ChunkChoice]) -> None:
        for c in choices:
            self.begun.add(c.index)
            if c.finish_reason is not None:
                self.finished.add(c.index)


def _read_chunk(payload: bytes) -> shapes.Chunk | UpstreamError:
    """One event's data. An object with a member of an unexpected type counts as an event that says nothing."""
    try:
        chunk = shapes.decode_chunk(payload)
    except _NOT_JSON:
        try:
            if isinstance(shapes.decode_any(payload), dict):
                return shapes.Chunk()
        except _NOT_JSON:
            pass
        return UpstreamError(Fault.PROTOCOL, f"an event that is not a JSON object: {payload[:200]!r}")
    if chunk.error is not UNSET and bytes(chunk.error) != b"null":
        return read_error(chunk.error, Fault.EVENT)
    return chunk


class OpenAIDecoder:
    """OpenAI's stream in, events out."""

    def __init__(self, context: Context) -> None:
        self._splitter = EventSplitter(context.max_event)
        self._choices = _Choices()
        self._calls: set[tuple[int, int]] = set()
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """Events that are whole with `data`; after `Done` or `Failed` none."""
        if self._splitter.empty and data[:6] == b"data: " and data.find(b"\n") == len(data) - 2 and data[-1:] == b"\n":
            return self._event(data[6:-2])
        error: UpstreamError | None = None
        try:
            frames = self._splitter.feed(data)
        except EventTooLargeError as e:
            frames, error = e.events, UpstreamError(Fault.TOO_LARGE, str(e))
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
        if choice.finish_reason is not None:
            out.append(Finish(choice.finish_reason, n))

    def _tool_call(self, call: shapes.ToolCallDelta, choice: int, out: list[Event]) -> None:
        function = call.function
        if (choice, call.index) not in self._calls:
            self._calls.add((choice, call.index))
            name = (function.name if function else None) or ""
            out.append(ToolCallBegin(call.index, call.id or f"call_{choice}_{call.index}", name, choice))
        if function is not None and function.arguments:
            out.append(ToolCallArguments(call.index, function.arguments, choice))

    def eof(self) -> list[Event]:
        """`Done` if every choice had its ``finish_reason``, else `Failed` (cut)."""
        if self._ended:
            return []
        if parse_event(self._splitter.rest).data == _DONE or self._choices.complete:
            self._ended = True
            return [Done()]
        return self._fail(UpstreamError(Fault.CUT, "the stream ended before it was complete"))


class OpenAITap:
    """Leaves the stream as it is, event by event: reads along for usage and errors, takes out only the usage chunk
    that this server asked for and the client did not."""

    __slots__ = ("_choices", "_keep_usage", "_meter", "_splitter", "error", "phase")

    def __init__(self, context: Context, meter: Meter) -> None:
        self.phase = _PREAMBLE
        self.error: UpstreamError | None = None
        self._meter = meter
        self._keep_usage = context.include_usage
        self._splitter = EventSplitter(context.max_event)
        self._choices = _Choices()

    def feed(self, data: bytes) -> bytes:
        """The events that are whole with `data`, as they came."""
        if self._splitter.empty and data[:6] == b"data: " and data.find(b"\n") == len(data) - 2 and data[-1:] == b"\n":
            return data if self._passes(data[6:-2]) else b""
        error: UpstreamError | None = None
        try:
            frames = self._splitter.feed(data)
        except EventTooLargeError as e:
            frames, error = e.events, UpstreamError(Fault.TOO_LARGE, str(e))
        passed = b"".join([f.raw for f in frames if self._passes(f.data)])
        if error is not None and self.phase < _ENDED:
            self._fail(error)
        return passed

    def _fail(self, error: UpstreamError) -> bool:
        self.phase = Phase.FAILED
        self.error = error
        return False

    def _passes(self, payload: bytes | None) -> bool:
        """Read one event's data; whether the event goes on to the client."""
        if self.phase >= _ENDED:
            return False
        if payload is None:  # a comment
            return self.phase is _CONTENT
        if payload == _DONE:
            self.phase = _ENDED
            return True
        chunk = _read_chunk(payload)
        if isinstance(chunk, UpstreamError):
            return self._fail(chunk)
        choices = chunk.choices
        if choices:
            self.phase = _CONTENT
            self._choices.saw(choices)
            size = 0
            for c in choices:
                if c.delta is not None:
                    size += _size(c.delta)
            self._meter.saw(1, size)
        if chunk.usage is not None:
            self._meter.usage(usage_of(chunk.usage))
            if not choices and not self._keep_usage:
                return False
        return self.phase is _CONTENT or choices is not UNSET

    def eof(self) -> bytes:
        """Completes a stream whose ``[DONE]`` is missing though every choice was finished."""
        if self.phase >= _ENDED:
            return b""
        if parse_event(self._splitter.rest).data == _DONE or self._choices.complete:
            self.phase = _ENDED
            return _DONE_EVENT
        self._fail(UpstreamError(Fault.CUT, "the stream ended before it was complete"))
        return b""


def _size(delta: shapes.Delta) -> int:
    size = len(delta.content) if delta.content else 0
    if delta.reasoning_content:
        size += len(delta.reasoning_content)
    for call in delta.tool_calls or ():
        if call.function is not None and call.function.arguments:
            size += len(call.function.arguments)
    return size


def _completion(body: bytes) -> tuple[shapes.Completion, list[shapes.WholeChoice]]:
    try:
        completion = shapes.decode_completion(body)
    except _NOT_JSON as e:
        raise UpstreamError(Fault.PROTOCOL, f"not a chat completion ({e}): {body[:200]!r}") from None
    if completion.error is not UNSET and bytes(completion.error) != b"null":
        raise read_error(completion.error, Fault.EVENT)
    if completion.choices is UNSET:
        raise UpstreamError(Fault.PROTOCOL, f"not a chat completion: {body[:200]!r}")
    return completion, completion.choices


def read_answer(body: bytes) -> Answer:
    """A ``chat.completion``. Raises `UpstreamError` when it is something else."""
    completion, whole = _completion(body)
    choices = []
    for c in whole:
        m = c.message or shapes.WholeMessage()
        calls = [ToolCall(t.id, t.function.name, t.function.arguments) for t in m.tool_calls or () if t.function]
        thought = m.reasoning_content or m.reasoning or ""
        choices.append(Choice(m.content or "", thought, m.refusal or "", calls, c.finish_reason or "stop"))
    usage = usage_of(completion.usage) if completion.usage is not None else None
    return Answer(choices, completion.model, usage)


class OpenAIChat:
    """The dialect itself: both halves. It has no state."""

    name = "openai_chat"

    def encoder(self, context: Context) -> OpenAIEncoder:
        return OpenAIEncoder(context)

    def build(self, op: Generate, model: str, capabilities: Capabilities) -> bytes:
        return build_body(op, model, capabilities)

    def decoder(self, context: Context) -> OpenAIDecoder:
        return OpenAIDecoder(context)

    def answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def meter(self, body: bytes, meter: Meter) -> None:
        completion, choices = _completion(body)
        if completion.usage is not None:
            meter.usage(usage_of(completion.usage))
        else:
            meter.saw(1, sum([len(c.message.content or "") for c in choices if c.message is not None]))

    def tap(self, context: Context, meter: Meter) -> OpenAITap:
        return OpenAITap(context, meter)

    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        retry_after = headers.get(b"retry-after", b"").decode("latin-1") or None
        return read_error(body, Fault.STATUS, status, retry_after)
