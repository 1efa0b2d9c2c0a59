"""The Realtime services that these tests bring are as strict as those that they stand for: each refuses the other's shape."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from support.beta_server import Beta
from support.ga_server import Ga
from support.realtime_server import KEY, serving_realtime
from support.realtime_sound import described, silence, tone
from support.realtime_types import Json

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("clients-node")]

HEADERS = {"ga": {}, "beta": {"openai-beta": "realtime=v1"}}
KINDS = {"ga": Ga, "beta": Beta}
#: Events that the other shape has, and what of them is refused.
FOREIGN: dict[str, list[tuple[Json, str, str]]] = {
    "ga": [
        ({"type": "session.update", "session": {"voice": "alloy"}}, "missing_required_parameter", "session.type"),
        (
            {"type": "session.update", "session": {"type": "realtime", "voice": "alloy"}},
            "unknown_parameter",
            "session.voice",
        ),
        (
            {"type": "response.create", "response": {"modalities": ["text"]}},
            "unknown_parameter",
            "response.modalities",
        ),
        (
            {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text", "audio"]}},
            "invalid_value",
            "session.output_modalities",
        ),
        ({"type": "transcription_session.update", "session": {}}, "invalid_value", "type"),
    ],
    "beta": [
        ({"type": "session.update", "session": {"type": "realtime"}}, "unknown_parameter", "session.type"),
        ({"type": "session.update", "session": {"audio": {}}}, "unknown_parameter", "session.audio"),
        (
            {"type": "response.create", "response": {"output_modalities": ["text"]}},
            "unknown_parameter",
            "response.output_modalities",
        ),
        ({"type": "session.update", "session": {"modalities": ["audio"]}}, "invalid_value", "session.modalities"),
        (
            {
                "type": "conversation.item.create",
                "item": {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
            },
            "invalid_value",
            "item.content[0].type",
        ),
    ],
}


async def heard(ws: ClientConnection, kind: str = "error") -> Json:
    """The next event of a kind."""
    async with asyncio.timeout(5):
        while True:
            event: Json = json.loads(await ws.recv())
            if event["type"] == kind:
                return event


def opened(url: str, shape: str, key: str = KEY) -> Any:
    return connect(f"{url}?model=m", additional_headers={"authorization": f"Bearer {key}", **HEADERS[shape]})


@pytest.mark.parametrize("shape", ["ga", "beta"])
async def test_the_other_shape_is_refused(shape: str) -> None:
    async with serving_realtime(KINDS[shape]) as service:
        async with opened(service.url, shape) as ws:
            for event, code, param in FOREIGN[shape]:
                await ws.send(json.dumps(event | {"event_id": "mine"}))
                error = (await heard(ws))["error"]
                assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine"), event
        assert service.wrong == []


@pytest.mark.parametrize("shape", ["ga", "beta"])
async def test_a_client_of_the_other_shape_is_turned_away(shape: str) -> None:
    other = {"ga": "beta", "beta": "ga"}[shape]
    async with serving_realtime(KINDS[shape]) as service, opened(service.url, other) as ws:
        assert (await heard(ws))["error"]["code"] in ("beta_api_shape_disabled", "missing_beta_header")
        with pytest.raises(websockets.ConnectionClosed):
            await ws.recv()
        assert ws.close_code == 4000


async def test_a_wrong_key_is_refused() -> None:
    async with serving_realtime(Ga) as service:
        with pytest.raises(websockets.InvalidStatus, match="401"):
            async with opened(service.url, "ga", "sk-wrong"):
                pass


@pytest.mark.parametrize("shape", ["ga", "beta"])
async def test_who_speaks_interrupts(shape: str) -> None:
    async with serving_realtime(KINDS[shape]) as service, opened(service.url, shape) as ws:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "at length"}]}
        await ws.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await ws.send(json.dumps({"type": "response.create"}))
        await heard(ws, "response.created")
        sound = base64.b64encode(tone(440, 300)).decode()
        await ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
        done = (await heard(ws, "response.done"))["response"]
        assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")


async def test_too_little_sound_is_no_turn() -> None:
    async with serving_realtime(Ga) as service, opened(service.url, "ga") as ws:
        await ws.send(json.dumps({"type": "input_audio_buffer.commit"}))
        assert (await heard(ws))["error"]["code"] == "input_audio_buffer_commit_empty"
        await ws.send(b"\0\0")
        assert (await heard(ws))["error"]["code"] == "invalid_event"


@pytest.mark.parametrize("hertz", [220, 440, 1000])
def test_pitches_are_told_apart(hertz: int) -> None:
    assert described(silence(100) + tone(hertz, 500) + silence(100)) == f"a tone of {hertz} Hz"
    assert described(tone(hertz, 500)[1:] + b"\0") != f"a tone of {hertz} Hz"  # bytes that slipped
    assert described(silence(100)) == "silence"
