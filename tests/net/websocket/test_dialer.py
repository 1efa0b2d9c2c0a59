"""The client's side: against an independent server, over TLS and proxies, and against scripted answers."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve

from support.sockets import Heard, Raw, closing, frame, served, until
from switchboard.core.clock import now
from switchboard.core.errors import Fault
from switchboard.core.sockets import SocketRefused
from switchboard.core.types import header
from switchboard.net.dial import TcpDialer
from switchboard.net.script import Hang, Request, Reset, Script, ScriptServer, answer
from switchboard.net.websocket import SocketDialer, Sockets, SocketTimeouts
from switchboard.net.websocket.dialer import read_url
from switchboard.net.websocket.handshake import accept_key

pytestmark = pytest.mark.anyio

SECRET = header(b"authorization", b"Bearer sk-secret")


def make(ca: str | None = None, environment: dict[str, str] | None = None) -> tuple[SocketDialer, Sockets]:
    sockets = Sockets()
    return SocketDialer(TcpDialer(environment or {}, ca), sockets), sockets


async def _echo(c: ServerConnection) -> None:
    async for message in c:
        await c.send(message)


@asynccontextmanager
async def echoing(**more: Any) -> AsyncIterator[int]:
    async with serve(_echo, "127.0.0.1", 0, max_size=None, **more) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@asynccontextmanager
async def raw_server(play: Callable[[Raw], Awaitable[None]]) -> AsyncIterator[int]:
    """A server that answers handshakes as it should, and then says what `play` does."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = Raw(reader, writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            key = re.search(rb"sec-websocket-key: (\S+)", await raw.head())
            assert key is not None
            raw.send(OK % accept_key(key[1]))
            await play(raw)
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


OK = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


async def test_messages_come_back() -> None:
    dialer, sockets = make()
    async with echoing(subprotocols=["realtime"]) as port:
        heard = Heard()
        url = f"ws://127.0.0.1:{port}/v1/realtime?model=m"
        call = dialer.connect(url, SECRET, heard, subprotocols=("beta", "realtime"))
        assert not heard.opened and "sk-secret" not in repr(call) and "model" not in repr(call)
        await until(lambda: heard.opened)
        assert heard.open.subprotocol == "realtime"
        sizes = (0, 1, 125, 126, 127, 128, 129, 4500, 65535, 65536, 70_001, 3_000_000)
        messages = [bytes([n & 255]) * n for n in sizes]
        for m in messages:
            heard.open.send_binary(m)
        heard.open.send_text("grüße 🐙".encode())
        heard.open.ping()
        await until(lambda: len(heard.messages) == len(sizes) + 1 and heard.pongs)
        assert heard.messages == [("binary", m) for m in messages] + [("text", "grüße 🐙".encode())]
        heard.open.close(1000, "done")
        await until(lambda: heard.closed and not len(sockets))
        assert heard.closed == [(1000, "done", True)]
        assert len(dialer._open) == 0


async def test_keys_differ() -> None:
    dialer, _ = make()
    seen: list[bytes] = []

    async def play(raw: Raw) -> None:
        for _ in range(200):
            head = await raw.reader.readexactly(2)
            assert head == b"\x82\x84"
            key = await raw.reader.readexactly(4)
            seen.append(key)
            data = await raw.reader.readexactly(4)
            assert bytes(a ^ b for a, b in zip(key, data, strict=True)) == b"same"

    async with raw_server(play) as port:
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{port}/", b"", heard)
        await until(lambda: heard.opened)
        for _ in range(200):
            heard.open.send_binary(b"same")
        await until(lambda: len(seen) == 200)
        assert len(set(seen)) == 200


def _tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    return context


