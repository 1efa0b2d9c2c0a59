"""The upstream pool against scripted bytes: what a provider may send, and that no connection, count or task is left."""

from __future__ import annotations

import asyncio
import base64
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from support.gateway import until
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Flow
from switchboard.core.types import Call, Headers
from switchboard.net.dial import Dialer, TcpDialer
from switchboard.net.http import UpstreamPool
from switchboard.net.script import Again, Hang, Request, Reset, Script, ScriptServer, Wait, answer, chunk, stream_head

pytestmark = pytest.mark.anyio


class Sink:
    """Notes what a call tells it, and that it is told of one end only."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = {}
        self.body = b""
        self.pieces: list[bytes] = []
        self.ended = 0
        self.errors: list[UpstreamError] = []
        self.over = asyncio.Event()
        self.flow: Flow | None = None
        self.on_first: Callable[[], None] | None = None

    def on_head(self, status: int, headers: Headers) -> None:
        assert not self.over.is_set()
        self.status, self.headers = status, headers

    def on_data(self, data: bytes) -> None:
        assert not self.over.is_set()
        self.body += data
        self.pieces.append(data)
        if self.on_first is not None:
            first, self.on_first = self.on_first, None
            first()

    def on_end(self) -> None:
        self.ended += 1
        self.over.set()

    def on_error(self, error: UpstreamError) -> None:
        self.errors.append(error)
        self.over.set()

    async def whole(self) -> bytes:
        """The body, once it is whole; raises what the call failed with."""
        async with asyncio.timeout(5):
            await self.over.wait()
        await asyncio.sleep(0)
        assert self.ended + len(self.errors) == 1
        if self.errors:
            raise self.errors[0]
        return self.body

    async def fault(self) -> Fault:
        """What it failed with."""
        with pytest.raises(UpstreamError) as e:
            await self.whole()
        return e.value.fault


def call(
    port: int, host: str = "127.0.0.1", scheme: str = "http", *, body: bytes = b"{}", timeout: float = 5.0
) -> Call:
    return Call((scheme, host, port), b"POST", b"/v1/x", b"host: provider\r\n", body, timeout)


def send(pool: UpstreamPool, what: Call, sink: Sink | None = None) -> Sink:
    sink = sink or Sink()
    sink.flow = pool.send(what, sink)
    return sink


@asynccontextmanager
async def upstream(
    script: Script | Callable[[int], Script], *, dialer: Dialer | None = None, **more: Any
) -> AsyncIterator[tuple[UpstreamPool, ScriptServer]]:
    """A pool and a scripted server; at the end nothing may be left of either."""
    async with ScriptServer(script) as server:
        pool = UpstreamPool(dialer or TcpDialer({}), **more)
        before = asyncio.all_tasks()
        try:
            yield pool, server
        finally:
            pool.close()
        await until(lambda: pool.open == 0, within=2)
        dials = [t for t in asyncio.all_tasks() - before if "_dial" in repr(t.get_coro())]
        assert not dials


# ---- whole answers


async def test_an_answer_and_its_connection_are_kept() -> None:
    async with upstream([Request(), answer(b"one"), Again()]) as (pool, server):
        for _ in range(3):
            assert await send(pool, call(server.port)).whole() == b"one"
        assert len(server.connections) == 1
        assert pool.open == 1
        assert server.connections[0].requests[0] == (
            b"POST /v1/x HTTP/1.1\r\nhost: provider\r\ncontent-length: 2\r\n\r\n{}"
        )


async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with upstream([Request(), interim, Wait(0.02), interim + answer(b"done"), Again()]) as (pool, server):
        for _ in range(2):
            sink = send(pool, call(server.port))
            assert await sink.whole() == b"done"
            assert sink.status == 200
            assert b"link" not in sink.headers
        assert len(server.connections) == 1


async def test_an_endless_row_of_interim_answers_is_no_answer() -> None:
    async with upstream([Request(), b"HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n" * 4000, Hang()]) as (pool, server):
        assert await send(pool, call(server.port)).fault() is Fault.PROTOCOL


async def test_chunks_split_at_every_byte() -> None:
    raw = stream_head() + chunk(b"hello ") + chunk(b"world") + b"0\r\ntrailer: 1\r\n\r\n"
    steps: list[Any] = [Request()]
    for i in range(len(raw)):
        steps += [raw[i : i + 1], Wait(0)]
    async with upstream([*steps, Again()]) as (pool, server):
        assert await send(pool, call(server.port)).whole() == b"hello world"
        assert await send(pool, call(server.port)).whole() == b"hello world"
        assert len(server.connections) == 1


async def test_trailers_are_not_taken_for_headers() -> None:
    raw = stream_head() + chunk(b"x") + b"0\r\ncontent-type: text/html\r\nretry-after: 1\r\n\r\n"
    async with upstream([Request(), raw, Hang()]) as (pool, server):
        sink = send(pool, call(server.port))
        await sink.whole()
        assert sink.headers[b"content-type"] == b"text/event-stream"
        assert b"retry-after" not in sink.headers


async def test_a_body_until_the_connection_ends() -> None:
    async with upstream([Request(), b"HTTP/1.1 200 OK\r\n\r\nall of", Wait(0.02), b" it"]) as (pool, server):
        assert await send(pool, call(server.port)).whole() == b"all of it"


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_that_have_no_body(status: int) -> None:
    async with upstream([Request(), f"HTTP/1.1 {status} None\r\n\r\n".encode(), Again()]) as (pool, server):
        for _ in range(2):
            sink = send(pool, call(server.port))
            assert (await sink.whole(), sink.status) == (b"", status)
        assert len(server.connections) == 1


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    moved = answer(b"", status=307, headers="location: http://127.0.0.1:1/elsewhere\r\n")
    async with upstream([Request(), moved, Hang()]) as (pool, server):
        sink = send(pool, call(server.port))
        await sink.whole()
        assert sink.status == 307
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    "last", [answer(b"x", headers="connection: close\r\n"), b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx"]
)
async def test_a_connection_that_is_to_close_is_not_kept(last: bytes) -> None:
    async with upstream([Request(), last, Hang()]) as (pool, server):
        assert await send(pool, call(server.port)).whole() == b"x"
        await until(lambda: pool.open == 0)
        assert await send(pool, call(server.port)).whole() == b"x"
        assert len(server.connections) == 2


# ---- what stands behind an answer never becomes the next one


@pytest.mark.parametrize("extra", [answer(b"poison"), b"garbage", b"HTTP/1.1 200", b"\0"])
@pytest.mark.parametrize("apart", [False, True])
async def test_bytes_behind_an_answer_do_not_poison_the_next(extra: bytes, apart: bool) -> None:
    poisoned: list[Any] = (
        [Request(), answer(b"one"), Wait(0.02), extra] if apart else [Request(), answer(b"one") + extra]
    )
    clean: list[Any] = [Request(), answer(b"two")]
    async with upstream(lambda n: [*(clean if n else poisoned), Hang()]) as (pool, server):
        assert await send(pool, call(server.port)).whole() == b"one"
        await until(lambda: pool.open == 0)
        assert await send(pool, call(server.port)).whole() == b"two"


# ---- answers that are not whole


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"", Fault.RESET),
        (b"HTTP/1.1 200 OK\r\ncontent-le", Fault.RESET),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive.", Fault.CUT),
        (stream_head() + chunk(b"x"), Fault.CUT),
        (stream_head() + b"5\r\nab", Fault.CUT),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Fault.RESET),
    ],
)
async def test_an_answer_that_ends_early(said: bytes, fault: Fault) -> None:
    async with upstream([Request(), said]) as (pool, server):
        assert await send(pool, call(server.port)).fault() is fault
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"", Fault.RESET),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive.", Fault.CUT),
        (b"HTTP/1.1 200 OK\r\n\r\nhalf", Fault.CUT),  # a body without a length ends with FIN, never with RST
    ],
)
async def test_a_connection_that_is_reset(said: bytes, fault: Fault) -> None:
    async with upstream([Request(), said, Wait(0.05), Reset()]) as (pool, server):
        assert await send(pool, call(server.port)).fault() is fault


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x00\xff garbage",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000,
    ],
)
async def test_what_is_not_http(said: bytes) -> None:
    async with upstream([Request(), said, Hang()]) as (pool, server):
        assert await send(pool, call(server.port)).fault() is Fault.PROTOCOL
        await until(lambda: pool.open == 0)


# ---- compression


def _packed(body: bytes, headers: str = "", coding: str = "gzip") -> bytes:
    return answer(body, headers=f"content-encoding: {coding}\r\n{headers}")


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
async def test_compressed_answers_split_at_every_byte(coding: str) -> None:
    text = b"hello " * 40
    raw = _packed(zlib.compress(text) if coding == "deflate" else gzip.compress(text), coding=coding)
    steps: list[Any] = [Request()]
    for i in range(len(raw)):
        steps += [raw[i : i + 1], Wait(0)]
    async with upstream([*steps, Again()]) as (pool, server):
        for _ in range(2):  # the second finds nothing of the first's state
            assert await send(pool, call(server.port)).whole() == text


async def test_gzip_of_several_members() -> None:
    async with upstream([Request(), _packed(gzip.compress(b"one ") + gzip.compress(b"two")), Hang()]) as (pool, server):
        assert await send(pool, call(server.port)).whole() == b"one two"


async def test_truncated_gzip_with_a_length() -> None:
    async with upstream([Request(), _packed(gzip.compress(b"x" * 1000)[:-6]), Hang()]) as (pool, server):
        assert await send(pool, call(server.port)).fault() is Fault.CUT


async def test_truncated_gzip_until_the_connection_ends() -> None:
    packed = gzip.compress(bytes(range(256)) * 20)[:-40]
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n"
    async with upstream([Request(), head + packed]) as (pool, server):
        assert await send(pool, call(server.port)).fault() is Fault.CUT


async def test_broken_gzip() -> None:
    async with upstream([Request(), _packed(b"this is no gzip at all"), Hang()]) as (pool, server):
        assert await send(pool, call(server.port)).fault() is Fault.PROTOCOL


async def test_a_gzip_bomb() -> None:
    bomb = gzip.compress(b"\0" * (80 * 1024 * 1024), 9)
    async with upstream([Request(), _packed(bomb), Hang()]) as (pool, server):
        sink = send(pool, call(server.port))
        fault = await sink.fault()
        # in one piece it is over the limit; the kernel may also have cut it into pieces that are each below
        assert fault is Fault.TOO_LARGE
        assert max((len(p) for p in sink.pieces), default=0) <= 65 * 1024 * 1024


# ---- connections that went stale


async def test_a_stale_connection_is_replaced_once() -> None:
    def script(n: int) -> Script:
        # the first closes when its second request comes, as a server does whose idle time was up just then
        return [Request(), answer(b"one"), Request()] if n == 0 else [Request(), answer(b"two"), Hang()]

    async with upstream(script) as (pool, server):
        assert await send(pool, call(server.port)).whole() == b"one"
        assert await send(pool, call(server.port, body=b"again")).whole() == b"two"
        assert server.connections[1].requests[0].endswith(b"again")
        assert len(server.connections) == 2


async def test_a_replaced_connection_is_not_replaced_again() -> None:
    async with upstream(lambda n: [Request(), answer(b"one"), Request()] if n == 0 else [Request()]) as (pool, server):
        assert await send(pool, call(server.port)).whole() == b"one"
        assert await send(pool, call(server.port)).fault() is Fault.RESET
        assert len(server.connections) == 2


@pytest.mark.parametrize("said", [b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_nothing_is_sent_again_once_something_came_back(said: bytes) -> None:
    async with upstream([Request(), answer(b"one"), Request(), said]) as (pool, server):
        assert await send(pool, call(server.port)).whole() == b"one"
        assert await send(pool, call(server.port)).fault() is Fault.RESET
        assert len(server.connections) == 1


async def test_a_fresh_connection_that_says_nothing_is_not_tried_again() -> None:
    async with upstream([Request()]) as (pool, server):
        assert await send(pool, call(server.port)).fault() is Fault.RESET
        assert len(server.connections) == 1


async def test_abort_while_a_stale_connection_is_being_replaced() -> None:
    dialer = FakeDialer()
    pool = UpstreamPool(dialer)
    first = send(pool, call(1))
    await asyncio.sleep(0.01)
    dialer.protocol.data_received(answer(b"one"))
    await first.whole()
    second = send(pool, call(1))
    dialer.protocol.connection_lost(None)  # dials again
    assert second.flow is not None
    second.flow.abort()
    await asyncio.sleep(0.01)
    assert not second.over.is_set()
    await until(lambda: pool.open == 0, within=1)


async def test_idle_connections_are_closed_after_their_time() -> None:
    async with upstream([Request(), answer(b"one"), Again()], keep_idle=10.0) as (pool, server):
        await send(pool, call(server.port)).whole()
        loop = asyncio.get_running_loop()
        pool.tick(loop.time() + 5)
        await asyncio.sleep(0.01)
        assert pool.open == 1
        pool.tick(loop.time() + 11)
        await until(lambda: pool.open == 0)
        await until(lambda: server.connections[0].left is not None)


async def test_the_limit_of_an_origin() -> None:
    async with upstream([Request(), Hang()], limit=2) as (pool, server):
        held = [send(pool, call(server.port)) for _ in range(2)]
        assert await send(pool, call(server.port)).fault() is Fault.FULL
        for sink in held:
            assert sink.flow is not None
            sink.flow.abort()
        await until(lambda: pool.open == 0)


# ---- abort, pause, resume, in every state


class FakeTransport(asyncio.Transport):
    """A transport that goes nowhere; `abort` loses the connection in the next round of the loop, as uvloop's does."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = b""
        self.lost = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        if not self.lost:
            self.lost = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def close(self) -> None:
        self.abort()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.lost


