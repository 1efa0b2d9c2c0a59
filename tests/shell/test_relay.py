"""Conversations by voice: a client's WebSocket, ours, and a provider's that nobody here wrote the client of."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from support.gateway import Gateway, gateway, until
from switchboard.core.counting import Take, Taken
from switchboard.core.types import Outcome
from switchboard.store.counters.local import LocalCounters

pytestmark = pytest.mark.anyio

KEY = "sk-of-the-provider-123456"
PCM = bytes(range(256)) * 4
SESSION = {"type": "realtime", "model": "gpt-realtime-2.1", "output_modalities": ["audio"], "instructions": "Default."}
USAGE = {
    "total_tokens": 30,
    "input_tokens": 20,
    "output_tokens": 10,
    "input_token_details": {"text_tokens": 5, "audio_tokens": 15, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 2, "audio_tokens": 8},
}


class Provider:
    """A GA server: notes what it hears, says hello, and answers each `response.create` with sound."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[dict[str, Any]] = []
        self.heads: list[Any] = []
        self.closed: list[tuple[int | None, str | None]] = []
        self.script: Callable[[ServerConnection], Awaitable[None]] | None = None

    async def __call__(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        self.heads.append(ws.request)
        if self.script is not None:
            await self.script(ws)
            return
        await say(ws, type="session.created", event_id="e1", session=SESSION)
        try:
            async for message in ws:
                event = json.loads(message)
                self.heard.append(event)
                if event["type"] == "session.update":
                    await say(ws, type="session.updated", event_id="e2", session={**SESSION, **event["session"]})
                elif event["type"] == "response.create":
                    await say(
                        ws, type="response.output_audio.delta", event_id="e3", response_id="r", item_id="i",
                        output_index=0, content_index=0, delta=base64.b64encode(PCM).decode(),
                    )  # fmt: skip
                    done = {
                        "id": "r",
                        "object": "realtime.response",
                        "status": "completed",
                        "output": [],
                        "usage": USAGE,
                    }
                    await say(ws, type="response.done", event_id="e4", response=done)
        except websockets.ConnectionClosed:
            pass
        self.closed.append((ws.close_code, ws.close_reason))


async def say(ws: ServerConnection, **event: Any) -> None:
    await ws.send(json.dumps(event))


@asynccontextmanager
async def relayed(**settings: Any) -> AsyncIterator[tuple[Gateway, Provider]]:
    """A gateway before a provider."""
    provider = Provider()
    async with serve(provider, "127.0.0.1", 0, process_request=None) as server:
        provider.port = next(iter(server.sockets)).getsockname()[1]
        row = {"api_key": KEY, "realtime_url": f"ws://127.0.0.1:{provider.port}/v1/realtime"}
        tree: dict[str, Any] = {"providers": {"openai": row}, **settings}
        async with gateway(**tree) as g:
            yield g, provider


async def heard(ws: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(5):
        event: dict[str, Any] = json.loads(await ws.recv())
        return event


def url(g: Gateway, path: str = "/v1/realtime", query: str = "") -> str:
    return f"ws://127.0.0.1:{g.port}{path}{query}"


async def test_a_conversation() -> None:
    async with relayed() as (g, provider):
        async with connect(url(g, query="?model=gpt-realtime-2.1")) as ws:
            assert (await heard(ws))["type"] == "session.created"
            await ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(PCM).decode()}))
            await ws.send(PCM)  # sound by itself
            await ws.send(json.dumps({"type": "response.create"}))
            assert base64.b64decode((await heard(ws))["delta"]) == PCM
            assert (await heard(ws))["type"] == "response.done"
            await ws.close(3000, "bye")
        await until(lambda: provider.closed)
        assert provider.closed == [(3000, "bye")]
        appended = [e for e in provider.heard if e["type"] == "input_audio_buffer.append"]
        assert [base64.b64decode(e["audio"]) for e in appended] == [PCM, PCM]
        head = provider.heads[0]
        assert head.headers["authorization"] == f"Bearer {KEY}" and head.path.endswith("?model=gpt-realtime-2.1")
        r, whole = await g.record(), await g.record(2)
        assert (whole.status, whole.outcome, whole.usage.input) == (101, Outcome.COMPLETE, 0)
        assert whole.request_id == r.request_id and whole.duration > r.duration
        assert (r.status, r.outcome, r.dialect, r.model) == (200, Outcome.COMPLETE, "realtime", "gpt-realtime-2.1")
        assert (r.usage.input, r.usage.output, r.usage.audio_input, r.usage.audio_output) == (20, 10, 15, 8)
        assert KEY not in await g.log()


