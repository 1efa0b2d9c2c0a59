"""The official SDK's `realtime.connect`, and a client of the beta, through the relay: what each is told is of its own shape, event by event,
whichever shape the service has."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection, connect

from clients.conftest import Line
from support.beta_server import Beta
from support.ga_server import Ga
from support.realtime_sound import described, silence, tone
from support.realtime_types import Json, faults

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("clients-node")]

WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
#: What document B has its clients configure.
SESSION = {
    "modalities": ["text", "audio"],
    "instructions": "You are a helpful AI coach. Speak naturally and provide supportive guidance.",
    "voice": "alloy",
    "input_audio_format": "pcm16",
    "output_audio_format": "pcm16",
    "input_audio_transcription": {"model": "whisper-1"},
}


class Client:
    """A conversation as a client holds it: it keeps what it hears, and hears nothing that is not of its shape."""

    def __init__(self, ws: Any, types: dict[str, Any]) -> None:
        self.ws = ws
        self.heard: list[Json] = []
        self._types = types

    async def send(self, kind: str, **members: Any) -> None:
        event = {"type": kind, **members}
        await self.ws.send(json.dumps(event) if isinstance(self.ws, ClientConnection) else event)

    async def until(self, kind: str) -> Json:
        """The next event of a kind."""
        while True:
            raw = await self.ws.recv() if isinstance(self.ws, ClientConnection) else await self.ws.recv_bytes()
            event: Json = json.loads(raw)
            self.heard.append(event)
            assert event["type"] in self._types, event
            assert faults(event, self._types[event["type"]]) == [], event
            if event["type"] == kind:
                return event

    async def text(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        await self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})

    async def sound(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), 9600):
            await self.send("input_audio_buffer.append", audio=base64.b64encode(pcm[at : at + 9600]).decode())

    def joined(self, kind: str) -> str:
        """The deltas of a kind since the newest answer began."""
        n = max(i for i, e in enumerate(self.heard) if e["type"] == "response.created")
        return "".join(e["delta"] for e in self.heard[n:] if e["type"] == kind)

    def count(self, kind: str) -> int:
        return sum(e["type"] == kind for e in self.heard)


@asynccontextmanager
async def sdk(line: Line) -> AsyncIterator[Client]:
    """The official SDK, which speaks GA."""
    async with (
        asyncio.timeout(20),
        AsyncOpenAI(api_key="unused", base_url=f"{line.address}/v1") as client,
        client.realtime.connect(model=line.model) as ws,
    ):
        yield Client(ws, Ga.SERVER)


@asynccontextmanager
async def beta(line: Line) -> AsyncIterator[Client]:
    """A client of the beta, as documents A and B have it."""
    address = line.address.replace("http", "ws") + f"/api/realtime?model={line.model}"
    async with asyncio.timeout(20), connect(address) as ws:
        yield Client(ws, Beta.SERVER)


async def test_the_sdk_in_text_and_with_a_tool(sounding: Line) -> None:
    async with sdk(sounding) as client:
        created = await client.until("session.created")
        assert created["session"]["type"] == "realtime" and created["session"]["output_modalities"] == ["audio"]
        await client.send(
            "session.update", session={"type": "realtime", "output_modalities": ["text"], "tools": [WEATHER]}
        )
        updated = (await client.until("session.updated"))["session"]
        assert updated["output_modalities"] == ["text"] and updated["tools"][0]["name"] == "get_weather"
        await client.text('use get_weather {"city":"Oslo"}')
        await client.send("response.create")
        called = await client.until("response.function_call_arguments.done")
        assert (called["name"], called["arguments"]) == ("get_weather", '{"city":"Oslo"}')
        assert client.joined("response.function_call_arguments.delta") == called["arguments"]
        await client.until("response.done")
        output = {"type": "function_call_output", "call_id": called["call_id"], "output": "7 degrees"}
        await client.send("conversation.item.create", item=output)
        await client.send("response.create")
        done = (await client.until("response.done"))["response"]
        assert client.joined("response.output_text.delta") == "The tool said: 7 degrees."
        [item] = done["output"]
        assert item["content"] == [{"type": "output_text", "text": "The tool said: 7 degrees."}]
        assert done["usage"]["output_tokens"] > 0
        assert client.count("conversation.item.added") == client.count("conversation.item.done") == 4


async def test_the_sdk_with_sound_that_is_committed(sounding: Line) -> None:
    listening = {"turn_detection": None, "transcription": {"model": "whisper-1"}}
    async with sdk(sounding) as client:
        await client.send("session.update", session={"type": "realtime", "audio": {"input": listening}})
        updated = (await client.until("session.updated"))["session"]
        assert updated["audio"]["input"]["turn_detection"] is None
        assert updated["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
        await client.sound(tone(660, 400))
        await client.send("input_audio_buffer.commit")
        told = await client.until("conversation.item.input_audio_transcription.completed")
        assert told["transcript"] == "a tone of 660 Hz"
        assert client.count("response.created") == 0
        await client.send("response.create")
        done = (await client.until("response.done"))["response"]
        assert client.joined("response.output_audio_transcript.delta") == "You said: a tone of 660 Hz."
        deltas = [e["delta"] for e in client.heard if e["type"] == "response.output_audio.delta"]
        assert described(b"".join(map(base64.b64decode, deltas))) == "a tone of 220 Hz"
        assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "You said: a tone of 660 Hz."}]
        assert done["audio"]["output"]["format"]["type"] == "audio/pcm"
        assert done["usage"]["input_token_details"]["audio_tokens"] == 4


async def test_a_client_of_document_b(sounding: Line) -> None:
    """It configures its session and speaks: the service hears where it ends, and answers."""
    async with beta(sounding) as client:
        await client.until("session.created")
        await client.send("session.update", session=SESSION)
        updated = (await client.until("session.updated"))["session"]
        for name in ("instructions", "voice", "input_audio_format", "output_audio_format"):
            assert updated[name] == SESSION[name], name
        assert sorted(updated["modalities"]) == ["audio", "text"]
        assert updated["input_audio_transcription"]["model"] == "whisper-1"
        await client.text("hello")
        await client.ws.send(tone(440, 500) + silence(700))
        await client.until("input_audio_buffer.speech_stopped")
        told = await client.until("conversation.item.input_audio_transcription.completed")
        assert told["transcript"] == "a tone of 440 Hz"
        done = (await client.until("response.done"))["response"]
        said = "You said: a tone of 440 Hz. Before: hello."
        assert client.joined("response.audio_transcript.delta") == said
        deltas = [e["delta"] for e in client.heard if e["type"] == "response.audio.delta"]
        assert described(b"".join(map(base64.b64decode, deltas))) == "a tone of 220 Hz"
        assert done["output"][0]["content"] == [{"type": "audio", "transcript": said}]
        assert sorted(done["modalities"]) == ["audio", "text"] and done["voice"] == "alloy"
        assert client.count("conversation.item.created") == 3
        assert client.count("error") == 0


async def test_a_client_of_the_beta_takes_sound_as_binary(sounding: Line) -> None:
    address = sounding.address.replace("http", "ws") + f"/api/realtime?audio=binary&model={sounding.model}"
    sound, kinds = b"", []
    async with asyncio.timeout(20), connect(address) as ws:
        await ws.send(tone(440, 500) + silence(700))
        while "response.done" not in kinds:
            message = await ws.recv()
            if isinstance(message, bytes):
                sound += message
            else:
                kinds.append(json.loads(message)["type"])
    assert described(sound) == "a tone of 220 Hz"
    assert len(sound) == 4800 * 7
    assert "response.audio.delta" not in kinds and "response.audio.done" in kinds


async def test_errors_name_what_the_client_wrote(sounding: Line) -> None:
    async with sdk(sounding) as client:
        ulaw = {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}
        await client.send("session.update", event_id="mine_1", session={"type": "realtime", **ulaw})
        error = (await client.until("error"))["error"]
        assert (error["param"], error["event_id"]) == ("session.audio.input.format", "mine_1")
        await client.send("conversation.item.delete", event_id="mine_2", item_id="nobody")
        error = (await client.until("error"))["error"]
        assert (error["code"], error["event_id"]) == ("item_not_found", "mine_2")
        await client.text("hello")  # and it goes on
        await client.send("response.create")
        await client.until("response.done")
    async with beta(sounding) as client:
        await client.send("session.update", event_id="mine_3", session={"input_audio_format": "g711_ulaw"})
        error = (await client.until("error"))["error"]
        assert (error["param"], error["event_id"]) == ("session.input_audio_format", "mine_3")


async def test_two_answers_are_given_one_after_the_other(sounding: Line) -> None:
    """A service gives one at a time, and refuses a second; the relay has that wait."""
    async with sdk(sounding) as client:
        await client.text("hello")
        await client.send("response.create")
        await client.send("response.create")
        for _ in range(2):
            done = (await client.until("response.done"))["response"]
            assert done["status"] == "completed"
        told = [e["type"] for e in client.heard if e["type"] in ("response.created", "response.done", "error")]
        assert told == ["response.created", "response.done"] * 2


async def test_an_answer_is_cancelled(sounding: Line) -> None:
    async with sdk(sounding) as client:
        await client.text("at length")
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        done = (await client.until("response.done"))["response"]
        assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
        assert done["output"][0]["status"] == "incomplete"
