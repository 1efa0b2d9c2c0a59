"""A Responses stream from a provider, decoded or left as it is, and answers that came whole."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialects.anthropic.fixtures import Counted, told, usage_list
from dialects.responses.fixtures import context, frame, read_stream, request
from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import AnswerBuilder, Done, Event, Failed, Ping
from switchboard.core.ports import Phase
from switchboard.dialects.openai_responses import OpenAIResponses, ResponsesDecoder, ResponsesEncoder, ResponsesTap

MANY = settings(max_examples=200, deadline=None)
RESPONSES = OpenAIResponses()
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 7},
    "total_tokens": 30,
}


def response(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": status, "model": "m-1", "error": None, "output": []} | more


def head(kind: str, status: str, **more: Any) -> dict[str, Any]:
    """An event that tells of the response."""
    return {"type": f"response.{kind}", "response": response(status, usage=None) | more}


def at(index: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": index, "item_id": f"i{index}"} | more


CREATED = head("created", "in_progress")
PROGRESS = head("in_progress", "in_progress")
HELLO = at(0, "output_text.delta", delta="Hello")
COMPLETED = head("completed", "completed", usage=USAGE)
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f"}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}
#: One of everything that is understood, and some that is not.
ALL = [
    CREATED,
    PROGRESS,
    at(0, "output_item.added", item=THOUGHT | {"encrypted_content": "gAAA"}),
    at(0, "reasoning_summary_part.added", summary_index=0),
    at(0, "reasoning_summary_text.delta", summary_index=0, delta="hm", obfuscation="x"),
    at(0, "reasoning_summary_part.added", summary_index=1),
    at(0, "reasoning_summary_text.delta", summary_index=1, delta="so"),
    at(0, "output_item.done", item=THOUGHT | {"summary": [{"type": "summary_text", "text": "hm"}]}),
    at(1, "output_item.added", item={"type": "web_search_call", "id": "ws_1"}),
    at(1, "web_search_call.searching"),
    at(1, "output_item.done", item={"type": "web_search_call", "id": "ws_1"}),
    at(2, "output_item.added", item=MESSAGE | {"content": []}),
    at(2, "content_part.added", part={"type": "output_text", "text": ""}),
    at(2, "output_text.delta", delta="Hellø"),
    at(2, "output_text.annotation.added", annotation={"type": "url_citation"}),
    at(2, "output_text.done", text="Hellø"),
    at(2, "refusal.delta", delta="no"),
    at(2, "output_item.done", item=MESSAGE | {"content": [{"type": "output_text", "text": "Hellø"}]}),
    at(3, "output_item.added", item=CALL | {"arguments": ""}),
    at(3, "function_call_arguments.delta", delta='{"a":'),
    at(3, "function_call_arguments.delta", delta="1}"),
    at(3, "function_call_arguments.done", arguments='{"a":1}'),
    at(3, "output_item.done", item=CALL | {"arguments": '{"a":1}'}),
    COMPLETED,
]
TOLD = [
    ["reasoning", "hm"],
    ["reasoning", "\n\n"],
    ["reasoning", "so"],
    ["reasoned", "", ""],
    ["text", "Hellø"],
    ["refusal", "no"],
    ["call", 0, "c1", "f"],
    ["arguments", 0, '{"a":'],
    ["arguments", 0, "1}"],
    ["finish", "tool_calls"],
    ["metered", 10, 20, 4, 3, 7],
    ["done"],
]


def stream(*events: dict[str, Any], end: bytes = b"\n") -> bytes:
    return b"".join([frame(e, end) for e in events])


def decoded(*pieces: bytes) -> list[Event]:
    decoder = ResponsesDecoder(context())
    out = [e for piece in pieces for e in decoder.feed(piece)] + decoder.eof()
    assert decoder.feed(stream(HELLO)) == decoder.eof() == []
    return [e for e in out if not isinstance(e, Ping)]


def tapped(*pieces: bytes) -> tuple[bytes, Phase, UpstreamError | None, Counted]:
    meter = Counted()
    tap = ResponsesTap(context(), meter)
    out = b"".join([tap.feed(piece) for piece in pieces])
    out += tap.eof()
    assert tap.feed(stream(HELLO)) == tap.eof() == b""
    return out, tap.phase, tap.error, meter


# ---- decoded


def test_everything() -> None:
    assert [told(e) for e in decoded(stream(*ALL))] == TOLD


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_split_at_every_byte(end: bytes) -> None:
    whole = stream(*ALL, end=end)
    for n in range(len(whole)):
        assert [told(e) for e in decoded(whole[:n], whole[n:])] == TOLD
    assert [told(e) for e in decoded(*[whole[n : n + 1] for n in range(len(whole))])] == TOLD


def test_items_that_come_without_pieces() -> None:
    found = decoded(
        stream(
            at(0, "output_item.done", item=THOUGHT | {"content": [{"type": "reasoning_text", "text": "hm"}]}),
            at(1, "output_item.done", item=THOUGHT),
            at(2, "output_item.added", item=CALL | {"call_id": None}),
            at(2, "output_item.done", item=CALL | {"arguments": "{}"}),
            at(3, "output_item.done", item=CALL | {"arguments": "[]"}),
            at(4, "function_call_arguments.delta", delta="of no call"),
            at(
                5,
                "output_item.done",
                item=MESSAGE | {"content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
            ),
            at(6, "output_item.added"),
            at(6, "output_item.done", item=None),
            head("completed", "completed"),
        )
    )
    assert [told(e) for e in found] == [
        ["reasoning", "hm"],
        ["reasoned", "", ""],
        ["call", 0, "call_0", "f"],
        ["arguments", 0, "{}"],
        ["call", 1, "c1", "f"],
        ["arguments", 1, "[]"],
        ["text", "a"],
        ["refusal", "b"],
        ["finish", "tool_calls"],
        ["done"],
    ]


@pytest.mark.parametrize(
    ("last", "finish"),
    [
        (head("completed", "completed"), "stop"),
        (head("incomplete", "incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (head("incomplete", "incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (head("incomplete", "incomplete", incomplete_details={"reason": "steered"}), "length"),
        ({"type": "response.completed", "response": 5}, "stop"),
        ({"type": "response.completed"}, "stop"),
    ],
)
def test_ends(last: dict[str, Any], finish: str) -> None:
    assert [told(e) for e in decoded(stream(CREATED, HELLO, last))] == [["text", "Hello"], ["finish", finish], ["done"]]
    assert tapped(stream(CREATED, HELLO, last))[:3] == (stream(CREATED, HELLO, last), Phase.DONE, None)


def test_what_was_streamed_is_the_same_as_what_came_whole() -> None:
    """Written by the encoder, read by the decoder and by `answer`."""
    native = request({"input": "a"}).native
    assert native is not None
    builder = AnswerBuilder()
    builder.add(decoded(stream(*ALL)))
    first = builder.answer()
    written = OpenAIResponses(native.members).encoder(context()).encode(first.events())
    builder = AnswerBuilder()
    builder.add(decoded(written))
    assert builder.answer() == first
    again = RESPONSES.answer(json.dumps(read_stream(written)).encode())
    assert (again.choices, again.usage, again.model) == (first.choices, first.usage, "some-model")


# ---- left as it is


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_stream_passes_byte_for_byte_however_it_is_cut(end: bytes) -> None:
    whole = stream(*ALL, end=end)
    for n in range(len(whole)):
        out, phase, error, meter = tapped(whole[:n], whole[n:])
        assert same(out, whole) and (phase, error) == (Phase.DONE, None)
        assert meter.used is not None and usage_list(meter.used) == [10, 20, 4, 3, 7]
        assert meter.size == len("hmsoHelløno") + len('{"a":1}')


def same(out: bytes, whole: bytes) -> bool:
    """Where an event's CRLF was cut in two, its LF is passed on (or not) with the next, which changes no event."""
    return out == whole or _ENDS.sub(b"\n\n", out) == _ENDS.sub(b"\n\n", whole)


