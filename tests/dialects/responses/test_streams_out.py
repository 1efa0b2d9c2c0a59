"""Answers told on the Responses wire, streamed and whole: what is written is what the official SDK reads."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import msgspec
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from dialects.responses.fixtures import context, events, read_stream, request
from switchboard.core.errors import CODES, Fault, Problem, UpstreamError
from switchboard.core.events import (
    Answer,
    AnswerBuilder,
    Choice,
    Done,
    Event,
    Finish,
    Metered,
    Reasoning,
    ReasoningEnd,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.types import Usage
from switchboard.dialects.openai_chat import OpenAIDecoder
from switchboard.dialects.openai_responses import OpenAIResponses, ResponsesEncoder, read_request

MANY = settings(max_examples=200, deadline=None)
USAGE = Usage(10, 20, 4, cache_written=3, reasoning=7)
#: One of everything.
ALL: list[Event] = [
    Reasoning("Let me"),
    Reasoning(" see."),
    ReasoningEnd(),
    Text("Hello"),
    Text(" there"),
    Refusal("but "),
    Refusal("no"),
    ToolCallBegin(0, "c1", "f"),
    ToolCallArguments(0, '{"a":'),
    ToolCallArguments(0, "1}"),
    ToolCallBegin(1, "c2", "g"),
    Finish("tool_calls"),
    Metered(USAGE),
    Done(),
]


def encoder(**body: Any) -> ResponsesEncoder:
    native = request({"input": "a"} | body).native
    assert native is not None
    return OpenAIResponses(native.members).encoder(context())


def client(stream: bytes) -> openai.OpenAI:
    """The official SDK, which gets `stream` for an answer."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    transport = httpx2.MockTransport(lambda _: answer)
    return openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=httpx2.Client(transport=transport))


def test_the_order_of_events() -> None:
    told = events(encoder().encode(ALL))
    assert [(e["type"].removeprefix("response."), e.get("output_index")) for e in told] == [
        ("created", None),
        ("in_progress", None),
        ("output_item.added", 0),
        ("reasoning_summary_part.added", 0),
        ("reasoning_summary_text.delta", 0),
        ("reasoning_summary_text.delta", 0),
        ("reasoning_summary_text.done", 0),
        ("reasoning_summary_part.done", 0),
        ("output_item.done", 0),
        ("output_item.added", 1),
        ("content_part.added", 1),
        ("output_text.delta", 1),
        ("output_text.delta", 1),
        ("output_text.done", 1),
        ("content_part.done", 1),
        ("content_part.added", 1),
        ("refusal.delta", 1),
        ("refusal.delta", 1),
        ("refusal.done", 1),
        ("content_part.done", 1),
        ("output_item.done", 1),
        ("output_item.added", 2),
        ("function_call_arguments.delta", 2),
        ("function_call_arguments.delta", 2),
        ("function_call_arguments.done", 2),
        ("output_item.done", 2),
        ("output_item.added", 3),
        ("function_call_arguments.delta", 3),
        ("function_call_arguments.done", 3),
        ("output_item.done", 3),
        ("completed", None),
    ]


def test_the_response() -> None:
    whole = read_stream(encoder().encode(ALL))
    message = {"id": "msg_7_1", "type": "message", "status": "completed", "role": "assistant"}
    hello = {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello there"}
    call = {"type": "function_call", "status": "completed"}
    assert whole == {
        "id": "resp_7",
        "object": "response",
        "created_at": 1_750_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "some-model",
        "output": [
            {"id": "rs_sb_7_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Let me see."}]},
            message | {"content": [hello, {"type": "refusal", "refusal": "but no"}]},
            call | {"id": "fc_7_2", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
            call | {"id": "fc_7_3", "call_id": "c2", "name": "g", "arguments": "{}"},
        ],
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 7},
            "total_tokens": 30,
        },
        "background": False,
        "previous_response_id": None,
        "service_tier": "default",
        "store": False,
        "top_logprobs": 0,
        "truncation": "disabled",
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "user": None,
        "text": {"format": {"type": "text"}},
    }


def test_what_was_asked_is_said_again() -> None:
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low"},
        "safety_identifier": "s",
        "temperature": 0.5,
        "tool_choice": {"type": "function", "name": "f"},
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
            {"type": "web_search"},
        ],
        "top_p": None,
        "text": {"verbosity": "low", "format": None},
        "store": False,
    }
    # laid out as a person would: an event is one line all the same
    raw = json.dumps({"input": "a"} | asked, indent=2).encode()
    native = read_request(json.loads(raw), raw).native
    assert native is not None
    told = events(OpenAIResponses(native.members).encoder(context()).encode(ALL))
    wanted = asked | {"text": {"format": {"type": "text"}, "verbosity": "low"}}
    for e in (told[0], told[1], told[-1]):
        assert {name: e["response"][name] for name in asked} == wanted
    assert told[0]["response"] | {"output": [], "usage": None} == told[0]["response"]


