"""Anthropic's answers, streamed and whole, read and told in OpenAI's chunks. The cases are data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dialects.anthropic.fixtures import Case, Counted, cases, context, read_chunks, streams, told, usage_list
from switchboard.core.errors import UpstreamError
from switchboard.core.events import AnswerBuilder, Done, Event, Failed, Ping
from switchboard.core.ports import Phase
from switchboard.core.types import Generate
from switchboard.dialects.anthropic_messages import AnthropicDecoder, AnthropicMessages, AnthropicTap
from switchboard.dialects.openai_chat import OpenAIEncoder

IN = streams("streams_in")
MESSAGES = AnthropicMessages()
OP = Generate("m", messages=[], params={})


def decoded(*pieces: bytes) -> list[Event]:
    d = AnthropicDecoder(context())
    events = [e for p in pieces for e in d.feed(p)]
    events += d.eof()
    return [e for e in events if not isinstance(e, Ping)]


@pytest.mark.parametrize(("stream", "expected"), IN)
def test_events(stream: bytes, expected: Case) -> None:
    assert [told(e) for e in decoded(stream)] == expected["events"]


@pytest.mark.parametrize(("stream", "expected"), IN)
def test_events_however_the_stream_is_cut(stream: bytes, expected: Case) -> None:
    assert [told(e) for e in decoded(*(stream[i : i + 1] for i in range(len(stream))))] == expected["events"]
    for at in range(0, len(stream), 3):
        assert [told(e) for e in decoded(stream[:at], stream[at:])] == expected["events"]


@pytest.mark.parametrize(("stream", "expected"), IN)
def test_chunks(stream: bytes, expected: Case) -> None:
    """What an OpenAI client puts together."""
    events = decoded(stream)
    written = OpenAIEncoder(context()).encode(events)
    assert read_chunks(written, whole=isinstance(events[-1], Done)) == expected["openai"]


@pytest.mark.parametrize(("stream", "expected"), IN)
def test_a_client_that_did_not_ask_for_usage_gets_none(stream: bytes, expected: Case) -> None:
    events = decoded(stream)
    written = OpenAIEncoder(context(include_usage=False)).encode(events)
    message = {k: v for k, v in expected["openai"].items() if k != "usage"}
    assert read_chunks(written, whole=isinstance(events[-1], Done)) == message


@pytest.mark.parametrize(("stream", "expected"), IN)
def test_gathered_it_is_a_completion(stream: bytes, expected: Case) -> None:
    """A stream that nobody asked for becomes a whole answer that says the same."""
    events = decoded(stream)
    builder = AnswerBuilder()
    builder.add(events)
    assert (builder.error is not None) is isinstance(events[-1], Failed)
    if builder.error is not None:
        return
    completion = json.loads(OpenAIEncoder(context()).whole(builder.answer()))
    (choice,) = completion["choices"]
    wanted = expected["openai"]
    assert choice["finish_reason"] == wanted["finish"]
    assert completion["usage"] == wanted["usage"]
    message = choice["message"]
    assert (message["content"] or "") == wanted.get("content", "")
    assert message.get("reasoning_content") == wanted.get("reasoning_content")
    assert message.get("thinking_blocks") == wanted.get("thinking_blocks")
    calls = [{"id": c["id"]} | c["function"] for c in message.get("tool_calls", ())]
    assert calls == wanted.get("tool_calls", [])


# ---- left as it is


def last_metered(expected: Case) -> list[int] | None:
    metered = [e[1:] for e in expected["events"] if e[0] == "metered"]
    return metered[-1] if metered else None


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(("stream", "expected"), IN)
def test_the_tap_leaves_events_as_they_are(stream: bytes, expected: Case, size: int) -> None:
    meter = Counted()
    tap = AnthropicTap(context(), meter)
    passed = b"".join(tap.feed(stream[i : i + size]) for i in range(0, len(stream), size))
    passed += tap.eof()
    fate = expected["events"][-1]
    if fate[0] == "done":
        assert (tap.phase, tap.error) == (Phase.DONE, None)
    else:
        assert tap.phase is Phase.FAILED and tap.error is not None
        assert [str(tap.error.fault), tap.error.type] == fate[1:]
    assert (usage_list(meter.used) if meter.used is not None else None) == last_metered(expected)
    # nothing is changed or put in another order; what fails is not passed, nor what stands before the beginning
    passed = passed.removesuffix(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert passed in stream
    assert b"error" not in passed and b"<html>" not in passed
    for said in (e[1] for e in expected["events"] if e[0] == "text"):
        assert json.dumps(said, ensure_ascii=False).strip('"').encode() in passed


def test_the_tap_ends_a_message_whose_end_is_missing() -> None:
    (stream,) = [s.values[0] for s in IN if s.id == "cut-behind-its-reason"]
    assert isinstance(stream, bytes)
    tap = AnthropicTap(context(), Counted())
    assert tap.feed(stream) + tap.eof() == stream + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


# ---- whole answers


@pytest.mark.parametrize("case", cases("answers_in"))
def test_whole_answers(case: Case) -> None:
    answer = MESSAGES.answer(json.dumps(case["anthropic"]).encode())
    assert answer.usage is not None and usage_list(answer.usage) == case["usage"]
    completion = json.loads(OpenAIEncoder(context()).whole(answer))
    assert completion["object"] == "chat.completion"
    (choice,) = completion["choices"]
    assert choice["finish_reason"] == case["finish"]
    message: dict[str, Any] = {k: v for k, v in choice["message"].items() if k != "role" and v is not None}
    if "tool_calls" in message:
        message["tool_calls"] = [
            [c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])] for c in message["tool_calls"]
        ]
    assert message == {k: v for k, v in case["message"].items() if v is not None}
    assert "content" in choice["message"]
    spent = completion["usage"]
    assert spent["total_tokens"] == sum(case["usage"][:2])
    assert spent["prompt_tokens_details"]["cached_tokens"] == case["usage"][2]


@pytest.mark.parametrize("case", cases("answers_in"))
def test_whole_answers_that_pass_are_metered(case: Case) -> None:
    meter = Counted()
    body = json.dumps(case["anthropic"]).encode()
    assert MESSAGES.passed(OP, body, meter) is body
    assert meter.used is not None and usage_list(meter.used) == case["usage"]


@pytest.mark.parametrize("case", cases("answers_bad"))
def test_what_is_no_answer(case: Case) -> None:
    body = case["body"].encode()
    for read in (MESSAGES.answer, lambda b: MESSAGES.passed(OP, b, Counted())):
        with pytest.raises(UpstreamError) as e:
            read(body)
        assert (str(e.value.fault), e.value.type) == (case["fault"], case.get("type"))


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (
            401,
            '{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
            "authentication_error",
            "invalid x-api-key",
        ),
        (
            529,
            '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
            "overloaded_error",
            "Overloaded",
        ),
        (502, "<html>Bad gateway</html>", None, "<html>Bad gateway</html>"),
        (500, '{"error": "busy"}', None, "busy"),
        (400, "", None, ""),
        (400, '{"type":"error","error":{"type":5,"message":[]}}', None, ""),
    ],
)
def test_errors_with_a_status(status: int, body: str, kind: str | None, message: str) -> None:
    e = MESSAGES.error(status, {b"retry-after": b"7"}, body.encode())
    assert (e.status, e.type, e.message, e.retry_after) == (status, kind, message, "7")


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        ("overloaded_error", True),
        ("api_error", True),
        ("timeout_error", True),
        ("rate_limit_error", True),
        ("of_its_own", True),
        ("invalid_request_error", False),
        ("authentication_error", False),
        ("billing_error", False),
        ("permission_error", False),
        ("not_found_error", False),
        ("request_too_large", False),
    ],
)
def test_which_errors_without_a_status_are_worth_another_try(kind: str, retryable: bool) -> None:
    error = json.dumps({"type": "error", "error": {"type": kind, "message": "x"}}).encode()
    (failed,) = decoded(b"event: error\ndata: %b\n\n" % error)
    assert isinstance(failed, Failed) and failed.error.retryable is retryable
    with pytest.raises(UpstreamError) as e:
        MESSAGES.answer(error)
    assert e.value.retryable is retryable


# ---- bytes that are no text


BAD = b'{"type":"tool_use","id":"a","name":"f","input":{"a":"\xff"}}'


def test_bytes_that_are_no_text_in_a_stream() -> None:
    frame = b'data: {"type":"content_block_start","index":0,"content_block":%b}\n\n' % BAD
    *_, failed = decoded(frame)
    assert isinstance(failed, Failed) and str(failed.error.fault) == "protocol"


def test_bytes_that_are_no_text_in_an_answer() -> None:
    with pytest.raises(UpstreamError):
        MESSAGES.answer(b'{"type":"message","content":[%b]}' % BAD)
