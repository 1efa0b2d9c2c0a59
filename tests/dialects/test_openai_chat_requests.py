"""OpenAI chat requests: what is read of them, what is refused, and what goes on to a provider."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Problem
from switchboard.core.types import Generate
from switchboard.dialects.openai_chat import OpenAIChat, build_body, invalid, read_request
from switchboard.wire.json_body import load_json

PLAIN = Capabilities()
HELLO = [{"role": "user", "content": "Hello"}]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def read(raw: bytes, **more: Any) -> Generate:
    """As the surfaces do it."""
    return read_request(load_json(raw), raw, **more)


def ask(**members: Any) -> Generate:
    return read(json.dumps({"messages": HELLO} | members).encode())


def refused(raw: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        read(raw)
    assert caught.value.status == 400
    return caught.value


def members(body: bytes) -> dict[str, bytes]:
    """The members of an object, as they are written."""
    return {k: bytes(v) for k, v in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items()}


# ---- what is read


def test_a_full_request() -> None:
    op = ask(model="gpt-4o", stream=True, stream_options={"include_usage": True}, temperature=0.5, logit_bias={"1": 2})
    assert (op.model, op.stream, op.include_usage, op.dropped) == ("gpt-4o", True, True, [])
    assert op.messages == HELLO
    assert set(op.params) == {"stream_options", "temperature", "logit_bias"}


def test_what_is_not_there_has_its_default() -> None:
    op = ask()
    assert (op.model, op.stream, op.include_usage, op.params) == ("", False, False, {})
    assert read(b'{"messages":[{"role":"user","content":"x"}]}', stream_default=True).stream is True
    assert read(b'{"messages":[{"role":"user","content":"x"}],"stream":false}', stream_default=True).stream is False


def test_null_is_the_same_as_not_there() -> None:
    names = ("model", "stream", "stream_options", "temperature", "max_tokens", "n", "stop", "tools", "user", "seed")
    op = ask(**dict.fromkeys(names))
    assert (op.model, op.stream, op.include_usage) == ("", False, False)
    assert ask(stream_options={"include_usage": None}).include_usage is False


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "x"},
        {"role": "developer", "content": "x"},
        {"role": "user", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "user", "content": [{"type": "something-new", "x": 1}], "name": "me"},
        {"role": "user", "content": []},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]},
        {"role": "assistant", "tool_calls": []},
        {"role": "assistant"},
        {"role": "tool", "content": "x", "tool_call_id": "c"},
        {"role": "tool", "content": [{"type": "text", "text": "x"}], "tool_call_id": "c"},
        {"role": "function", "name": "f", "content": None},
        {"role": "user", "content": "x", "member_nobody_knows": {"a": [1]}},
    ],
)
def test_messages_of_every_kind(message: dict[str, Any]) -> None:
    op = ask(messages=[message])
    assert op.messages == [message]
    assert json.loads(build_body(op, "m", PLAIN))["messages"] == [message]


# ---- what is refused


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": 5}, "model"),
        ({"model": ["x"]}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": "x"}}, "stream_options.include_usage"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": []}, "top_p"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": "1"}, "n"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"presence_penalty": "x"}, "presence_penalty"),
        ({"frequency_penalty": {}}, "frequency_penalty"),
        ({"seed": 1.5}, "seed"),
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"user": 1}, "user"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [*HELLO, None]}, "messages[1]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": None, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "User", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "system"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}, {}]}]}, "messages[0].content[1].type"),
        ({"messages": [{"role": "user", "content": [{"type": 1}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "x", "name": 1}]}, "messages[0].name"),
        ({"messages": [{"role": "assistant", "tool_calls": "x"}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": 1}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "tool", "tool_call_id": "c"}]}, "messages[0].content"),
    ],
)
def test_the_field_at_fault_is_named(change: dict[str, Any], param: str) -> None:
    p = refused(json.dumps({"messages": HELLO} | change).encode())
    assert (p.code, p.param) == ("INVALID_REQUEST", param)
    assert p.message.startswith(f"{param}: ")
    assert p.message.endswith(".")
    assert "`" not in p.message


@pytest.mark.parametrize("body", [b"[]", b"null", b'"messages"', b"5", b"true"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    p = refused(body)
    assert (p.message, p.param) == ("The body must be a JSON object.", None)


@pytest.mark.parametrize("body", [b"{}", b'{"message":[]}'])
def test_messages_are_needed(body: bytes) -> None:
    p = refused(body)
    assert (p.message, p.param) == ("messages: this field is required.", "messages")


def test_an_unknown_role_is_told_what_roles_there_are() -> None:
    message = refused(b'{"messages":[{"role":"boss","content":"x"}]}').message
    for role in ("system", "user", "assistant", "tool"):
        assert role in message


@pytest.mark.parametrize("role", [" - at `$.model`", "a` - at `$.b", "`", "' - at `$"])
def test_a_role_that_looks_like_a_complaint_of_ours(role: str) -> None:
    """The client's own words must not decide which field is named."""
    p = refused(json.dumps({"messages": [{"role": role, "content": "x"}]}).encode())
    assert p.param == "messages[0].role"


