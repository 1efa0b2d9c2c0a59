"""Requests between OpenAI's wire and Anthropic's, both ways, and Anthropic's to Anthropic. The cases are data."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from dialects.anthropic.fixtures import Case, cases
from switchboard.core.capabilities import Capabilities
from switchboard.core.types import Generate
from switchboard.dialects.anthropic_messages import AnthropicMessages, read_request
from switchboard.dialects.openai_chat import OpenAIChat
from switchboard.dialects.openai_chat import read_request as read_openai
from switchboard.policy.applying import apply
from switchboard.policy.profile import Profile

ANTHROPIC = Capabilities(openai_like=False, stream_usage=False, top_k=True)
NAMES = re.compile("gpt-5")


def from_openai(body: Any) -> Generate:
    return read_openai(body, json.dumps(body).encode())


def from_anthropic(body: Any) -> Generate:
    return read_request(body, json.dumps(body).encode(), {})


@pytest.mark.parametrize("case", cases("requests_out"))
def test_openai_s_to_anthropic(case: Case) -> None:
    op = from_openai(case["openai"])
    op.prompt = case.get("prompt", "")
    model = case.get("model", "claude-sonnet-4-5")
    sent = json.loads(AnthropicMessages().build(op, model, ANTHROPIC))
    assert sent == {"model": model, "max_tokens": 8192} | case["anthropic"]
    assert sorted(op.dropped) == sorted(case.get("dropped", []))


@pytest.mark.parametrize("case", cases("requests_in"))
def test_anthropic_s_to_openai(case: Case) -> None:
    op = from_anthropic(case["anthropic"])
    op.prompt = case.get("prompt", "")
    model = case.get("model", "gpt-4o")
    names = NAMES if case.get("reasoning") else None
    able = Capabilities(top_k=case.get("top_k", False), completion_tokens=names, fixed_sampling=names, reasoning=names)
    assert json.loads(OpenAIChat().build(op, model, able)) == {"model": model} | case["openai"]
    assert sorted(op.dropped) == sorted(case.get("dropped", []))


@pytest.mark.parametrize("case", cases("native"))
def test_anthropic_s_to_anthropic(case: Case) -> None:
    raw = case["raw"].encode()
    headers = {k.encode(): v.encode() for k, v in case.get("headers", {}).items()}
    op = read_request(json.loads(raw), raw, headers)
    settings = case.get("profile", {})
    apply(op, Profile(**settings | {"locked": frozenset(settings.get("locked", ()))}), documents=False)
    op.prompt = case.get("prompt", "")
    sent = AnthropicMessages().build(op, case.get("model", "m"), ANTHROPIC)
    members = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])
    assert {k: bytes(v).decode() for k, v in members.items()} == case["members"]
    assert sorted(op.dropped) == sorted(case.get("dropped", []))


def test_a_request_that_is_built_twice_is_the_same() -> None:
    """A call that failed is built again, for the same target or another one."""
    op = from_openai({"messages": [{"role": "user", "content": "Hello"}], "n": 2, "top_k": 3, "max_tokens": 9})
    first = AnthropicMessages().build(op, "claude-opus-4-6", ANTHROPIC)
    assert AnthropicMessages().build(op, "claude-opus-4-6", ANTHROPIC) == first
    assert json.loads(OpenAIChat().build(op, "gpt-4o", Capabilities()))["n"] == op.choices == 2


def test_a_native_request_goes_to_both() -> None:
    body = {"max_tokens": 9, "system": "s", "messages": [{"role": "user", "content": "a"}], "top_k": 3}
    op = from_anthropic(body)
    assert json.loads(OpenAIChat().build(op, "gpt-4o", Capabilities()))["messages"][0]["role"] == "system"
    assert json.loads(AnthropicMessages().build(op, "m", ANTHROPIC)) == {"model": "m"} | body


TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]
NOTHING_SAID = [{"role": "user", "content": "…"}]
#: Members whose types are not checked on the way in, what becomes of them, and what is told to be left out.
ODD: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"functions": 5}, {}, []),
    ({"functions": [5]}, {}, ["tools.function"]),
    ({"functions": {"name": "f"}}, {}, []),
    ({"function_call": 5, "functions": [{"name": "f"}]}, {"tools": TOOLS}, ["tool_choice"]),
    ({"reasoning_effort": []}, {}, ["reasoning_effort"]),
    ({"reasoning_effort": {"a": 1}}, {}, ["reasoning_effort"]),
    ({"thinking": [1]}, {}, ["thinking"]),
    ({"response_format": [1]}, {}, ["response_format"]),
    (
        {"tool_choice": {"function": []}, "tools": [{"function": {"name": "f"}}]},
        {"tools": TOOLS},
        ["tool_choice"],
    ),
    ({"logit_bias": 5, "service_tier": [], "n": None}, {}, ["logit_bias", "service_tier"]),
    ({"messages": [{"role": "assistant", "content": None, "refusal": 5}]}, {"messages": NOTHING_SAID}, []),
    ({"messages": [{"role": "assistant", "content": None, "refusal": ["no"]}]}, {"messages": NOTHING_SAID}, []),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{}], "function_call": 5}]},
        {"messages": NOTHING_SAID},
        ["tool_calls.None"],
    ),
    (
        {
            "messages": [
                {"role": "assistant", "thinking_blocks": {"type": 5}, "tool_calls": [{"function": {"name": []}}]}
            ]
        },
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "None", "name": "", "input": {}}]}]},
        [],
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}]},
        {"messages": NOTHING_SAID},
        ["image_url"],
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": 5}}]}]},
        {"messages": NOTHING_SAID},
        ["file"],
    ),
]


@pytest.mark.parametrize(("odd", "becomes", "dropped"), ODD, ids=[json.dumps(row[0])[:60] for row in ODD])
def test_openai_requests_that_nobody_has_checked(
    odd: dict[str, Any], becomes: dict[str, Any], dropped: list[str]
) -> None:
    """Members whose types are not checked on the way in do not make the translation fail."""
    hello = {"messages": [{"role": "user", "content": "Hello"}]}
    op = from_openai(hello | odd)
    sent = json.loads(AnthropicMessages().build(op, "claude-sonnet-4-5", ANTHROPIC))
    assert sent == {"model": "claude-sonnet-4-5", "max_tokens": 8192} | hello | becomes
    assert sorted(op.dropped) == dropped
