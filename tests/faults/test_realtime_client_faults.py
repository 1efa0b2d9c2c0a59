"""Conversations by voice, whatever a client does: the provider's socket is closed within 100 ms of its end, and nothing is left."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection

from support.faulty_realtime import ASK, Fate, Faulty, answer, answer_one, at, before, faulty, listen, say, whole
from support.gateway import Gateway, until
from support.sockets import Raw, frame
from switchboard.core.clock import now
from switchboard.core.types import Outcome
from switchboard.net.script import Hang, ScriptServer
from switchboard.net.websocket import SocketLimits

pytestmark = pytest.mark.anyio

#: The promise: so many seconds from a client's end to that of the provider's socket.
WITHIN = 0.1
PCM = bytes(range(256)) * 4


def text(event: dict[str, Any] | str | bytes) -> bytes:
    """A frame of a client with a text."""
    data = (
        event if isinstance(event, bytes) else event.encode() if isinstance(event, str) else json.dumps(event).encode()
    )
    return frame(0x81, data)


async def asking(g: Gateway, path: str = "/v1/realtime?model=m") -> Raw:
    """A client that has asked for a WebSocket, and not been answered yet."""
    raw = Raw(*await asyncio.open_connection("127.0.0.1", g.port, limit=1 << 26))
    head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    raw.send(head.encode() + b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    return raw


async def heard(raw: Raw) -> dict[str, Any]:
    """The next event."""
    first, payload = await raw.frame()
    assert first == 0x81, (first, payload[:100])
    event: dict[str, Any] = json.loads(payload)
    return event


@asynccontextmanager
async def talking(**settings: Any) -> AsyncIterator[tuple[Gateway, Faulty, Raw]]:
    """A client that has been let in, and whose session has begun."""
    async with faulty(answer) as up, before(up.url, **settings) as g:
        raw = await asking(g)
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        assert (await heard(raw))["type"] == "session.created"
        yield g, up, raw
        raw.close()


async def left(up: Faulty, since: float) -> None:
    """The provider's sockets are closed, all of them in time."""
    await until(lambda: not up.open)
    assert max(leg.left - since for leg in up.legs if leg.left is not None) < WITHIN


@pytest.mark.parametrize("how", ["reset", "end"])
async def test_a_client_that_vanishes(how: str) -> None:
    async with talking() as (g, up, raw):
        since = now()
        raw.reset() if how == "reset" else raw.close()
        await left(up, since)
        assert (await whole(g)).outcome == Outcome.CLIENT_LEFT


async def test_a_client_that_vanishes_in_silence() -> None:
    """It answers no ping: it is closed, and the provider with it."""
    async with faulty(answer) as up, before(up.url) as g:
        g.app.door.sockets.limits = SocketLimits(ping_time=0.2, pong_time=0.2, close_time=0.2)
        raw = await asking(g)
        await raw.head()
        await heard(raw)
        assert (await raw.frame())[0] == 0x89
        assert (await raw.close_frame())[0] == 1011
        await left(up, now())
        assert (await whole(g)).outcome == Outcome.CLIENT_LEFT
        raw.close()


async def test_a_client_that_goes_on_after_its_close() -> None:
    async with talking() as (_, up, raw):
        since = now()
        raw.send(frame(0x88, (4001).to_bytes(2, "big") + b"enough"), text(ASK), frame(0x82, PCM) * 10)
        await left(up, since)
        assert up.legs[0].closed == (4001, "enough")


async def test_a_client_that_leaves_while_the_provider_is_dialled() -> None:
    async with ScriptServer([Hang()]) as up, before(f"ws://127.0.0.1:{up.port}/v1/realtime") as g:
        for n in range(10):
            raw = await asking(g)
            await until(lambda n=n: len(up.connections) > n and up.connections[n].heard)
            since = now()
            raw.reset() if n % 2 else raw.close()
            await until(lambda n=n: up.connections[n].left is not None)
            gone = up.connections[n].left
            assert gone is not None and gone - since < WITHIN
            assert (await g.record(n + 1)).outcome == Outcome.CLIENT_LEFT


