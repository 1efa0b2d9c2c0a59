"""What stands between a client and a provider: one response at a time, tools that run here, sessions that are renewed, budgets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import websockets

from support.gateway import until
from support.realtime_sound import tone
from support.talkers import Cut, Talker, before_realtime, talking
from switchboard.core.types import Outcome

pytestmark = pytest.mark.anyio
TEXT = {"type": "realtime", "output_modalities": ["text"]}
CALLS: list[Any] = []


def weather(city: str, days: int = 1) -> dict[str, Any]:
    """The weather of a city."""
    CALLS.append((city, days))
    return {"city": city, "sky": "blue"}


async def slow(seconds: float) -> str:
    """Take one's time."""
    await asyncio.sleep(seconds)
    return "done"


async def in_writing(client: Talker) -> None:
    await client.say("session.update", session=TEXT)
    await client.hear("session.updated")


async def test_a_second_response_waits_for_the_first() -> None:
    async with before_realtime() as (g, server), talking(g) as client:
        await in_writing(client)
        await client.text("milk")
        await client.text("bread")
        assert await client.answer() == "You said: bread. Before: milk."
        assert await client.answer() == "You said: bread. Before: milk."
        assert "error" not in client.kinds() and server.wrong == []


async def test_more_is_never_heard_than_was_sent() -> None:
    """A client that has played 1 s more than there is, as it says, gets no error for it."""
    async with before_realtime() as (g, _), talking(g) as client:
        await client.text("milk")
        done = await client.hear("response.done")
        item = done["response"]["output"][0]["id"]
        await client.say("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=60_000)
        truncated = await client.hear("conversation.item.truncated")
        assert 0 < truncated["audio_end_ms"] <= 1_000
        assert "error" not in client.kinds()


async def test_a_tool_that_runs_here() -> None:
    CALLS.clear()
    tools = {"tools": [f"{__name__}:weather"]}
    async with before_realtime(realtime=tools) as (g, server), talking(g) as client:
        await in_writing(client)
        assert client.heard[-1]["session"]["tools"] == []
        await client.text('use weather {"city": "Oslo", "days": 3}')
        assert await client.answer() == ""  # the call, of which nothing is seen
        assert await client.answer() == 'The tool said: {"city":"Oslo","sky":"blue"}.'
        assert CALLS == [("Oslo", 3)]
        seen = json.dumps(client.heard)
        assert "function_call" not in seen and "weather" not in seen.replace("use weather", "")
        creates = [e for e in server.heard if e["type"] == "response.create"]
        assert len(creates) == 2
        outputs = [e["item"]["output"] for e in server.heard if e.get("item", {}).get("type") == "function_call_output"]
        assert outputs == ['{"city":"Oslo","sky":"blue"}']


async def test_tools_of_the_client_stand_beside_ours() -> None:
    """And it hears of its own."""
    tools = {"tools": [f"{__name__}:weather"]}
    own = {"type": "function", "name": "light", "parameters": {"type": "object", "properties": {}}}
    async with before_realtime(realtime=tools) as (g, server), talking(g) as client:
        await client.say("session.update", session={**TEXT, "tools": [own]})
        assert [t["name"] for t in (await client.hear("session.updated"))["session"]["tools"]] == []
        updated = await client.hear("session.updated")
        assert [t["name"] for t in updated["session"]["tools"]] == ["light"]
        assert [t["name"] for t in server.heard[-1]["session"]["tools"]] == ["weather", "light"]
        await client.text('use light {"on": true}')
        done = await client.hear("response.done")
        assert [i["name"] for i in done["response"]["output"]] == ["light"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"turn_detection": {"type": "none"}}, {"turn_detection": None}),
        (
            {"turn_detection": {"silence_duration_ms": 700}},
            {"turn_detection": {"type": "server_vad", "silence_duration_ms": 700}},
        ),
        (
            {"turn_detection": {"eagerness": "low"}},
            {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}},
        ),
        ({"noise_reduction": "near_field"}, {"noise_reduction": {"type": "near_field"}}),
        ({"noise_reduction": "none"}, {"noise_reduction": None}),
        ({"input_format": "g711_ulaw"}, {"format": {"type": "audio/pcmu"}}),
        ({"transcription_language": "de"}, {"transcription": {"model": "whisper-1", "language": "de"}}),
        ({"transcription_model": "gpt-4o-transcribe"}, {"transcription": {"model": "gpt-4o-transcribe"}}),
    ],
)
async def test_what_the_settings_say_of_a_session(said: dict[str, Any], told: dict[str, Any]) -> None:
    async with before_realtime(realtime=said) as (g, server), talking(g):
        await until(lambda: server.heard)
        assert server.heard[0]["session"] == {"type": "realtime", "audio": {"input": told}}