async def test_a_client_of_the_beta() -> None:
    """As document-writers of old have it: `/api/realtime`, flat sessions, the beta's events."""
    async with relayed() as (g, provider), connect(url(g, "/api/realtime")) as ws:
        created = await heard(ws)
        assert created["type"] == "session.created" and "modalities" in created["session"]
        session = {"modalities": ["audio", "text"], "voice": "marin", "input_audio_format": "pcm16", "temperature": 0.8}
        await ws.send(json.dumps({"type": "session.update", "session": session}))
        assert (await heard(ws))["type"] == "session.updated"
        told = provider.heard[-1]["session"]
        assert told["type"] == "realtime" and told["audio"]["output"]["voice"] == "marin" and "voice" not in told
        await ws.send(json.dumps({"type": "response.create"}))
        assert (await heard(ws))["type"] == "response.audio.delta"


async def test_the_official_sdk() -> None:
    async with relayed(auth={"access_key": "key-of-the-house-1"}) as (g, _):
        client = AsyncOpenAI(api_key="key-of-the-house-1", base_url=f"http://127.0.0.1:{g.port}/v1")
        async with client.realtime.connect(model="gpt-realtime-2.1") as ws:
            assert (await ws.recv()).type == "session.created"
            await ws.session.update(session={"type": "realtime", "audio": {"output": {"voice": "cedar"}}})
            assert (await ws.recv()).type == "session.updated"
            await ws.response.create()
            assert [(await ws.recv()).type for _ in range(2)] == ["response.output_audio.delta", "response.done"]
        await client.close()


async def test_what_the_server_holds() -> None:
    held = {"instructions": "Be a pirate.", "voice": "ash", "client_fields": ["speed"]}
    async with relayed(realtime=held) as (g, provider), connect(url(g)) as ws:
        assert (await heard(ws))["type"] == "session.created"
        updated = await heard(ws)
        assert updated["type"] == "session.updated" and updated["session"]["instructions"] == "Be a pirate."
        own = {"type": "realtime", "instructions": "Be mine.", "audio": {"output": {"voice": "coral", "speed": 1.2}}}
        await ws.send(json.dumps({"type": "session.update", "session": own}))
        await heard(ws)
        assert provider.heard[-1]["session"] == {"type": "realtime", "audio": {"output": {"speed": 1.2}}}


async def test_an_update_of_ours_that_is_refused_ends_it() -> None:
    async def refuse(ws: ServerConnection) -> None:
        event = json.loads(await ws.recv())
        error = {"type": "invalid_request_error", "code": "x", "message": "no", "event_id": event["event_id"]}
        await say(ws, type="error", event_id="e", error=error)
        await ws.wait_closed()

    async with relayed(realtime={"instructions": "Be a pirate."}) as (g, provider):
        provider.script = refuse
        async with connect(url(g)) as ws:
            assert (await heard(ws))["error"]["code"] == "provider_rejected"
            with pytest.raises(websockets.ConnectionClosed):
                await ws.recv()
            assert ws.close_code == 1011


async def test_sound_as_binary_messages() -> None:
    async with relayed() as (g, _), connect(url(g, query="?audio=binary")) as ws:
        await heard(ws)
        await ws.send(json.dumps({"type": "response.create"}))
        assert await ws.recv() == PCM


async def test_the_provider_s_end_is_the_client_s() -> None:
    async def end(ws: ServerConnection) -> None:
        await say(ws, type="session.created", session=SESSION)
        await ws.close(4001, "enough for today")

    async with relayed() as (g, provider):
        provider.script = end
        async with connect(url(g)) as ws:
            await heard(ws)
            with pytest.raises(websockets.ConnectionClosed):
                await ws.recv()
            assert (ws.close_code, ws.close_reason) == (4001, "enough for today")