@pytest.mark.parametrize("how", ["reset", "end", "close"])
async def test_a_client_that_leaves_while_a_session_is_renewed(how: str) -> None:
    """The old one is gone, the new one is not there yet."""

    async def ends(ws: ServerConnection) -> None:
        await answer_one(ws, json.loads(await ws.recv()))
        up.gate.clear()
        await ws.close(1001, "an hour is over")

    async with faulty(ends, answer) as up, before(up.url) as g:
        raw = await asking(g)
        await raw.head()
        raw.send(text(ASK))
        await until(lambda: len(up.legs) == 2 and not up.gate.is_set() and up.legs[0].left is not None)
        raw.send(text(ASK), frame(0x82, PCM))  # these wait
        since = now()
        if how == "close":
            raw.send(frame(0x88, b"\x03\xe8"))
        elif how == "reset":
            raw.reset()
        else:
            raw.close()
        await until(lambda: up.legs[1].left is not None)
        gone = up.legs[1].left
        assert gone is not None and gone - since < WITHIN
        assert len(up.legs) == 2
        raw.close()
        up.gate.set()


async def test_a_client_that_leaves_while_a_session_is_renewed_in_time() -> None:
    """The old one is still there, the new one is being dialled: both end."""

    async def long(ws: ServerConnection) -> None:
        up.gate.clear()
        await answer(ws)

    async with faulty(long) as up, before(up.url, realtime={"renew_seconds": 1}) as g:
        raw = await asking(g)
        await raw.head()
        await until(lambda: len(up.legs) == 2)
        since = now()
        raw.reset()
        await left(up, since)
        up.gate.set()


async def test_a_client_that_leaves_while_it_is_told_much() -> None:
    """It does not read, so that the provider is held up too: that it leaves is seen all the same."""

    async def much(ws: ServerConnection) -> None:
        sound = base64.b64encode(bytes(48_000)).decode()
        at = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
        while True:
            await say(ws, "response.output_text.delta", **at, delta=sound)

    async with faulty(much) as up, before(up.url) as g:
        raw = await asking(g)
        await raw.head()
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        relay: Any = next(iter(g.app.registry.open))
        await until(lambda: relay._line._paused)
        since = now()
        raw.reset()
        await left(up, since)


# ---- what is no event


@pytest.mark.parametrize(
    "garbage",
    [
        b"{",
        b"nonsense",
        b"[]",
        b"1",
        b"null",
        b"{}",
        b'{"type": 7}',
        b'{"type": ""}',
        b'{"type": "session.update", "session": NaN}',
        b'{"type": "session.update", "session": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type": "response.create", "type": "session.update"}',
        b'{"type": "conversation.item.truncate", "item_id": [], "audio_end_ms": 1e999}',
    ],
    ids=lambda g: g[:40].decode(),
)
@pytest.mark.parametrize(
    "path", ["/v1/realtime?model=m", "/api/realtime?audio=binary", "/v1/realtime?model=m&rate=8000"]
)
async def test_a_text_that_is_no_event(garbage: bytes, path: str) -> None:
    """Also where sound is sent as bytes: the client is told, and talks on."""
    async with faulty(answer) as up, before(up.url) as g:
        raw = await asking(g, path)
        await raw.head()
        await heard(raw)
        raw.send(text(garbage), text(ASK))
        kinds: list[str] = []
        while not kinds or kinds[-1] != "response.done":
            kinds.append((await heard(raw))["type"])
        assert kinds.count("error") <= 1
        raw.close()
        await whole(g)
        assert "Traceback" not in await g.log()


