"""Requests on the Responses wire: what becomes of them on OpenAI's chat wire, and for a provider that speaks their own. The
cases are data."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialects.responses.fixtures import Case, cases, request
from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Problem
from switchboard.core.ports import ClientDialect, ProviderDialect
from switchboard.core.types import Generate
from switchboard.dialects.anthropic_messages import AnthropicMessages
from switchboard.dialects.openai_chat import OpenAIChat
from switchboard.dialects.openai_responses import OpenAIResponses, read_request
from switchboard.policy.applying import apply
from switchboard.policy.profile import Profile

RESPONSES: ProviderDialect[Generate] = OpenAIResponses()
CLIENT: ClientDialect = OpenAIResponses()
NAMES = re.compile("gpt-5")
ABLE = Capabilities(fixed_sampling=NAMES)
MANY = settings(max_examples=200, deadline=None)


@pytest.mark.parametrize("case", cases("requests_in.json"))
def test_responses_to_chat(case: Case) -> None:
    op = request(case["responses"])
    names = re.compile("gpt-4o") if case.get("reasoning") else None
    able = Capabilities(completion_tokens=names, fixed_sampling=names, reasoning=names)
    assert json.loads(OpenAIChat().build(op, "gpt-4o", able)) == {"model": "gpt-4o"} | case["chat"]
    assert sorted(op.dropped) == sorted(case.get("dropped", []))
    assert op.native is not None and (op.native.bound, op.include_usage) == ("", True)


@pytest.mark.parametrize("case", cases("native.json"))
def test_responses_to_responses(case: Case) -> None:
    raw = case["raw"].encode()
    op = read_request(json.loads(raw), raw)
    asked = case.get("profile", {})
    apply(op, Profile(**asked | {"locked": frozenset(asked.get("locked", ()))}), documents=False)
    op.prompt = case.get("prompt", "")
    sent = RESPONSES.build(op, case.get("model", "m"), ABLE)
    assert isinstance(sent, bytes) and sent == RESPONSES.build(op, case.get("model", "m"), ABLE)
    members = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])
    assert {k: bytes(v).decode() for k, v in members.items()} == case["members"]
    assert sorted(op.dropped) == sorted(case.get("dropped", []))
    assert RESPONSES.headers(op) == b""


def test_a_conversation_without_its_instructions() -> None:
    """Somebody took the system messages out."""
    op = request({"instructions": "i", "input": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]})
    op.replace_messages([m for m in op.messages if m["role"] != "system"])
    assert json.loads(bytes(OpenAIResponses().build(op, "m", ABLE))) == {
        "model": "m",
        "input": [{"role": "user", "content": "a"}],
    }


def test_tools_that_the_server_sets() -> None:
    op = request({"input": "a"})
    op.set_param("tools", [{"type": "function", "function": {"name": "f"}}])
    assert json.loads(OpenAIResponses().build(op, "m", ABLE))["tools"] == [{"type": "function", "name": "f"}]


def test_signed_thinking_comes_back_to_its_provider() -> None:
    """A client that sends back what it got brings the signature along."""
    items: list[dict[str, Any]] = [
        {"role": "user", "content": "a"},
        {
            "type": "reasoning",
            "id": "rs_sb_7_0",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "signature:sig",
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "o"},
    ]
    op = request({"input": items, "reasoning": {"effort": "low"}, "tools": [{"type": "function", "name": "f"}]})
    sent = json.loads(AnthropicMessages().build(op, "claude-sonnet-4-5", Capabilities()))
    assert sent["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "sig"}
    assert (sent["thinking"]["type"], op.dropped) == ("enabled", [])


USER = {"role": "user", "content": "a"}
FILE = {"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}
IMAGE = {"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}


@pytest.mark.parametrize(
    ("body", "bound"),
    [
        ({"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": [], "conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": "a", "background": True}, "background"),
        ({"input": "a", "store": True}, "store"),
        ({"input": "a", "store": False, "background": False}, ""),
        ({"input": [USER, {"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
        ({"input": [{"id": "msg_1"}, USER]}, "item_reference"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}, USER]}, "compaction"),
        ({"input": [FILE]}, "file_id"),
        ({"input": [IMAGE]}, "file_id"),
        ({"input": [{"type": "web_search_call"}], "instructions": "i"}, "web_search_call"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]}, "input_file.file_url"),
        ({"input": [USER, {"type": "web_search_call"}]}, ""),
    ],
)
def test_what_only_a_provider_of_this_dialect_can_take(body: Any, bound: str) -> None:
    op = request(body)
    assert op.native is not None and op.native.bound == bound


WRONG: list[tuple[Any, str, str]] = [
    ([], "", "must be a JSON object"),
    (None, "", "must be a JSON object"),
    ({}, "input", "required"),
    ({"input": None, "previous_response_id": None}, "input", "required"),
    ({"input": ""}, "input", "empty"),
    ({"input": []}, "input", "empty"),
    ({"input": 5}, "input", "expected"),
    ({"input": {"role": "user"}}, "input", "expected"),
    ({"input": ["a"]}, "input[0]", "expected"),
    ({"input": [{}]}, "input[0].type", "required"),
    ({"input": [USER, {"type": 5}]}, "input[1].type", "a string is required"),
    ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role", "'robot' is not a role; a role is one of user"),
    ({"input": [{"role": 5, "content": "a"}]}, "input[0].role", "expected"),
    ({"input": [{"role": "user"}]}, "input[0].content", "required"),
    ({"input": [{"role": "user", "content": None}]}, "input[0].content", "expected"),
    ({"input": [{"role": "user", "content": [{}]}]}, "input[0].content[0].type", "required"),
    ({"input": [{"role": "user", "content": [{"type": {}}]}]}, "input[0].content[0].type", "a string is required"),
    (
        {"input": [USER, USER, {"role": "user", "content": [{"type": "input_text"}]}]},
        "input[2].content[0].text",
        "required",
    ),
    (
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]},
        "input[0].content[0].text",
        "expected str",
    ),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url", "required"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": "u"}}]}]},
        "input[0].content[0].image_url",
        "expected",
    ),
    ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data", "required"),
    ({"input": [{"role": "assistant", "content": [{"type": "refusal"}]}]}, "input[0].content[0].refusal", "required"),
    ({"input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input[0].call_id", "required"),
    (
        {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
        "input[0].arguments",
        "expected str",
    ),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output", "required"),
    (
        {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text"}]}]},
        "input[0].output[0].text",
        "required",
    ),
    ({"input": [{"type": "reasoning", "summary": 5}]}, "input[0].summary", "expected"),
    ({"input": "a", "max_output_tokens": 0}, "max_output_tokens", "at least 1"),
    ({"input": "a", "max_output_tokens": "5"}, "max_output_tokens", "expected"),
    ({"input": "a", "temperature": "hot"}, "temperature", "expected"),
    ({"input": "a", "instructions": ["a"]}, "instructions", "expected"),
    ({"input": "a", "stream": "yes"}, "stream", "expected"),
    ({"input": "a", "model": 5}, "model", "expected"),
    ({"input": "a", "tools": {}}, "tools", "expected"),
    ({"input": "a", "tools": [{"name": "f"}]}, "tools[0].type", "a string is required"),
    ({"input": "a", "tools": [{"type": "web_search"}, {"type": "function"}]}, "tools[1].name", "required"),
    (
        {"input": "a", "tools": [{"type": "function", "name": "f", "parameters": "p"}]},
        "tools[0].parameters",
        "expected",
    ),
    ({"input": "a", "text": "json"}, "text", "expected"),
    ({"input": "a", "reasoning": "high"}, "reasoning", "expected"),
]


@pytest.mark.parametrize(("body", "param", "says"), WRONG, ids=[json.dumps(row[0])[:70] for row in WRONG])
def test_requests_that_are_none(body: Any, param: str, says: str) -> None:
    with pytest.raises(Problem) as caught:
        request(body)
    problem = caught.value
    assert (problem.code, problem.param or "") == ("INVALID_REQUEST", param)
    assert says in problem.message and problem.message.startswith(f"{param}: " if param else "The body")


# ---- anything at all

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
    return st.integers(0, 14).flatmap(lambda n: values if n == 0 else good)


def some(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with most of `members`."""
    return st.fixed_dictionaries({}, optional={k: sometimes(v) for k, v in members.items()})