@pytest.mark.parametrize(
    ("settings", "headers", "query", "status", "code"),
    [
        ({"auth": {"access_key": "key-of-the-house-1"}}, {}, "", 401, "unauthorized"),
        ({"auth": {"access_key": "key-of-the-house-1"}}, {"authorization": "Bearer wrong"}, "", 401, "unauthorized"),
        ({}, {"origin": "https://evil.example.com"}, "", 403, "origin_not_allowed"),
        ({}, {}, "?dialect=gamma", 400, "invalid_request"),
        ({"providers": {"openai": {}}}, {}, "", 503, "api_key_not_configured"),
        (
            {"providers": {"openai": {"api_key": KEY, "realtime_url": "ws://127.0.0.1:9/x"}}},
            {},
            "",
            502,
            "provider_unreachable",
        ),
    ],
)
async def test_refused_before_it_begins(
    settings: dict[str, Any], headers: dict[str, str], query: str, status: int, code: str
) -> None:
    async with relayed(**settings) as (g, _):
        with pytest.raises(websockets.InvalidStatus) as e:
            async with connect(url(g, query=query), additional_headers=headers):
                pass
        assert e.value.response.status_code == status
        assert json.loads(e.value.response.body or b"")["error"]["code"] == code
        await until(lambda: not g.app.registry.open)


async def test_a_browser_s_token_comes_in_a_subprotocol() -> None:
    offered = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.key-of-the-house-1")]
    async with relayed(auth={"access_key": "key-of-the-house-1"}) as (g, _):
        async with connect(url(g), subprotocols=offered) as ws:
            assert ws.subprotocol == "realtime"
            assert (await heard(ws))["type"] == "session.created"
        assert "key-of-the-house-1" not in await g.log()


async def test_so_many_at_a_time() -> None:
    async with relayed(limits={"voice_sessions": 1}) as (g, _):
        async with connect(url(g)) as first:
            await heard(first)
            with pytest.raises(websockets.InvalidStatus) as e:
                async with connect(url(g)):
                    pass
            assert e.value.response.status_code == 429
        await until(lambda: not g.app.registry.open)
        async with connect(url(g)) as again:
            await heard(again)


async def test_garbage_is_told_and_the_conversation_lives() -> None:
    async with relayed() as (g, _), connect(url(g)) as ws:
        await heard(ws)
        for garbage in ("{", "[]", "nonsense", "1", '{"type": 7}'):
            await ws.send(garbage)
            assert (await heard(ws))["type"] == "error"
        await ws.send(json.dumps({"type": "response.create"}))
        assert (await heard(ws))["type"] == "response.output_audio.delta"


async def test_a_client_that_vanishes() -> None:
    async with relayed() as (g, provider):
        ws = await connect(url(g))
        await heard(ws)
        ws.transport.abort()
        await until(lambda: provider.closed, 1)
        assert (await g.record()).outcome == Outcome.CLIENT_LEFT


async def test_a_quiet_one_ends() -> None:
    async with relayed(realtime={"idle_seconds": 0.3}) as (g, provider), connect(url(g)) as ws:
        await heard(ws)
        assert (await heard(ws))["error"]["code"] == "request_timeout"
        with pytest.raises(websockets.ConnectionClosed):
            await ws.recv()
        await until(lambda: provider.closed)


async def test_what_is_no_websocket(shell: str) -> None:
    async with gateway(shell) as g:
        for path in ("/v1/realtime", "/api/realtime"):
            a = await g.ask(path)
            assert (a.status, a.headers["sec-websocket-version"]) == (426, "13")


class _Shielded:
    """Something to be awaited that goes on when whoever awaits it is cancelled."""

    def __init__(self, task: asyncio.Future[Taken]) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, Taken]:
        return asyncio.shield(self._task).__await__()


class _Slow(LocalCounters):
    """Counters that take their time, as those in Redis may; what was asked for counts, whoever waits."""

    def take(self, takes: Sequence[Take]) -> Any:
        async def later() -> Taken:
            await asyncio.sleep(0.2)
            return LocalCounters.take(self, takes)

        return _Shielded(asyncio.ensure_future(later()))


async def test_who_leaves_while_a_place_is_asked_for_holds_none() -> None:
    counters = _Slow()
    async with relayed(limits={"voice_sessions": 1}, counters=counters) as (g, _):
        leaving = asyncio.create_task(connect(url(g)).__aenter__())
        await until(lambda: len(g.app.registry.open) == 1)
        leaving.cancel()
        await until(lambda: not g.app.registry.open)
        await asyncio.sleep(0.4)
        assert not any(counters.held().values())
        async with connect(url(g)) as ws:
            assert (await heard(ws))["type"] == "session.created"