_ENDS = re.compile(rb"(?:\r\n?|\n){2,}")


def test_what_only_tells_of_the_response_waits_for_what_it_says() -> None:
    tap = ResponsesTap(context(), Counted())
    for event in (CREATED, head("queued", "queued"), PROGRESS, {"type": "ping"}):
        assert (tap.feed(stream(event)), tap.phase) == (b"", Phase.PREAMBLE)
    assert (tap.feed(b": comment\n\n"), tap.phase) == (b"", Phase.PREAMBLE)
    held = stream(CREATED, head("queued", "queued"), PROGRESS, {"type": "ping"})
    item = stream(at(0, "output_item.added", item=MESSAGE))
    assert (tap.feed(item), tap.phase) == (held + item, Phase.CONTENT)
    for piece in (b": comment\n\n", stream(HELLO), stream({"type": "ping"}), stream(PROGRESS)):
        assert (tap.feed(piece), tap.phase) == (piece, Phase.CONTENT)
    assert (tap.feed(b"data: [DONE]\n\n"), tap.phase) == (b"", Phase.CONTENT)
    assert (tap.feed(stream(COMPLETED) + b"data: [DONE]\n\n"), tap.phase) == (stream(COMPLETED), Phase.DONE)


def test_a_response_that_is_whole_at_once() -> None:
    assert tapped(stream(CREATED, COMPLETED))[:2] == (stream(CREATED, COMPLETED), Phase.DONE)


