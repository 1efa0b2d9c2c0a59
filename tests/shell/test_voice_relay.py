"""Voice sessions from the first call to what is kept of them: document B's client, over its `wsUrl`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import websockets

from support.gateway import Gateway, until
from support.realtime_server import KEY
from support.realtime_sound import silence, tone
from support.talkers import Cut, Talker, before_realtime, talking

pytestmark = pytest.mark.anyio
#: As document B configures it.
BETA = {
    "modalities": ["text", "audio"],
    "instructions": "You are a pirate.",
    "voice": "alloy",
    "input_audio_format": "pcm16",
    "output_audio_format": "pcm16",
    "input_audio_transcription": {"model": "whisper-1"},
}


async def connected(g: Gateway, session: str = "s1", user: str = "u1") -> str:
    """The `wsUrl` of a session."""
    answer = await g.ask("/api/voice/connect", {"sessionId": session, "userId": user})
    assert answer.status == 200, answer.body
    url: str = json.loads(answer.body)["wsUrl"]
    assert KEY not in url
    return url


async def kept(g: Gateway, session: str = "s1", messages: int = 0) -> list[tuple[str, str]]:
    """What was heard in a session, once there are so many messages."""
    told: list[Any] = []
    for _ in range(60):
        answer = await g.ask(f"/api/voice/sessions/{session}/transcript?source=relay&userId=u1", method="GET")
        told = json.loads(answer.body)["messages"]
        if len(told) >= messages:
            break
        await asyncio.sleep(0.025)
    return [(m["role"], m["content"]) for m in told]


async def status(g: Gateway, session: str = "s1") -> dict[str, Any]:
    listed = json.loads((await g.ask("/api/voice/sessions?userId=u1", method="GET")).body)
    found: dict[str, Any] = next(s for s in listed if s["sessionId"] == session)
    return found


async def speak(client: Talker, hertz: int) -> str:
    """Say a tone, and hear the answer."""
    sound = tone(hertz, 600) + silence(600)
    for at in range(0, len(sound), 4800):
        await client.ws.send(sound[at : at + 4800])
    return await client.answer()


async def test_a_session_by_voice(tmp_path: Path) -> None:
    held = {"instructions": "You are a helpful coach.", "client_fields": []}
    async with before_realtime(data=tmp_path, realtime=held) as (g, server):
        async with talking(g, await connected(g)) as client:
            assert "modalities" in client.heard[0]["session"]  # the beta's
            await client.say("session.update", session=BETA)
            assert await speak(client, 440) == "You said: a tone of 440 Hz."
            assert await speak(client, 880) == "You said: a tone of 880 Hz. Before: a tone of 440 Hz."
            assert {"response.audio.delta", "conversation.item.created"} < set(client.kinds())
            assert not [k for k in client.kinds() if "output_audio" in k or k in ("error", "conversation.item.added")]
            assert (await status(g))["status"] == "active"
            # what was said is there while they talk
            assert await kept(g, messages=4) == [
                ("user", "a tone of 440 Hz"),
                ("assistant", "You said: a tone of 440 Hz."),
                ("user", "a tone of 880 Hz"),
                ("assistant", "You said: a tone of 880 Hz. Before: a tone of 440 Hz."),
            ]
        await until(lambda: g.app.talks.open == 0)
        for _ in range(80):
            if (await status(g))["status"] == "ended":
                break
            await asyncio.sleep(0.025)
        assert (await status(g))["endReason"] == "ended"
        updates = [e["session"] for e in server.heard if e["type"] == "session.update"]
        assert updates[0]["instructions"] == "You are a helpful coach."
        assert not any("pirate" in str(u) for u in updates)
        assert updates[0]["audio"]["input"]["transcription"] == {"model": "whisper-1"}
        assert server.wrong == []


async def test_a_word_that_is_broken_into(tmp_path: Path) -> None:
    """Of an answer, what was heard of it is kept."""
    async with before_realtime(data=tmp_path) as (g, _), talking(g, await connected(g)) as client:
        await client.text("at length")
        item = (await client.hear("response.output_item.added"))["item"]["id"]
        for _ in range(20):
            await client.hear("response.audio.delta")
        sound = tone(440, 300)
        await client.ws.send(sound)
        done = await client.hear("response.done")
        assert done["response"]["status"] == "cancelled"
        await client.say("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=1000)
        await client.hear("conversation.item.truncated")
        await client.ws.send(silence(600))
        await client.answer()
        told = await kept(g, messages=4)
        assert told[0] == ("user", "at length") and told[2] == ("user", "a tone of 440 Hz")
        heard = told[1][1].split()
        assert 8 <= len(heard) <= 11 and set(heard) == {"blah"}  # a word is 100 ms
        assert g.app.talks.interruptions == 1


async def test_a_ticket_opens_once(tmp_path: Path) -> None:
    async with before_realtime(data=tmp_path) as (g, server):
        url = await connected(g)
        async with talking(g, url) as client:
            with pytest.raises(websockets.InvalidStatus) as e:
                async with talking(g, url):
                    pass
            assert e.value.response.status_code == 401
            body = json.loads(e.value.response.body or b"")
            assert isinstance(body["error"], str) and body["code"] == "UNAUTHORIZED"
            assert await speak(client, 440) == "You said: a tone of 440 Hz."
        assert len(server.heads) == 1


async def test_a_session_is_taken_up_again(tmp_path: Path) -> None:
    """What was said stays; the conversation before is over."""
    async with before_realtime(data=tmp_path) as (g, _), talking(g, await connected(g)) as first:
        await first.text("milk")
        await first.answer()
        async with talking(g, await connected(g)) as second:
            with pytest.raises(websockets.ConnectionClosed) as e:
                await first.hear("nothing")
            assert e.value.rcvd is not None and e.value.rcvd.code == 1000
            await second.text("bread")
            assert await second.answer() == "You said: bread."
            told = await kept(g, messages=4)
            assert [t for role, t in told if role == "user"] == ["milk", "bread"]
            assert (await status(g))["status"] == "active"


@pytest.mark.parametrize("how", ["end", "delete", "delete all"])
async def test_an_end_ends_the_conversation(tmp_path: Path, how: str) -> None:
    async with before_realtime(data=tmp_path) as (g, server), talking(g, await connected(g)) as client:
        await client.text("milk")
        await client.answer()
        if how == "end":
            answer = await g.ask("/api/voice/sessions/s1/end?userId=u1", b"")
        else:
            path = "/api/voice/sessions/s1?userId=u1" if how == "delete" else "/api/voice/sessions?userId=u1"
            answer = await g.ask(path, method="DELETE")
        assert (answer.status, json.loads(answer.body)) == (200, {"success": True})
        with pytest.raises(websockets.ConnectionClosed) as e:
            await client.hear("nothing", 1.0)
        assert e.value.rcvd is not None
        assert (e.value.rcvd.code, e.value.rcvd.reason) == (1000, "The session has ended.")
        await until(lambda: len(server.closed) == 1)
        listed = json.loads((await g.ask("/api/voice/sessions?userId=u1", method="GET")).body)
        assert [s["status"] for s in listed] == (["ended"] if how == "end" else [])
        # nothing comes back by what is written late
        await asyncio.sleep(0.6)
        gone = await g.ask("/api/voice/sessions/s1/transcript?userId=u1", method="GET")
        assert gone.status == (200 if how == "end" else 403)


async def test_what_was_said_outlives_the_provider_s_session(tmp_path: Path) -> None:
    async with before_realtime(data=tmp_path) as (g, _), talking(g, await connected(g)) as client:
        await speak(client, 440)
        await Cut.sockets[0].close(1001, "time is up")
        assert await speak(client, 880) == "You said: a tone of 880 Hz. Before: a tone of 440 Hz."
        told = await kept(g, messages=4)
        assert [t for role, t in told if role == "user"] == ["a tone of 440 Hz", "a tone of 880 Hz"]


async def test_a_provider_that_is_not_there_uses_the_ticket_up(tmp_path: Path) -> None:
    """And nothing is carried afterwards."""
    row = {"realtime_url": "ws://127.0.0.1:9/v1/realtime"}
    async with before_realtime(data=tmp_path, row=row) as (g, _):
        with pytest.raises(websockets.InvalidStatus) as e:
            async with talking(g, await connected(g)):
                pass
        assert e.value.response.status_code == 502
        assert g.kept.voice.carried == 0 and not g.app.registry.open


async def test_a_client_secret(tmp_path: Path) -> None:
    """It holds the session that it was made for, for as many conversations as one likes; no other ticket opens anything."""
    auth = {"access_key": ["the-access-key-of-the-test-0123456789"]}
    key = {"authorization": f"Bearer {auth['access_key'][0]}"}
    session = {"type": "realtime", "model": "gpt-realtime-2.1", "output_modalities": ["text"], "instructions": "Hm."}
    async with before_realtime(data=tmp_path, auth=auth) as (g, server):
        minted = json.loads((await g.ask("/v1/realtime/client_secrets", {"session": session}, key)).body)
        for _ in range(2):
            async with talking(
                g, "/v1/realtime", subprotocols=["realtime", f"openai-insecure-api-key.{minted['value']}"]
            ) as c:
                await c.text("milk")
                assert await c.answer() == "You said: milk."
                assert "response.output_audio.delta" not in c.kinds()
        assert "model=gpt-realtime-2.1" in server.heads[0].path
        assert [e["session"]["instructions"] for e in server.heard if e["type"] == "session.update"] == ["Hm.", "Hm."]
        for shown in ("ek_" + "a" * 32, "ek_nonsense", "vt_" + "a" * 32):
            with pytest.raises(websockets.InvalidStatus) as e:
                async with talking(g, additional_headers={"authorization": f"Bearer {shown}"}):
                    pass
            assert e.value.response.status_code == 401


async def test_a_secret_that_was_made_up_is_ignored_where_nobody_is_asked() -> None:
    """Some clients want to have one."""
    headers = {"authorization": "Bearer ek_dummy"}
    async with before_realtime() as (g, _), talking(g, additional_headers=headers) as client:
        await client.text("milk")
        assert await client.answer() == "You said: milk."
