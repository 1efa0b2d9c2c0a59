"""Calls over WebRTC: the offer is passed on, and the server has joined, so that limits, tools and transcripts hold there too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.gateway import Gateway, until
from support.realtime_server import KEY, RealtimeServer
from support.sdp_server import ANSWER, SdpServer, sdp_server
from support.talkers import Cut, before_realtime
from switchboard.core.types import Outcome

pytestmark = pytest.mark.anyio
OFFER = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=offer\r\n"
SDP = {"content-type": "application/sdp"}


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


@asynccontextmanager
async def calling(
    data: Path | None = None, **settings: Any
) -> AsyncIterator[tuple[Gateway, SdpServer, RealtimeServer]]:
    async with sdp_server() as sdp:
        row = {"base_url": f"http://127.0.0.1:{sdp.port}/v1"}
        async with before_realtime(Cut, data, row, **settings) as (g, server):
            yield g, sdp, server


def form(session: Any) -> tuple[dict[str, str], bytes]:
    """A form with an offer, as browsers send it."""
    fields = {"sdp": OFFER, "session": json.dumps(session)}
    body = "".join(f'--b\r\ncontent-disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items())
    return {"content-type": "multipart/form-data; boundary=b"}, (body + "--b--\r\n").encode()


async def said(text: str, **more: Any) -> None:
    """The provider's model says something in the call."""
    ws, at = Cut.sockets[-1], {"response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0}
    item = {"id": "i1", "type": "message", "role": "assistant", "status": "completed", "content": []}
    usage = {"total_tokens": 12, "input_tokens": 8, "output_tokens": 4}
    for event in (
        {"type": "response.created", "response": {"id": "r1", "status": "in_progress"}},
        {"type": "response.output_item.added", "response_id": "r1", "item": item},
        {"type": "conversation.item.added", "previous_item_id": None, "item": item},
        {"type": "response.output_audio_transcript.delta", **at, "delta": text},
        {
            "type": "response.done",
            "response": {"id": "r1", "status": "completed", "output": [], "usage": usage, **more},
        },
    ):
        await ws.send(json.dumps(event))


async def transcript(g: Gateway, session: str) -> list[tuple[str, str]]:
    """What was heard in a session, which is written within a second."""
    for _ in range(40):
        told = await g.ask(f"/api/voice/sessions/{session}/transcript?source=relay", method="GET")
        if messages := json.loads(told.body)["messages"]:
            break
        await asyncio.sleep(0.025)
    return [(m["role"], m["content"]) for m in messages]


async def test_a_call(tmp_path: Path) -> None:
    held = {"instructions": "Be kind.", "voice": "marin", "model": "gpt-realtime-2.1"}
    async with calling(tmp_path, realtime=held) as (g, sdp, server):
        asked = {"type": "realtime", "instructions": "Be rude.", "audio": {"output": {"speed": 1.1}}, "tools": []}
        headers, body = form(asked)
        answer = await g.ask("/v1/realtime/calls", body, headers)
        assert (answer.status, answer.body.decode()) == (201, ANSWER)
        assert answer.headers["location"] == "/v1/realtime/calls/rtc_1"
        session = sdp.offers[0]["session"]
        assert sdp.offers[0]["sdp"] == OFFER and session["instructions"] == "Be kind."
        assert session["audio"]["output"] == {"voice": "marin", "speed": 1.1}
        assert session["audio"]["input"]["transcription"] and session["model"] == "gpt-realtime-2.1"
        assert set(sdp.keys) == {f"bearer {KEY}"} and "call_id=rtc_1" in server.heads[0].path

        await said("Good morning.")
        name = answer.headers["x-switchboard-session"]
        r = await g.record(2)  # behind that of the offer
        assert (r.status, r.usage.input, r.usage.output, r.path) == (200, 8, 4, "/v1/realtime/calls")
        ended = await g.ask(f"/api/voice/sessions/{name}/end", b"")
        assert ended.status == 200
        await until(lambda: sdp.ended == ["rtc_1"])
        assert g.app.talks.open == 0
        assert await transcript(g, name) == [("assistant", "Good morning.")]
        assert KEY not in await g.log()


async def test_an_offer_by_itself_with_a_client_secret(tmp_path: Path) -> None:
    """The session is the one that the secret was made for."""
    key = "the-access-key-of-the-test-0123456789"
    async with calling(tmp_path, auth={"access_key": [key]}) as (g, sdp, _):
        wanted = {"session": {"type": "realtime", "model": "gpt-realtime-1.5", "audio": {"output": {"voice": "cedar"}}}}
        minted = await g.ask("/v1/realtime/client_secrets", wanted, {"authorization": f"Bearer {key}"})
        secret = json.loads(minted.body)["value"]
        answer = await g.ask("/v1/realtime/calls", OFFER.encode(), SDP | {"authorization": f"Bearer {secret}"})
        assert answer.status == 201
        assert sdp.offers[0]["session"]["audio"]["output"]["voice"] == "cedar"
        assert sdp.offers[0]["session"]["model"] == "gpt-realtime-1.5"
        for shown in ({}, {"authorization": "Bearer ek_" + "a" * 32}, {"authorization": "Bearer nonsense"}):
            refused = await g.ask("/v1/realtime/calls", OFFER.encode(), SDP | shown)
            assert refused.status == 401 and json.loads(refused.body)["error"]["message"]
        assert len(sdp.offers) == 1


async def test_a_budget_cuts_the_call(tmp_path: Path) -> None:
    async with calling(tmp_path, limits={"tokens_per_day": 10}) as (g, sdp, _):
        assert (await g.ask("/v1/realtime/calls", OFFER.encode(), SDP)).status == 201
        await said("A lot.")
        await until(lambda: sdp.ended == ["rtc_1"])
        assert (await g.record(2 + 1)).outcome == Outcome.BUDGET_EXHAUSTED
        again = await g.ask("/v1/realtime/calls", OFFER.encode(), SDP)
        assert again.status == 429 and json.loads(again.body)["error"]["code"] and len(sdp.offers) == 1


async def test_tools_run_in_a_call() -> None:
    async with calling(realtime={"tools": [f"{__name__}:add"]}) as (g, sdp, server):
        assert (await g.ask("/v1/realtime/calls", OFFER.encode(), SDP)).status == 201
        assert [t["name"] for t in sdp.offers[0]["session"]["tools"]] == ["add"]
        call = {"id": "f1", "type": "function_call", "name": "add", "call_id": "c1", "status": "completed"}
        await said("", output=[call | {"arguments": '{"a": 2, "b": 3}'}])
        await until(lambda: len(server.heard) == 2)
        assert server.heard[0]["item"] == {"type": "function_call_output", "call_id": "c1", "output": "5"}
        assert server.heard[1]["type"] == "response.create"


async def test_a_call_that_the_provider_ends(tmp_path: Path) -> None:
    async with calling(tmp_path) as (g, _, _server):
        answer = await g.ask("/v1/realtime/calls", OFFER.encode(), SDP)
        await Cut.sockets[-1].close(1000)
        await until(lambda: g.app.talks.open == 0 and not g.app.registry.open)
        for _ in range(80):  # it is written within a second
            listed = json.loads((await g.ask("/api/voice/sessions", method="GET")).body)
            if listed[0]["status"] == "ended":
                break
            await asyncio.sleep(0.025)
        assert [(s["sessionId"], s["status"]) for s in listed] == [(answer.headers["x-switchboard-session"], "ended")]


async def test_a_provider_that_does_not_want_it() -> None:
    async with calling() as (g, sdp, _):
        sdp.status = 400
        refused = await g.ask("/v1/realtime/calls", OFFER.encode(), SDP)
        assert refused.status == 400 and not g.app.registry.open


async def test_another_key_where_one_is_refused() -> None:
    async with sdp_server() as sdp:
        sdp.key = KEY
        row = {"base_url": f"http://127.0.0.1:{sdp.port}/v1", "api_key": ["sk-revoked-000000000000", KEY]}
        async with before_realtime(Cut, None, row) as (g, _):
            assert (await g.ask("/v1/realtime/calls", OFFER.encode(), SDP)).status == 201
            assert sdp.keys == ["bearer sk-revoked-000000000000", f"bearer {KEY}"]


async def test_a_call_that_is_ended_before_it_began(tmp_path: Path) -> None:
    """Nobody would look after it."""
    async with calling(tmp_path) as (g, sdp, server):
        sdp.ready.clear()
        asking = asyncio.create_task(g.ask("/v1/realtime/calls", OFFER.encode(), SDP))
        await until(lambda: len(sdp.offers) == 1)
        listed = json.loads((await g.ask("/api/voice/sessions", method="GET")).body)
        await g.ask(f"/api/voice/sessions/{listed[0]['sessionId']}/end", b"")
        sdp.ready.set()
        refused = await asking
        assert refused.status == 403 and ANSWER.encode() not in refused.body
        await until(lambda: sdp.ended == ["rtc_1"] and not g.app.registry.open)
        assert server.heads == [] and g.app.talks.open == 0


async def test_what_is_no_session() -> None:
    deep: Any = {}
    for _ in range(62):
        deep = {"a": deep}
    async with calling() as (g, sdp, _):
        for session in ({"model": 5}, {"audio": deep}):
            headers, body = form(session)
            refused = await g.ask("/v1/realtime/calls", body, headers)
            assert refused.status == 400 and "session" in json.loads(refused.body)["error"]["message"]
        assert sdp.offers == [] and not g.app.registry.open


async def test_a_call_that_cannot_be_joined_is_ended() -> None:
    """Nothing that is said in it could be held to anything."""
    async with sdp_server() as sdp:
        row = {"base_url": f"http://127.0.0.1:{sdp.port}/v1", "realtime_url": "ws://127.0.0.1:9/v1/realtime"}
        async with before_realtime(Cut, None, row) as (g, _):
            refused = await g.ask("/v1/realtime/calls", OFFER.encode(), SDP)
            assert refused.status == 502
            await until(lambda: sdp.ended == ["rtc_1"] and not g.app.registry.open)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "text/plain"}, b"v=0", 415),
        (SDP, b"hello", 400),
        (SDP, b"", 400),
        (SDP, b"v=0" + b"x" * 300_000, 413),
        ({"content-type": "multipart/form-data; boundary=b"}, b"nothing", 400),
        ({"content-type": "multipart/form-data"}, b"nothing", 400),
        (form([1])[0], form([1])[1], 400),
    ],
)
async def test_what_is_no_offer(headers: dict[str, str], body: bytes, status: int) -> None:
    async with calling() as (g, sdp, _):
        answer = await g.ask("/v1/realtime/calls", body, headers)
        assert answer.status == status and json.loads(answer.body)["error"]["message"]
        assert sdp.offers == [] and not g.app.registry.open


async def test_the_server_s_end_ends_calls() -> None:
    async with calling() as (g, sdp, _):
        assert (await g.ask("/v1/realtime/calls", OFFER.encode(), SDP)).status == 201
        g.app.registry.stop_all()
        await until(lambda: sdp.ended == ["rtc_1"])
