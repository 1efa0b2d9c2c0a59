"""Conversations that the server holds, over either shell."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.client import request
from support.gateway import gateway, until
from switchboard.net.script import Again, Hang, Request, ScriptServer, Wait, answer, chunk, stream_head

pytestmark = pytest.mark.anyio


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "conversation_id": "talk", **more}


def sse(*texts: str) -> bytes:
    """A provider's stream."""
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": {"content": t}}]} for t in texts]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks) + b"data: [DONE]\n\n"


WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Fine."}, "finish_reason": "stop"}]}


def provider(*, stream: bool = True) -> ScriptServer:
    """One that says "Fine." to everything."""
    said = answer(sse("Fi", "ne."), kind="text/event-stream") if stream else answer(json.dumps(WHOLE).encode())
    return ScriptServer([Request(), said, Again()])


def asked(up: ScriptServer) -> list[list[str]]:
    """What each call to the provider was told: messages by role."""
    bodies = [json.loads(r.partition(b"\r\n\r\n")[2]) for c in up.connections for r in c.requests]
    return [[f"{m['role'][0]}:{m['content']}" for m in b["messages"]] for b in bodies]


def settings(upstream: ScriptServer, **chat: Any) -> dict[str, Any]:
    return {
        "providers": {"up": {"base_url": upstream.base_url, "models": ["m"]}},
        "chat": {"provider": "up", "format": "simple", **chat},
    }


@pytest.mark.parametrize("stream", [True, False])
async def test_what_was_said_before_is_known(shell: str, stream: bool, tmp_path: Path) -> None:
    async with provider(stream=stream) as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        for n in range(3):
            a = await g.ask("/api/chat", says(f"q{n}", stream=stream))
            assert a.status == 200, a.text
            assert a.headers["x-switchboard-conversation"] == "talk"
        assert asked(up)[-1] == ["u:q0", "a:Fine.", "u:q1", "a:Fine.", "u:q2"]
        other = await g.ask("/api/chat", says("alone", conversation_id="other", stream=stream))
        assert other.status == 200 and asked(up)[-1] == ["u:alone"]


async def test_a_client_that_sends_all_of_it_again(shell: str, tmp_path: Path) -> None:
    """Only the tail is new."""
    async with provider() as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        await g.ask("/api/chat", says("q0"))
        history = [{"role": "user", "content": "q0"}, {"role": "assistant", "content": "Fine."}]
        body = {"messages": [*history, {"role": "user", "content": "q1"}], "conversation_id": "talk"}
        await g.ask("/api/chat", body)
        await g.ask("/api/chat", says("q2"))
        assert asked(up)[1:] == [["u:q0", "a:Fine.", "u:q1"], ["u:q0", "a:Fine.", "u:q1", "a:Fine.", "u:q2"]]


async def test_it_outlives_the_server(shell: str, tmp_path: Path) -> None:
    async with provider() as up:
        for n in range(2):
            async with gateway(shell, data=tmp_path, **settings(up)) as g:
                await g.ask("/api/chat", says(f"q{n}"))
        assert asked(up)[-1] == ["u:q0", "a:Fine.", "u:q1"]


async def test_after_a_long_silence_it_starts_afresh(shell: str, tmp_path: Path) -> None:
    async with provider() as up, gateway(shell, data=tmp_path, **settings(up, conversation_timeout=0.05)) as g:
        await g.ask("/api/chat", says("q0"))
        await asyncio.sleep(0.1)
        await g.ask("/api/chat", says("q1"))
        await g.ask("/api/chat", says("q2"))
        assert asked(up)[1] == ["u:q1"] and asked(up)[2] == ["u:q1", "a:Fine.", "u:q2"]


async def test_a_client_that_left(shell: str, tmp_path: Path) -> None:
    """What it had been told is kept."""
    begun = answer(sse("Once upon"), kind="text/event-stream").partition(b"\r\n\r\n")[2]
    first = begun[: begun.index(b"\n\n") + 2]
    script: list[Any] = [Request(), stream_head() + chunk(first), Hang()]
    async with ScriptServer(script) as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        c = await g.connect()
        await c.send(request("/api/chat", says("q0", stream=True)))
        await c.head()
        assert b"Once upon" in await c.reader.readuntil(b"\n\n")
        c.close()
        await g.record()

        async def kept() -> bool:
            held = await g.kept.conversations.load("default", "open", "talk")
            return held is not None and [m["content"] for m in held.messages] == ["q0", "Once upon"]

        async with asyncio.timeout(5):
            while not await kept():
                await asyncio.sleep(0.01)


async def test_two_at_once_are_both_kept(shell: str, tmp_path: Path) -> None:
    async with provider() as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        await asyncio.gather(*[g.ask("/api/chat", says(f"q{n}")) for n in range(8)])
        held = await g.kept.conversations.load("default", "open", "talk")
        assert held is not None and len(held.messages) == 16
        assert [m["role"] for m in held.messages] == ["user", "assistant"] * 8
        assert {m["content"] for m in held.messages if m["role"] == "user"} == {f"q{n}" for n in range(8)}


