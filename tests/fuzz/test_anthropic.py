"""Anything at all on Anthropic's wire: nothing but our own errors comes out of it, how a stream was chunked does not
matter, and what a conversation says survives a translation there and back."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialects.anthropic.fixtures import Counted, context, read_messages_stream, told
from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Problem, UpstreamError
from switchboard.core.events import (
    Done,
    Event,
    Failed,
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
from switchboard.core.ports import Phase
from switchboard.core.types import Generate, Usage
from switchboard.dialects.anthropic_messages import (
    AnthropicDecoder,
    AnthropicEncoder,
    AnthropicMessages,
    AnthropicTap,
    read_request,
)
from switchboard.dialects.openai_chat import OpenAIChat, OpenAIDecoder, OpenAIEncoder
from switchboard.dialects.openai_chat import read_request as read_openai
from switchboard.policy.applying import apply
from switchboard.policy.profile import Profile
from switchboard.wire.json_body import load_json

QUICK = settings(max_examples=150, deadline=None)
MANY = settings(max_examples=300, deadline=None)
MESSAGES = AnthropicMessages()
OP = Generate("m", messages=[], params={})
ABLE = Capabilities()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def sometimes(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What is expected, or now and then anything."""
    return st.integers(0, 9).flatmap(lambda n: values if n == 0 else good)


