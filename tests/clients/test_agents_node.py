"""npm's ``@openai/agents-realtime`` in Node converses through the relay, with the relay's URL and any key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from clients.conftest import Line, posted

pytestmark = pytest.mark.xdist_group("clients-node")

Node = Callable[..., dict[str, Any]]


def talked(node: Node, line: Line, *turns: str | int, key: str = "unused", **config: Any) -> dict[str, Any]:
    """What came of a conversation."""
    url = line.address.replace("http", "ws") + f"/v1/realtime?model={line.model}"
    seen = node("agents.mjs", url, key, line.model, json.dumps(turns), json.dumps(config))
    assert seen["errors"] == []
    if line.service is not None:  # what is not in the SDK's own table of events, it leaves unread
        assert seen["strange"] == []
    return seen


def said(seen: dict[str, Any], role: str) -> list[str]:
    """What the history has of somebody, as a text; of the model and its tools only what is whole."""
    return [i["text"] for i in seen["history"] if i["role"] == role and (role == "user" or i["status"] == "completed")]


def test_texts_and_a_tool_of_the_client(line: Line, node: Node) -> None:
    question = "weather" if line.kind == "aimock" else 'use get_weather {"city":"Oslo"}'
    seen = talked(node, line, "hello", question, outputModalities=["text"])
    assert said(seen, "user") == ["hello", question]
    assert seen["tools"] == ["Oslo"]
    assert said(seen, "function_call") == ['get_weather({"city":"Oslo"}) → 7 degrees']
    own = ["You said: hello.", "The tool said: 7 degrees."]
    mock = ["Hello! How can I help you today?", "It is 7 degrees in Oslo."]
    assert said(seen, "assistant") == (mock if line.kind == "aimock" else own)
    assert seen["audio"] == 0


def test_it_is_heard_and_answers_with_sound(sounding: Line, node: Node) -> None:
    """Nothing is committed and no answer asked for: who hears finds the end of what is said."""
    seen = talked(node, sounding, "hello", 440)
    assert said(seen, "user") == ["hello", "a tone of 440 Hz"]
    assert said(seen, "assistant") == ["You said: hello.", "You said: a tone of 440 Hz. Before: hello."]
    assert seen["audio"] == 4800 * (3 + 9)  # 100 ms a word
    assert seen["usage"]["output"] >= 2 * (3 + 9)  # tokens of sound, one for 50 ms


def test_an_answer_is_interrupted(sounding: Line, node: Node) -> None:
    seen = talked(node, sounding, "at length", "hello")
    assert seen["interrupted"] == 1
    assert seen["kinds"].count("conversation.item.truncated") == 1
    assert seen["statuses"] == ["cancelled", "completed"]
    assert said(seen, "assistant")[-1] == "You said: hello. Before: at length."
    assert seen["audio"] < 4800 * 200


def test_with_a_secret_of_the_server(sounding: Line, node: Node) -> None:
    """As a page has it, which must not have a key."""
    secret = posted(f"{sounding.address}/v1/realtime/client_secrets", {"session": {"type": "realtime"}})["value"]
    assert secret.startswith("ek_")
    assert said(talked(node, sounding, "hello", key=secret), "assistant") == ["You said: hello."]
    # nobody is asked here who they are: one that was made up is as good as none
    assert said(talked(node, sounding, "hello", key=secret[:-4] + "aaaa"), "assistant") == ["You said: hello."]
