"""Realtime servers for tests that fail as they are told to, and what their clients see of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import websockets
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from support.gateway import Gateway, gateway, until
from switchboard.core.clock import now
from switchboard.store.counters.local import LocalCounters
from switchboard.telemetry.records import Record

Does = Callable[[ServerConnection], Awaitable[None]]
KEY = "sk-canary-of-the-provider-0123456789"
ASK = json.dumps({"type": "response.create"})
SESSION = {"type": "realtime", "model": "gpt-realtime-2.1", "output_modalities": ["audio"]}


class Leg:
    """One connection to a server: when it was `left` (monotonic), and how its socket was `closed`."""

    def __init__(self, connection: ServerConnection, authorization: str) -> None:
        self.connection = connection
        self.authorization = authorization
        self.talks = False  # else it is still in its handshake
        self.left: float | None = None
        self.closed: tuple[int | None, str | None] | None = None


class Faulty:
    """A running server: its `legs` in order. As long as `gate` is not set, handshakes wait. `wanted` is the key that it takes, "": any."""

    def __init__(self) -> None:
        self.legs: list[Leg] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.wanted = ""
        self.port = 0

    @property
    def url(self) -> str:
        """Where it converses."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    @property
    def open(self) -> int:
        """How many connections there are."""
        return sum(leg.left is None and (leg.talks or not leg.connection.transport.is_closing()) for leg in self.legs)


@asynccontextmanager
async def faulty(*does: Does) -> AsyncIterator[Faulty]:
    """A server whose first connection does what the first of `does` says, and so on; the last one says it for all others."""
    server = Faulty()

    async def admitted(connection: ServerConnection, head: Request) -> Response | None:
        leg = Leg(connection, head.headers.get("authorization", ""))
        server.legs.append(leg)
        if server.wanted and leg.authorization != f"Bearer {server.wanted}":
            return connection.respond(HTTPStatus.UNAUTHORIZED, "no")
        while not server.gate.is_set():
            if connection.transport.is_closing():
                leg.left = now()
                return connection.respond(HTTPStatus.GONE, "")
            await asyncio.sleep(0.002)
        return None

    async def converse(ws: ServerConnection) -> None:
        n, leg = next((n, leg) for n, leg in enumerate(server.legs) if leg.connection is ws)
        leg.talks = True
        try:
            with suppress(websockets.ConnectionClosed):
                await does[min(n, len(does) - 1)](ws)
            await ws.wait_closed()
        finally:
            leg.left, leg.closed = now(), (ws.close_code, ws.close_reason)

    serving = serve(converse, "127.0.0.1", 0, process_request=admitted, max_size=32 << 20, compression=None)
    async with serving as listening:
        server.port = next(iter(listening.sockets)).getsockname()[1]
        yield server


async def say(ws: ServerConnection, kind: str, **members: Any) -> None:
    """Say an event."""
    await ws.send(json.dumps({"type": kind, "event_id": "e", **members}))


async def answer(ws: ServerConnection) -> None:
    """Converse: every `response.create` is answered with one word."""
    await say(ws, "session.created", session=SESSION)
    async for message in ws:
        await answer_one(ws, json.loads(message))


async def answer_one(ws: ServerConnection, event: dict[str, Any]) -> None:
    """Answer one event."""
    if event["type"] == "session.update":
        await say(ws, "session.updated", session={**SESSION, **(event.get("session") or {})})
    elif event["type"] == "response.create":
        response = {"id": "r", "object": "realtime.response", "status": "in_progress", "output": []}
        await say(ws, "response.created", response=response)
        await say(
            ws, "response.output_text.delta", response_id="r", item_id="i", output_index=0, content_index=0, delta="Hi"
        )
        await say(ws, "response.done", response=response | {"status": "completed"})


def _no_number(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


class Fate(Struct):
    """What a client saw: the `status` of the handshake with `headers` and `body`, else the `events` (or bytes) and how its socket was closed."""

    status: int = 101
    headers: dict[str, str] = {}
    body: str = ""
    events: list[Any] = []
    code: int | None = None
    reason: str = ""

    @property
    def kinds(self) -> list[str]:
        """The types of the events."""
        return [e.get("type", "") if isinstance(e, dict) else "bytes" for e in self.events]

    @property
    def errors(self) -> list[str]:
        """The codes of the errors."""
        return [e["error"]["code"] for e in self.events if isinstance(e, dict) and e.get("type") == "error"]

    @property
    def text(self) -> str:
        """All of it."""
        return repr(self)


async def fate(address: str, *said: str | bytes, within: float = 6.0, **more: Any) -> Fate:
    """What becomes of a client that says something and then listens to the end."""
    seen = Fate()
    try:
        async with asyncio.timeout(within), connect(address, max_size=None, **more) as ws:
            await listen(ws, seen, *said)
    except websockets.InvalidStatus as e:
        seen.status = e.response.status_code
        seen.headers = {k.lower(): v for k, v in e.response.headers.raw_items()}
        seen.body = (e.response.body or b"").decode()
    return seen


async def listen(ws: ClientConnection, seen: Fate, *said: str | bytes) -> None:
    """Say something, and note in `seen` what comes until the end."""
    try:
        for message in said:
            await ws.send(message)
        while True:
            message = await ws.recv()
            seen.events.append(
                message if isinstance(message, bytes) else json.loads(message, parse_constant=_no_number)
            )
    except websockets.ConnectionClosed:
        seen.code, seen.reason = ws.close_code, ws.close_reason or ""


@asynccontextmanager
async def before(url: str, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway before a provider at `url`; when it is over, nothing is open, nothing held, and nobody was told the key."""
    counters = LocalCounters()
    tree: dict[str, Any] = {
        "providers": {"openai": {"api_key": KEY, "realtime_url": url}},
        "limits": {"voice_sessions": 9},
    }
    async with gateway(counters=counters, **(tree | settings)) as g:
        yield g
        app = g.app
        await until(lambda: not app.registry.open, 2)
        await until(lambda: not len(app._upstream_sockets) and not len(app.door.sockets), 2)
        assert app.talks.open == 0
        assert not any(counters.held().values())
        assert KEY not in await g.log()
        assert KEY not in (await g.ask("/metrics")).text


def at(g: Gateway, path: str = "/v1/realtime") -> str:
    return f"ws://127.0.0.1:{g.port}{path}?model=gpt-realtime-2.1"


async def whole(g: Gateway) -> Record:
    """The record of the one conversation; there may be others of responses in it."""
    await until(lambda: any(r.status != 200 for r in g.records))
    (found,) = [r for r in g.records if r.status != 200]
    return found