@pytest.mark.parametrize("proxied", [False, True])
async def test_tls_and_proxies(tmp_path: Path, proxied: bool) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        r, w = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pipe(a: asyncio.StreamReader, b: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await a.read(1 << 16):
                    b.write(data)
            b.close()

        await asyncio.gather(pipe(reader, w), pipe(r, writer))

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    environment = {"HTTPS_PROXY": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"} if proxied else {}
    async with echoing(ssl=_tls(ca)) as port:
        dialer, sockets = make(str(tmp_path / "ca.pem"), environment=environment)
        heard = Heard()
        dialer.connect(f"wss://localhost:{port}/", SECRET, heard)
        await until(lambda: heard.opened or heard.errors)
        for n in (1, 4500, 300_000):
            heard.open.send_binary(b"s" * n)
        await until(lambda: len(heard.messages) == 3)
        assert [len(m) for _, m in heard.messages] == [1, 4500, 300_000]
        heard.open.close()
        await until(lambda: heard.closed and not len(sockets))
        assert heard.closed == [(1000, "", True)]
        assert bool(asked) is proxied and all(b"sk-secret" not in a for a in asked)
    server.close()


async def test_an_authority_that_is_not_known() -> None:
    async with echoing(ssl=_tls(trustme.CA())) as port:
        dialer, _ = make()
        heard = Heard()
        dialer.connect(f"wss://localhost:{port}/", SECRET, heard)
        await until(lambda: heard.errors)
        assert heard.errors[0].fault is Fault.TLS


async def test_a_refusal_is_told_whole() -> None:
    dialer, _ = make()
    body = b'{"error": "no"}'
    async with ScriptServer(
        [Request(), answer(body, status=401, headers="x-a: 1\r\nretry-after: 7\r\n"), Hang()]
    ) as server:
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{server.port}/", SECRET, heard)
        await until(lambda: heard.errors)
        error = heard.errors[0]
        assert isinstance(error, SocketRefused)
        assert (error.fault, error.status, error.body, error.retry_after) == (Fault.STATUS, 401, body, "7")
        assert error.headers[b"x-a"] == b"1"
        assert "no" not in str(error).split() and not error.retryable
        await until(lambda: server.connections[0].left)


@pytest.mark.parametrize("status", [200, 204, 301, 302, 307, 404, 426, 429, 500, 503])
async def test_any_other_status_is_a_refusal(status: int) -> None:
    dialer, _ = make()
    said = f"HTTP/1.1 {status} X\r\nlocation: ws://elsewhere/\r\ncontent-length: 0\r\n\r\n".encode()
    async with ScriptServer([Request(), said, Hang()]) as server:
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{server.port}/", b"", heard)
        await until(lambda: heard.errors)
        assert isinstance(heard.errors[0], SocketRefused) and heard.errors[0].status == status
        assert len(server.connections) == 1


async def test_a_refusal_that_names_what_it_upgrades_to() -> None:
    dialer, _ = make()
    lines = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n"
    async with ScriptServer([Request(), answer(b"old", status=426, headers=lines), Hang()]) as server:
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{server.port}/", b"", heard)
        await until(lambda: heard.errors)
        assert isinstance(heard.errors[0], SocketRefused)
        assert (heard.errors[0].status, heard.errors[0].body) == (426, b"old")


async def test_only_the_beginning_of_a_large_refusal_is_kept() -> None:
    dialer, _ = make()
    head = b"HTTP/1.1 500 X\r\ncontent-length: 10000000\r\n\r\n"
    async with ScriptServer([Request(), head + b"x" * 300_000, Hang()]) as server:
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{server.port}/", b"", heard)
        await until(lambda: heard.errors)
        assert isinstance(heard.errors[0], SocketRefused) and len(heard.errors[0].body) == 65536
        await until(lambda: server.connections[0].left)


async def test_a_refusal_that_is_cut_is_told_all_the_same() -> None:
    dialer, _ = make()
    async with ScriptServer([Request(), b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\nsorry"]) as server:
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{server.port}/", b"", heard)
        await until(lambda: heard.errors)
        assert isinstance(heard.errors[0], SocketRefused) and heard.errors[0].body == b"sorry"


_WRONG = b"HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: "
WRONG: dict[str, Script] = {
    "another key": [Request(), _WRONG + b"AAAA\r\n\r\n", Hang()],
    "no key": [Request(), b"HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", Hang()],
    "another upgrade": [Request(), _WRONG.replace(b"websocket\r", b"h2c\r") + b"A\r\n\r\n", Hang()],
    "no upgrade": [Request(), b"HTTP/1.1 101 S\r\n\r\n", Hang()],
    "no connection": [Request(), b"HTTP/1.1 101 S\r\nupgrade: websocket\r\n\r\n", Hang()],
    "not HTTP": [Request(), b"\x00\x01garbage\r\n\r\n", Hang()],
    "endless headers": [Request(), b"HTTP/1.1 101 S\r\n" + b"a: " + b"x" * 200_000, Hang()],
}


@pytest.mark.parametrize("name", WRONG)
async def test_answers_that_are_wrong(name: str) -> None:
    dialer, sockets = make()
    async with ScriptServer(WRONG[name]) as server:
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{server.port}/", SECRET, heard)
        await until(lambda: heard.errors)
        assert heard.errors[0].fault is Fault.PROTOCOL
        assert "secret" not in str(heard.errors[0])
        await until(lambda: server.connections[0].left)
        assert not len(sockets) and not dialer._open


@pytest.mark.parametrize("line", [b"sec-websocket-extensions: permessage-deflate", b"sec-websocket-protocol: other"])
async def test_what_nobody_offered(line: bytes) -> None:
    dialer, _ = make()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = Raw(reader, writer)
        key = re.search(rb"sec-websocket-key: (\S+)", await raw.head())
        assert key is not None
        raw.send((OK % accept_key(key[1]))[:-2] + line + b"\r\n\r\n")
        await raw.ended()
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    heard = Heard()
    dialer.connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", b"", heard, subprotocols=("mine",))
    await until(lambda: heard.errors)
    assert heard.errors[0].fault is Fault.PROTOCOL
    server.close()


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ([Request()], Fault.RESET),
        ([Request(), Reset()], Fault.RESET),
        ([Request(), b"HTTP/1.1 101 S\r\n"], Fault.RESET),
        ([Request(), b"HTTP/1.1 100 Continue\r\n\r\n", Hang()], Fault.TIMEOUT),
        ([Hang()], Fault.TIMEOUT),
    ],
)
async def test_answers_that_do_not_come(script: Script, fault: Fault) -> None:
    dialer, _ = make()
    async with ScriptServer(script) as server:
        heard = Heard()
        timeouts = SocketTimeouts(handshake=0.3)
        dialer.connect(f"ws://127.0.0.1:{server.port}/", b"", heard, timeouts=timeouts)
        await until(lambda: heard.errors)
        assert heard.errors[0].fault is fault
        await until(lambda: not dialer._open)


async def test_nobody_listens() -> None:
    dialer, _ = make()
    heard = Heard()
    dialer.connect("ws://127.0.0.1:1/", b"", heard)
    await until(lambda: heard.errors)
    assert heard.errors[0].fault is Fault.REFUSED


async def test_a_message_right_behind_the_handshake() -> None:
    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = Raw(reader, writer)
        key = re.search(rb"sec-websocket-key: (\S+)", await raw.head())
        assert key is not None
        raw.send(OK % accept_key(key[1]), *[frame(0x81, b"%d" % n, mask=False) for n in range(50)])
        await asyncio.sleep(0)
        raw.send(frame(0x82, b"last", mask=False), closing(1001, b"x", mask=False))
        await raw.ended()
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    dialer, sockets = make()
    heard = Heard()
    dialer.connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", b"", heard)
    await until(lambda: heard.closed and not len(sockets))
    assert [m for _, m in heard.messages] == [b"%d" % n for n in range(50)] + [b"last"]
    assert heard.closed == [(1001, "x", True)]
    server.close()


@pytest.mark.parametrize("when", ["at once", "handshake", "open"])
async def test_abort(when: str) -> None:
    dialer, sockets = make()
    async with ScriptServer([Request(), Hang()]) as server, echoing() as port:
        heard = Heard()
        call = dialer.connect(f"ws://127.0.0.1:{port if when == 'open' else server.port}/", b"", heard)
        if when == "handshake":
            await until(lambda: server.connections and server.connections[0].requests)
        elif when == "open":
            await until(lambda: heard.opened)
        call.abort()
        call.abort()
        await until(lambda: not dialer._open and not len(sockets))
        await asyncio.sleep(0.02)
        assert not heard.errors and not heard.closed and heard.opened == (when == "open")
        if server.connections:
            await until(lambda: server.connections[0].left)


async def test_close_of_the_dialer() -> None:
    dialer, _ = make()
    async with ScriptServer([Hang()]) as server:
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{server.port}/", b"", heard)
        await until(lambda: server.connections)
        dialer.close()
        await until(lambda: not dialer._open and server.connections[0].left)
        assert not heard.errors


async def test_paused_before_it_is_open() -> None:
    async def play(raw: Raw) -> None:
        raw.send(frame(0x81, b"held", mask=False))
        await raw.ended()

    async with raw_server(play) as port:
        dialer, _ = make()
        heard = Heard()
        call = dialer.connect(f"ws://127.0.0.1:{port}/", b"", heard)
        call.pause()
        await until(lambda: heard.opened)
        await asyncio.sleep(0.05)
        assert not heard.messages
        call.resume()
        await until(lambda: heard.messages)
        call.abort()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(0x81, b"masked"), 1002),
        (frame(0x81, b"\xff", mask=False), 1007),
        (frame(0x82, b"x" * 101, mask=False), 1009),
    ],
)
async def test_rules_hold_for_servers(said: bytes, code: int) -> None:
    got: list[tuple[int, bytes]] = []

    async def play(raw: Raw) -> None:
        raw.send(said)
        got.append(await raw.frame())
        await raw.ended()

    async with raw_server(play) as port:
        dialer, sockets = make()
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{port}/", b"", heard, max_message=100)
        await until(lambda: heard.closed and got)
        assert heard.closed[0][0] == code and not heard.closed[0][2] and not heard.messages
        assert got[0][0] == 0x88 and int.from_bytes(got[0][1][:2], "big") == code
        await until(lambda: not len(sockets))


