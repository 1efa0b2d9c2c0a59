"""What requests cost, in the log and the metrics."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.client import chat
from support.gateway import gateway
from switchboard.net.script import Again, Request, Script, ScriptServer, answer
from switchboard.telemetry.ledger import Ledger
from switchboard.telemetry.records import Record

pytestmark = pytest.mark.anyio

USAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 400}}
COMPLETION: Script = [
    Request(),
    answer(json.dumps({"choices": [{"index": 0, "message": {"content": "hi"}}], "usage": USAGE}).encode()),
    Again(),
]


def openai(up: ScriptServer) -> dict[str, Any]:
    row = {"type": "openai", "base_url": up.base_url, "api_key": "sk-1"}
    # whatever day it is: that of the price
    return {"providers": {"up": row}, "chat": {"provider": "up"}, "retired_models": {"gpt-4o": "gpt-4o"}}


async def test_a_chat_costs_what_the_list_says(shell: str) -> None:
    async with ScriptServer(COMPLETION) as up, gateway(shell, **openai(up)) as g:
        assert (await g.ask("/v1/chat/completions", chat("hi", model="gpt-4o"))).status == 200
        record = await g.record()
        assert record.cost == pytest.approx(600 * 2.5e-6 + 400 * 1.25e-6 + 200 * 1e-5)
        line = json.loads(next(x for x in (await g.log()).splitlines() if '"event":"request"' in x))
        assert line["cost"] == pytest.approx(record.cost)
        text = (await g.ask("/metrics", method="GET")).text
        assert "switchboard_cost_dollars_total{" in text


async def test_what_is_spoken_is_counted_in_characters(shell: str) -> None:
    spoken: Script = [Request(), answer(b"sound", kind="audio/mpeg"), Again()]
    async with ScriptServer(spoken) as up, gateway(shell, **openai(up)) as g:
        body = {"model": "tts-1", "input": "äöü" * 100, "voice": "alloy"}
        assert (await g.ask("/v1/audio/speech", body)).status == 200
        record = await g.record()
        assert record.usage.characters == 300
        assert record.cost == pytest.approx(300 * 15e-6)
        assert "switchboard_characters_total{" in (await g.ask("/metrics", method="GET")).text


async def test_tokens_of_sound_have_a_price_of_their_own(shell: str) -> None:
    counted = {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "prompt_tokens_details": {"audio_tokens": 800},
        "completion_tokens_details": {"audio_tokens": 150},
    }
    body = {"choices": [{"index": 0, "message": {"content": "hi"}}], "usage": counted}
    script: Script = [Request(), answer(json.dumps(body).encode()), Again()]
    async with ScriptServer(script) as up, gateway(shell, **openai(up)) as g:
        assert (await g.ask("/v1/chat/completions", chat("hi", model="gpt-audio"))).status == 200
        record = await g.record()
        assert (record.usage.audio_input, record.usage.audio_output) == (800, 150)
        assert record.cost == pytest.approx(200 * 2.5e-6 + 800 * 32e-6 + 50 * 10e-6 + 150 * 64e-6)


async def test_a_server_of_ones_own_has_no_prices(shell: str) -> None:
    async with ScriptServer(COMPLETION) as up:
        settings = openai(up)
        settings["providers"]["up"]["type"] = "compatible"
        async with gateway(shell, **settings) as g:
            assert (await g.ask("/v1/chat/completions", chat("hi", model="gpt-4o"))).status == 200
            assert (await g.record()).cost is None


async def test_a_record_waits_for_its_price_but_not_beyond_the_end() -> None:
    told: list[str] = []
    known: set[str] = set()
    ledger = Ledger()
    ledger.read_by(lambda batch: told.extend(r.request_id for r in batch))
    ledger.priced_by(lambda r: r.request_id in known)
    for name in ("a", "b"):
        ledger.put(Record(0.0, name, "POST", "/", 200, "complete", 0.1))
    ledger.flush()
    assert told == []
    known.add("b")
    ledger.flush()
    assert told == ["b"]
    ledger.flush(last=True)
    assert told == ["b", "a"]
