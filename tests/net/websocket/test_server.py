"""The server's side: handshakes through the front door, with an independent client and with raw bytes."""

from __future__ import annotations

import asyncio
import re

import pytest
import websockets
from websockets.asyncio.client import connect

from support.sockets import HELLO, KEY, Heard, frame, served, until
from switchboard.core.types import Outcome, header
from switchboard.net.front import FrontLimits

pytestmark = pytest.mark.anyio

PLAIN = b"GET /plain HTTP/1.1\r\nhost: localhost\r\n\r\n"
WAIT = HELLO.replace(b"/ws", b"/wait")


async def test_messages_come_back() -> None:
    async with served() as s, connect(s.url, max_size=None) as c:
        for message in ("hello", "grüße 🐙", b"", "", b"x" * 125, b"y" * 126, b"z" * 4500, "ä" * 40_000, b"w" * 65536):
            await c.send(message)
            assert await c.recv() == message
        big = bytes(range(256)) * 20_000
        await c.send(big)
        assert await c.recv() == big
        await c.send(["in ", "many ", "pieces 🐙"])
        assert await c.recv() == "in many pieces 🐙"
        assert await (await c.ping()) >= 0
        await c.close(3001, "enough")
        assert (c.close_code, c.close_reason) == (3001, "")
        await until(lambda: s.heard.closed)
        assert s.heard.closed == [(3001, "enough", True)]
        await until(lambda: not len(s.door.sockets) and not s.state.connections)


async def test_the_answer_to_the_handshake() -> None:
    async with served() as s:
        raw = await s.connect(b"")
        raw.send(WAIT.replace(b"sec-websocket-key", b"sec-websocket-protocol: a, b\r\nsec-websocket-key"))
        await until(lambda: s.door.intakes)
        intake = s.door.intakes[0]
        assert intake.handshake.offered == ("a", "b")
        with pytest.raises(ValueError, match="offered"):
            intake.accept("c")
        heard = intake.accept("b", header(b"x-extra", b"1"))
        head = await raw.head()
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        for line in (b"x-extra: 1", b"sec-websocket-protocol: b", b"upgrade: websocket", b"connection: Upgrade"):
            assert b"\r\n" + line + b"\r\n" in head
        assert b"extensions" not in head.lower()
        assert heard.open.subprotocol == "b"
        assert intake.handshake.accept(Heard()) is None
        raw.close()


async def test_compression_is_never_agreed_on() -> None:
    async with served() as s, connect(s.url, compression="deflate") as c:
        assert c.response is not None and "Sec-WebSocket-Extensions" not in c.response.headers
        await c.send("plain")
        assert await c.recv() == "plain"


NOT_ONE = {
    "another version": HELLO.replace(b"version: 13", b"version: 8"),
    "no version": HELLO.replace(b"sec-websocket-version: 13\r\n", b""),
    "no key": re.sub(rb"sec-websocket-key: .*\r\n", b"", HELLO, count=1),
    "a short key": HELLO.replace(KEY, b"c2hvcnQ="),
    "a key that is none": HELLO.replace(KEY, b"!" * 24),
    "two keys": HELLO.replace(b"sec-websocket-key", b"sec-websocket-key: " + KEY + b"\r\nsec-websocket-key"),
    "HTTP/1.0": HELLO.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "another upgrade": HELLO.replace(b"upgrade: websocket", b"upgrade: h2c"),
    "a subprotocol that is none": HELLO.replace(b"upgrade: w", b"sec-websocket-protocol: a b\r\nupgrade: w"),
    "a subprotocol twice": HELLO.replace(b"upgrade: w", b"sec-websocket-protocol: a, a\r\nupgrade: w"),
    "no connection": HELLO.replace(b"connection: keep-alive, Upgrade\r\n", b""),
}


@pytest.mark.parametrize("name", NOT_ONE)
async def test_what_is_no_handshake_is_an_ordinary_request(name: str) -> None:
    async with served() as s:
        raw = await s.connect(NOT_ONE[name])
        assert (await raw.head()).startswith(b"HTTP/1.1 404")
        assert not s.door.intakes
        raw.close()