async def test_what_a_tool_gives_is_spoken() -> None:
    """Once: the call and what came of it are not heard."""
    CALLS.clear()
    async with before_realtime(realtime={"tools": [f"{__name__}:weather"]}) as (g, _), talking(g) as client:
        await client.text('use weather {"city": "Oslo"}')
        await client.hear("response.done")
        assert await client.answer() == 'The tool said: {"city":"Oslo","sky":"blue"}.'
        sounds = [e for e in client.heard if e["type"] == "response.output_audio.delta"]
        assert len(sounds) == 4 and CALLS == [("Oslo", 1)]  # one for each word


async def test_a_tool_that_takes_too_long() -> None:
    tools = {"tools": [f"{__name__}:slow"], "tool_seconds": 0.1}
    async with before_realtime(realtime=tools) as (g, _), talking(g) as client:
        await in_writing(client)
        await client.text('use slow {"seconds": 30}')
        await client.answer()
        assert "error" in await client.answer()


async def test_a_tool_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(ValueError, match=rf"{__name__}:nothing"):
        async with before_realtime(realtime={"tools": [f"{__name__}:nothing"]}):
            pass


async def test_a_provider_whose_time_is_up() -> None:
    """It closes with 1001: the client sees a pause, and what was said is remembered."""
    async with before_realtime() as (g, server), talking(g) as client:
        await in_writing(client)
        await client.text("milk")
        await client.answer()
        await Cut.sockets[0].close(1001, "Your session hit the maximum duration.")
        await client.text("bread")
        # of what the model said it is told too, or it would begin anew
        assert await client.answer(2.0) == "You said: bread. Before: milk."
        assert len(Cut.sockets) == 2 and g.app.talks.renewed == 1 and "error" not in client.kinds()
        assert client.kinds().count("session.created") == 1 and client.kinds().count("session.updated") == 1
        told = [e["item"] for e in server.heard if e["type"] == "conversation.item.create"]
        assert [i["role"] for i in told] == ["user", "user", "assistant", "user"]
        assert server.wrong == []


async def test_a_provider_that_breaks_off_in_an_answer() -> None:
    """The client hears the answer's end, and may ask again."""
    async with before_realtime() as (g, _), talking(g) as client:
        await in_writing(client)
        await client.text("at length")
        await client.hear("response.output_text.delta")
        Cut.sockets[0].transport.abort()
        done = await client.hear("response.done")
        assert done["response"]["status"] == "failed"
        await client.text("bread")
        assert (await client.answer()).startswith("You said: bread. Before: at length")


async def test_a_provider_that_breaks_off_before_an_answer_is_asked_again() -> None:
    class Mute(Cut):
        async def _answer(self, asked: Any) -> None:
            if len(self.sockets) == 1:
                self._ws.transport.abort()
            else:
                await super()._answer(asked)

    async with before_realtime(Mute) as (g, _), talking(g) as client:
        await in_writing(client)
        await client.text("milk")
        assert await client.answer() == "You said: milk."


async def test_a_session_that_is_renewed_in_time() -> None:
    async with before_realtime(realtime={"renew_seconds": 1}) as (g, server), talking(g) as client:
        await in_writing(client)
        await client.text("milk")
        await client.answer()
        await until(lambda: len(Cut.sockets) == 2)
        await client.text("bread")
        assert await client.answer() == "You said: bread. Before: milk."
        await until(lambda: (1001, "") in server.closed)
        assert "error" not in client.kinds()