def test_no_more_is_held_than_an_event_may_be_large() -> None:
    tap = ResponsesTap(context(max_event=1000), Counted())
    out = b""
    for _ in range(20):
        out += tap.feed(stream(PROGRESS))
    assert tap.phase is Phase.CONTENT and out == stream(PROGRESS) * 20


def test_a_type_that_only_the_event_s_name_tells() -> None:
    untyped = b'event: response.output_text.delta\ndata: {"delta":"a"}\n\n'
    last = b'event: response.completed\ndata: {"response":{}}\n\n'
    out, phase, _, meter = tapped(untyped + last)
    assert (out, phase, meter.size) == (untyped + last, Phase.DONE, 1)
    assert [told(e) for e in decoded(untyped + last)] == [["text", "a"], ["finish", "stop"], ["done"]]


# ---- what goes wrong

NESTED = {
    "type": "error",
    "sequence_number": 2,
    "error": {"type": "t", "code": "rate_limit_exceeded", "message": "secret"},
}
FLAT = {"type": "error", "code": "server_error", "message": "secret", "param": "p", "sequence_number": 2}
FAILED = head("failed", "failed", error={"code": "invalid_prompt", "message": "secret"})
BAD: list[tuple[bytes, Fault, int, str | None, str]] = [
    (stream(NESTED), Fault.EVENT, 429, "t", "secret"),
    (stream(FLAT), Fault.EVENT, 0, None, "secret"),
    (stream(FAILED), Fault.EVENT, 400, None, "secret"),
    (
        stream(head("failed", "failed", error={"code": "server_error", "message": "secret"})),
        Fault.EVENT,
        0,
        None,
        "secret",
    ),
    (stream(head("failed", "failed")), Fault.EVENT, 0, None, "the response failed, and nothing says why"),
    (stream(head("cancelled", "cancelled")), Fault.EVENT, 0, None, "response.cancelled, and nothing says why"),
    (stream({"type": "response.failed", "response": 5}), Fault.EVENT, 0, None, ""),
    (
        stream(NESTED | {"error": {"type": "too_many_requests", "code": "too_many_requests"}}),
        Fault.EVENT,
        429,
        "too_many_requests",
        "",
    ),
    (stream({"type": "error", "error": "secret", "response": 5}), Fault.EVENT, 0, None, "secret"),
    (
        b'data: {"error":{"message":"secret","type":"invalid_request_error"}}\n\n',
        Fault.EVENT,
        400,
        "invalid_request_error",
        "secret",
    ),
    (b"data: <html>\n\n", Fault.PROTOCOL, 0, None, "an event that is not a JSON object: b'<html>'"),
    (b'data: ["secret"]\n\n', Fault.PROTOCOL, 0, None, "an event that is not a JSON object: b'[\"secret\"]'"),
    (b"", Fault.CUT, 0, None, "the stream ended before it was complete"),
    (b"data: [DONE]\n\n", Fault.CUT, 0, None, "the stream ended before it was complete"),
    (stream(COMPLETED)[:-2], Fault.CUT, 0, None, "the stream ended before it was complete"),
]


