"""The official SDK's `realtime.connect` through the relay, against a Realtime server that nobody here wrote."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect

HELLO = "Hello! How can I help you today?"

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("clients-node")]


async def test_a_conversation_in_text(through_aimock: str) -> None:
    client = AsyncOpenAI(api_key="unused", base_url=f"{through_aimock}/v1")
    seen: list[Any] = []
    async with asyncio.timeout(20), client.realtime.connect(model="gpt-4o-realtime") as ws:
        await ws.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        await ws.conversation.item.create(item=item)
        await ws.response.create()
        async for event in ws:
            seen.append(event)
            if event.type == "response.done":
                break
    kinds = [e.type for e in seen]
    assert "session.created" in kinds and "response.done" in kinds, kinds
    said = "".join(e.delta for e in seen if e.type in ("response.output_text.delta", "response.text.delta"))
    assert said == HELLO, kinds
    await client.close()


async def test_a_client_of_the_beta(through_aimock: str) -> None:
    """It speaks what the service itself does not take any more, and is answered in it."""
    seen: list[dict[str, Any]] = []
    address = through_aimock.replace("http", "ws") + "/api/realtime?model=gpt-4o-realtime"
    async with asyncio.timeout(20), connect(address, additional_headers={"openai-beta": "realtime=v1"}) as ws:
        session = {  # as document B has it
            "modalities": ["text", "audio"],
            "instructions": "You are a helpful AI coach. Speak naturally and provide supportive guidance.",
            "voice": "alloy",
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1"},
        }
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        await ws.send(json.dumps({"type": "session.update", "session": session}))
        await ws.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await ws.send(json.dumps({"type": "response.create"}))
        while not seen or seen[-1]["type"] != "response.done":
            seen.append(json.loads(await ws.recv()))
    kinds = [e["type"] for e in seen]
    assert not [k for k in kinds if "output_text" in k or "output_audio" in k or k == "error"], kinds
    assert "".join(e["delta"] for e in seen if e["type"] == "response.text.delta") == HELLO
    assert "conversation.item.created" in kinds and "conversation.item.added" not in kinds