def some(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of `members`."""
    return st.fixed_dictionaries({}, optional={k: sometimes(v) for k, v in members.items()})


# ---- streams

KINDS = ["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result", "new"]
REASONS = ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "new", None]
usages = some(
    input_tokens=st.integers(0, 9),
    output_tokens=st.integers(0, 9),
    cache_read_input_tokens=st.integers(0, 9),
    cache_creation_input_tokens=st.none() | st.integers(0, 9),
    output_tokens_details=some(thinking_tokens=st.integers(0, 9)),
)
blocks = some(
    type=st.sampled_from(KINDS),
    text=st.text(max_size=5),
    thinking=st.text(max_size=5),
    signature=st.text(max_size=5),
    data=st.text(max_size=5),
    id=st.text(max_size=5),
    name=st.text(max_size=5),
    input=values,
    content=values,
)
deltas = some(
    type=st.sampled_from(["text_delta", "input_json_delta", "thinking_delta", "signature_delta", "citations_delta"]),
    text=st.text(max_size=5),
    partial_json=st.text(max_size=5),
    thinking=st.text(max_size=5),
    signature=st.text(max_size=5),
    stop_reason=st.sampled_from(REASONS),
)
events = some(
    type=st.sampled_from(
        [
            "message_start",
            "message_delta",
            "message_stop",
            "ping",
            "error",
            "new",
            "content_block_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
        ]
    ),
    index=st.integers(-1, 3),
    message=some(usage=usages),
    usage=usages,
    content_block=blocks,
    delta=deltas,
    error=some(type=st.sampled_from(["overloaded_error", "api_error"]), message=st.text(max_size=5)),
)
payloads = (
    events.map(lambda e: json.dumps(e).encode()) | values.map(lambda v: json.dumps(v).encode()) | st.binary(max_size=20)
)
ends = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n", b"\r\r", b"\n\n\n"])
wild = st.lists(
    st.tuples(st.sampled_from([b"data: ", b"event: x\ndata: ", b": ", b"", b"data:"]), payloads, ends), max_size=8
).map(lambda frames: b"".join(a + b + c for a, b, c in frames))
cuts = st.lists(st.integers(0, 10_000), max_size=8)


def pieces(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(n % (len(stream) + 1) for n in at), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def decoded(parts: list[bytes]) -> list[Event]:
    d = AnthropicDecoder(context())
    found = [e for p in parts for e in d.feed(p)]
    return [e for e in [*found, *d.eof()] if not isinstance(e, Ping)]


def tapped(parts: list[bytes]) -> tuple[bytes, Phase, str, Usage | None, int]:
    meter = Counted()
    tap = AnthropicTap(context(), meter)
    out = b"".join([tap.feed(p) for p in parts]) + tap.eof()
    return out, tap.phase, str(tap.error), meter.used, meter.size


@MANY
@given(wild, cuts)
def test_any_stream_however_it_is_cut(stream: bytes, at: list[int]) -> None:
    found = decoded([stream])
    assert isinstance(found[-1], Done | Failed)
    assert not any(isinstance(e, Done | Failed) for e in found[:-1])
    again = decoded(pieces(stream, at))
    assert [told(e) for e in again] == [told(e) for e in found]
    once = tapped([stream])
    assert tapped(pieces(stream, at)) == once
    assert once[1] is (Phase.DONE if isinstance(found[-1], Done) else Phase.FAILED)


def text_of(events: list[Event], kind: type[Text | Reasoning]) -> str:
    return "".join([e.text for e in events if isinstance(e, kind)])


@QUICK
@given(wild)
def test_any_stream_is_written_well(stream: bytes) -> None:
    """Whatever a provider sends, a client of either wire gets what its SDK can read."""
    found = decoded([stream])
    whole = isinstance(found[-1], Done)
    chat = OpenAIEncoder(context())
    written = chat.encode([e for e in found if not isinstance(e, Failed)])
    again = OpenAIDecoder(context()).feed(written if whole else written + chat.error(Problem("PROVIDER_CUT")))
    assert isinstance(again[-1], Done if whole else Failed)
    assert not any(isinstance(e, Done | Failed) for e in again[:-1])
    for kind in (Text, Reasoning):
        assert text_of(again, kind) == text_of(found, kind)
    encoder = AnthropicEncoder(context())
    out = encoder.encode([e for e in found if not isinstance(e, Failed)])
    read_messages_stream(out if whole else out + encoder.error(Problem("PROVIDER_CUT")), whole=whole)


@MANY
@given(
    st.binary(max_size=60)
    | events.map(lambda e: json.dumps(e).encode())
    | st.lists(blocks, max_size=3)
    .flatmap(
        lambda content: some(
            type=st.just("message"),
            content=st.just(content),
            stop_reason=st.sampled_from(REASONS),
            usage=usages,
            model=st.just("m"),
        )
    )
    .map(lambda a: json.dumps(a).encode())
)
def test_any_answer(body: bytes) -> None:
    assert MESSAGES.error(500, {}, body).status == 500
    meter = Counted()
    with suppress(UpstreamError):
        MESSAGES.passed(OP, body, meter)
    try:
        answer = MESSAGES.answer(body)
    except UpstreamError:
        return
    assert meter.used == answer.usage  # whether it is read or passes as it is
    (choice,) = answer.choices
    message = json.loads(OpenAIEncoder(context()).whole(answer))["choices"][0]["message"]
    content = json.loads(AnthropicEncoder(context()).whole(answer))["content"]
    assert (message["content"] or "") == choice.text
    assert "".join(b["text"] for b in content if b["type"] == "text") == choice.text
    calls = [(c.id, c.name) for c in choice.tool_calls]
    assert [(c["id"], c["function"]["name"]) for c in message.get("tool_calls", [])] == calls
    # an id may have to be written in other characters there
    assert [b["name"] for b in content if b["type"] == "tool_use"] == [name for _, name in calls]


# ---- events, in any order: what the encoder writes keeps to the grammar

told_events = st.lists(
    st.builds(Text, st.text(max_size=4), st.integers(0, 1))
    | st.builds(Reasoning, st.text(max_size=4))
    | st.builds(ReasoningEnd, st.text(max_size=3), st.sampled_from(["", "", "data"]))
    | st.builds(Refusal, st.text(max_size=4))
    | st.builds(ToolCallBegin, st.integers(0, 3), st.text(max_size=4), st.text(max_size=4))
    | st.builds(ToolCallArguments, st.integers(0, 3), st.sampled_from(['{"a"', ": 1}", "{}", "", '"', "{"]))
    | st.builds(Finish, st.sampled_from(["stop", "length", "tool_calls", "content_filter", "new"]))
    | st.builds(Metered, st.builds(Usage, st.integers(0, 9), st.integers(0, 9))),
    max_size=14,
)


@MANY
@given(told_events, st.booleans())
def test_any_events_are_written_well(told_: list[Event], ends_well: bool) -> None:
    encoder = AnthropicEncoder(context())
    out = b"".join([encoder.encode([e]) for e in told_])
    out += encoder.encode([Done()]) if ends_well else encoder.error(Problem("PROVIDER_CUT"))
    message = read_messages_stream(out, whole=ends_well)
    if ends_well:
        said = "".join(e.text for e in told_ if isinstance(e, Text | Refusal) and e.choice == 0)
        assert "".join(b["text"] for b in message["content"] if b["type"] == "text") == said


@MANY
@given(st.data(), st.integers(1, 5))
def test_tool_calls_mixed_in_any_way_come_out_whole_and_in_order(data: st.DataObject, count: int) -> None:
    """Calls begin in order; the pieces of their arguments come mixed."""
    arguments = [json.dumps(data.draw(st.dictionaries(st.text(max_size=3), values, max_size=2))) for _ in range(count)]
    queues: list[list[Event]] = []
    for i, text in enumerate(arguments):
        at = data.draw(st.integers(0, len(text)))
        queues.append(
            [ToolCallBegin(i, f"t{i}", f"f{i}"), ToolCallArguments(i, text[:at]), ToolCallArguments(i, text[at:])]
        )
    mixed: list[Event] = []
    begun = 0
    while any(queues):
        ready = [i for i, q in enumerate(queues) if q and i <= begun]
        i = data.draw(st.sampled_from(ready))
        begun = max(begun, i + 1)
        mixed.append(queues[i].pop(0))
    out = AnthropicEncoder(context()).encode([*mixed, Finish("tool_calls"), Done()])
    content = read_messages_stream(out)["content"]
    assert [(b["id"], b["name"], b["input"]) for b in content] == [
        (f"t{i}", f"f{i}", json.loads(text)) for i, text in enumerate(arguments)
    ]


# ---- requests

sources = some(
    type=st.sampled_from(["base64", "url", "text", "file", "content"]),
    media_type=st.text(max_size=5),
    data=st.text(max_size=5),
    url=st.text(max_size=5),
)
request_blocks = some(
    type=st.sampled_from([*KINDS, "image", "document", "tool_result", "search_result"]),
    text=st.text(max_size=5),
    thinking=st.text(max_size=5),
    signature=st.text(max_size=5),
    data=st.text(max_size=5),
    id=st.text(max_size=5),
    name=st.text(max_size=5),
    input=values,
    source=sources,
    title=st.text(max_size=5),
    tool_use_id=st.text(max_size=5),
    content=st.text(max_size=5)
    | st.lists(some(type=st.sampled_from(["text", "image"]), text=st.text(max_size=5), source=sources), max_size=2),
    is_error=st.booleans(),
    cache_control=values,
)
contents = st.text(max_size=5) | st.lists(request_blocks, max_size=3)
requests = some(
    model=st.text(max_size=5),
    stream=st.booleans(),
    system=contents,
    temperature=st.floats(0, 1),
    top_p=st.floats(0, 1),
    top_k=st.integers(0, 9),
    stop_sequences=st.lists(st.text(max_size=3), max_size=2),
    tools=st.lists(
        some(name=st.text(max_size=3), type=st.sampled_from(["custom", "web_search_1"]), input_schema=values),
        max_size=2,
    ),
    tool_choice=some(
        type=st.sampled_from(["auto", "any", "tool", "none"]),
        name=st.text(max_size=3),
        disable_parallel_tool_use=st.booleans(),
    ),
    thinking=some(type=st.sampled_from(["enabled", "disabled", "adaptive"]), budget_tokens=st.integers(0, 30_000)),
    output_config=some(
        effort=st.sampled_from(["low", "high"]), format=some(type=st.just("json_schema"), schema=values)
    ),
    metadata=some(user_id=st.text(max_size=3)),
    new=values,
).flatmap(
    lambda more: st.fixed_dictionaries(
        {
            "max_tokens": sometimes(st.integers(0, 9999)),
            "messages": sometimes(
                st.lists(
                    st.fixed_dictionaries(
                        {
                            "role": sometimes(st.sampled_from(["user", "assistant", "system"])),
                            "content": sometimes(contents),
                        }
                    ),
                    max_size=4,
                )
            ),
        }
    ).map(lambda own: own | more)
)


@MANY
@given(requests | values)
def test_any_request(body: Any) -> None:
    """A request is read, or refused by a `Problem` that says why; what is read can be sent on on either wire."""
    raw = json.dumps(body).encode()
    try:
        op = read_request(load_json(raw), raw, {b"anthropic-version": b"2023-06-01"})
    except Problem:
        return
    profile = Profile(
        temperature=0.5, max_tokens_cap=100, system_prompt="s", max_conversation_length=1, trim_v1=len(op.messages) == 2
    )
    apply(op, profile, documents=False)
    sent = json.loads(OpenAIChat().build(op, "gpt-5", ABLE))
    assert (sent["model"], sent["messages"][0]) == ("gpt-5", {"role": "system", "content": "s"})
    assert sent["max_tokens"] <= 100
    sent = json.loads(MESSAGES.build(op, "claude-sonnet-4-5", ABLE))
    assert (sent["model"], bool(sent["messages"])) == ("claude-sonnet-4-5", True)
    assert sent["system"] == "s" or sent["system"][0] == {"type": "text", "text": "s"}
    assert sent["max_tokens"] <= 100
    if op.messages:
        again = {"messages": op.messages}
        sent = json.loads(MESSAGES.build(read_openai(again, json.dumps(again).encode()), "claude-opus-4-6", ABLE))
        roles = [m["role"] for m in sent["messages"]]
        assert roles and set(roles) <= {"user", "assistant"}
        assert all(a != b for a, b in pairwise(roles))


def test_a_tool_choice_of_no_kind() -> None:
    body = {
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "a"}],
        "tools": [{"name": "f", "input_schema": {}}],
    }
    raw = json.dumps(body | {"tool_choice": {"type": []}}).encode()
    assert read_request(json.loads(raw), raw, {}).native is not None


openai_params = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("functions", "function_call", "tool_choice", "response_format", "reasoning_effort", "thinking"), values
    )
    | {"parallel_tool_calls": values, "logit_bias": values, "service_tier": values},
)


@MANY
@given(openai_params, st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-6"]))
def test_any_openai_request_to_anthropic(params: dict[str, Any], model: str) -> None:
    """Members that nobody checks on OpenAI's wire."""
    body = {"messages": [{"role": "user", "content": "a"}]} | params
    sent = json.loads(MESSAGES.build(read_openai(body, json.dumps(body).encode()), model, ABLE))
    assert (sent["model"], sent["messages"]) == (model, body["messages"])
    assert sent["max_tokens"] >= 8192
    # nothing goes along that this wire has no member for
    assert set(sent) <= {"model", "messages", "max_tokens", "tools", "tool_choice", "thinking", "output_config"}


# ---- there and back

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=8)
arguments = st.dictionaries(words, values, max_size=3)
images = st.sampled_from(
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ]
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A well-formed conversation: turns that alternate, each call answered in the next turn, results first."""
    messages: list[dict[str, Any]] = []
    waiting: list[str] = []
    count = 0
    for _ in range(draw(st.integers(1, 4))):
        said: list[dict[str, Any]] = [
            {"type": "tool_result", "tool_use_id": i, "content": draw(words)} for i in waiting
        ]
        said += [{"type": "text", "text": t} for t in draw(st.lists(words, min_size=0 if said else 1, max_size=2))]
        said += draw(st.lists(images, max_size=1))
        messages.append({"role": "user", "content": said})
        answered: list[dict[str, Any]] = [{"type": "text", "text": t} for t in draw(st.lists(words, max_size=1))]
        waiting = []
        for _ in range(draw(st.integers(0 if answered else 1, 2))):
            count += 1
            waiting.append(f"toolu_{count}")
            answered.append({"type": "tool_use", "id": waiting[-1], "name": draw(words), "input": draw(arguments)})
        messages.append({"role": "assistant", "content": answered})
    last = [{"type": "tool_result", "tool_use_id": i, "content": draw(words)} for i in waiting]
    messages.append({"role": "user", "content": last or [{"type": "text", "text": draw(words)}]})
    return messages


def unfolded(messages: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Messages with texts of a turn in a row joined: two blocks may become one text."""
    out = []
    for m in messages:
        content = m["content"] if isinstance(m["content"], list) else [{"type": "text", "text": m["content"]}]
        joined: list[Any] = []
        for b in content:
            if m["role"] == "assistant" and b["type"] == "text" and joined and joined[-1]["type"] == "text":
                joined[-1] = {"type": "text", "text": joined[-1]["text"] + b["text"]}
            else:
                joined.append(b)
        out.append((m["role"], joined))
    return out