@pytest.mark.parametrize(("bad", "fault", "status", "kind", "message"), BAD)
@pytest.mark.parametrize("before", [[], [CREATED, PROGRESS], [CREATED, HELLO]])
def test_failures(
    bad: bytes, fault: Fault, status: int, kind: str | None, message: str, before: list[dict[str, Any]]
) -> None:
    """Before the content nothing was sent; after it, nothing of the error is."""
    begun = stream(*before)
    passed = begun if HELLO in before else b""
    for pieces in ([begun, bad, stream(HELLO)], [begun + bad + stream(HELLO)]):
        cut = pieces if fault is not Fault.CUT else [begun + bad]
        out, phase, error, _ = tapped(*cut)
        assert (out, phase) == (passed, Phase.FAILED)
        assert error is not None and (error.fault, error.status, error.type, error.message) == (
            fault,
            status,
            kind,
            message,
        )
        *rest, last = decoded(*cut)
        assert isinstance(last, Failed) and (last.error.fault, last.error.message) == (fault, message)
        assert [told(e) for e in rest] == ([["text", "Hello"]] if passed else [])


def test_an_event_that_is_too_large() -> None:
    tap, decoder = ResponsesTap(context(max_event=700), Counted()), ResponsesDecoder(context(max_event=700))
    large = stream(HELLO, at(0, "output_text.delta", delta="x" * 800))
    assert tap.feed(large) == stream(HELLO)
    assert tap.error is not None and tap.error.fault is Fault.TOO_LARGE
    assert [told(e) for e in decoder.feed(large)] == [["text", "Hello"], ["failed", "too_large", None]]


# ---- whole answers

WHOLE = response(
    "completed",
    usage=USAGE,
    output=[
        THOUGHT | {"summary": [{"type": "summary_text", "text": "hm"}, {"type": "summary_text", "text": "so"}]},
        THOUGHT,
        {"type": "web_search_call"},
        MESSAGE | {"content": [{"type": "output_text", "text": "Hel"}, {"type": "output_text", "text": "lo"}]},
        MESSAGE | {"content": [{"type": "refusal", "refusal": "no"}]},
        CALL | {"arguments": "{}"},
        {"type": "function_call"},
    ],
)


def test_a_whole_answer() -> None:
    answer = RESPONSES.answer(json.dumps(WHOLE).encode())
    (choice,) = answer.choices
    assert (choice.text, choice.reasoning, choice.refusal, choice.finish) == ("Hello", "hm\n\nso", "no", "tool_calls")
    assert [(c.id, c.name, c.arguments) for c in choice.tool_calls] == [("c1", "f", "{}"), ("call_1", "", "")]
    assert answer.usage is not None and usage_list(answer.usage) == [10, 20, 4, 3, 7]
    sound = {"input_tokens_details": {"audio_tokens": 6}, "output_tokens_details": {"audio_tokens": 5}}
    counted = RESPONSES.answer(json.dumps(WHOLE | {"usage": USAGE | sound}).encode()).usage
    assert counted is not None and (counted.audio_input, counted.audio_output) == (6, 5)
    cut = response("incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert RESPONSES.answer(json.dumps(cut).encode()).choices[0].finish == "length"


def test_a_whole_answer_passes() -> None:
    op = request({"input": "a"})
    for body, used, size in [
        (WHOLE, [10, 20, 4, 3, 7], 0),
        (WHOLE | {"usage": None}, None, len("Hellohm\n\nso")),
        (response("completed", usage=None, output=5), None, 0),
        (response("queued", usage=None), None, 0),
    ]:
        meter = Counted()
        raw = json.dumps(body).encode()
        assert RESPONSES.passed(op, raw, meter) == raw
        assert (meter.used and usage_list(meter.used), meter.size) == (used, size)


@pytest.mark.parametrize(
    ("body", "fault", "status"),
    [
        (b"", Fault.PROTOCOL, 0),
        (b"[]", Fault.PROTOCOL, 0),
        (b"{}", Fault.PROTOCOL, 0),
        (b'{"object":"chat.completion","choices":[]}', Fault.PROTOCOL, 0),
        (b'{"error":{"message":"m","type":"invalid_request_error"}}', Fault.EVENT, 400),
        (b'{"error":{"message":"m","code":"too_many_requests"}}', Fault.EVENT, 429),
        (
            b'{"object":"response","status":"failed","error":{"code":"server_error","message":"m"},"output":[]}',
            Fault.EVENT,
            0,
        ),
        (b'{"object":"response","status":"failed","error":null,"output":[]}', Fault.EVENT, 0),
    ],
)
def test_answers_that_are_none(body: bytes, fault: Fault, status: int) -> None:
    with pytest.raises(UpstreamError) as read:
        RESPONSES.answer(body)
    with pytest.raises(UpstreamError) as passed:
        RESPONSES.passed(request({"input": "a"}), body, Counted())
    for error in (read.value, passed.value):
        assert (error.fault, error.status) == (fault, status)


def test_an_error_s_body() -> None:
    body = b'{"error":{"message":"m","type":"invalid_request_error","param":"input","code":"c"}}'
    error = RESPONSES.error(400, {b"retry-after": b"3"}, body)
    assert (error.fault, error.status, error.message, error.param) == (Fault.STATUS, 400, "m", "input")
    assert (error.code, error.retry_after) == ("c", "3")
    assert RESPONSES.error(502, {}, b"<html>").message == "<html>"


# ---- anything at all

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=6,
)


