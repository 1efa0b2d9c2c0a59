"""OpenAI's streams and answers, read and written: what one half says the other half understands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.events import (
    Answer,
    AnswerBuilder,
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
from switchboard.core.ports import Context
from switchboard.core.types import Generate, Outcome, Usage
from switchboard.dialects.openai_chat import (
    OpenAIChat,
    OpenAIDecoder,
    OpenAIEncoder,
    error_body,
    read_answer,
    read_error,
)

MANY = settings(max_examples=300, deadline=None)
DONE_EVENT = b"data: [DONE]\n\n"


def context(*, include_usage: bool = True, max_event: int = 1 << 20) -> Context:
    return Context("chatcmpl-7", "some-model", 1_750_000_000, include_usage=include_usage, max_event=max_event)


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(n % (len(stream) + 1) for n in at), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def decoded(pieces: list[bytes], *, pings: bool = False) -> list[Event]:
    """The events of a stream that comes in `pieces` and then ends."""
    d = OpenAIDecoder(context())
    events: list[Event] = []
    for p in pieces:
        events += d.feed(p)
    events += d.eof()
    return [e for e in events if pings or not isinstance(e, Ping)]


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return event({"id": "x", "object": "chat.completion.chunk", "choices": [choice]} | more)


def frames(data: bytes) -> list[Any]:
    """The data of the events that were written, each on a line of its own."""
    out: list[Any] = []
    for e in data.split(b"\n\n")[:-1]:
        assert e.startswith(b"data: ")
        assert b"\n" not in e
        out.append("[DONE]" if e == b"data: [DONE]" else json.loads(e[6:]))
    assert data == b"" or data.endswith(b"\n\n")
    return out


def failure(events: Sequence[Event]) -> UpstreamError:
    assert events
    last = events[-1]
    assert isinstance(last, Failed)
    return last.error


cuts = st.lists(st.integers(0, 5000), max_size=12)
texts = st.text(min_size=1, max_size=6)


@st.composite
def conversations(draw: st.DrawFn) -> list[Event]:
    """What a model may say: up to three choices, mixed, each with some text, thoughts and tool calls; then the count."""
    choices = draw(st.integers(1, 3))
    lines: list[list[Event]] = []
    for c in range(choices):
        line: list[Event] = []
        begun: list[int] = []
        for kind in draw(st.lists(st.integers(0, 4), max_size=6)):
            if kind == 0:
                line.append(Text(draw(texts), c))
            elif kind == 1:
                line.append(Reasoning(draw(texts), c))
            elif kind == 2:
                line.append(Refusal(draw(texts), c))
            elif kind == 3:
                line.append(ToolCallBegin(len(begun), draw(texts), draw(texts), c))
                begun.append(len(begun))
            elif begun:
                line.append(ToolCallArguments(draw(st.sampled_from(begun)), draw(texts), c))
        lines.append([*line, Finish(draw(st.sampled_from(["stop", "length", "tool_calls"])), c)])
    out: list[Event] = []
    while any(lines):
        line = draw(st.sampled_from([x for x in lines if x]))
        out.append(line.pop(0))
    counts = st.integers(0, 10**6)
    if draw(st.booleans()):
        out.append(Metered(Usage(draw(counts), draw(counts), draw(counts))))
    return [*out, Done()]


# ---- both halves


@MANY
@given(events=conversations(), portions=st.lists(st.integers(0, 40), max_size=4), at=cuts)
def test_what_is_written_is_read_however_it_is_cut(events: list[Event], portions: list[int], at: list[int]) -> None:
    encoder = OpenAIEncoder(context())
    edges = [0, *sorted(p % (len(events) + 1) for p in portions), len(events)]
    stream = b"".join(encoder.encode(events[a:b]) for a, b in pairwise(edges))
    assert decoded(cut(stream, at)) == events


@MANY
@given(events=conversations())
def test_a_whole_answer_says_what_its_stream_says(events: list[Event]) -> None:
    builder = AnswerBuilder()
    builder.add(events)
    answer = builder.answer()
    answer.model = "some-model"
    assert read_answer(OpenAIEncoder(context()).whole(answer)) == answer
    stream = OpenAIEncoder(context()).encode(answer.events())
    again = AnswerBuilder()
    again.add(decoded([stream]))
    again_answer = again.answer()
    again_answer.model = "some-model"
    assert again_answer == answer


# ---- the encoder


def test_the_chunks_of_a_stream() -> None:
    e = OpenAIEncoder(context(include_usage=True))
    first, second = frames(e.encode([Text("Hel"), Text("lo")]))
    assert first == {
        "id": "chatcmpl-7",
        "object": "chat.completion.chunk",
        "created": 1_750_000_000,
        "model": "some-model",
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "Hel"},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    }
    assert second["choices"][0]["delta"] == {"content": "lo"}
    (finish,) = frames(e.encode([Finish("stop")]))
    assert finish["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    usage, done = frames(e.encode([Metered(Usage(3, 4, 1)), Done()]))
    assert (usage["choices"], done) == ([], "[DONE]")
    assert usage["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 1},
    }


def test_each_choice_begins_with_its_role() -> None:
    out = frames(OpenAIEncoder(context()).encode([Text("a"), Text("b", 1), Text("c"), Finish("stop", 2)]))
    assert [(c["choices"][0]["index"], c["choices"][0]["delta"].get("role")) for c in out] == [
        (0, "assistant"),
        (1, "assistant"),
        (0, None),
        (2, "assistant"),
    ]


def test_usage_is_told_only_where_it_was_asked_for() -> None:
    events: list[Event] = [Metered(Usage(1, 2)), Done()]
    assert OpenAIEncoder(context(include_usage=False)).encode(events) == DONE_EVENT
    assert OpenAIEncoder(context(include_usage=True)).encode([Done()]) == DONE_EVENT


def test_pings_and_failures_are_not_the_encoders_to_tell() -> None:
    failed = Failed(UpstreamError(Fault.EVENT, "sk-secret-12345"))
    assert OpenAIEncoder(context()).encode([Ping(), failed]) == b""


def test_the_frame_of_an_error() -> None:
    (frame,) = frames(OpenAIEncoder(context()).error(Problem("PROVIDER_CUT", "It broke.", detail="sk-secret")))
    assert frame == {"error": {"message": "It broke.", "type": "server_error", "param": None, "code": "provider_cut"}}


@pytest.mark.parametrize("field", ["type", "param", "code"])
@pytest.mark.parametrize("said", ["sk-proj-abcdef123456", "llm-7.internal:8443", "https://10.1.2.3/v1"])
def test_a_providers_words_have_no_secrets_and_hosts(field: str, said: str) -> None:
    upstream = UpstreamError(Fault.EVENT, status=400, **{field: said})
    assert said not in str(error_body(Problem("PROVIDER_REJECTED", upstream=upstream)))


def test_a_providers_refusal_keeps_its_own_type_and_code() -> None:
    upstream = UpstreamError(Fault.STATUS, "inside words", status=400, type="its_type", param="its.param", code="its")
    (frame,) = frames(OpenAIEncoder(context()).error(Problem("PROVIDER_REJECTED", "Told so.", upstream=upstream)))
    assert frame == {"error": {"message": "Told so.", "type": "its_type", "param": "its.param", "code": "its"}}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice("hi"), {"content": "hi", "refusal": None}),
        (Choice(""), {"content": "", "refusal": None}),
        (Choice(refusal="no"), {"content": None, "refusal": "no"}),
        (Choice("hi", "hm"), {"content": "hi", "refusal": None, "reasoning_content": "hm"}),
        (
            Choice(tool_calls=[ToolCall("c", "f", "{}")]),
            {
                "content": None,
                "refusal": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        ),
    ],
)
def test_the_message_of_a_whole_answer(choice: Choice, message: dict[str, Any]) -> None:
    body = json.loads(OpenAIEncoder(context()).whole(Answer([choice])))
    assert (body["object"], body["id"], body["model"]) == ("chat.completion", "chatcmpl-7", "some-model")
    expected = {"index": 0, "message": {"role": "assistant"} | message, "logprobs": None, "finish_reason": "stop"}
    assert body["choices"] == [expected]
    assert "usage" not in body


# ---- the decoder


def test_roles_and_empty_deltas_say_nothing() -> None:
    stream = chunk({"role": "assistant", "content": ""}) + chunk({"content": None}) + event({"choices": []})
    assert decoded([stream + b": comment\n\n" + event({}) + DONE_EVENT], pings=True) == [Ping()] * 5 + [Done()]


def test_tool_calls_in_pieces_several_at_once() -> None:
    def call(index: int, **more: Any) -> dict[str, Any]:
        return {"index": index, **more}

    stream = b"".join(
        [
            chunk({"tool_calls": [call(0, id="a", type="function", function={"name": "f", "arguments": ""})]}),
            chunk({"tool_calls": [call(0, function={"arguments": '{"x"'}), call(1, id="b", function={"name": "g"})]}),
            chunk({"tool_calls": [call(1, function={"arguments": "{"}), call(0, function={"arguments": ":1}"})]}),
            chunk({"tool_calls": [call(1, function={"arguments": "}"})]}),
            chunk({}, "tool_calls"),
            DONE_EVENT,
        ]
    )
    assert decoded([stream]) == [
        ToolCallBegin(0, "a", "f"),
        ToolCallArguments(0, '{"x"'),
        ToolCallBegin(1, "b", "g"),
        ToolCallArguments(1, "{"),
        ToolCallArguments(0, ":1}"),
        ToolCallArguments(1, "}"),
        Finish("tool_calls"),
        Done(),
    ]


def test_a_tool_call_whole_in_one_chunk_without_an_id() -> None:
    """As some servers send it; calls have to be told apart all the same."""
    calls = [{"index": i, "function": {"name": "f", "arguments": "{}"}} for i in range(2)]
    events = decoded([chunk({"tool_calls": calls}, "tool_calls") + DONE_EVENT])
    ids = [e.id for e in events if isinstance(e, ToolCallBegin)]
    assert len(set(ids)) == 2
    assert all(ids)


def test_a_tool_call_whose_name_comes_after_its_first_piece() -> None:
    def piece(**more: Any) -> bytes:
        return chunk({"tool_calls": [{"index": 0} | more]})

    stream = [
        piece(id="c1", function={"arguments": '{"a"'}),
        piece(function={"name": "look", "arguments": ": 1"}),
        piece(function={"arguments": "}"}),
        chunk({}, "tool_calls"),
    ]
    assert decoded(stream)[:4] == [
        ToolCallBegin(0, "c1", "look"),
        ToolCallArguments(0, '{"a": 1'),
        ToolCallArguments(0, "}"),
        Finish("tool_calls"),
    ]
    nameless = [piece(id="c1", function={"arguments": "{}"}), chunk({}, "tool_calls")]
    assert decoded(nameless)[:3] == [ToolCallBegin(0, "c1", ""), ToolCallArguments(0, "{}"), Finish("tool_calls")]


def test_reasoning_under_either_name() -> None:
    stream = chunk({"reasoning_content": "a"}) + chunk({"reasoning": "b"}) + chunk({"content": "c"}) + DONE_EVENT
    assert decoded([stream]) == [Reasoning("a"), Reasoning("b"), Text("c"), Done()]


def test_several_choices_in_one_chunk() -> None:
    choices = [{"index": i, "delta": {"content": f"c{i}"}, "finish_reason": "stop"} for i in (1, 0)]
    assert decoded([event({"choices": choices})]) == [
        Text("c1", 1),
        Finish("stop", 1),
        Text("c0"),
        Finish("stop"),
        Done(),
    ]


def test_usage_in_the_last_content_chunk() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": None}}
    stream = chunk({"content": "x"}, "stop", usage=usage) + DONE_EVENT
    assert decoded([stream]) == [Text("x"), Finish("stop"), Metered(Usage(1, 2)), Done()]


def test_without_its_end_a_stream_is_whole_if_every_choice_was() -> None:
    both = chunk({"content": "a"}) + chunk({"content": "b"}, index=1)
    assert decoded([both + chunk({}, "stop") + chunk({}, "length", 1)])[-1] == Done()
    assert failure(decoded([both + chunk({}, "stop")])).fault is Fault.CUT
    assert failure(decoded([chunk({"content": "a"})])).fault is Fault.CUT
    assert failure(decoded([])).fault is Fault.CUT
    assert failure(decoded([event({"choices": []})])).fault is Fault.CUT


@pytest.mark.parametrize("tail", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n", b"data:[DONE]"])
def test_an_end_that_is_not_whole_counts_as_one(tail: bytes) -> None:
    assert decoded([chunk({"content": "a"}) + tail]) == [Text("a"), Done()]


def test_nothing_follows_the_end() -> None:
    d = OpenAIDecoder(context())
    assert d.feed(DONE_EVENT + chunk({"content": "late"})) == [Done()]
    assert d.feed(chunk({"content": "late"})) == []
    assert d.eof() == []


@pytest.mark.parametrize("before", [b"", chunk({"content": "x"}), b": ping\n\n"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"error": {"message": "m", "type": "t", "param": "p", "code": "c"}}, ("m", 0, "t", "p", "c")),
        ({"error": {"message": "m", "type": "t", "code": "429"}}, ("m", 429, "t", None, "429")),
        ({"error": {"message": "m", "code": 503}, "choices": []}, ("m", 503, None, None, "503")),
        ({"error": {"message": None}}, ("", 0, None, None, None)),
        ({"error": {"message": {"nested": 1}, "type": ["x"], "code": True}}, ("", 0, None, None, None)),
        ({"error": "plain words"}, ("plain words", 0, None, None, None)),
        ({"error": {"error": {"message": "inner"}}}, ("inner", 0, None, None, None)),
        ({"error": 5}, ("5", 0, None, None, None)),
        ({"error": {"message": "m", "code": "²²²"}}, ("m", 0, None, None, "²²²")),
    ],
)
def test_error_frames_first_and_in_the_middle(before: bytes, error: Any, told: tuple[Any, ...]) -> None:
    events = decoded([before, event(error), chunk({"content": "late"}), DONE_EVENT])
    e = failure(events)
    assert (e.fault, e.message, e.status, e.type, e.param, e.code) == (Fault.EVENT, *told)
    assert len(events) == 1 + (b"content" in before)


@pytest.mark.parametrize(
    "other",
    [{"choices": "none"}, {"usage": 5}, {"choices": [{"index": "0"}]}, {"choices": [{"delta": {"content": []}}]}],
)
def test_an_error_is_one_whatever_stands_beside_it(other: dict[str, Any]) -> None:
    e = failure(decoded([event({"error": {"message": "m"}} | other)]))
    assert (e.fault, e.message) == (Fault.EVENT, "m")


@pytest.mark.parametrize("payload", [b"", b"x", b"<html>", b"5", b"null", b"[]", b"{", b"\xff\xfe", b'{"a":' * 100_000])
def test_garbage_fails(payload: bytes) -> None:
    e = failure(decoded([chunk({"content": "x"}) + event(payload) + DONE_EVENT]))
    assert e.fault is Fault.PROTOCOL
    assert len(str(e)) < 1500


@pytest.mark.parametrize(
    "payload",
    [
        b'{"choices":{}}',
        b'{"choices":[{"index":"0"}]}',
        b'{"choices":[{"delta":{"content":5}}]}',
        b'{"usage":"none"}',
        b'{"choices":[{"finish_reason":1}]}',
    ],
)
def test_members_of_an_unexpected_type_are_an_event_that_says_nothing(payload: bytes) -> None:
    assert decoded([event(payload) + DONE_EVENT], pings=True) == [Ping(), Done()]


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_an_event_over_the_limit_fails_after_those_before_it(pieces: int) -> None:
    d = OpenAIDecoder(context(max_event=300))
    stream = chunk({"content": "x"}) + chunk({"content": "y" * 400}) + chunk({"content": "z"})
    size = -(-len(stream) // pieces)
    events: list[Event] = []
    for i in range(0, len(stream), size):
        events += d.feed(stream[i : i + size])
    assert events[0] == Text("x")
    assert failure(events).fault is Fault.TOO_LARGE
    assert len(events) == 2
    assert d.eof() == []


def test_an_event_over_the_limit_fails_though_it_comes_alone() -> None:
    d = OpenAIDecoder(context(max_event=300))
    assert failure(d.feed(chunk({"content": "y" * 400}))).fault is Fault.TOO_LARGE


@pytest.mark.parametrize("stream", [b"data: [DONE]\r\n\n", b"data: [DONE]\rid: 1\n\n", b"id: 1\rdata: [DONE]\n\n"])
def test_line_ends_of_any_kind_in_one_piece(stream: bytes) -> None:
    assert decoded([stream]) == [Done()]


@MANY
@given(data=st.binary(max_size=150), at=cuts)
def test_any_bytes_end_one_way_or_the_other(data: bytes, at: list[int]) -> None:
    events = decoded([chunk({"content": "x"}), *cut(data, at)])
    assert events[0] == Text("x")
    assert [isinstance(e, Done | Failed) for e in events] == [False] * (len(events) - 1) + [True]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "index", "error", "message", "code", "usage", "tool_calls"])
            | st.text(max_size=2),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@MANY
@given(value=st.dictionaries(st.sampled_from(["choices", "error", "usage", "model"]), json_values))
def test_any_json_ends_one_way_or_the_other(value: Any) -> None:
    events = decoded([event(value), DONE_EVENT])
    assert isinstance(events[-1], Done | Failed)
    if isinstance(value, dict) and value.get("error") is not None:
        assert failure(events).fault is Fault.EVENT


# ---- whole answers


def completion(**more: Any) -> bytes:
    message = {"role": "assistant", "content": "hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "model": "m", "choices": [choice]} | more).encode()


def test_reading_a_whole_answer() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    answer = read_answer(completion(usage=usage))
    assert answer == Answer([Choice("hi", finish="stop")], "m", Usage(3, 4, 2))


def test_tokens_of_sound_are_told_apart() -> None:
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 40,
        "prompt_tokens_details": {"audio_tokens": 20, "cached_tokens": 0},
        "completion_tokens_details": {"audio_tokens": 25, "reasoning_tokens": 0},
    }
    counted = Usage(30, 40, audio_input=20, audio_output=25)
    assert read_answer(completion(usage=usage)).usage == counted
    assert decoded([chunk({"content": "x"}, "stop", usage=usage) + DONE_EVENT])[2] == Metered(counted)


def test_what_may_be_missing_in_a_whole_answer() -> None:
    assert read_answer(completion(usage=None)).usage is None
    assert read_answer(completion(choices=[{}])).choices == [Choice(finish="stop")]
    assert read_answer(completion(choices=[{"message": {"content": None, "reasoning": "r"}}])).choices == [
        Choice(reasoning="r", finish="stop")
    ]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", Fault.PROTOCOL),
        (b"<html>", Fault.PROTOCOL),
        (b"[]", Fault.PROTOCOL),
        (b"{}", Fault.PROTOCOL),
        (b'{"choices":null}', Fault.PROTOCOL),
        (b'{"choices":5}', Fault.PROTOCOL),
        (b"\xff", Fault.PROTOCOL),
        (b"[" * 100_000, Fault.PROTOCOL),
        (b'{"error":{"message":"m"}}', Fault.EVENT),
        (b'{"error":"m","choices":[]}', Fault.EVENT),
    ],
)
def test_what_is_no_answer(body: bytes, fault: Fault) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_answer(body)
    assert caught.value.fault is fault
    with pytest.raises(UpstreamError):
        OpenAIChat().passed(_OP, body, _Meter())


def test_an_answer_of_no_choices_is_none() -> None:
    """No dialect could write it."""
    with pytest.raises(UpstreamError) as caught:
        read_answer(b'{"choices":[]}')
    assert caught.value.fault is Fault.PROTOCOL


_OP = Generate("m", messages=[], params={})


class _Meter:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def saw(self, events: int, size: int) -> bool:
        self.told.append(size)
        return True

    def usage(self, usage: Usage) -> None:
        self.told.append(usage)

    def settle(self, why: Outcome) -> Usage:
        raise NotImplementedError


def test_an_answer_that_passes_is_metered() -> None:
    m = _Meter()
    counted = completion(usage={"prompt_tokens": 1, "completion_tokens": 2})
    assert OpenAIChat().passed(_OP, counted, m) is counted
    assert OpenAIChat().passed(_OP, completion(), m) == completion()
    assert m.told == [Usage(1, 2), 2]


# ---- errors with a status


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error":{"message":"m","type":"t","param":"p","code":"c"}}', ("m", "t", "p", "c")),
        (b'{"error":{"message":"m","code":401}}', ("m", None, None, "401")),
        (b'{"error":"m"}', ("m", None, None, None)),
        (b'{"message":"m","type":"t"}', ("m", "t", None, None)),
        (b'{"error":null}', ("", None, None, None)),
        (b'{"detail":"x"}', ("", None, None, None)),
        (b'"m"', ("m", None, None, None)),
        (b"<html>no", ("<html>no", None, None, None)),
        (b"", ("", None, None, None)),
        (b"\xff", ("�", None, None, None)),
        (b"[1]", ("[1]", None, None, None)),
    ],
)
def test_an_answer_with_an_error_status(body: bytes, told: tuple[Any, ...]) -> None:
    e = OpenAIChat().error(418, {b"retry-after": b"7"}, body)
    assert (e.fault, e.status, e.retry_after) == (Fault.STATUS, 418, "7")
    assert (e.message, e.type, e.param, e.code) == told


def test_an_error_status_is_not_overruled_by_a_code() -> None:
    assert OpenAIChat().error(500, {}, b'{"error":{"message":"m","code":"429"}}').status == 500
    assert OpenAIChat().error(500, {}, b"").retry_after is None


@MANY
@given(body=st.binary(max_size=80) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_body_is_an_error_of_some_kind(body: bytes) -> None:
    assert read_error(body, Fault.STATUS, 500).status == 500
    assert read_error(body, Fault.EVENT).fault is Fault.EVENT


def test_a_long_page_is_not_kept_whole() -> None:
    assert len(read_error(b"x" * 60_000, Fault.STATUS, 502).message) <= 500