class FakeDialer:
    """Connects at once; then `after` may keep the dial busy, or do something to the protocol."""

    def __init__(self, after: Callable[[asyncio.Protocol], Any] | None = None) -> None:
        self.after = after
        self.protocol: Any = None
        self.count = 0

    async def connect(self, origin: Any, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        self.count += 1
        protocol = self.protocol = protocol_factory()
        protocol.connection_made(FakeTransport(protocol))
        if self.after is not None:
            waiting = self.after(protocol)
            if waiting is not None:
                await waiting


async def test_abort_in_the_same_breath_as_send() -> None:
    async with upstream([Request(), Hang()]) as (pool, server):
        for _ in range(20):
            sink = send(pool, call(server.port))
            assert sink.flow is not None
            sink.flow.abort()
        await until(lambda: pool.open == 0, within=1)
        assert not server.connections


async def test_abort_while_dialling() -> None:
    class Never:
        async def connect(self, origin: Any, protocol_factory: Any) -> None:
            await asyncio.get_running_loop().create_future()

    pool = UpstreamPool(Never())
    sink = send(pool, call(1))
    await asyncio.sleep(0.01)
    assert (pool.open, sink.flow is not None) == (1, True)
    assert sink.flow is not None
    sink.flow.pause()
    sink.flow.resume()
    sink.flow.abort()
    sink.flow.abort()
    await until(lambda: pool.open == 0, within=1)
    assert not sink.over.is_set()


async def test_abort_when_the_connection_was_made_but_the_dial_is_not_over_counts_once() -> None:
    pool = UpstreamPool(FakeDialer())
    kept = send(pool, call(1))
    await asyncio.sleep(0.01)
    assert pool.open == 1
    pool._dialer = FakeDialer(lambda _: asyncio.sleep(60))
    sink = send(pool, call(1))
    await asyncio.sleep(0.01)
    assert pool.open == 2
    assert sink.flow is not None
    sink.flow.abort()
    await asyncio.sleep(0.02)
    assert pool.open == 1  # the other one is still there
    assert kept.flow is not None
    kept.flow.abort()
    await until(lambda: pool.open == 0, within=1)


async def test_a_connection_lost_before_its_dial_is_over_is_told() -> None:
    pool = UpstreamPool(
        FakeDialer(lambda protocol: cast("Any", protocol).connection_lost(ConnectionResetError("gone")))
    )
    assert await send(pool, call(1)).fault() is Fault.RESET
    assert pool.open == 0


async def test_a_dialer_that_fails_in_no_known_way_is_told() -> None:
    class Broken:
        async def connect(self, origin: Any, protocol_factory: Any) -> None:
            raise ValueError("Port could not be cast to integer value")

    pool = UpstreamPool(Broken())
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            sink = send(pool, call(1))
            await sink.over.wait()
    assert len(sink.errors) == 1
    assert pool.open == 0


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", stream_head(), stream_head() + chunk(b"x") + b"5\r\nab"])
async def test_abort_while_waiting_and_while_streaming(said: bytes, paused: bool) -> None:
    async with upstream([Request(), said, Hang()]) as (pool, server):
        sink = send(pool, call(server.port))
        await until(lambda: server.connections and server.connections[0].requests)
        await asyncio.sleep(0.02)
        assert sink.flow is not None
        if paused:
            sink.flow.pause()
        for _ in range(2):
            sink.flow.abort()
        sink.flow.resume()
        sink.flow.pause()
        await until(lambda: server.connections[0].left is not None, within=0.5)
        await until(lambda: pool.open == 0)
        assert not sink.over.is_set()


async def test_abort_from_within_what_is_told() -> None:
    async with upstream([Request(), answer(b"one"), Hang()]) as (pool, server):
        sink = Sink()
        sink.on_first = lambda: sink.flow.abort() if sink.flow is not None else None
        send(pool, call(server.port), sink)
        await until(lambda: bool(sink.body))
        await until(lambda: pool.open == 0)
        assert not sink.over.is_set()


async def test_abort_after_the_end_leaves_the_kept_connection_alone() -> None:
    async with upstream([Request(), answer(b"one"), Again()]) as (pool, server):
        first = send(pool, call(server.port))
        await first.whole()
        second = send(pool, call(server.port))
        assert first.flow is not None
        first.flow.pause()
        first.flow.abort()
        assert await second.whole() == b"one"
        assert len(server.connections) == 1


async def test_a_paused_call_gets_nothing_until_it_is_resumed() -> None:
    piece = chunk(b"y" * 60_000)
    async with upstream([Request(), stream_head() + chunk(b"x"), *([piece] * 100), chunk(b""), Hang()]) as (
        pool,
        server,
    ):
        sink = Sink()
        sink.on_first = lambda: sink.flow.pause() if sink.flow is not None else None
        send(pool, call(server.port), sink)
        await until(lambda: bool(sink.body))
        await asyncio.sleep(0.1)
        held = len(sink.body)
        await asyncio.sleep(0.1)
        assert len(sink.body) == held < 1_000_000
        assert sink.flow is not None
        sink.flow.resume()
        assert len(await sink.whole()) == 6_000_001


async def test_a_call_paused_before_it_is_connected() -> None:
    async with upstream([Request(), answer(b"one"), Again()]) as (pool, server):
        sink = send(pool, call(server.port))
        assert sink.flow is not None
        sink.flow.pause()
        await until(lambda: server.connections and server.connections[0].requests)
        await asyncio.sleep(0.05)
        assert sink.status == 0
        sink.flow.resume()
        assert await sink.whole() == b"one"
        assert await send(pool, call(server.port)).whole() == b"one"


async def test_pause_and_resume_when_the_connection_is_gone() -> None:
    async with upstream([Request(), stream_head() + chunk(b"x")]) as (pool, server):
        sink = send(pool, call(server.port))
        assert await sink.fault() is Fault.CUT
        assert sink.flow is not None
        sink.flow.pause()
        sink.flow.resume()
        sink.flow.abort()
        assert pool.open == 0


async def test_a_call_that_ends_while_paused_does_not_leave_its_connection_deaf() -> None:
    async with upstream([Request(), answer(b"one"), Again()]) as (pool, server):
        sink = Sink()
        sink.on_first = lambda: sink.flow.pause() if sink.flow is not None else None
        assert await send(pool, call(server.port), sink).whole() == b"one"
        assert await send(pool, call(server.port)).whole() == b"one"
        assert len(server.connections) == 1


async def test_closing_the_pool_ends_dials_and_idle_connections() -> None:
    async with upstream([Request(), answer(b"one"), Again()]) as (pool, server):
        await send(pool, call(server.port)).whole()
        open_call = send(pool, call(server.port))
        pool.close()
        await open_call.whole()  # a call under way is its owner's
        await until(lambda: pool.open == 0)


# ---- connecting


async def test_nobody_listens() -> None:
    async with upstream([Request()]) as (pool, _):
        gone = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = gone.sockets[0].getsockname()[1]
        gone.close()
        await gone.wait_closed()
        assert await send(pool, call(port)).fault() is Fault.REFUSED
        assert pool.open == 0


async def test_a_name_that_does_not_exist() -> None:
    async with upstream([Request()]) as (pool, _):
        assert await send(pool, call(80, "does-not-exist.invalid")).fault() is Fault.DNS
        assert pool.open == 0


async def test_a_name_that_cannot_be_one_is_told() -> None:
    async with upstream([Request()]) as (pool, _):
        sink = send(pool, call(80, "a" * 70 + ".invalid"))
        assert await sink.fault() in (Fault.DNS, Fault.REFUSED)
        assert pool.open == 0


async def test_no_connection_in_time() -> None:
    # a full backlog on loopback: further connections are not answered
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers: list[socket.socket] = []
        for _ in range(4):
            s = socket.socket()
            s.setblocking(False)
            with suppress(BlockingIOError):
                s.connect(("127.0.0.1", port))
            fillers.append(s)
        pool = UpstreamPool(TcpDialer({}))
        sink = send(pool, call(port, timeout=0.2))
        assert await sink.fault() is Fault.CONNECT_TIMEOUT
        await until(lambda: pool.open == 0)
        for s in fillers:
            s.close()


def _tls(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(*names).configure_cert(context)
    return context


async def test_tls_to_a_known_authority(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with ScriptServer([Request(), answer(b"safe"), Again()], tls=_tls(ca, "localhost")) as server:
        pool = UpstreamPool(TcpDialer({}, str(tmp_path / "ca.pem")))
        for _ in range(2):
            assert await send(pool, call(server.port, "localhost", "https")).whole() == b"safe"
        assert len(server.connections) == 1
        pool.close()
        await until(lambda: pool.open == 0)


async def test_tls_to_an_unknown_authority_sends_nothing() -> None:
    async with ScriptServer([Request(), answer(b"x"), Hang()], tls=_tls(trustme.CA(), "localhost")) as server:
        pool = UpstreamPool(TcpDialer({}))
        assert await send(pool, call(server.port, "localhost", "https")).fault() is Fault.TLS
        await until(lambda: pool.open == 0)
        assert all(not c.heard for c in server.connections)


async def test_tls_to_another_name(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with ScriptServer([Request(), answer(b"x"), Hang()], tls=_tls(ca, "elsewhere.example")) as server:
        pool = UpstreamPool(TcpDialer({}, str(tmp_path / "ca.pem")))
        assert await send(pool, call(server.port, "localhost", "https")).fault() is Fault.TLS
        await until(lambda: pool.open == 0)


async def test_tls_to_a_server_that_speaks_none() -> None:
    async with ScriptServer([b"HTTP/1.1 400 Bad Request\r\n\r\n", Hang()]) as server:
        pool = UpstreamPool(TcpDialer({}))
        assert await send(pool, call(server.port, "localhost", "https")).fault() is Fault.TLS
        await until(lambda: pool.open == 0)


# ---- through a proxy


class Proxy:
    """A proxy that tunnels to `target`, or says what `refusal` is; notes the requests it got."""

    def __init__(self, target: int, refusal: Callable[[int], bytes | None] = lambda _: None) -> None:
        self.target = target
        self.refusal = refusal
        self.heard: list[bytes] = []
        self.port = 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Proxy]:
        tasks: set[asyncio.Task[None]] = set()

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    writer.write(data)
            writer.close()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.heard.append(await reader.readuntil(b"\r\n\r\n"))
            said = self.refusal(len(self.heard) - 1)
            if said is not None:
                writer.write(said)
                writer.close()
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            writer.write(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")
            for t in (pump(reader, far_writer), pump(far_reader, writer)):
                task = asyncio.create_task(t)
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_proxy_with_credentials(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with (
        ScriptServer([Request(), answer(b"tunnelled"), Again()], tls=_tls(ca, "localhost")) as server,
        Proxy(server.port).run() as proxy,
    ):
        environment = {"HTTPS_PROXY": f"http://user:p%40ss@127.0.0.1:{proxy.port}"}
        pool = UpstreamPool(TcpDialer(environment, str(tmp_path / "ca.pem")))
        for _ in range(2):
            assert await send(pool, call(server.port, "localhost", "https")).whole() == b"tunnelled"
        assert len(proxy.heard) == 1  # the tunnel is kept
        lines = proxy.heard[0].decode().split("\r\n")
        assert lines[0] == f"CONNECT localhost:{server.port} HTTP/1.1"
        assert "Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss").decode() in lines
        assert b"Basic" not in server.connections[0].heard
        pool.close()
        await until(lambda: pool.open == 0)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"garbage" * 4000,
        b"HTTP/1.1 200 OK\r\n\r\nsomething before TLS has begun",
    ],
)
async def test_a_proxy_that_refuses(said: bytes) -> None:
    async with ScriptServer([Request()]) as server, Proxy(server.port, lambda _: said).run() as proxy:
        pool = UpstreamPool(TcpDialer({"https_proxy": f"127.0.0.1:{proxy.port}"}))
        assert await send(pool, call(server.port, "localhost", "https")).fault() is Fault.PROXY
        await until(lambda: pool.open == 0)
        assert not server.connections


async def test_a_proxy_that_is_not_there() -> None:
    pool = UpstreamPool(TcpDialer({"HTTPS_PROXY": "http://127.0.0.1:1"}))
    assert await send(pool, call(443, "localhost", "https")).fault() in (Fault.PROXY, Fault.REFUSED)
    assert pool.open == 0


@pytest.mark.parametrize("proxy", ["https://127.0.0.1:1", "socks5://127.0.0.1:1", "http://", "http://127.0.0.1:port"])
async def test_a_proxy_that_cannot_be_used(proxy: str) -> None:
    pool = UpstreamPool(TcpDialer({"HTTPS_PROXY": proxy}))
    sink = send(pool, call(443, "localhost", "https"))
    assert await sink.fault() is Fault.PROXY
    assert pool.open == 0


async def test_a_tunnel_in_which_tls_fails_is_counted_once(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with (
        ScriptServer([Request(), stream_head() + chunk(b"x"), Hang()], tls=_tls(ca, "localhost")) as server,
        ScriptServer([b"this is no TLS at all" * 20, Hang()]) as bad,
        Proxy(server.port).run() as proxy,
    ):
        pool = UpstreamPool(TcpDialer({"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}, str(tmp_path / "ca.pem")))
        kept = send(pool, call(server.port, "localhost", "https"))
        await until(lambda: bool(kept.body))
        proxy.target = bad.port
        assert await send(pool, call(server.port, "localhost", "https")).fault() is Fault.TLS
        await asyncio.sleep(0.05)
        assert pool.open == 1  # the one that streams
        assert kept.flow is not None
        kept.flow.abort()
        await until(lambda: pool.open == 0)


@pytest.mark.parametrize("no_proxy", ["localhost", "*", "example.com, LOCALHOST", ".localhost"])
async def test_hosts_that_go_past_the_proxy(tmp_path: Path, no_proxy: str) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with ScriptServer([Request(), answer(b"direct"), Hang()], tls=_tls(ca, "localhost")) as server:
        environment = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": no_proxy}
        pool = UpstreamPool(TcpDialer(environment, str(tmp_path / "ca.pem")))
        assert await send(pool, call(server.port, "localhost", "https")).whole() == b"direct"
        pool.close()
        await until(lambda: pool.open == 0)


async def test_plain_http_goes_past_the_proxy() -> None:
    async with upstream(
        [Request(), answer(b"direct"), Hang()], dialer=TcpDialer({"HTTPS_PROXY": "http://127.0.0.1:1"})
    ) as (pool, server):
        assert await send(pool, call(server.port)).whole() == b"direct"