def test_a_long_role_is_not_repeated_whole() -> None:
    size = len(refused(json.dumps({"messages": [{"role": "x" * 100_000, "content": "x"}]}).encode()).message)
    assert size < 1000


@pytest.mark.parametrize("complaint", ["Expected `object`, got `array`", "Object missing required field `messages`"])
def test_a_complaint_about_the_whole_body(complaint: str) -> None:
    p = invalid(complaint)
    assert p.param in ("body", "messages")
    assert p.message.startswith(f"{p.param}: ")


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"messages":[{"role":"user","content":"x"}],"temperature":1e999}',
        b'{"messages":[{"role":"user","content":"x"}],"unknown":-1e999}',
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":[{"role":"user","content":"x"}],"unknown":"\xff"}',
        b'{"messages":[{"role":"user","content":"x"}],"\xff":1}',
        rb'{"messages":[{"role":"user","content":"\ud800"}]}',
        rb'{"messages":[{"role":"user","content":"x"}],"unknown":["\udfff"]}',
        b'{"messages":[{"role":"user","content":"x"}],"unknown":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"messages":' + b"[" * 100_000,
        b'{"messages":[{"role":"user","content":"x"}],"unknown":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"messages":[{"role":"user","content":"x"}]',
        b"",
    ],
)
def test_what_no_provider_should_see_is_refused_quickly_wherever_it_is(body: bytes) -> None:
    """Members that nobody here knows are passed on as they came, so they are checked as closely as the others."""
    start = time.perf_counter()
    assert refused(body).code in ("INVALID_JSON", "NESTING_TOO_DEEP")
    assert time.perf_counter() - start < 0.05


@settings(max_examples=300, deadline=None)
@given(
    body=st.dictionaries(
        st.sampled_from(["messages", "model", "stream", "stream_options", "n", "stop", "tools", "max_tokens", "x"]),
        values | st.just(HELLO),
        max_size=6,
    )
)
def test_any_members_are_an_operation_or_a_refusal_that_names_one(body: dict[str, Any]) -> None:
    problem = None
    try:
        op = ask(**body) if "messages" in body else read(json.dumps(body).encode())
    except Problem as p:
        problem = p
    if problem is None:
        assert op.messages == body["messages"]
        assert json.loads(build_body(op, "m", PLAIN))["model"] == "m"
    else:
        assert (problem.status, problem.code) == (400, "INVALID_REQUEST")
        assert problem.param is not None
        assert re.split(r"[.\[]", problem.param)[0] in {*body, "messages"}
        assert problem.message.startswith(f"{problem.param}: ")


# ---- what goes to a provider


UNKNOWN = {
    "metadata": b'{ "b" : 1.50, "a":[ 1e2 ,-0 ], "\\u00e9":"\\/" }',
    "logit_bias": b'{"50256":-100}',
    "response_format": b'{"type":"json_schema","json_schema":{"name":"x","schema":{"z":1,"a":2}}}',
    "big": b"123456789012345678901234567890.10",
    "text": '"é😀\\ud83d\\ude00"'.encode(),
    "doubled": b'{"a":1,"a":2}',
    "seed": b"18446744073709551616",
    "stop": b'[ "a" ]',
    "temperature": b"1.0",
    "nothing": b"null",
    "": b"true",
}


def test_unknown_members_go_on_byte_for_byte() -> None:
    messages = b'[ {"role":"user", "content":"caf\\u00e9", "x":1.50} ]'
    raw = b'{"messages":' + messages
    for name, value in UNKNOWN.items():
        raw += b' , "%b" : %b ' % (name.encode(), value)
    got = members(build_body(read(raw + b"}"), "m", PLAIN))
    assert got == {"model": b'"m"', "messages": messages} | UNKNOWN


@settings(max_examples=200, deadline=None)
@given(
    extra=st.dictionaries(st.text("abcdefgh_é", min_size=1), values, max_size=5),
    indent=st.sampled_from([None, 0, 3]),
    stream=st.booleans(),
)
def test_any_unknown_members_go_on_byte_for_byte(extra: dict[str, Any], indent: int | None, stream: bool) -> None:
    raw = json.dumps({**extra, "messages": HELLO, "stream": stream, "model": "asked"}, indent=indent).encode()
    got = members(build_body(read(raw), "m", PLAIN))
    sent = members(raw)
    for name in (*extra, "messages"):
        assert got.pop(name) == sent[name]
    assert got == {"model": b'"m"'} | (
        {"stream": b"true", "stream_options": b'{"include_usage":true}'} if stream else {}
    )