@pytest.mark.parametrize(
    ("reason", "status", "why", "call"),
    [
        ("stop", "completed", None, "completed"),
        ("tool_calls", "completed", None, "completed"),
        ("new", "completed", None, "completed"),
        ("length", "incomplete", "max_output_tokens", "incomplete"),
        ("content_filter", "incomplete", "content_filter", "incomplete"),
    ],
)
def test_ends(reason: str, status: str, why: str | None, call: str) -> None:
    told: list[Event] = [
        ToolCallBegin(0, "a", "f"),
        ToolCallArguments(0, "{}"),
        ToolCallBegin(1, "b", "f"),
        ToolCallArguments(1, '{"x'),
        Finish(reason),
        Done(),
    ]
    whole = read_stream(encoder().encode(told))
    assert (whole["status"], whole["incomplete_details"]) == (status, why and {"reason": why})
    assert [i["status"] for i in whole["output"]] == ["completed", call]
    told = [Text("Hel"), Finish(reason), Done()]
    assert read_stream(encoder().encode(told))["output"][0]["status"] == status


def test_usage_may_come_before_the_content_and_begins_nothing() -> None:
    e = encoder()
    assert (
        e.encode([Metered(USAGE)])
        == e.encode([ReasoningEnd()])
        == e.encode([Text("")])
        == e.encode([Reasoning("")])
        == b""
    )
    assert read_stream(e.encode([Text("a"), Finish("stop"), Done()]))["usage"]["total_tokens"] == 30


def test_an_answer_that_says_nothing() -> None:
    whole = read_stream(encoder().encode([Finish("stop"), Done()]))
    assert (whole["output"], whole["usage"]["total_tokens"]) == ([], 0)
    assert json.loads(encoder().whole(Answer([Choice()]))) == whole


def test_pieces_of_calls_that_come_mixed() -> None:
    mixed: list[Event] = [
        ToolCallBegin(0, "a", "f"),
        ToolCallArguments(0, '{"x":'),
        ToolCallBegin(1, "b", "g"),
        ToolCallArguments(1, '{"y":'),
        ToolCallArguments(0, "1}"),
        Text("meanwhile"),
        ToolCallArguments(1, "2}"),
        ToolCallArguments(7, "of no call"),
        ToolCallBegin(2, "b", "g"),
        ToolCallBegin(2, "", "g"),
        Finish("tool_calls"),
        Done(),
    ]
    output = read_stream(encoder().encode(mixed))["output"]
    assert [(i.get("call_id"), i.get("arguments")) for i in output] == [
        ("a", '{"x":1}'),
        ("b", '{"y":2}'),
        (None, None),
        ("b_3", "{}"),
        ("call_4", "{}"),
    ]


def test_only_the_first_choice_is_told() -> None:
    told: list[Event] = [Text("b", 1), Text("a"), Finish("length", 1), Finish("stop"), Done()]
    whole = read_stream(encoder().encode(told))
    assert (whole["status"], whole["output"][0]["content"][0]["text"]) == ("completed", "a")


@pytest.mark.parametrize(
    ("thought", "output"),
    [
        ([Reasoning("a"), ReasoningEnd("sig")], [("a", "signature:sig")]),
        ([Reasoning("a"), ReasoningEnd("s"), Reasoning("b"), ReasoningEnd()], [("a", "signature:s"), ("b", None)]),
        ([ReasoningEnd("sig")], [(None, "signature:sig")]),
        ([ReasoningEnd("", "cipher")], [(None, "redacted:cipher")]),
        ([Reasoning("a"), ReasoningEnd("", "cipher")], [("a", None), (None, "redacted:cipher")]),
    ],
)
def test_thinking(thought: list[Event], output: list[tuple[str | None, str | None]]) -> None:
    """What the model's provider has to know again later goes where OpenAI has its own such thing."""
    items = read_stream(encoder().encode([*thought, Text("so"), Finish("stop"), Done()]))["output"]
    assert [
        (i["summary"][0]["text"] if i["summary"] else None, i.get("encrypted_content")) for i in items[:-1]
    ] == output


def test_the_sdk_reads_it() -> None:
    """The official client, streaming and not, and the union of all events as pydantic reads it."""
    stream = encoder().encode(ALL)
    with client(stream).responses.stream(model="m", input="a") as s:
        told = list(s)
        final = s.get_final_response()
    assert (len(told), final.output_text, final.usage and final.usage.total_tokens) == (31, "Hello there", 30)
    union: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for e in events(stream):
        assert union.validate_python(e).type == e["type"]
    kept = encoder().keepalive
    assert len(list(client(kept + stream).responses.create(model="m", input="a", stream=True))) == 31


