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

from switchboard.core.clock import now

Does = Callable[[ServerConnection], Awaitable[None]]
SESSION = {"type": "realtime", "model": "gpt-realtime-2.1", "output_modalities": ["audio"]}


class Leg:
    """One connection to a server: when it was `left` (monotonic), and how its socket was `closed`."""

    def __init__(self, connection: ServerConnection, authorization: str) -> None:
        self.connection = connection
        self.authorization = authorization
        self.left: float | None = None
        self.closed: tuple[int | None, str | None] | None = None


class Faulty:
    """A running server: its `legs` in order. As long as `gate` is not set, handshakes wait."""

    def __init__(self) -> None:
        self.legs: list[Leg] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where it converses."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    @property
    def open(self) -> int:
        """How many connections there are."""
        return sum(leg.left is None for leg in self.legs)


@asynccontextmanager
async def faulty(*does: Does) -> AsyncIterator[Faulty]:
    """A server whose first connection does what the first of `does` says, and so on; the last one says it for all others."""
    server = Faulty()

    async def admitted(connection: ServerConnection, head: Request) -> Response | None:
        leg = Leg(connection, head.headers.get("authorization", ""))
        server.legs.append(leg)
        while not server.gate.is_set():
            if connection.transport.is_closing():
                leg.left = now()
                return connection.respond(HTTPStatus.GONE, "")
            await asyncio.sleep(0.002)
        return None

    async def converse(ws: ServerConnection) -> None:
        n, leg = next((n, leg) for n, leg in enumerate(server.legs) if leg.connection is ws)
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
        await say(ws, "session.updated", session={**SESSION, **event["session"]})
    elif event["type"] == "response.create":
        response = {"id": "r", "object": "realtime.response", "status": "in_progress", "output": []}
        await say(ws, "response.created", response=response)
        await say(
            ws, "response.output_text.delta", response_id="r", item_id="i", output_index=0, content_index=0, delta="Hi"
        )
        await say(ws, "response.done", response=response | {"status": "completed"})


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
        return [e["type"] if isinstance(e, dict) else "bytes" for e in self.events]

    @property
    def errors(self) -> list[str]:
        """The codes of the errors."""
        return [e["error"]["code"] for e in self.events if isinstance(e, dict) and e["type"] == "error"]

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
            seen.events.append(message if isinstance(message, bytes) else json.loads(message))
    except websockets.ConnectionClosed:
        seen.code, seen.reason = ws.close_code, ws.close_reason or ""
