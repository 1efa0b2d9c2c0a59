"""Streams as networks and servers deliver them: cut anywhere, compressed, with any line ends, in any size."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

import pytest

from support.client import Answer, chat
from support.gateway import gateway
from switchboard.net.script import Request, Script, ScriptServer, Wait, chunk, stream_head

pytestmark = pytest.mark.anyio


def event(content: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return b"data: " + json.dumps({"choices": [choice]} | more, ensure_ascii=False).encode() + b"\n\n"


FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
WORDS = ["Grüße, ", "мир! ", "🌍🌏 ", "データ: ", "data: ", "\n\n", 'quote " and \\ ', "end"]
STREAM = b"".join(event(w) for w in WORDS) + FINISH + DONE


async def through(shell: str, script: Script, path: str = "/v1/chat/completions", **settings: Any) -> Answer:
    async with ScriptServer(script) as up:
        rows = {"up": {"base_url": up.base_url, "models": ["m"]}}
        async with gateway(shell, providers=rows, **settings) as g:
            return await g.ask(path, chat(model="m", stream=True))


def pieces(data: bytes, seed: int) -> list[bytes]:
    """`data` cut at random places, often inside a character."""
    at = sorted(random.Random(seed).sample(range(1, len(data)), 40))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@pytest.mark.parametrize("seed", range(5))
async def test_cut_anywhere(shell: str, seed: int) -> None:
    steps = [s for p in pieces(STREAM, seed) for s in (chunk(p), Wait(0.001))]
    a = await through(shell, [Request(), stream_head(), *steps, chunk(b"")])
    assert (a.body, a.whole) == (STREAM, True)


@pytest.mark.parametrize("seed", range(3))
async def test_cut_anywhere_and_translated(shell: str, seed: int) -> None:
    steps = [s for p in pieces(STREAM, seed) for s in (chunk(p), Wait(0.001))]
    a = await through(shell, [Request(), stream_head(), *steps, chunk(b"")], "/api/chat?format=simple")
    assert "".join(e["content"] for e in a.events) == "".join(WORDS)
    assert a.events[-1] == {"content": "", "done": True}


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
async def test_other_line_ends_pass_as_they_are(shell: str, end: bytes) -> None:
    stream = STREAM.replace(b"\n", end)
    a = await through(shell, [Request(), stream_head(), chunk(stream), chunk(b"")])
    assert a.body.rstrip(b"\r\n") == stream.rstrip(b"\r\n")
    assert a.whole


async def test_comments_and_events_of_several_lines(shell: str) -> None:
    first, rest = event("one"), b": a comment\n\n" + b'event: chunk\nid: 7\ndata: {"choices":\ndata: []}\n\n'
    a = await through(shell, [Request(), stream_head(), chunk(first + rest + FINISH + DONE), chunk(b"")])
    assert a.body == first + rest + FINISH + DONE


async def test_an_event_of_ten_megabytes(shell: str) -> None:
    big = event("x" * 10_000_000)
    script: Script = [Request(), stream_head(), *[chunk(big[i : i + 50_000]) for i in range(0, len(big), 50_000)]]
    a = await through(shell, [*script, chunk(FINISH + DONE), chunk(b"")])
    assert a.body == big + FINISH + DONE


async def test_gzip_that_nobody_asked_for(shell: str) -> None:
    packed = gzip.compress(STREAM)
    steps = [s for p in pieces(packed, 1) for s in (chunk(p), Wait(0.001))]
    script: Script = [Request(), stream_head("content-encoding: gzip\r\n"), *steps, chunk(b"")]
    async with ScriptServer(script) as up, gateway(shell, providers={"up": {"base_url": up.base_url}}) as g:
        a = await g.ask("/v1/chat/completions", chat(model="m", stream=True))
        assert (a.body, a.whole) == (STREAM, True)
        assert "content-encoding" not in a.headers
        assert b"accept-encoding: identity" in up.connections[0].heard


async def test_only_the_usage_that_was_not_asked_for_is_taken_out(shell: str) -> None:
    nulls = event("a", usage=None)
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
    a = await through(shell, [Request(), stream_head(), chunk(nulls + FINISH + usage + DONE), chunk(b"")])
    assert a.body == nulls + FINISH + DONE


async def test_each_event_is_passed_on_at_once() -> None:
    """Nothing is gathered: an event is there before the next one is sent."""
    script: Script = [Request(), stream_head(), chunk(event("one")), Wait(0.3), chunk(event("two")), Wait(0.3)]
    async with ScriptServer(script) as up, gateway("splice", providers={"up": {"base_url": up.base_url}}) as g:
        from support.client import request
        from switchboard.core.clock import now

        c = await g.connect()
        began = now()
        await c.send(request("/v1/chat/completions", chat(model="m", stream=True)))
        await c.head()
        assert await c.chunk() == event("one")
        assert now() - began < 0.25
        assert await c.chunk() == event("two")
        assert now() - began < 0.55
        c.close()


async def test_an_upstream_that_answers_whole_though_a_stream_was_asked_for(shell: str) -> None:
    from switchboard.net.script import answer

    body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'
    a = await through(shell, [Request(), answer(body)], "/api/chat?format=simple")
    assert a.events == [{"content": "Hi", "done": False}, {"content": "", "done": True}]


async def test_an_upstream_that_streams_though_nobody_asked(shell: str) -> None:
    script: Script = [Request(), stream_head(), chunk(event("Hi ") + event("you") + FINISH + DONE), chunk(b"")]
    async with ScriptServer(script) as up, gateway(shell, providers={"up": {"base_url": up.base_url}}) as g:
        a = await g.ask("/v1/chat/completions", chat(model="m"))
        assert a.json["choices"][0]["message"]["content"] == "Hi you"


async def test_a_trace_goes_on_to_the_provider(shell: str) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    script: Script = [Request(), stream_head(), chunk(event("a") + FINISH + DONE), chunk(b"")]
    async with ScriptServer(script) as up, gateway(shell, providers={"up": {"base_url": up.base_url}}) as g:
        await g.ask("/api/chat", chat(model="m"), {"traceparent": parent})
        assert f"traceparent: {parent}\r\n".encode() in up.connections[0].heard