def test_the_model_is_replaced_however_often_it_was_named() -> None:
    raw = rb'{"model":"a","messages":[{"role":"user","content":"x"}],"model":"b","mod\u0065l":"c"}'
    op = read(raw)
    assert op.model == "c"
    body = build_body(op, "mine", PLAIN)
    assert body.count(b'"model"') == 1
    assert b'"c"' not in body
    assert json.loads(body) == {"model": "mine", "messages": [{"role": "user", "content": "x"}]}


def test_of_doubled_messages_the_ones_that_were_checked_go_on() -> None:
    raw = b'{"messages":[{"role":"boss"}],"messages":[{"role":"user","content":"good"}]}'
    body = build_body(read(raw), "m", PLAIN)
    assert members(body)["messages"] == b'[{"role":"user","content":"good"}]'
    assert b"boss" not in body
    p = refused(b'{"messages":[{"role":"user","content":"good"}],"messages":[{"role":"boss"}]}')
    assert p.param == "messages[0].role"


def test_of_doubled_stream_members_the_last_counts() -> None:
    raw = b'{"messages":[{"role":"user","content":"x"}],"stream":true,"stream":false}'
    op = read(raw)
    assert op.stream is False
    assert "stream" not in members(build_body(op, "m", PLAIN))


def test_changed_messages_replace_the_ones_that_came() -> None:
    op = ask()
    op.replace_messages([{"role": "system", "content": "Be brief."}, *op.messages])
    assert json.loads(build_body(op, "m", PLAIN))["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]


def test_usage_is_asked_for_in_streams_only() -> None:
    assert "stream" not in members(build_body(ask(), "m", PLAIN))
    assert "stream_options" not in members(build_body(ask(stream_options={"include_usage": True}), "m", PLAIN))
    body = members(build_body(ask(stream=True), "m", PLAIN))
    assert body["stream"] == b"true"
    assert body["stream_options"] == b'{"include_usage":true}'


@settings(max_examples=100, deadline=None)
@given(
    options=st.dictionaries(st.text("abcdef_", min_size=1), values, max_size=4),
    usage=st.sampled_from([None, True, False]),
)
def test_other_stream_options_are_kept(options: dict[str, Any], usage: bool | None) -> None:
    op = ask(stream=True, stream_options=options | {"include_usage": usage})
    assert op.include_usage is (usage is True)
    assert json.loads(build_body(op, "m", PLAIN))["stream_options"] == options | {"include_usage": True}


def test_null_stream_options_are_none() -> None:
    assert members(build_body(ask(stream=True, stream_options=None), "m", PLAIN))["stream_options"] == (
        b'{"include_usage":true}'
    )


def test_a_provider_that_does_not_count_in_streams_is_not_asked_to() -> None:
    quiet = Capabilities(stream_usage=False)
    assert "stream_options" not in members(build_body(ask(stream=True), "m", quiet))
    kept = members(build_body(ask(stream=True, stream_options={"x": 1.50}), "m", quiet))
    assert json.loads(kept["stream_options"]) == {"x": 1.5}


REASONERS = Capabilities(completion_tokens=re.compile(r"o\d.*"), fixed_sampling=re.compile(r"o\d.*"))


def test_max_tokens_has_another_name_where_the_model_asks_for_it() -> None:
    assert members(build_body(ask(max_tokens=5), "o3-mini", REASONERS))["max_completion_tokens"] == b"5"
    assert "max_tokens" not in members(build_body(ask(max_tokens=5), "o3-mini", REASONERS))
    both = members(build_body(ask(max_tokens=5, max_completion_tokens=7), "o3", REASONERS))
    assert (both.get("max_tokens"), both["max_completion_tokens"]) == (None, b"7")
    # the whole name has to fit the pattern
    assert members(build_body(ask(max_tokens=5), "gpt-o3", REASONERS))["max_tokens"] == b"5"
    assert "max_completion_tokens" not in members(build_body(ask(), "o3", REASONERS))


def test_a_limit_counts_though_its_other_name_is_null() -> None:
    body = members(build_body(ask(max_tokens=5, max_completion_tokens=None), "o3", REASONERS))
    assert (body.get("max_tokens"), body["max_completion_tokens"]) == (None, b"5")


def test_sampling_is_left_out_where_the_model_takes_none_and_that_is_told() -> None:
    op = ask(temperature=0.5, top_p=1, presence_penalty=0, frequency_penalty=0.1, seed=1)
    body = members(build_body(op, "o1", REASONERS))
    assert set(body) == {"model", "messages", "seed"}
    assert op.dropped == ["temperature", "top_p", "presence_penalty", "frequency_penalty"]
    kept = ask(temperature=0.5)
    assert members(build_body(kept, "gpt-4o", REASONERS))["temperature"] == b"0.5"
    assert kept.dropped == []


def test_what_was_null_was_not_dropped() -> None:
    op = ask(temperature=None)
    assert "temperature" not in members(build_body(op, "o1", REASONERS))
    assert op.dropped == []


def test_the_dialect_builds_the_same() -> None:
    op = ask(stream=True, temperature=1)
    assert OpenAIChat().build(op, "m", PLAIN) == build_body(op, "m", PLAIN)