def sometimes(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What is expected, or now and then anything."""
    return st.integers(0, 9).flatmap(lambda n: values if n == 0 else good)


odd_items = st.fixed_dictionaries(
    {},
    optional={
        "type": sometimes(st.sampled_from(["message", "function_call", "reasoning", "new"])),
        "call_id": sometimes(st.text(max_size=3)),
        "arguments": sometimes(st.text(max_size=3)),
        "content": sometimes(st.just([{"type": "output_text", "text": "t"}])),
        "summary": sometimes(st.just([{"type": "summary_text", "text": "s"}])),
    },
)
odd = st.sampled_from(ALL[:-1]) | st.fixed_dictionaries(
    {"type": sometimes(st.sampled_from([e["type"] for e in ALL]))},
    optional={
        "delta": values,
        "output_index": sometimes(st.integers(0, 3)),
        "item": sometimes(odd_items),
        "error": sometimes(st.none()),
        "response": sometimes(st.fixed_dictionaries({}, optional={"usage": values, "error": values, "status": values})),
    },
)
wild = st.lists(
    odd.map(lambda e: b"data: %b\n\n" % json.dumps(e).encode())
    | st.sampled_from([b": x\n\n", b"data: [DONE]\n\n", b"data:\n\n", stream(COMPLETED)]),
    max_size=8,
).map(b"".join)


@MANY
@given(wild, st.integers(0, 999))
def test_any_stream_however_it_is_cut(whole: bytes, n: int) -> None:
    n = n % (len(whole) + 1)
    found = decoded(whole)
    assert isinstance(found[-1], Done | Failed) and not any(isinstance(e, Done | Failed) for e in found[:-1])
    assert [told(e) for e in decoded(whole[:n], whole[n:])] == [told(e) for e in found]
    out, phase, error, meter = tapped(whole)
    again, _, _, counted = tapped(whole[:n], whole[n:])
    assert (again, counted.size, counted.used) == (out, meter.size, meter.used)
    assert phase is (Phase.FAILED if error is not None else Phase.DONE)
    assert phase is (Phase.DONE if isinstance(found[-1], Done) else Phase.FAILED)
    if isinstance(found[-1], Done):  # what is made of it again is well written
        read_stream(ResponsesEncoder(context(), {}).encode(found))


@MANY
@given(
    st.binary(max_size=40)
    | st.fixed_dictionaries(
        {"object": sometimes(st.just("response"))},
        optional={
            "output": sometimes(st.lists(odd_items, max_size=3)),
            "usage": values,
            "error": values,
            "status": values,
        },
    ).map(lambda v: json.dumps(v).encode())
)
def test_any_answer(body: bytes) -> None:
    assert RESPONSES.error(500, {}, body).status == 500
    meter = Counted()
    try:
        RESPONSES.passed(request({"input": "a"}), body, meter)
        answer = RESPONSES.answer(body)
    except UpstreamError:
        return
    assert meter.used == answer.usage
    read = json.loads(ResponsesEncoder(context(), {}).whole(answer))
    said = "".join(p["text"] for i in read["output"] if i["type"] == "message" for p in i["content"] if "text" in p)
    assert said == answer.choices[0].text


def test_it_is_built_for_a_provider() -> None:
    assert json.loads(RESPONSES.build(request({"input": "a", "stream": True}), "m", Capabilities())) == {
        "model": "m",
        "input": "a",
        "stream": True,
    }