@pytest.mark.parametrize(
    "sound", [b"", b"\x00", PCM, PCM[:-1], ASK.encode(), bytes(1 << 20)], ids=lambda s: str(len(s))
)
@pytest.mark.parametrize("query", ["", "&rate=8000"])
async def test_bytes_that_are_no_sound(sound: bytes, query: str) -> None:
    """Bytes are sound, whatever is in them: an event among them is none."""
    heard_up: list[dict[str, Any]] = []

    async def notes(ws: ServerConnection) -> None:
        await say(ws, "session.created", session={})
        async for message in ws:
            heard_up.append(json.loads(message))
            await answer_one(ws, heard_up[-1])

    async with faulty(notes) as up, before(up.url) as g:
        raw = await asking(g, "/v1/realtime?model=m" + query)
        await raw.head()
        await heard(raw)
        raw.send(frame(0x82, sound), text(ASK))
        while (await heard(raw))["type"] != "response.done":
            pass
        raw.close()
    assert {e["type"] for e in heard_up} <= {"input_audio_buffer.append", "response.create"}
    assert sum(e["type"] == "response.create" for e in heard_up) == 1
    for e in heard_up:
        assert len(base64.b64decode(e.get("audio", ""))) % 2 == 0 or len(sound) % 2


async def test_messages_in_pieces() -> None:
    """With a ping between them."""
    async with talking() as (_, _, raw):
        data = json.dumps({"type": "response.create", "metadata": {"word": "wörter" * 50}}).encode()
        pieces = [data[n : n + 7] for n in range(0, len(data), 7)]
        raw.send(frame(0x01, pieces[0]), frame(0x89, b"hello"), *[frame(0x00, p) for p in pieces[1:-1]])
        raw.send(frame(0x80, pieces[-1]))
        assert await raw.frame() == (0x8A, b"hello")
        assert (await heard(raw))["type"] == "response.created"


async def test_a_large_event_passes() -> None:
    """A message just below the limit; others are not kept waiting for it."""
    async with talking() as (_, _, raw):
        sound = base64.b64encode(bytes((12 << 20) - 300)).decode()
        data = text({"type": "input_audio_buffer.append", "audio": sound})
        assert (15 << 20) < len(data) < (16 << 20)
        raw.send(data, text(ASK))
        while (await heard(raw))["type"] != "response.done":
            pass


@pytest.mark.parametrize(
    ("piece", "code"),
    [
        (frame(0x82, bytes((16 << 20) + 1)), 1009),
        (frame(0x02, bytes(15 << 20)) + frame(0x80, bytes(2 << 20)), 1009),
        (frame(0x81, b"\xff\xfe"), 1007),
        (frame(0x81, b"{}", mask=False), 1002),
        (frame(0x83, b"{}"), 1002),
        (frame(0x80, b"{}"), 1002),
        (frame(0x89, b"") * 300, 1008),
    ],
    ids=["16 MB", "in pieces", "bad UTF-8", "no mask", "a kind that is none", "out of order", "many pings"],
)
async def test_a_client_that_breaks_the_rules(piece: bytes, code: int) -> None:
    async with talking() as (g, up, raw):
        raw.send(piece)
        first, payload = await raw.frame()
        since = now()
        while first == 0x8A:
            first, payload = await raw.frame()
        assert (first, int.from_bytes(payload[:2], "big")) == (0x88, code)
        await left(up, since)
        assert (await whole(g)).outcome == Outcome.CLIENT_LEFT


async def test_many_that_leave_at_any_moment() -> None:
    """A hundred, each a little later than the one before: nothing of any is left."""
    async with faulty(answer) as up, before(up.url, limits={"voice_sessions": 200}) as g:

        async def one(n: int) -> None:
            raw = await asking(g)
            await asyncio.sleep(n / 5000)
            raw.send(text(ASK))
            raw.reset()

        await asyncio.gather(*map(one, range(100)))
        await until(lambda: not up.open and not g.app.registry.open)


async def test_a_client_that_closes_while_an_answer_is_given() -> None:
    seen = Fate()
    async with faulty(answer) as up, before(up.url) as g, connect(at(g)) as ws:
        listening = asyncio.create_task(listen(ws, seen, ASK))
        await until(lambda: "response.created" in seen.kinds)
        since = now()
        await ws.close(1000, "")
        await listening
        await left(up, since)
