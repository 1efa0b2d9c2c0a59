"""The Vercel AI SDK in Node: its core with ``@ai-sdk/openai-compatible``, and what ``useChat`` is built on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("clients-node")

HELLO = "Hello! How can I help you today?"


@pytest.fixture(scope="session")
def everything(through_aimock: str, through_anthropic: str, node: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """What the script saw, by upstream."""
    servers = {
        "openai": {"address": through_aimock, "model": "gpt-mock"},
        "anthropic": {"address": through_anthropic, "model": "claude-mock"},
    }
    return node("ai.mjs", json.dumps(servers))


@pytest.fixture(params=["openai", "anthropic"])
def core(request: pytest.FixtureRequest, everything: dict[str, Any]) -> dict[str, Any]:
    """What `generateText` and `streamText` gave."""
    seen: dict[str, Any] = everything[request.param]["core"]
    return seen


@pytest.fixture(params=["openai", "anthropic"])
def web(request: pytest.FixtureRequest, everything: dict[str, Any]) -> dict[str, Any]:
    """What a chat of `useChat` held."""
    seen: dict[str, Any] = everything[request.param]["web"]
    return seen


def test_whole_and_stream(core: dict[str, Any]) -> None:
    assert core["whole"] == core["stream"] == HELLO
    assert core["finish"] == core["stream_finish"] == "stop"
    assert core["pieces"] > 1


def test_usage(core: dict[str, Any]) -> None:
    assert core["usage"] == core["stream_usage"] == [11, 9]


def test_reasoning(core: dict[str, Any]) -> None:
    assert (core["reasoning"], core["thought"]) == ("Let me see.", "Forty-two.")


def test_a_tool_is_run_and_its_result_goes_back(core: dict[str, Any]) -> None:
    assert core["tool_call"] == [["get_weather", {"city": "Oslo"}]]
    assert core["tool_result"] == ["Oslo: 7 degrees"]
    assert core["after_tool"] == "It is 7 degrees in Oslo."


def test_two_calls(core: dict[str, Any]) -> None:
    assert core["two_calls"] == ["Both at once.", ["Oslo", "Rome"], 2]


def test_structured_output(core: dict[str, Any]) -> None:
    assert core["object"] == {"name": "Ada", "age": 36}


def test_errors(core: dict[str, Any]) -> None:
    limited, refused, broken = core["limited"], core["refused"], core["broken"]
    assert (limited["api"], limited["status"], limited["retryable"]) == (True, 429, True)
    assert "is limiting requests" in limited["message"]
    assert (refused["api"], refused["status"], refused["retryable"]) == (True, 400, False)
    assert refused["message"] == "temperature: must be at most 1"
    assert (broken["api"], broken["status"], broken["retryable"]) == (True, 503, True)


def test_a_cut_stream_is_an_error(core: dict[str, Any]) -> None:
    assert core["cut"]["said"]
    assert core["cut"]["errors"][0].endswith("answer was cut off.")
    assert core["cut"]["finish"] is None


def test_use_chat(web: dict[str, Any]) -> None:
    assert (web["text"], web["role"], web["status"]) == (HELLO, "assistant", "ready")
    assert web["parts"] == ["step-start", "text"]
    assert web["states"] == ["done"]
    assert web["ends"] == [[False, False, False]]  # not aborted, not disconnected, no error


def test_use_chat_goes_on(web: dict[str, Any]) -> None:
    assert web["second"] == [4, "Forty-two."]
    assert web["reasoning"] == ["Let me see."]


def test_use_chat_s_tools(web: dict[str, Any]) -> None:
    """The page runs the tool, and the conversation goes on by itself."""
    assert web["tool_calls"] == [["get_weather", {"city": "Oslo"}]]
    assert web["tool_parts"] == [["tool-get_weather", "output-available", {"city": "Oslo"}, "7 degrees"]]
    assert web["after_tool"] == "It is 7 degrees in Oslo."
    assert web["tool_errors"] == []


@pytest.mark.parametrize(
    ("prompt", "code", "text"),
    [
        ("limited", "PROVIDER_RATE_LIMITED", "is limiting requests; try again later."),
        ("refuse", "PROVIDER_REJECTED", "did not accept the request."),
    ],
)
def test_use_chat_s_errors(web: dict[str, Any], prompt: str, code: str, text: str) -> None:
    """What the chat is told is the whole body, as the SDK has it."""
    assert web[prompt]["status"] == "error"
    (told,) = web[prompt]["errors"]
    error = json.loads(told)["error"]
    assert error["code"] == code
    assert error["message"].endswith(text)


def test_use_chat_of_a_cut_stream(web: dict[str, Any]) -> None:
    assert web["cut"]["status"] == "error"
    assert web["cut"]["said"]
    (told,) = web["cut"]["errors"]
    assert told.endswith("answer was cut off.")