async def test_a_server_that_does_not_close_the_connection() -> None:
    async def play(raw: Raw) -> None:
        raw.send(closing(1000, mask=False))
        await raw.reader.read(1 << 16)
        await asyncio.sleep(2)

    async with raw_server(play) as port:
        dialer, sockets = make()
        heard = Heard()
        dialer.connect(f"ws://127.0.0.1:{port}/", b"", heard)
        await until(lambda: heard.closed)
        assert heard.closed == [(1000, "", True)]
        sockets.tick(now() + 3)
        await until(lambda: not len(sockets), 1.0)


async def test_both_sides_of_our_own() -> None:
    async with served() as s:
        dialer, sockets = make()
        heard = Heard()
        dialer.connect(s.url, b"", heard)
        await until(lambda: heard.opened)
        for n in (0, 5, 200, 4500, 66_000, 1_000_000):
            heard.open.send_text(b"t" * n)
        await until(lambda: len(heard.messages) == 6)
        heard.open.close(1001, "é" * 100)
        await until(lambda: heard.closed and s.heard.closed)
        assert s.heard.closed == [(1001, "é" * 61, True)]
        await until(lambda: not len(sockets) and not len(s.door.sockets))


async def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    dialer, _ = make()
    async with ScriptServer([Request(), b"HTTP/1.1 101 S\r\n\r\n"]) as server:
        heard = Heard()
        call = dialer.connect(f"ws://127.0.0.1:{server.port}/?key=sk-secret", SECRET, heard)
        texts = [repr(call), repr(call._task), repr(dialer)]
        await until(lambda: heard.errors)
        texts += [repr(heard.errors[0]), str(heard.errors[0]), caplog.text]
        assert all("sk-secret" not in t for t in texts)


@pytest.mark.parametrize(
    "url",
    ["http://a/", "a", "ws://", "wss://u:p@a/", "ws://a/#x", "ws://a/ b", "ws://a/é", "ws://a:port/", "ws://a:99999/"],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as e:
        read_url(url)
    assert "u:p" not in str(e.value)


def test_urls() -> None:
    t = read_url("wss://api.example/v1/realtime?model=x")
    assert (t.origin, t.path, t.host) == (("https", "api.example", 443), b"/v1/realtime?model=x", b"api.example")
    t = read_url("ws://[::1]:8080")
    assert (t.origin, t.path, t.host) == (("http", "::1", 8080), b"/", b"[::1]:8080")
