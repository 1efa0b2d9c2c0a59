"""Servers that are processes, before a Realtime server of the test's: their workers and replicas, and what has to hold whichever is asked."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import websockets
from websockets.asyncio.client import connect

from support.client import Answer, Connection, request
from support.ga_server import Ga
from support.realtime_server import KEY, RealtimeServer, serving_realtime
from support.talkers import Talker

#: Seconds within which all of them know.
WITHIN: Final = 1.0
SESSIONS: Final = "/api/voice/sessions"


@asynccontextmanager
async def conversing(folder: Path, **settings: Any) -> AsyncIterator[RealtimeServer]:
    """A Realtime server, and in `folder` the settings of servers that ask it."""
    async with serving_realtime(Ga) as up:
        tree: dict[str, Any] = {
            "port": 0,
            "providers": {"openai": {"api_key": KEY, "realtime_url": up.url}},
            "limits": {"voice_connects_per_minute": 10_000, "voice_sessions": 100},
        }
        (folder / "switchboard.yaml").write_text(json.dumps(tree | settings))
        yield up


class Place:
    """One process that serves: a server with its `port`, or (`pid`) one of its workers."""

    def __init__(self, port: int, pid: int | None = None) -> None:
        self.port = port
        self._pid = pid

    async def _socket(self) -> socket.socket:
        """A connection that this process has accepted."""
        for _ in range(200):
            made = socket.create_connection(("127.0.0.1", self.port), 5)
            if self._pid is None or await _accepted(made, self.port) == self._pid:
                made.setblocking(False)
                return made
            made.close()
        raise AssertionError(f"no connection came to {self._pid}")

    async def ask(self, path: str, body: Any = None, method: str | None = None) -> Answer:
        """One request."""
        c = Connection(*await asyncio.open_connection(sock=await self._socket()))
        try:
            await c.send(request(path, body, method=method or ("GET" if body is None else "POST")))
            async with asyncio.timeout(10):
                return await c.answer()
        finally:
            c.close()

    async def begin(self, session: str, user: str = "u") -> Answer:
        """Begin a session."""
        return await self.ask("/api/voice/connect", {"sessionId": session, "userId": user})

    async def dial(self, begun: Answer) -> Talker:
        """Open the conversation of a session that was begun, wherever that was. Raises `websockets.InvalidStatus`."""
        assert begun.status == 200, begun.text
        url = re.sub(r":\d+/", f":{self.port}/", begun.json["wsUrl"], count=1)
        talker = Talker(await connect(url, sock=await self._socket()))
        await talker.hear("session.created")
        return talker

    async def open(self, session: str, user: str = "u") -> Talker:
        """Begin a session and open its conversation, both here."""
        return await self.dial(await self.begin(session, user))

    async def listed(self, user: str = "u") -> dict[str, dict[str, Any]]:
        """The sessions of a user by their ids."""
        a = await self.ask(f"{SESSIONS}?userId={user}&limit=100")
        assert a.status == 200, a.text
        return {row["sessionId"]: row for row in a.json}

    async def transcript(self, session: str, user: str = "u") -> list[tuple[str, str]]:
        """What was said in a session."""
        a = await self.ask(f"{SESSIONS}/{session}/transcript?userId={user}")
        assert a.status == 200, a.text
        return [(m["role"], m["content"]) for m in a.json["messages"]]

    async def ready(self) -> None:
        """Wait until it can keep what it has to keep."""
        async with asyncio.timeout(15):
            while (await self.ask("/health/ready")).status != 200:
                await asyncio.sleep(0.05)


async def _accepted(made: socket.socket, port: int) -> int:
    """The process that has accepted a connection."""
    async with asyncio.timeout(5):
        while (found := _holder(made.getsockname()[1], port)) is None:
            await asyncio.sleep(0.005)
        return found


def _holder(client: int, port: int) -> int | None:
    """The process that holds the end at `port` of the connection from `client`, a port too."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = [r[9] for r in rows if r[1].endswith(f":{port:04X}") and r[2].endswith(f":{client:04X}") and r[9] != "0"]
    processes = Path("/proc").iterdir() if found else []
    return next((int(p.name) for p in processes if p.name.isdigit() and _has(p, f"socket:[{found[0]}]")), None)


def _has(process: Path, link: str) -> bool:
    try:
        return any(os.readlink(fd) == link for fd in (process / "fd").iterdir())
    except OSError:  # it has ended, or is somebody else's
        return False