async def test_a_failed_call_leaves_nothing(shell: str, tmp_path: Path) -> None:
    error = answer(b'{"error": {"message": "no"}}', status=400)
    async with ScriptServer([Request(), error]) as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        assert (await g.ask("/api/chat", says("q0"))).status == 400
        assert await g.kept.conversations.load("default", "open", "talk") is None


@pytest.mark.parametrize("name", ["a b", "ä", "x" * 129, "a/b", 7, ["a"], "a\r\nb"])
async def test_a_name_that_is_none(shell: str, name: Any, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path) as g:
        a = await g.ask("/api/chat", says("q0", conversation_id=name))
        assert a.status == 400 and "conversation_id" in a.json["error"]["message"], a.text


async def test_one_without_a_name_gets_one(shell: str, tmp_path: Path) -> None:
    async with provider() as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        a = await g.ask("/api/chat", says("q0", conversation_id=""))
        name = a.headers["x-switchboard-conversation"]
        assert len(name) > 30
        await g.ask("/api/chat", says("q1", conversation_id=name))
        assert asked(up)[-1] == ["u:q0", "a:Fine.", "u:q1"]


async def test_use_chat_has_one_by_its_id(shell: str, tmp_path: Path) -> None:
    """It always sends all of it: what it says now is what was said, also after an edit."""

    def ui(*texts: str) -> dict[str, Any]:
        roles = ("user", "assistant")
        messages = [
            {"id": str(i), "role": roles[i % 2], "parts": [{"type": "text", "text": t}]} for i, t in enumerate(texts)
        ]
        return {"id": "chat1", "messages": messages, "trigger": "submit-message"}

    async with provider() as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        assert (await g.ask("/api/chat", ui("q0"))).status == 200
        await g.ask("/api/chat", ui("q0", "Fine.", "q1"))
        await g.ask("/api/chat", ui("q0", "Fine.", "q1 edited"))
        assert asked(up)[-1] == ["u:q0", "a:Fine.", "u:q1 edited"]
        held = await g.kept.conversations.load("default", "open", "chat1")
        assert held is not None
        assert [m["content"] for m in held.messages] == ["q0", "Fine.", "q1 edited", "Fine."]


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("stream", [True, False])
async def test_one_that_is_deleted_during_an_answer_stays_deleted(
    shell: str, stream: bool, before: int, tmp_path: Path
) -> None:
    """Whether it was there already, or this is its first answer; the client has its answer all the same."""
    said = answer(sse("Fi", "ne."), kind="text/event-stream") if stream else answer(json.dumps(WHOLE).encode())
    script: list[Any] = [Request(), said] * before + [Request(), Wait(0.3), said, Again()]
    async with ScriptServer(script) as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        for _ in range(before):
            assert (await g.ask("/api/chat", says("q0", stream=stream))).status == 200
        asking = asyncio.create_task(g.ask("/api/chat", says("q1", stream=stream)))
        await until(lambda: len(asked(up)) == before + 1)
        assert (await g.ask("/api/conversations/talk", method="DELETE")).json == {"success": True}
        assert (await g.ask("/api/conversations/talk", method="DELETE")).status == 404
        a = await asking
        assert a.status == 200 and "ne." in a.text
        assert (await g.ask("/api/conversations/talk")).status == 404
        # what is begun under that name afterwards is another one
        assert (await g.ask("/api/chat", says("q2", stream=stream))).status == 200
        held = (await g.ask("/api/conversations/talk")).json
        assert [m["content"] for m in held["messages"]] == ["q2", "Fine."]


async def test_one_that_is_deleted_and_begun_anew_during_an_answer(shell: str, tmp_path: Path) -> None:
    """What was asked in the old one does not come into the new one."""
    said = answer(sse("Fi", "ne."), kind="text/event-stream")
    slow: list[Any] = [Request(), said, Request(), Wait(0.4), said, Again()]
    async with ScriptServer(slow) as up, gateway(shell, data=tmp_path, **settings(up)) as g:
        await g.ask("/api/chat", says("q0"))
        asking = asyncio.create_task(g.ask("/api/chat", says("q1")))
        await until(lambda: len(asked(up)) == 2)
        place = ("default", "open", "talk")
        # as another replica does it, which does not know what is under way here
        assert await g.kept.conversations.delete(*place)
        assert await g.kept.conversations.append(*place, 0, [{"role": "user", "content": "anew"}] * 2, 1)
        assert (await asking).status == 200
        held = await g.kept.conversations.load(*place)
        assert held is not None and [m["content"] for m in held.messages] == ["anew", "anew"]
