"""Clients of conversations by voice, in front of a Realtime server that is cut off at will."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection

from support.ga_server import Ga
from support.gateway import Gateway, gateway
from support.realtime_conversation import Notes
from support.realtime_server import KEY, RealtimeServer, serving_realtime

Event = dict[str, Any]


class Cut(Ga):
    """A GA server whose sockets the test has in its hands."""

    sockets: ClassVar[list[ServerConnection]] = []

    def __init__(self, ws: ServerConnection, notes: Notes, model: str) -> None:
        super().__init__(ws, notes, model)
        self.sockets.append(ws)


@asynccontextmanager
async def before_realtime(
    kind: type[Any] = Cut, data: Path | None = None, row: Event | None = None, **settings: Any
) -> AsyncIterator[tuple[Gateway, RealtimeServer]]:
    """A gateway before a Realtime server of the shape `kind`; `row` is further of the provider's."""
    Cut.sockets.clear()
    async with serving_realtime(kind) as server:
        provider = {"api_key": KEY, "realtime_url": server.url, **(row or {})}
        async with gateway(data=data, **({"providers": {"openai": provider}} | settings)) as g:
            yield g, server


class Talker:
    """A client; what it `heard` is kept."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.heard: list[Event] = []

    async def say(self, kind: str, **members: Any) -> None:
        await self.ws.send(json.dumps({"type": kind, **members}))

    async def text(self, text: str, *, ask: bool = True) -> None:
        """A turn in writing."""
        content = [{"type": "input_text", "text": text}]
        await self.say("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        if ask:
            await self.say("response.create")

    async def hear(self, kind: str = "", within: float = 5.0) -> Event:
        """The next event, or the next of that kind."""
        async with asyncio.timeout(within):
            while True:
                message = await self.ws.recv()
                event: Event = {"type": "", "sound": message} if isinstance(message, bytes) else json.loads(message)
                self.heard.append(event)
                if not kind or event["type"] == kind:
                    return event

    async def answer(self, within: float = 5.0) -> str:
        """What the model says next, to the end of it, in writing."""
        begun = len(self.heard)
        await self.hear("response.done", within)
        kinds = ("transcript.delta", "text.delta")
        return "".join(e["delta"] for e in self.heard[begun:] if e["type"].endswith(kinds))

    def kinds(self) -> list[str]:
        """The types of what it heard."""
        return [e["type"] for e in self.heard]


@asynccontextmanager
async def talking(g: Gateway, path: str = "/v1/realtime?model=gpt-realtime-2.1", **more: Any) -> AsyncIterator[Talker]:
    """A client that has been let in, and heard the session begin."""
    address = path if path.startswith("ws") else f"ws://127.0.0.1:{g.port}{path}"
    async with connect(address, **more) as ws:
        talker = Talker(ws)
        await talker.hear("session.created")
        yield talker
