"""Answers that go on without their client, over either shell."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.client import Connection, request
from support.gateway import Gateway, gateway, until
from switchboard.core.types import Outcome
from switchboard.net.script import Request, ScriptServer, Wait, chunk, stream_head

pytestmark = pytest.mark.anyio

WORDS = [f"word{n} " for n in range(10)]
TEXT = "".join(WORDS)


def event(value: Any) -> bytes:
    return chunk(b"data: " + json.dumps(value).encode() + b"\n\n")


def slow(pause: float = 0.05) -> ScriptServer:
    """A provider that takes its time between words."""
    steps: list[Any] = [Request(), stream_head()]
    for w in WORDS:
        steps += [event({"choices": [{"index": 0, "delta": {"content": w}}]}), Wait(pause)]
    steps += [event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})]
    return ScriptServer([*steps, chunk(b"data: [DONE]\n\n") + chunk(b"")])


def settings(up: ScriptServer, **chat: Any) -> dict[str, Any]:
    return {
        "providers": {"up": {"base_url": up.base_url, "models": ["m"]}},
        "chat": {"provider": "up", "format": "simple", "resumable": True, **chat},
    }


BODY = {"messages": [{"role": "user", "content": "Go"}], "conversation_id": "talk"}


def text_of(body: str) -> str:
    lines = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]
    return "".join(x["content"] for x in lines)


def last_id(body: bytes) -> str:
    return [line[4:].decode() for line in body.splitlines() if line.startswith(b"id: ")][-1]


async def left_after(g: Gateway, words: int) -> tuple[Connection, bytes]:
    """A client that leaves in the middle, and what it had read."""
    c = await g.connect()
    await c.send(request("/api/chat", BODY))
    assert (await c.head())[0] == 200
    seen = b""
    while seen.count(b"data: ") < words:
        seen += await c.chunk() or b""
    c.close()
    return c, seen


async def test_picked_up_where_it_was_left(shell: str, tmp_path: Path) -> None:
    async with slow() as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        _, seen = await left_after(g, 3)
        await asyncio.sleep(0.1)
        rest = await g.ask("/api/chat/talk/stream", headers={"last-event-id": last_id(seen)})
        assert (rest.status, rest.whole) == (200, True)
        assert rest.headers["content-type"].startswith("text/event-stream")
        assert text_of(seen.decode() + rest.text) == TEXT
        assert '"done":true' in rest.text.replace(" ", "")
        r = await g.record()
        assert r.outcome == Outcome.COMPLETE  # and billed
        held = (await g.ask("/api/conversations/talk")).json
        assert held["messages"][-1]["content"] == TEXT


async def test_all_of_it_from_the_beginning(shell: str, tmp_path: Path) -> None:
    """As useChat asks after a page was loaded anew; several may follow."""
    async with slow() as up, gateway(shell, data=tmp_path, **settings(up, format="ui")) as g:
        await left_after(g, 3)
        a, b = await asyncio.gather(*[g.ask("/api/chat/talk/stream") for _ in range(2)])
        assert a.text == b.text and a.headers["x-vercel-ai-ui-message-stream"] == "v1"
        deltas = [e["delta"] for e in map(json.loads, _data(a.text)) if e.get("type") == "text-delta"]
        assert "".join(deltas) == TEXT
        assert a.text.rstrip().endswith("data: [DONE]")


def _data(text: str) -> list[str]:
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [x for x in lines if x != "[DONE]"]


async def test_nothing_under_way(shell: str, tmp_path: Path) -> None:
    async with slow(0) as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        assert (await g.ask("/api/chat/talk/stream")).status == 204
        assert (await g.ask("/api/chat/talk/stream", method="DELETE")).status == 404
        whole = await g.ask("/api/chat", BODY)
        assert text_of(whole.text) == TEXT
        assert (await g.ask("/api/chat/talk/stream")).status == 204
        after = await g.ask("/api/chat/talk/stream", headers={"last-event-id": "2"})
        assert text_of(after.text) == "".join(WORDS[2:])  # who lost the connection at the very end
        last = last_id(whole.body)
        assert (await g.ask("/api/chat/talk/stream", headers={"last-event-id": last})).status == 204


async def test_stopped(shell: str, tmp_path: Path) -> None:
    async with slow(0.2) as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        await left_after(g, 2)
        follower = asyncio.create_task(g.ask("/api/chat/talk/stream"))
        await asyncio.sleep(0.1)
        assert (await g.ask("/api/chat/talk/stream", method="DELETE")).json == {"success": True}
        assert not (await follower).whole  # cut: it is no whole answer
        assert (await g.record()).outcome == Outcome.CLIENT_LEFT
        await until(lambda: up.connections[0].left is not None, 1)


async def test_off_by_default(shell: str, tmp_path: Path) -> None:
    async with slow(0.2) as up, gateway(shell, data=tmp_path, **settings(up, resumable=False)) as g:
        await left_after(g, 2)
        assert (await g.record()).outcome == Outcome.CLIENT_LEFT
        assert (await g.ask("/api/chat/talk/stream")).status == 204


async def test_nobody_else_s(shell: str, tmp_path: Path) -> None:
    keys = ["key-number-one-1", "key-number-two-2"]
    mine, other = ({"authorization": f"Bearer {k}"} for k in keys)
    async with slow(0.1) as up, gateway(shell, data=tmp_path, auth={"access_key": keys}, **settings(up)) as g:
        c = await g.connect()
        await c.send(request("/api/chat", BODY, mine))
        await c.head()
        assert (await g.ask("/api/chat/talk/stream", headers=other)).status == 204
        assert (await g.ask("/api/chat/talk/stream", headers=other, method="DELETE")).status == 404
        c.close()
        follower = await g.ask("/api/chat/talk/stream", headers=mine)
        assert text_of(follower.text) == TEXT


async def test_picked_up_before_the_first_word(shell: str, tmp_path: Path) -> None:
    """A page that is loaded anew while the model still thinks: an EventSource gives up on what is not text/event-stream."""
    done = event({"choices": [{"index": 0, "delta": {"content": TEXT}, "finish_reason": "stop"}]})
    script: list[Any] = [Request(), Wait(0.5), stream_head(), done, chunk(b"data: [DONE]\n\n") + chunk(b"")]
    async with ScriptServer(script) as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        c = await g.connect()
        await c.send(request("/api/chat", BODY))
        await until(lambda: len(up.connections) == 1)
        c.close()
        a = await g.ask("/api/chat/talk/stream")
        assert (a.status, a.whole) == (200, True) and text_of(a.text) == TEXT
        assert a.headers["content-type"].startswith("text/event-stream")