async def test_no_renewal_where_none_is_wanted() -> None:
    async with before_realtime(realtime={"renew": False}) as (g, _), talking(g) as client:
        await Cut.sockets[0].close(1001, "time is up")
        with pytest.raises(websockets.ConnectionClosed) as e:
            await client.hear("nothing")
        assert e.value.rcvd is not None and (e.value.rcvd.code, e.value.rcvd.reason) == (1001, "time is up")


async def test_a_budget_that_runs_out_ends_it(tmp_path: Path) -> None:
    async with before_realtime(data=tmp_path, limits={"tokens_per_day": 3}) as (g, _), talking(g) as client:
        await in_writing(client)
        await client.text("one two three four five six")
        with pytest.raises(websockets.ConnectionClosed) as e:
            await client.hear("nothing")
        assert e.value.rcvd is not None and e.value.rcvd.code == 1008
        assert client.heard[-1]["type"] == "error" and client.heard[-1]["error"]["code"] == "budget_exhausted"
        assert [r.outcome for r in [await g.record(1), await g.record(2)]] == [
            Outcome.COMPLETE,
            Outcome.BUDGET_EXHAUSTED,
        ]
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with talking(g):
                pass
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["x-should-retry"] == "false"


async def test_sound_of_another_rate() -> None:
    """A telephone's, both ways: what it sends is heard at its pitch, what it gets has its length."""
    session = {
        "type": "realtime",
        "audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}},
    }
    sound = tone(440, 1200)
    narrow = b"".join(sound[i : i + 2] for i in range(0, len(sound), 6))  # every third sample: 8 kHz
    free = {"client_fields": ["turn_detection"]}
    path = "/v1/realtime?model=m&rate=8000&audio=binary"
    async with before_realtime(realtime=free) as (g, _), talking(g, path) as client:
        await client.say("session.update", session=session)
        await client.hear("session.updated")
        for i in range(0, len(narrow), 320):
            await client.ws.send(narrow[i : i + 320])
        await client.say("input_audio_buffer.commit")
        heard = await client.hear("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == "a tone of 440 Hz"
        await client.say("response.create")
        await client.hear("response.done")
        got = b"".join(e["sound"] for e in client.heard if "sound" in e)
        words = "".join(e["delta"] for e in client.heard if e["type"].endswith("transcript.delta")).split()
        ms = len(got) / 16
        assert 0.85 * 100 * len(words) <= ms <= 100 * len(words)


async def test_signs_of_life() -> None:
    async with before_realtime() as (g, server), talking(g, "/v1/realtime?model=m&heartbeat=1") as client:
        await client.say("switchboard.ping")
        assert (await client.hear())["type"] == "switchboard.pong"
        assert (await client.hear())["type"] == "switchboard.pong"
        assert server.heard == []


@pytest.mark.parametrize(
    "query",
    [
        "rate=7",
        "rate=x",
        "heartbeat=0",
        "audio=loud",
        "dialect=welsh",
        "token=nonsense",
        "call_id=rtc_1",
        "intent=transcription",
    ],
)
async def test_what_cannot_be(query: str) -> None:
    async with before_realtime() as (g, _):
        with pytest.raises(websockets.InvalidStatus) as e:
            async with talking(g, f"/v1/realtime?model=m&{query}"):
                pass
        assert e.value.response.status_code in (400, 401)


async def test_a_client_that_reads_slowly_gets_all_events_and_the_newest_sound() -> None:
    async with before_realtime() as (g, _), talking(g) as client:
        client.ws.transport.pause_reading()
        for n in range(8):
            await client.text(f"at length {n}")
        await until(lambda: g.app.talks.frames_out > 8 * 400, 20)  # a word is two frames
        client.ws.transport.resume_reading()
        for _ in range(8):
            words = (await client.answer(10)).split()
            assert len(words) == 200
        sounds = sum(k == "response.output_audio.delta" for k in client.kinds())
        assert 200 <= sounds < 1600 and "error" not in client.kinds()
    await until(lambda: g.app.talks.dropped == 1600 - sounds)