@MANY
@given(conversations(), st.none() | words)
def test_a_conversation_there_and_back(messages: list[dict[str, Any]], system: str | None) -> None:
    body = {"max_tokens": 9, "messages": messages} | ({"system": system} if system else {})
    raw = json.dumps(body).encode()
    op = read_request(load_json(raw), raw, {})
    there = json.loads(OpenAIChat().build(op, "gpt-4o", ABLE))
    assert op.dropped == []
    back = json.loads(MESSAGES.build(read_openai(there, json.dumps(there).encode()), "m", ABLE))
    assert unfolded(back["messages"]) == unfolded(messages)
    assert back.get("system") == system
    assert back["max_tokens"] == 9


said = st.lists(
    st.builds(Text, words)
    | st.lists(st.tuples(words, arguments), min_size=1, max_size=2).map(
        lambda calls: [(name, json.dumps(a)) for name, a in calls]
    ),
    min_size=1,
    max_size=4,
)


@MANY
@given(said, cuts)
def test_an_answer_there_and_back(parts: list[Any], at: list[int]) -> None:
    """Anthropic's events, told as OpenAI's chunks, read, and told as Anthropic's again."""
    events_: list[Event] = []
    count = 0
    for part in parts:
        if isinstance(part, Text):
            events_.append(part)
            continue
        for name, text in part:
            events_ += [ToolCallBegin(count, f"t{count}", name), ToolCallArguments(count, text)]
            count += 1
    events_ += [Finish("tool_calls" if count else "stop"), Metered(Usage(5, 7, 2)), Done()]
    first = AnthropicEncoder(context()).encode(events_)
    chunks = OpenAIEncoder(context()).encode(decoded(pieces(first, at)))
    read = OpenAIDecoder(context()).feed(chunks)
    second = AnthropicEncoder(context()).encode(read)
    once, twice = read_messages_stream(first), read_messages_stream(second)
    assert twice["content"] == once["content"]
    assert twice["stop_reason"] == once["stop_reason"]


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"5", b'{"messages":[]}', b'{"max_tokens":1}', b'{"max_tokens":null,"messages":[]}']
)
def test_requests_that_are_none(raw: bytes) -> None:
    with pytest.raises(Problem):
        read_request(load_json(raw), raw, {})