words = st.text(max_size=5)
parts = some(
    type=st.sampled_from(["input_text", "output_text", "refusal", "input_image", "input_file", "input_audio", "new"]),
    text=words,
    refusal=words,
    image_url=words,
    detail=st.sampled_from(["low", "auto"]),
    file_data=words,
    file_id=words,
    file_url=words,
    input_audio=values,
)
contents = words | st.lists(parts, max_size=3)
items = some(
    type=st.sampled_from(
        [
            "message",
            "message",
            "function_call",
            "function_call_output",
            "reasoning",
            "item_reference",
            "web_search_call",
        ]
    ),
    role=st.sampled_from(["user", "assistant", "system", "developer"]),
    content=contents,
    call_id=words,
    name=words,
    arguments=words,
    output=contents,
    id=words | st.just("rs_sb_1"),
    summary=st.lists(parts, max_size=2),
    encrypted_content=words | st.just("signature:x"),
)
requests = some(
    input=words | st.lists(items, max_size=4),
    model=words,
    stream=st.booleans(),
    instructions=words,
    max_output_tokens=st.integers(1, 99),
    temperature=st.floats(0, 2),
    tools=st.lists(
        some(type=st.sampled_from(["function", "web_search"]), name=words, parameters=values, strict=st.booleans()),
        max_size=2,
    ),
    tool_choice=st.sampled_from(["auto", "none", "required"])
    | some(type=st.sampled_from(["function", "allowed_tools", "mcp"]), name=words, mode=words, tools=values),
    parallel_tool_calls=st.booleans(),
    text=some(
        format=some(type=st.sampled_from(["text", "json_schema", "new"]), name=words, schema=values), verbosity=words
    ),
    reasoning=some(effort=words, summary=words, mode=values),
    include=st.lists(words, max_size=2),
    previous_response_id=words,
    conversation=words | values,
    store=st.booleans(),
    service_tier=words,
    truncation=values,
    new=values,
)


