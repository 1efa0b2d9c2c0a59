"""OpenAI's answers, streamed and whole, told in Anthropic's events and messages. The cases are data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dialects.anthropic.fixtures import Case, cases, context, frames, read_messages_stream, streams
from switchboard.core.errors import CODES, Problem
from switchboard.core.events import (
    Done,
    Event,
    Failed,
    Finish,
    Metered,
    Reasoning,
    ReasoningEnd,
    Text,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.types import Usage
from switchboard.dialects.anthropic_messages import AnthropicDecoder, AnthropicEncoder, AnthropicMessages
from switchboard.dialects.openai_chat import OpenAIChat, OpenAIDecoder

OUT = streams("streams_out")


def written(*pieces: bytes) -> tuple[bytes, bool]:
    """What an Anthropic client gets of an OpenAI stream, piece by piece, and whether it is whole. What fails ends with
    an error, as in an exchange."""
    decoder, encoder = OpenAIDecoder(context()), AnthropicEncoder(context())
    out = b""
    for events in [*map(decoder.feed, pieces), decoder.eof()]:
        failed = [e for e in events if isinstance(e, Failed)]
        out += encoder.encode([e for e in events if not isinstance(e, Failed)])
        if failed:
            return out + encoder.error(Problem("PROVIDER_CUT")), False
    return out, True


def usage_list(usage: dict[str, int]) -> list[int]:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    return [usage[n] for n in names]


def check(stream: bytes, whole: bool, expected: Case) -> None:
    message = read_messages_stream(stream, whole=whole)
    assert message.get("content", []) == expected["content"]
    assert message.get("stop_reason") == expected["stop_reason"]
    assert whole is (expected["stop_reason"] is not None)
    if whole:
        assert usage_list(message["usage"]) == expected["usage"]


@pytest.mark.parametrize(("stream", "expected"), OUT)
def test_streams(stream: bytes, expected: Case) -> None:
    out, whole = written(stream)
    check(out, whole, expected)


@pytest.mark.parametrize(("stream", "expected"), OUT)
def test_streams_however_they_are_cut(stream: bytes, expected: Case) -> None:
    once, _ = written(stream)
    assert written(*(stream[i : i + 1] for i in range(len(stream))))[0] == once
    for at in range(0, len(stream), 5):
        assert written(stream[:at], stream[at:])[0] == once


@pytest.mark.parametrize(("stream", "expected"), OUT)
def test_what_was_written_reads_as_it_was_meant(stream: bytes, expected: Case) -> None:
    """Our own decoder understands our own encoder."""
    out, whole = written(stream)
    events: list[Event] = AnthropicDecoder(context()).feed(out)
    assert isinstance(events[-1], Done if whole else Failed)
    text = "".join(e.text for e in events if isinstance(e, Text))
    assert text == "".join(b["text"] for b in expected["content"] if b["type"] == "text")
    called = [e.name for e in events if isinstance(e, ToolCallBegin)]
    assert called == [b["name"] for b in expected["content"] if b["type"] == "tool_use"]


@pytest.mark.parametrize("case", cases("answers_out"))
def test_whole_answers(case: Case) -> None:
    answer = OpenAIChat().answer(json.dumps(case["openai"]).encode())
    message = json.loads(AnthropicMessages().encoder(context()).whole(answer))
    assert message.pop("id").startswith("msg_")
    assert usage_list(message.pop("usage")) == case["usage"]
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "some-model",
        "content": case["content"],
        "stop_reason": case["stop_reason"],
        "stop_sequence": None,
    }


@pytest.mark.parametrize("case", cases("answers_out"))
def test_whole_answers_that_are_streamed(case: Case) -> None:
    """A provider that does not stream though it was asked to."""
    answer = OpenAIChat().answer(json.dumps(case["openai"]).encode())
    message = read_messages_stream(AnthropicEncoder(context()).encode(answer.events()))
    assert usage_list(message["usage"]) == case["usage"]
    assert message["stop_reason"] == case["stop_reason"]
    assert "".join(b.get("text", "") for b in message["content"]) == "".join(b.get("text", "") for b in case["content"])
    told = [(b["id"], b["name"]) for b in message["content"] if b["type"] == "tool_use"]
    assert told == [(b["id"], b["name"]) for b in case["content"] if b["type"] == "tool_use"]


# ---- events that only Anthropic's own provider gives, told again


def blocks(*events: Event) -> Any:
    return read_messages_stream(AnthropicEncoder(context()).encode([*events, Done()]))["content"]


def test_thinking_is_signed() -> None:
    assert blocks(Reasoning("A"), Reasoning("B"), ReasoningEnd("sig"), Text("1")) == [
        {"type": "thinking", "thinking": "AB", "signature": "sig"},
        {"type": "text", "text": "1"},
    ]


def test_two_passages_of_thinking() -> None:
    assert blocks(Reasoning("A"), ReasoningEnd("s1"), Reasoning("B"), ReasoningEnd("s2")) == [
        {"type": "thinking", "thinking": "A", "signature": "s1"},
        {"type": "thinking", "thinking": "B", "signature": "s2"},
    ]


def test_thinking_that_is_not_shown() -> None:
    assert blocks(ReasoningEnd("sig"), ReasoningEnd(redacted="data"), Text("1")) == [
        {"type": "thinking", "thinking": "", "signature": "sig"},
        {"type": "redacted_thinking", "data": "data"},
        {"type": "text", "text": "1"},
    ]


def test_thinking_that_is_not_shown_within_thinking_that_is() -> None:
    assert blocks(Reasoning("A"), ReasoningEnd(redacted="data"), Reasoning("B"), ReasoningEnd("s")) == [
        {"type": "thinking", "thinking": "A", "signature": ""},
        {"type": "redacted_thinking", "data": "data"},
        {"type": "thinking", "thinking": "B", "signature": "s"},
    ]


def test_thinking_between_tools() -> None:
    events = (ToolCallBegin(0, "a", "f"), ToolCallArguments(0, "{}"), Reasoning("A"), ReasoningEnd("s"))
    again = (ToolCallBegin(1, "b", "f"), ToolCallArguments(1, "{}"), Finish("tool_calls"))
    assert [b["type"] for b in blocks(*events, *again)] == ["tool_use", "thinking", "tool_use"]


def test_usage_is_split_as_anthropic_counts_it() -> None:
    encoder = AnthropicEncoder(context())
    out = encoder.encode([Metered(Usage(110, 1, 100, cache_written=6)), Text("a"), Finish("stop")])
    out += encoder.encode([Metered(Usage(110, 7, 100, cache_written=6)), Done()])
    told = [e for _, e in frames(out) if e["type"] in ("message_start", "message_delta")]
    assert usage_list(told[0]["message"]["usage"]) == [4, 6, 100, 1]
    assert usage_list(told[1]["usage"]) == [4, 6, 100, 7]


def test_a_ping_fits_in_anywhere() -> None:
    encoder = AnthropicEncoder(context())
    out = encoder.encode([Text("Hello"), Finish("stop"), Done()])
    for part in range(out.count(b"\n\n") + 1):
        pieces = out.split(b"\n\n")
        mixed = b"\n\n".join([*pieces[:part], encoder.keepalive.removesuffix(b"\n\n"), *pieces[part:]])
        assert read_messages_stream(mixed)["content"] == [{"type": "text", "text": "Hello"}]


@pytest.mark.parametrize("code", CODES)
def test_every_error_is_an_event_that_the_sdk_knows(code: str) -> None:
    ((name, e),) = frames(AnthropicEncoder(context()).error(Problem(code)))
    assert name == "error"
    assert e["error"]["type"] in {
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "timeout_error",
        "overloaded_error",
        "api_error",
    }