async def closed(talker: Talker, within: float = WITHIN) -> tuple[int | None, str | None]:
    """How a conversation is closed, which has to be soon."""
    with pytest.raises(websockets.ConnectionClosed):
        await talker.hear("nothing", within)
    return talker.ws.close_code, talker.ws.close_reason


async def refused(place: Place, begun: Answer) -> int:
    """The status with which a conversation is refused."""
    with pytest.raises(websockets.InvalidStatus) as e:
        await place.dial(begun)
    return e.value.response.status_code


async def ends_and_deletions(here: Place, there: Place, n: int) -> None:
    """What is asked `there` ends conversations that are carried `here`."""
    ways = {
        "end": (f"{SESSIONS}/end{n}/end?userId=u{n}", "POST", "ended"),
        "one": (f"{SESSIONS}/one{n}?userId=u{n}", "DELETE", None),
        "all": (f"{SESSIONS}?userId=u{n}", "DELETE", None),
    }
    for name, (path, method, reason) in ways.items():
        session, user = f"{name}{n}", f"u{n}"
        talker = await here.open(session, user)
        assert (await there.listed(user))[session]["status"] == "active"
        assert (await there.ask(path, method=method)).json == {"success": True}
        assert await closed(talker) == (1000, "The session has ended."), name
        for place in (here, there):
            row = (await place.listed(user)).get(session, {})
            assert row.get("endReason") == reason


async def tickets(here: Place, there: Place, n: int) -> None:
    """A ticket opens one conversation, wherever it is shown; that goes on."""
    begun = await here.begin(f"ticket{n}")
    talker = await here.dial(begun)
    assert [await refused(p, begun) for p in (there, here)] == [401, 401]
    await talker.text("milk")
    assert await talker.answer() == "You said: milk."
    await talker.ws.close()
    other = await here.begin(f"other{n}")
    (await there.dial(other)).ws.transport.abort()
    assert await refused(here, other) == 401


async def taken_up(here: Place, there: Place, n: int) -> None:
    """A session that is taken up `there` is over `here`; what was said is kept."""
    session = f"again{n}"
    before = await here.open(session)
    await before.text("milk")
    assert await before.answer() == "You said: milk."
    begun = await there.begin(session)
    assert await closed(before) == (1000, "The session goes on in another connection.")
    talker = await there.dial(begun)
    await talker.text("bread")
    await talker.answer()
    await talker.ws.close()
    said = [("user", "milk"), ("assistant", "You said: milk."), ("user", "bread")]
    await _until_said(here, session, said)
    began = time.monotonic()
    while (row := (await here.listed())[session])["status"] != "ended":
        assert time.monotonic() - began < 2, row
        await asyncio.sleep(0.05)
    assert row["endReason"] == "ended"


async def _until_said(place: Place, session: str, said: list[tuple[str, str]]) -> None:
    began = time.monotonic()
    while (await place.transcript(session))[: len(said)] != said:
        assert time.monotonic() - began < 2, await place.transcript(session)
        await asyncio.sleep(0.05)


async def limits(here: Place, there: Place, n: int, most: int) -> None:
    """So many conversations of one caller at a time, wherever they are; one that ends makes room soon."""
    user = f"many{n}"
    talkers = [await (here, there)[k % 2].open(f"many{n}.{k}", user) for k in range(most)]
    begun = await there.begin(f"more{n}", user)
    assert begun.status == 429 or await refused(there, begun) == 429
    await asyncio.gather(*[t.ws.close() for t in talkers[:1]])
    began = time.monotonic()
    while True:
        begun = await there.begin(f"more{n}", user)
        try:
            if begun.status == 200:
                talkers.append(await there.dial(begun))
                break
        except websockets.InvalidStatus as e:
            assert e.response.status_code == 429  # noqa: PT017  else it is tried again
        assert time.monotonic() - began < WITHIN
        await asyncio.sleep(0.05)
    for talker in talkers[1:]:
        await talker.ws.close()
    began = time.monotonic()
    while any(row["status"] == "active" for row in (await here.listed(user)).values()):
        assert time.monotonic() - began < 2 * WITHIN
        # one that was begun and never opened is nobody's conversation
        for k in {k for k, row in (await here.listed(user)).items() if row["status"] == "active"}:
            await here.ask(f"{SESSIONS}/{k}/end?userId={user}", method="POST")
        await asyncio.sleep(0.05)