@MANY
@given(requests | values)
def test_any_request(body: Any) -> None:
    """A request is read, or refused by a `Problem` that says why; what is read can be sent on on any wire."""
    raw = json.dumps(body).encode()
    try:
        op = read_request(json.loads(raw), raw)
    except Problem:
        return
    apply(op, Profile(temperature=0.5, max_tokens_cap=50, system_prompt="s"), documents=False)
    sent = json.loads(bytes(OpenAIResponses().build(op, "m", ABLE)))
    assert (sent["model"], sent["instructions"][0]) == ("m", "s")
    assert sent.get("max_output_tokens", 1) <= 50
    assert json.loads(OpenAIChat().build(op, "m", ABLE))["messages"][0] == {"role": "system", "content": "s"}
    assert json.loads(AnthropicMessages().build(op, "claude-sonnet-4-5", ABLE))["messages"]
    op.replace_messages(op.messages[-1:])
    assert isinstance(json.loads(OpenAIResponses().build(op, "m", ABLE))["input"], list)


# ---- there and back

texts = st.text(min_size=1, max_size=8)
told = st.builds(lambda text: {"type": "text", "text": text}, texts) | st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    ]
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A well-formed conversation on OpenAI's chat wire: each call answered right behind it."""
    messages: list[dict[str, Any]] = []
    count = 0
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            messages.append({"role": "system", "content": draw(texts)})
        many = draw(st.lists(told, min_size=2, max_size=3))
        messages.append({"role": "user", "content": draw(texts | st.just(many))})
        for _ in range(draw(st.integers(0, 2))):
            calls = []
            for _ in range(draw(st.integers(1, 2))):
                count += 1
                function = {"name": draw(texts), "arguments": draw(texts)}
                calls.append({"id": f"c{count}", "type": "function", "function": function})
            messages.append({"role": "assistant", "content": draw(st.none() | texts), "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": c["id"], "content": draw(texts)} for c in calls]
        messages.append({"role": "assistant", "content": draw(texts)})
    return messages


@MANY
@given(conversations())
def test_a_conversation_there_and_back(messages: list[dict[str, Any]]) -> None:
    op = request({"input": "a"})
    op.replace_messages(messages)
    there = json.loads(OpenAIResponses().build(op, "m", ABLE))["input"]
    back = request({"input": there})
    assert back.messages == messages
    assert back.native is not None and (back.native.lost, back.native.bound) == ([], "")