async def test_a_handshake_where_nobody_wants_one_and_another_request() -> None:
    async with served() as s:
        raw = await s.connect(HELLO.replace(b"/ws", b"/plain") + PLAIN)
        for _ in range(2):
            assert (await raw.head()).startswith(b"HTTP/1.1 200")
            assert await raw.reader.readexactly(6) == b"/plain"
        raw.close()


async def test_post_is_no_handshake() -> None:
    async with served() as s:
        raw = await s.connect(HELLO.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\ncontent-length: 0\r\n\r\n"))
        assert (await raw.head()).startswith(b"HTTP/1.1 404")
        raw.close()


async def test_a_handshake_behind_other_requests() -> None:
    async with served() as s:
        raw = await s.connect(PLAIN + HELLO)
        assert (await raw.head()).startswith(b"HTTP/1.1 200")
        assert await raw.reader.readexactly(6) == b"/plain"
        assert (await raw.head()).startswith(b"HTTP/1.1 101")
        raw.send(frame(0x81, b"hi"))
        assert await raw.frame() == (0x81, b"hi")
        raw.close()


@pytest.mark.parametrize("late", [False, True])
async def test_messages_that_come_before_the_answer(late: bool) -> None:
    async with served() as s:
        raw = await s.connect(WAIT + frame(0x81, b"one"))
        raw.send(frame(0x82, b"two") + frame(0x82, b"three")[:5])
        await until(lambda: s.door.intakes)
        if late:
            await asyncio.sleep(0.05)
        heard = s.door.intakes[0].accept()
        assert heard.opened == 1 and not heard.messages
        assert (await raw.head()).startswith(b"HTTP/1.1 101")
        assert await raw.frame() == (0x81, b"one")
        assert await raw.frame() == (0x82, b"two")
        raw.close()


async def test_a_refusal_keeps_the_connection() -> None:
    async with served() as s:
        raw = await s.connect(WAIT)
        await until(lambda: s.door.intakes)
        raw.send(PLAIN)
        await asyncio.sleep(0.02)
        s.door.intakes[0].handshake.refuse(401, b"x-why: key\r\n", b"no")
        s.door.intakes[0].handshake.refuse(401, b"", b"no")
        head = await raw.head()
        assert head.startswith(b"HTTP/1.1 401") and b"x-why: key" in head and b"content-length: 2" in head
        assert await raw.reader.readexactly(2) == b"no"
        assert (await raw.head()).startswith(b"HTTP/1.1 200")
        assert await raw.reader.readexactly(6) == b"/plain"
        raw.send(HELLO)
        assert (await raw.head()).startswith(b"HTTP/1.1 101")
        raw.close()


async def test_an_independent_client_sees_the_refusal() -> None:
    async with served() as s:

        async def refuse() -> None:
            await until(lambda: s.door.intakes)
            s.door.intakes[0].handshake.refuse(403, b"", b"not you")

        task = asyncio.create_task(refuse())
        with pytest.raises(websockets.InvalidStatus) as e:
            await connect(s.url.replace("/ws", "/wait"))
        assert e.value.response.status_code == 403 and e.value.response.body == b"not you"
        await task


@pytest.mark.parametrize("rude", [False, True])
async def test_the_client_leaves_while_it_waits(rude: bool) -> None:
    async with served() as s:
        raw = await s.connect(WAIT)
        await until(lambda: s.door.intakes)
        if rude:
            raw.reset()
        else:
            raw.close()
        intake = s.door.intakes[0]
        await until(lambda: intake.left)
        assert intake.left == [Outcome.CLIENT_LEFT]
        assert intake.handshake.accept(Heard()) is None
        intake.handshake.refuse(500, b"", b"")
        assert not len(s.door.sockets) and not s.state.connections


async def test_a_handshake_that_takes_too_long() -> None:
    async with served(front=FrontLimits(opening_time=0.2)) as s:
        raw = await s.connect(WAIT)
        head = await raw.head()
        assert head.startswith(b"HTTP/1.1 504") and b"connection: close" in head
        assert s.door.intakes[0].left == [Outcome.TIMEOUT]
        assert s.door.intakes[0].handshake.accept(Heard()) is None
        assert await raw.ended()
        raw.close()


async def test_a_flood_before_the_answer() -> None:
    async with served(front=FrontLimits(pipeline=1000)) as s:
        raw = await s.connect(WAIT)
        await until(lambda: s.door.intakes)
        raw.send(b"x" * 2000)
        assert await raw.ended()
        await until(lambda: s.door.intakes[0].left)
        raw.close()


async def test_the_server_closes() -> None:
    async with served() as s, connect(s.url) as c:
        await until(lambda: s.door.heard)
        s.heard.open.close(4000, "bye")
        s.heard.open.send_text(b"too late")
        with pytest.raises(websockets.ConnectionClosed):
            await c.recv()
        assert (c.close_code, c.close_reason) == (4000, "bye")
        await until(lambda: s.heard.closed)
        assert s.heard.closed == [(4000, "bye", True)]


async def test_all_are_closed_when_the_server_ends() -> None:
    async with served() as s:
        clients = [await connect(s.url) for _ in range(20)]
        await until(lambda: len(s.door.sockets) == 20)
        for connection in list(s.state.connections):
            connection.shutdown()  # leaves them alone
        await clients[0].send("still here")
        assert await clients[0].recv() == "still here"
        s.door.sockets.close_all(1012, "restart")
        for c in clients:
            with pytest.raises(websockets.ConnectionClosed):
                await c.recv()
            assert (c.close_code, c.close_reason) == (1012, "restart")
        await until(lambda: not len(s.door.sockets) and not s.state.connections)
        assert all(h.closed == [(1012, "restart", True)] for h in s.door.heard)


async def test_abort_is_silent() -> None:
    async with served() as s:
        raw = await s.connect()
        await until(lambda: s.door.heard)
        s.heard.open.abort()
        s.heard.open.abort()
        assert await raw.ended()
        await until(lambda: not len(s.door.sockets) and not s.state.connections)
        assert s.heard.closed == []
        raw.close()


async def test_a_sink_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    def broken(heard: Heard, kind: str, data: bytes) -> None:
        raise LookupError("a bug")

    async with served(then=broken) as s:
        raw = await s.connect()
        raw.send(frame(0x81, b"one") + frame(0x81, b"two"))
        assert (await raw.close_frame())[0] == 1011
        await until(lambda: s.heard.closed)
        assert s.heard.closed[0][0] == 1011 and len(s.heard.messages) == 1
        assert "a bug" in caplog.text
        raw.close()


async def test_an_app_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as s:
        raw = await s.connect(HELLO.replace(b"/ws", b"/broken"))
        assert (await raw.head()).startswith(b"HTTP/1.1 500")
        assert await raw.ended()
        raw.close()
        assert "a bug" in caplog.text
        caplog.clear()
        raw = await s.connect(HELLO.replace(b"/ws", b"/late"))
        assert (await raw.head()).startswith(b"HTTP/1.1 101")
        assert (await raw.close_frame())[0] == 1011
        assert "a bug" in caplog.text
        raw.close()
        await until(lambda: not len(s.door.sockets) and not s.state.connections)


async def test_a_handshake_under_way_when_the_server_ends() -> None:
    async with served() as s:
        raw = await s.connect(WAIT)
        await until(lambda: s.door.intakes)
        for connection in list(s.state.connections):
            connection.shutdown()
        heard = s.door.intakes[0].accept()  # what was asked for before is let in
        assert (await raw.head()).startswith(b"HTTP/1.1 101") and heard.opened
        s.door.sockets.close_all()
        assert await raw.close_frame() == (1012, "")
        raw.close()