@pytest.mark.parametrize("said", [[], [Text("Hel")], [ToolCallBegin(0, "c", "f"), ToolCallArguments(0, "{")]])
@pytest.mark.parametrize("code", sorted(CODES))
def test_errors(said: list[Event], code: str) -> None:
    e = encoder()
    stream = e.encode(said) + e.error(Problem(code))
    told = events(stream)
    error = next(x for x in told if x["type"] == "error")
    assert error["error"] == {
        "message": CODES[code].meaning,
        "type": CODES[code].type,
        "param": None,
        "code": code.lower(),
    }
    assert {k: error[k] for k in ("message", "code", "param")} == {
        k: error["error"][k] for k in ("message", "code", "param")
    }
    with pytest.raises(openai.APIError) as caught:
        list(client(stream).responses.create(model="m", input="a", stream=True))
    assert caught.value.message == CODES[code].meaning
    with pytest.raises(openai.APIError), client(stream).responses.stream(model="m", input="a") as s:
        s.until_done()
    if said:
        failed = told[-1]["response"]
        status = CODES[code].status
        kind = "rate_limit_exceeded" if status == 429 else "invalid_prompt" if 400 <= status < 500 else "server_error"
        assert (told[-1]["type"], failed["status"], failed["error"]["code"]) == ("response.failed", "failed", kind)
        assert failed["output"] == []  # nothing that was cut may be taken for whole
    else:  # it may be the provider's own stream that broke, of which nothing is known here
        assert [x["type"] for x in told] == ["error"]


def test_an_error_of_the_provider_s() -> None:
    upstream = UpstreamError(Fault.STATUS, "secret", status=422, type="t")
    e = encoder()
    e.encode([Text("a")])
    told = e.error(Problem("PROVIDER_REJECTED", upstream=upstream))
    assert b"secret" not in told and b'"code":"server_error"' in told and b'"code":"invalid_prompt"' in told


CHAT = (
    b"".join(
        b"data: %b\n\n" % json.dumps(c).encode()
        for c in [
            {"choices": [{"index": 0, "delta": {"role": "assistant", "reasoning_content": "hm"}}]},
            {"choices": [{"index": 0, "delta": {"content": "Hello"}}]},
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
                    }
                ]
            },
            {
                "choices": [
                    {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":"é"}'}}]}}
                ]
            },
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        ]
    )
    + b"data: [DONE]\n\n"
)


def test_a_chat_stream_split_at_every_byte() -> None:
    whole = read_stream(encoder().encode(OpenAIDecoder(context()).feed(CHAT)))
    assert [i["type"] for i in whole["output"]] == ["reasoning", "message", "function_call"]
    for n in range(len(CHAT)):
        decoder, writer = OpenAIDecoder(context()), encoder()
        out = b"".join([writer.encode(decoder.feed(piece)) for piece in (CHAT[:n], CHAT[n:])])
        assert json.loads(out.split(b"data: ")[-1])["response"] == whole


def test_a_whole_answer() -> None:
    """What a stream of the same ends with."""
    calls = [ToolCall("c", "f", '{"a":1}'), ToolCall("d", "g", "")]
    choice = Choice("Hello", "hm", "no", calls, "tool_calls", [Thinking("hm", "sig"), Thinking(redacted="x")])
    answer = Answer([choice], "m", USAGE)
    whole = json.loads(encoder(temperature=0.5).whole(answer))
    Response.model_validate(whole)
    assert whole == read_stream(encoder(temperature=0.5).encode(answer.events()))
    assert whole["temperature"] == 0.5


words = st.text(max_size=4)
told_events = st.lists(
    st.builds(Text, words, st.integers(0, 1))
    | st.builds(Reasoning, words)
    | st.builds(ReasoningEnd, st.text(max_size=3), st.sampled_from(["", "", "data"]))
    | st.builds(Refusal, words)
    | st.builds(ToolCallBegin, st.integers(0, 3), words, words)
    | st.builds(ToolCallArguments, st.integers(0, 3), st.sampled_from(['{"a"', ": 1}", "{}", "", '"', "{"]))
    | st.builds(Finish, st.sampled_from(["stop", "length", "tool_calls", "content_filter", "new"]))
    | st.builds(Metered, st.builds(Usage, st.integers(0, 9), st.integers(0, 9))),
    max_size=14,
)


@MANY
@given(told_events, st.booleans())
def test_any_events_are_written_well(told: list[Event], ends_well: bool) -> None:
    e = encoder()
    out = b"".join([e.encode([one]) for one in told])
    if not ends_well:
        events(out + e.error(Problem("PROVIDER_CUT")))
        return
    out += e.encode([Done()])
    assert encoder().encode([*told, Done()]) == out  # however they come together
    output = read_stream(out)["output"]
    for kind, member, type_ in (("output_text", "text", Text), ("refusal", "refusal", Refusal)):
        parts = [p for i in output if i["type"] == "message" for p in i["content"] if p["type"] == kind]
        said = "".join(x.text for x in told if isinstance(x, type_) and x.choice == 0)
        assert "".join(p[member] for p in parts) == said
    assert len({i["call_id"] for i in output if i["type"] == "function_call"}) == sum(
        isinstance(x, ToolCallBegin) for x in told
    )


@MANY
@given(told_events)
def test_any_answer_is_written_well(told: list[Event]) -> None:
    builder = AnswerBuilder()
    builder.add(told)
    answer = builder.answer()
    whole = json.loads(encoder().whole(answer))
    Response.model_validate(whole)
    assert whole == read_stream(encoder().encode(answer.events()))
    assert msgspec.json.decode(encoder().whole(answer)) == whole
