"""Every way of asking for a chat over every provider: the same conversations, the same answers. A new provider is a row
of `PROVIDERS`, a new format a row of `FORMATS`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from msgspec import Struct

from support.client import Answer
from support.gateway import Gateway, gateway
from switchboard.net.script import Again, Request, Script, ScriptServer, answer, chunk, stream_head

pytestmark = pytest.mark.anyio


# ---- providers: each says "Hello there" to any chat, and calls the tool "look" with {"at": 1} when one is offered


def _sse(*payloads: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(p).encode() + b"\n\n" for p in payloads)


def _delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
OPENAI_STREAM: Script = [
    Request(),
    stream_head(),
    chunk(_sse(_delta({"role": "assistant", "content": ""}), _delta({"content": "Hello "}))),
    chunk(_sse(_delta({"content": "there"}), _delta({}, "stop"), {"choices": [], "usage": USAGE})),
    chunk(b"data: [DONE]\n\n"),
    chunk(b""),
    Again(),
]
OPENAI_TOOLS: Script = [
    Request(),
    stream_head(),
    chunk(
        _sse(
            _delta(
                {
                    "tool_calls": [
                        {"index": 0, "id": "t1", "type": "function", "function": {"name": "look", "arguments": ""}}
                    ]
                }
            )
        )
    ),
    chunk(_sse(_delta({"tool_calls": [{"index": 0, "function": {"arguments": '{"at"'}}]}))),
    chunk(_sse(_delta({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}), _delta({}, "tool_calls"))),
    chunk(b"data: [DONE]\n\n"),
    chunk(b""),
    Again(),
]
_MESSAGE = {"role": "assistant", "content": "Hello there"}
_CALL = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
OPENAI_WHOLE: Script = [
    Request(),
    answer(
        json.dumps({"choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}], "usage": USAGE}).encode()
    ),
    Again(),
]
OPENAI_WHOLE_TOOLS: Script = [
    Request(),
    answer(
        json.dumps(
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                        "finish_reason": "tool_calls",
                    }
                ]
            }
        ).encode()
    ),
    Again(),
]


@asynccontextmanager
async def openai(shell: str, streamed: bool, tools: bool, kind: str) -> AsyncIterator[Gateway]:
    script = {
        (True, False): OPENAI_STREAM,
        (True, True): OPENAI_TOOLS,
        (False, False): OPENAI_WHOLE,
        (False, True): OPENAI_WHOLE_TOOLS,
    }[streamed, tools]
    async with ScriptServer(script) as up:
        row = {"type": kind, "base_url": up.base_url} | ({"api_key": "sk-contract-1"} if kind == "openai" else {})
        async with gateway(shell, providers={"up": row}, chat={"provider": "up", "model": "m1"}) as g:
            yield g
        sent = json.loads(up.connections[0].requests[0].partition(b"\r\n\r\n")[2])
        assert sent["model"] == "m1"
        assert sent["messages"][-1]["content"] == "Hello there"
        assert sent.get("stream", False) is streamed


@asynccontextmanager
async def offline(shell: str, streamed: bool, tools: bool) -> AsyncIterator[Gateway]:
    async with gateway(shell, chat={"model": "tool-call" if tools else "echo"}) as g:
        yield g


Open = Callable[[str, bool, bool], AbstractAsyncContextManager[Gateway]]
PROVIDERS: dict[str, Open] = {
    "openai": lambda shell, streamed, tools: openai(shell, streamed, tools, "openai"),
    "compatible": lambda shell, streamed, tools: openai(shell, streamed, tools, "compatible"),
    "offline": offline,
}


# ---- formats: how each asks, and where in its answer the text and the tool calls are


class Format(Struct):
    """`text` and `calls` read an answer, streamed or not; `calls` is None where the format knows no tools."""

    path: str
    body: Callable[[str], dict[str, Any]]
    text: Callable[[Answer, bool], str]
    calls: Callable[[Answer, bool], list[tuple[str, Any]]] | None
    headers: dict[str, str] = {}


def _messages(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _ui_messages(text: str) -> dict[str, Any]:
    return {
        "id": "c",
        "trigger": "submit-message",
        "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": text}]}],
    }


def _openai_text(a: Answer, streamed: bool) -> str:
    if not streamed:
        return str(a.json["choices"][0]["message"]["content"])
    assert a.events[-1] == "[DONE]"
    return "".join(c["delta"].get("content") or "" for e in a.events[:-1] for c in e["choices"])


def _openai_calls(a: Answer, streamed: bool) -> list[tuple[str, Any]]:
    if not streamed:
        calls = a.json["choices"][0]["message"]["tool_calls"]
        return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls]
    pieces = [c["delta"].get("tool_calls", []) for e in a.events[:-1] for c in e["choices"]]
    functions = [call["function"] for piece in pieces for call in piece]
    name = next(f["name"] for f in functions if f.get("name"))
    return [(name, json.loads("".join(f.get("arguments", "") for f in functions)))]


def _simple_text(a: Answer, streamed: bool) -> str:
    if not streamed:
        assert a.json["done"] is True
        return str(a.json["content"])
    assert a.events[-1] == {"content": "", "done": True}
    return "".join(e["content"] for e in a.events)


def _simple_calls(a: Answer, streamed: bool) -> list[tuple[str, Any]]:
    calls = [e["tool_call"] for e in a.events if "tool_call" in e] if streamed else a.json["tool_calls"]
    return [(c["name"], json.loads(c["arguments"])) for c in calls]


def _ui_text(a: Answer, streamed: bool) -> str:
    if not streamed:
        return "".join(p["text"] for p in a.json["parts"])
    assert a.events[-1] == "[DONE]"
    return "".join(e["delta"] for e in a.events[:-1] if e["type"] == "text-delta")


def _ui_calls(a: Answer, streamed: bool) -> list[tuple[str, Any]]:
    if not streamed:
        return [(p["type"].removeprefix("tool-"), p["input"]) for p in a.json["parts"]]
    return [(e["toolName"], e["input"]) for e in a.events[:-1] if e["type"] == "tool-input-available"]


def _deep_text(a: Answer, streamed: bool) -> str:
    return "".join(e["text"] for e in a.events) if streamed else str(a.json["text"])


FORMATS = {
    "v1": Format("/v1/chat/completions", lambda t: _messages(t) | {"model": "m1"}, _openai_text, _openai_calls),
    "openai": Format("/api/chat?format=openai", _messages, _openai_text, _openai_calls),
    "simple": Format("/api/chat?format=simple", _messages, _simple_text, _simple_calls),
    "ui": Format("/api/chat", _ui_messages, _ui_text, _ui_calls),
    "text": Format("/api/chat?format=text", _messages, lambda a, _: a.text, None),
    "deep_chat": Format("/api/chat", lambda t: {"messages": [{"role": "user", "text": t}]}, _deep_text, None),
}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", FORMATS)
async def test_text(shell: str, name: str, provider: str, streamed: bool) -> None:
    f = FORMATS[name]
    async with PROVIDERS[provider](shell, streamed, False) as g:
        body = f.body("Hello there") | {"stream": streamed}
        if name == "v1" and provider == "offline":
            body["model"] = "echo"
        a = await g.ask(f.path, body)
        assert (a.status, a.whole) == (200, True), a.text
        assert f.text(a, streamed) == "Hello there"
        r = await g.record()
        assert r.outcome == "complete"
        assert (r.tokens_out, r.tokens_estimated) == (2, False)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", [n for n, f in FORMATS.items() if f.calls is not None])
async def test_tool_calls(name: str, provider: str, streamed: bool) -> None:
    f = FORMATS[name]
    assert f.calls is not None
    async with PROVIDERS[provider]("splice", streamed, True) as g:
        said = '{"at": 1}' if provider == "offline" else "Hello there"
        body = f.body(said) | {"stream": streamed, "tools": TOOLS}
        if name == "v1" and provider == "offline":
            body["model"] = "tool-call"
        a = await g.ask(f.path, body)
        assert (a.status, a.whole) == (200, True), a.text
        assert f.calls(a, streamed) == [("look", {"at": 1})]
