"""The front door over raw sockets: what is wrong with the HTTP itself, requests one after the other, and deadlines."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from support.client import Connection, chat, request
from support.gateway import Gateway, gateway, until
from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.net.front import FrontLimits, FrontProtocol
from switchboard.net.front import Request as FrontRequest
from switchboard.net.script import Hang, Request, ScriptServer, Wait, answer, chunk, stream_head

pytestmark = pytest.mark.anyio

HOST = b"host: localhost\r\n"
HEALTH = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
LIMITS: dict[str, Any] = {"header_seconds": 0.4, "idle_seconds": 0.8, "stall_seconds": 0.6}
SMALL: dict[str, Any] = {"header_bytes": 4096, "header_count": 20, "url_bytes": 1024}


def post(content: str, headers: bytes = b"", *, path: str = "/api/chat", **more: Any) -> bytes:
    """A chat that is answered whole with its own `content`."""
    import json

    body = json.dumps(chat(content, stream=False, **more)).encode()
    head = b"POST %b HTTP/1.1\r\n%bcontent-type: application/json\r\n%b" % (path.encode(), HOST, headers)
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


async def rest(c: Connection, within: float = 3.0) -> bytes:
    """Everything until the server closes; "RST" at the end if it did that rudely."""
    out = b""
    async with asyncio.timeout(within):
        try:
            while data := await c.reader.read(1 << 16):
                out += data
        except ConnectionError:
            out += b"RST"
    return out


def statuses(raw: bytes) -> list[int]:
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3})", raw)]


async def say(g: Gateway, *pieces: bytes, within: float = 3.0) -> bytes:
    """Send `pieces` on a new connection, and hear all until the server closes."""
    c = await g.connect()
    try:
        for p in pieces:
            await c.send(p)
            await asyncio.sleep(0.02)
        return await rest(c, within)
    finally:
        c.close()


async def heard(g: Gateway, *pieces: bytes, wait: float = 0.4) -> bytes:
    """Send `pieces` on a new connection, and hear what comes for a while."""
    c = await g.connect()
    out = b""
    try:
        for p in pieces:
            await c.send(p)
            await asyncio.sleep(0.02)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(wait):
                while data := await c.reader.read(1 << 16):
                    out += data
    finally:
        c.close()
    return out


async def no_errors(g: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    assert '"ERROR"' not in await g.log()
    assert [r.getMessage() for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []


# ---- malformed, oversize


BAD = {
    "two hosts": b"GET /health HTTP/1.1\r\nhost: localhost\r\nHost: evil\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "length and chunks": b"POST /api/chat HTTP/1.1\r\n"
    + HOST
    + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
    "chunks and length": b"POST /api/chat HTTP/1.1\r\n"
    + HOST
    + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n",
    "two codings": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding: gzip, chunked\r\n\r\n",
    "chunked twice": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n" * 2 + b"\r\n",
    "coding unknown": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding: xchunked\r\n\r\n",
    "coding by tab": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding:\x0bchunked\r\n\r\n",
    "coding in 1.0": b"POST /api/chat HTTP/1.0\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 4\r\ncontent-length: 4\r\n\r\n",
    "a list of lengths": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 4, 4\r\n\r\n",
    "negative length": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: -4\r\n\r\n",
    "signed length": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: +4\r\n\r\n",
    "hexadecimal length": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 0x4\r\n\r\n",
    "empty length": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length:\r\n\r\n",
    "huge length": b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 99999999999999999999\r\n\r\n",
    "folded header": b"GET /health HTTP/1.1\r\n" + HOST + b"a: b\r\n c\r\n\r\n",
    "blank before colon": b"GET /health HTTP/1.1\r\n" + HOST + b"a : b\r\n\r\n",
    "no colon": b"GET /health HTTP/1.1\r\n" + HOST + b"nonsense\r\n\r\n",
    "null in a header": b"GET /health HTTP/1.1\r\n" + HOST + b"a: \0\r\n\r\n",
    "bare line feeds": b"GET /health HTTP/1.1\nhost: localhost\n\n",
    "bare carriage return": b"GET /health HTTP/1.1\r\n" + HOST + b"a: b\rc: d\r\n\r\n",
    "unknown method": b"BREW /health HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /health HTTP/0.9\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET /health HTTP/1.2\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
    "bytes in the URL": b"GET /h\xc3\xa9alth HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_not_http_as_it_should_be(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("splice") as g:
        raw = await say(g, BAD[name], HEALTH)
        assert statuses(raw) == [400]
        assert b"\r\nconnection: close\r\n" in raw
        assert b"x-request-id: " in raw
        assert (await g.ask("/health")).status == 200
        await no_errors(g, caplog)


@pytest.mark.parametrize("tail", [b"zz\r\n", b"5;\0\r\nhello", b"-1\r\n", b"ffffffffffffffffff\r\n", b"2\r\n{}x"])
async def test_chunks_that_are_none(tail: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("splice") as g:
        raw = await say(g, b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n", tail)
        assert statuses(raw) == [400]
        assert b"\r\nconnection: close\r\n" in raw
        assert len(g.records) == 1  # one request, one record
        await no_errors(g, caplog)


OVERSIZE = {
    "a megabyte in one header": (431, b"GET /health HTTP/1.1\r\n" + HOST + b"a: " + b"x" * (1 << 20) + b"\r\n\r\n"),
    "a megabyte in one name": (431, b"GET /health HTTP/1.1\r\n" + HOST + b"x" * (1 << 20) + b": a\r\n\r\n"),
    "20,000 headers": (
        431,
        b"GET /health HTTP/1.1\r\n" + HOST + b"".join(b"a%d: b\r\n" % i for i in range(20000)) + b"\r\n",
    ),
    "20,000 headers of one name": (431, b"GET /health HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 20000 + b"\r\n"),
    "more headers than allowed": (
        431,
        b"GET /health HTTP/1.1\r\n" + HOST + b"".join(b"a%d: b\r\n" % i for i in range(25)) + b"\r\n",
    ),
    "more headers of one name than allowed": (431, b"GET /health HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 60 + b"\r\n"),
    "a long URL": (414, b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "an endless URL": (414, b"GET /" + b"x" * (1 << 20)),
    "a long query": (414, b"GET /health?" + b"x" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "empty lines without end": (431, b"\r\n" * (1 << 19)),
}


@pytest.mark.parametrize("name", OVERSIZE)
async def test_heads_that_are_too_large(name: str, caplog: pytest.LogCaptureFixture) -> None:
    status, data = OVERSIZE[name]
    async with gateway("splice", limits=SMALL) as g:
        raw = await say(g, data)
        assert statuses(raw) == [status]
        assert b"\r\nconnection: close\r\n" in raw
        assert (await g.ask("/health")).status == 200
        await no_errors(g, caplog)


async def test_a_head_as_large_as_allowed() -> None:
    async with gateway("splice", limits=SMALL) as g:
        for piece in (b"a: " + b"x" * 3900 + b"\r\n", b"".join(b"a%d: b\r\n" % i for i in range(19))):
            assert statuses(await heard(g, b"GET /health HTTP/1.1\r\n" + HOST + piece + b"\r\n")) == [200]
        long = b"GET /health?" + b"x" * 1000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"
        assert statuses(await heard(g, long)) == [200]


async def test_a_large_head_behind_another_request_in_one_piece() -> None:
    async with gateway("splice", limits=SMALL) as g:
        large = b"GET /health HTTP/1.1\r\n" + HOST + b"a: " + b"x" * 30_000 + b"\r\n\r\n"
        assert statuses(await heard(g, HEALTH + large)) == [200, 431]


async def test_trailers_are_as_limited_as_headers() -> None:
    async with gateway("splice", limits=SMALL) as g:
        c = await g.connect()
        await c.send(b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
        with suppress(ConnectionError):
            for i in range(200):
                await c.send(b"".join(b"t%d-%d: x\r\n" % (i, j) for j in range(100)))
                await asyncio.sleep(0)
        raw = await rest(c)
        # the last of it may be broken off while the client still sends; what counts is that it is not taken in
        assert statuses(raw) in ([431], [400]) or raw.endswith(b"RST")
        c.close()


async def test_an_endless_trailer_is_cut() -> None:
    async with gateway("splice", limits=SMALL) as g:
        c = await g.connect()
        await c.send(b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nt: ")
        for _ in range(20):
            await c.send(b"x" * 10_000)
            await asyncio.sleep(0.01)
        assert statuses(await rest(c)) in ([431], [400])
        c.close()


async def test_trailers_do_not_become_headers() -> None:
    async with gateway("splice", auth={"access_key": "k1"}) as g:
        body = b'{"messages":[{"role":"user","content":"hi"}],"stream":false}'
        chunked = (
            b"POST /api/chat HTTP/1.1\r\n"
            + HOST
            + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(body), body)
        )
        trailer = b"authorization: Bearer k1\r\n\r\n"
        assert statuses(await heard(g, chunked + trailer))[:1] == [401]
        # one that waits for its turn is looked at when all of it is there
        assert statuses(await heard(g, HEALTH + chunked + trailer)) == [200, 401]


async def test_a_trailer_that_names_a_header_again_does_no_harm() -> None:
    async with gateway("splice") as g:
        body = b'{"messages":[{"role":"user","content":"hi"}],"stream":false}'
        head = b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\ntrailer: checksum\r\n\r\n"
        c = await g.connect()
        await c.send(head + b"%x;ext=1\r\n%b\r\n0\r\nchecksum: 1\r\n\r\n" % (len(body), body) + HEALTH)
        assert (await c.answer()).json["content"] == "hi"
        assert (await c.answer()).status == 200
        c.close()


# ---- deadlines


async def test_slow_headers() -> None:
    async with gateway("splice", limits=LIMITS) as g:
        c = await g.connect()
        began = now()
        answered = asyncio.create_task(rest(c))
        for b in b"GET /health HTTP/1.1\r\nhost: localhost\r\na: b":
            if answered.done():
                break
            await c.send(bytes([b]))
            await asyncio.sleep(0.03)
        raw = await answered
        assert statuses(raw) == [408]
        assert b"\r\nconnection: close\r\n" in raw
        assert 0.35 < now() - began < 1.5
        c.close()


async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with gateway("splice", limits=LIMITS) as g:
        assert await say(g) == b""


async def test_slow_headers_of_a_second_request() -> None:
    async with gateway("splice", limits=LIMITS) as g:
        assert statuses(await say(g, HEALTH, b"GET /health HT")) == [200, 408]
        assert statuses(await say(g, HEALTH + b"GET /health HT")) == [200, 408]


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with gateway("splice", limits=LIMITS) as g:
        assert statuses(await say(g, HEALTH)) == [200]


async def test_a_kept_connection_is_idle_and_not_late_after_a_pipelined_body() -> None:
    # an unasked-for 408 would be taken for the answer to the client's next request
    async with gateway("splice", limits=LIMITS, chat={"model": "slow"}) as g:
        first, second = post("one"), post("two", model="echo")
        assert statuses(await say(g, first, second[:-20], second[-20:], within=5)) == [200, 200]


async def test_a_slow_body(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("splice", limits={"body_seconds": 0.3}) as g:
        c = await g.connect()
        began = now()
        await c.send(b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 5000\r\n\r\n")
        answered = asyncio.create_task(rest(c))
        while not answered.done():
            await c.send(b" ")
            await asyncio.sleep(0.03)
        raw = await answered
        assert statuses(raw) == [408]
        assert b"\r\nconnection: close\r\n" in raw
        assert now() - began < 2
        await until(lambda: not g.app.registry.open)
        assert [r.status for r in g.records] == [408]  # one request, one record
        await no_errors(g, caplog)


async def test_a_slow_body_that_nobody_wants_is_not_answered_twice() -> None:
    async with gateway("splice", auth={"access_key": "k1"}, limits={"body_seconds": 0.3}) as g:
        raw = await say(g, b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 5000\r\n\r\n", b"{")
        assert statuses(raw) == [401]
        assert len(g.records) == 1


async def test_a_body_at_a_fair_rate_may_take_its_time() -> None:
    async with gateway("splice", limits={"body_rate": 1000, "body_seconds": 0.3}) as g:
        raw = post("x" * 3000)
        c = await g.connect()
        for i in range(0, len(raw), 100):
            await c.send(raw[i : i + 100])
            await asyncio.sleep(0.03)
        assert (await c.answer()).status == 200
        c.close()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async with gateway("splice", limits=LIMITS, chat={"model": "echo"}) as g:
        c = await _deaf(g)
        await c.send(post("x" * 12_000_000))
        await until(lambda: len(g.server.server_state.connections) == 1)
        await until(lambda: not g.server.server_state.connections, within=5)
        got = 0
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                while data := await c.reader.read(1 << 20):
                    got += len(data)
        assert got < 12_000_000  # the rest was thrown away, not kept for it
        c.close()


async def _deaf(g: Gateway) -> Connection:
    """A connection whose other end reads next to nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", g.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1)
    return Connection(reader, writer)


async def test_a_pipelined_stream_begins_paused_while_the_client_still_has_to_read() -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"y" * 30_000)
    async with ScriptServer([Request(), stream_head(), *([chunk(event)] * 1500), Hang()]) as up:
        providers = {"offline": {"pace": 0}, "up": {"base_url": up.base_url, "models": ["up-1"]}}
        async with gateway("splice", providers=providers, chat={"provider": "offline", "model": "echo"}) as g:
            c = await _deaf(g)
            await c.send(post("x" * 9_000_000))
            await until(lambda: len(g.records) == 1)
            second = chat("go", model="up-1", stream=True)
            await c.send(request("/v1/chat/completions", second))
            await until(lambda: up.connections and up.connections[0].requests)
            before = _unsent(g)
            await asyncio.sleep(0.5)
            # what the upstream sends stays in the kernel's buffers, not in ours
            assert _unsent(g) - before < 4_000_000
            c.reset()


def _unsent(g: Gateway) -> int:
    connections = cast("set[Any]", g.server.server_state.connections)
    return sum(c._transport.get_write_buffer_size() for c in connections)


# ---- one request after the other


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with gateway("splice", providers={"offline": {"pace": 0.002}}) as g:
        c = await g.connect()
        raw = b""
        for i in range(10):
            raw += post(f"number {i}") + HEALTH
            raw += (
                request("/api/chat", chat(f"streamed {i} on", stream=True))
                + b"GET /nothing HTTP/1.1\r\n"
                + HOST
                + b"\r\n"
            )
        await c.send(raw)
        async with asyncio.timeout(10):
            for i in range(10):
                assert (await c.answer()).json["content"] == f"number {i}"
                assert (await c.answer()).json["status"] == "ok"
                streamed = await c.answer()
                assert "".join(e["content"] for e in streamed.events) == f"streamed {i} on"
                assert (await c.answer()).status == 404
        c.close()


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_pipelined_requests_in_small_pieces(size: int) -> None:
    async with gateway("splice") as g:
        c = await g.connect()
        raw = post("one") + HEALTH + post("two") + request("/api/chat", chat("three")) + HEALTH
        for i in range(0, len(raw), size):
            await c.send(raw[i : i + size])
            await asyncio.sleep(0)
        assert (await c.answer()).json["content"] == "one"
        assert (await c.answer()).status == 200
        assert (await c.answer()).json["content"] == "two"
        assert (await c.answer()).events[0]["content"] == "three"
        assert (await c.answer()).status == 200
        c.close()


async def test_hundreds_of_pipelined_requests_that_are_refused_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("splice", auth={"access_key": "k1"}) as g:
        one = b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 2\r\n\r\n{}"
        c = await g.connect()
        # the first takes its time, so that the others wait for their turn
        await c.send(HEALTH + one * 700)
        assert (await c.answer()).status == 200
        async with asyncio.timeout(10):
            for _ in range(700):
                assert (await c.answer()).status == 401
        await c.send(HEALTH)
        assert (await c.answer()).status == 200
        await until(lambda: len(g.records) == 702)
        await no_errors(g, caplog)
        c.close()


async def test_a_pipelining_flood_closes_the_connection() -> None:
    async with gateway("splice", chat={"model": "silent"}) as g:
        c = await g.connect()
        await c.send(post("x"))
        await until(lambda: len(g.app.registry.open) == 1)
        with suppress(ConnectionError, RuntimeError):  # uvloop's word for a socket that is gone
            for _ in range(40):
                await c.send(b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 4000\r\n\r\n" + b"x" * 4000)
                await asyncio.sleep(0)
        await until(lambda: not g.app.registry.open)
        assert (await g.record()).outcome == "client_left"
        c.close()


async def test_a_client_that_always_has_one_request_ahead_is_no_flood() -> None:
    async with gateway("splice") as g:
        c = await g.connect()
        one = post("y" * 1000)
        await c.send(one)
        async with asyncio.timeout(15):
            for _ in range(150):  # more than the cap in all, and never more than one of them waiting
                await c.send(one)
                assert (await c.answer()).status == 200
        c.close()


async def test_what_is_wrong_with_a_pipelined_request_is_said_after_the_answers_before() -> None:
    async with gateway("splice", providers={"offline": {"pace": 0.01}}) as g:
        raw = await say(g, request("/api/chat", chat("a b c d")) + post("two") + b"garbage\r\n\r\n")
        assert statuses(raw) == [200, 200, 400]
        assert raw.index(b'"done":true') < raw.index(b'"content":"two"') < raw.index(b" 400 ")


async def test_a_broken_body_of_a_request_that_waits_for_its_turn() -> None:
    async with gateway("splice", providers={"offline": {"pace": 0.05}}) as g:
        broken = b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\nzz\r\n"
        raw = await say(g, request("/api/chat", chat("a b c d")), broken)
        assert statuses(raw) == [200, 400]


async def test_nothing_is_read_behind_an_answer_that_closes(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("splice", auth={"access_key": "k1"}) as g:
        refused = b"POST /api/chat HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        raw = await say(g, refused + post("paid for", b"authorization: Bearer k1\r\n"))
        assert statuses(raw) == [401]
        raw = await say(g, refused + HEALTH)
        assert statuses(raw) == [401]
        await asyncio.sleep(0.1)
        assert [r.status for r in g.records] == [401, 401]
        await no_errors(g, caplog)


async def test_http_1_0_closes_after_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("splice") as g:
        one = post("one").replace(b"HTTP/1.1", b"HTTP/1.0", 1).replace(HOST, HOST + b"connection: keep-alive\r\n", 1)
        raw = await say(g, one + one)
        assert statuses(raw) == [200]
        assert b"\r\nconnection: close\r\n" in raw
        assert len(g.records) == 1
        cold = await say(g, b"GET /health HTTP/1.0\r\n\r\n")
        assert statuses(cold) == [200]
        await no_errors(g, caplog)


async def test_http_1_0_gets_no_chunks_and_no_interim_answer() -> None:
    async with gateway("splice") as g:
        stream = request("/api/chat", chat("a b"), {"expect": "100-continue"}).replace(b"HTTP/1.1", b"HTTP/1.0")
        head, _, body = stream.partition(b"\r\n\r\n")
        raw = await say(g, head + b"\r\n\r\n", body)
        assert statuses(raw) == [200]
        assert b"chunked" not in raw
        assert raw.partition(b"\r\n\r\n")[2].startswith(b"data: ")


async def test_connection_close_is_honoured() -> None:
    async with gateway("splice") as g:
        for raw in (post("x", b"connection: close\r\n"), HEALTH.replace(HOST, HOST + b"connection: close\r\n")):
            out = await say(g, raw)
            assert statuses(out) == [200]
            assert b"connection: close" in out


# ---- answers before the end of the body


async def test_a_small_body_that_nobody_wants_is_drained() -> None:
    async with gateway("splice", auth={"access_key": "k1"}) as g:
        c = await g.connect()
        await c.send(b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 60000\r\n\r\n")
        refused = await c.answer()
        assert (refused.status, "connection" in refused.headers) == (401, False)
        for _ in range(6):
            await c.send(HEALTH.ljust(10_000, b" "))  # what looks like a request is a body all the same
        await c.send(HEALTH)
        assert (await c.answer()).json["status"] == "ok"
        assert len(g.records) == 2
        c.close()


@pytest.mark.parametrize("framing", [b"content-length: 8000000\r\n", b"transfer-encoding: chunked\r\n"])
@pytest.mark.parametrize(("path", "status"), [("/api/chat", 401), ("/v1/models", 401), ("/health", 405)])
async def test_a_big_body_that_nobody_wants_closes_and_the_answer_can_be_read(
    framing: bytes, path: str, status: int
) -> None:
    async with gateway("splice", auth={"access_key": "k1"}) as g:
        c = await g.connect()
        await c.send(b"POST %b HTTP/1.1\r\n%b%b\r\n" % (path.encode(), HOST, framing))
        piece = b"%x\r\n%b\r\n" % (40_000, b"x" * 40_000) if b"chunked" in framing else b"x" * 40_000
        with suppress(ConnectionError):
            for _ in range(100):
                c.writer.write(piece)
                await asyncio.sleep(0.002)
        raw = await rest(c)
        assert statuses(raw) == [status]
        assert b"\r\nconnection: close\r\n" in raw
        c.close()


async def test_a_body_over_the_limit_can_still_read_its_answer() -> None:
    async with gateway("splice", limits={"json_body": 1000}) as g:
        for path in ("/api/chat", "/v1/models"):
            c = await g.connect()
            await c.send(b"POST %b HTTP/1.1\r\n%bcontent-length: 9000000\r\n\r\n" % (path.encode(), HOST))
            with suppress(ConnectionError):
                for _ in range(50):
                    c.writer.write(b"x" * 40_000)
                    await asyncio.sleep(0.002)
            assert statuses(await rest(c)) == [413]
            c.close()


async def test_expect_continue() -> None:
    async with gateway("splice", auth={"access_key": "k1"}) as g:
        raw = post("x", b"expect: 100-continue\r\nauthorization: Bearer k1\r\n")
        head, _, body = raw.partition(b"\r\n\r\n")
        c = await g.connect()
        await c.send(head + b"\r\n\r\n")
        async with asyncio.timeout(2):
            assert await c.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await c.send(body)
        assert (await c.answer()).status == 200
        c.close()
        # who is refused is not asked to go on; whether the body comes all the same cannot be known
        refused = await say(g, head.replace(b"k1", b"k2") + b"\r\n\r\n")
        assert statuses(refused) == [401]
        assert b"\r\nconnection: close\r\n" in refused


# ---- upgrades, methods, targets


H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"


@pytest.mark.parametrize("cut", [0, 1, 30, 10_000])
async def test_an_offer_of_h2c_is_passed_over(cut: int) -> None:
    async with gateway("splice") as g:
        raw = post("one", H2C)
        raw = raw[: len(raw) - cut] if cut < 10_000 else raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        whole = post("one", H2C)
        c = await g.connect()
        await c.send(raw)
        await asyncio.sleep(0.02)
        await c.send(whole[len(raw) :] + HEALTH)
        async with asyncio.timeout(2):
            assert (await c.answer()).json["content"] == "one"
            assert (await c.answer()).status == 200
        c.close()


async def test_an_offer_of_h2c_without_a_body() -> None:
    async with gateway("splice") as g:
        offer = HEALTH.replace(HOST, HOST + H2C)
        assert statuses(await heard(g, offer + offer + HEALTH)) == [200, 200, 200]
        assert statuses(await heard(g, post("one") + offer)) == [200, 200]


async def test_what_is_wrong_behind_an_offer_of_h2c(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("splice") as g:
        assert statuses(await say(g, HEALTH.replace(HOST, HOST + H2C) + BAD["two hosts"])) == [200, 400]
        await no_errors(g, caplog)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        b"POST /api/chat HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST,
    ],
)
async def test_the_body_of_an_upgrade_is_never_a_request(head: bytes, apart: bool) -> None:
    async with gateway("splice") as g:
        first = head + b"content-length: %d\r\n\r\n" % len(HEALTH)
        raw = await heard(g, *([first, HEALTH] if apart else [first + HEALTH]))
        assert len(statuses(raw)) == 1
        assert len(g.records) == 1


@pytest.mark.parametrize("path", ["/api/chat", "/health", "/v1/chat/completions", "/nothing"])
async def test_methods_on_hot_and_cold_routes(path: str) -> None:
    async with gateway("splice") as g:
        for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
            one = b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode(), path.encode(), HOST)
            c = await g.connect()
            await c.send(one)
            async with asyncio.timeout(2):
                status, headers = await c.head()
                if method != "HEAD":
                    await c.reader.readexactly(int(headers.get("content-length", "0")))
                assert status in ((200, 404, 405) if method == "HEAD" else (404, 405))
                await c.send(HEALTH)  # no byte too many, no byte missing
                assert (await c.answer()).json["status"] == "ok"
            c.close()


@pytest.mark.parametrize(
    "target", ["http://localhost/health", "https://localhost:1/health", "http://localhost/heal%74h", "/heal%74h"]
)
async def test_targets_of_another_form(target: str) -> None:
    async with gateway("splice") as g:
        assert statuses(await heard(g, b"GET %b HTTP/1.1\r\n%b\r\n" % (target.encode(), HOST))) == [200]


async def test_odd_targets_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway("splice") as g:
        for target in (
            b"*",
            b"/%",
            b"/%00",
            b"/%ff%fe",
            b"/..%2f..%2fetc/passwd",
            b"//evil/x",
            b"http://",
            b"/%0d%0ax:y",
        ):
            for method in (b"GET", b"POST", b"OPTIONS"):
                raw = await heard(g, b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, HOST), wait=0.1)
                assert all(s < 500 for s in statuses(raw)), (method, target, raw)
                assert b"\r\nx:y" not in raw
        await no_errors(g, caplog)


# ---- clients that leave; connections


async def test_a_closed_half_counts_as_left() -> None:
    async with gateway("splice", chat={"model": "endless"}) as g:
        c = await g.connect()
        await c.send(request("/api/chat", chat("x")))
        await c.head()
        c.writer.write_eof()
        await until(lambda: not g.app.registry.open, within=0.5)
        assert (await g.record()).outcome == "client_left"
        c.close()


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("body", [b"{", b""])
async def test_a_client_that_leaves_in_the_middle_of_its_body(how: str, body: bytes) -> None:
    async with gateway("splice") as g:
        c = await g.connect()
        await c.send(b"POST /api/chat HTTP/1.1\r\n" + HOST + b"content-length: 500\r\n\r\n" + body)
        await until(lambda: len(g.app.registry.open) == 1)
        c.close() if how == "fin" else c.reset()
        await until(lambda: not g.app.registry.open, within=0.5)
        assert (await g.record()).outcome == "client_left"
        assert len(g.records) == 1


async def test_connections_beyond_the_cap_are_told_so() -> None:
    async with gateway("splice", limits={"connections": 3}) as g:
        held = [await g.connect() for _ in range(3)]
        await until(lambda: len(g.server.server_state.connections) == 3)
        raw = await say(g, HEALTH)
        assert statuses(raw) == [503]
        assert b"\r\nretry-after: " in raw
        for c in held:
            c.close()
        await until(lambda: not g.server.server_state.connections)
        assert (await g.ask("/health")).status == 200


# ---- one head for one answer


async def test_a_whole_answer_after_a_stream_s_head_went_out_brings_no_second_head() -> None:
    whole = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"late"},"finish_reason":"stop"}]}'
    async with ScriptServer([Request(), Wait(1.0), answer(whole), Hang()]) as up:
        settings: dict[str, Any] = {"providers": {"up": {"base_url": up.base_url}}, "chat": {"model": "m"}}
        async with gateway("splice", stream={"head_after": 0.2, "quiet": 0.2}, **settings) as g:
            c = await g.connect()
            await c.send(request("/v1/chat/completions", chat("x", model="m", stream=True)))
            a = await c.answer()
            assert (a.status, a.whole) == (200, True)
            assert b"late" in a.body
            assert b"HTTP/1.1" not in a.body
            c.close()


# ---- without sockets: states that are hard to reach with them


class _Transport(asyncio.Transport):
    def __init__(self, unsent: int = 0) -> None:
        super().__init__()
        self.unsent = unsent
        self.said = b""
        self.closing = self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.aborted = True


class _Intake:
    """A request whose end the test decides on."""

    def __init__(self, down: FrontRequest) -> None:
        self.down = down
        self.paused = False

    def start(self) -> None:
        pass

    def on_body(self, data: bytes, end: bool) -> None:
        pass

    def client_left(self, why: Any) -> None:
        pass

    def refuse(self, problem: Problem) -> None:
        self.down.whole(problem.status, b"", b"")

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class _Door:
    limits = FrontLimits(write_time=1.0)

    def __init__(self) -> None:
        self.intakes: list[_Intake] = []

    def enter(self, head: Any, down: FrontRequest) -> _Intake:
        self.intakes.append(_Intake(down))
        return self.intakes[-1]

    def reject(self, problem: Problem, head: Any) -> tuple[int, bytes, bytes]:
        return problem.status, b"", b""


def _made(unsent: int = 0) -> tuple[FrontProtocol, _Transport, _Door, Any]:
    state: Any = SimpleNamespace(connections=set(), tasks=set(), default_headers=[], total_requests=0)
    door, transport = _Door(), _Transport(unsent)
    protocol = FrontProtocol(cast("Any", None), state, {}, asyncio.get_running_loop(), door=door)
    protocol.connection_made(transport)
    return protocol, transport, door, state


@pytest.mark.parametrize("end", ["fail", "close", "idle"])
async def test_a_closing_connection_whose_client_does_not_read_is_broken_off(end: str) -> None:
    # less is unsent than makes the transport say "pause", so nothing but the clock can tell
    protocol, transport, door, _ = _made(unsent=1000)
    head = HOST if end != "close" else HOST + b"connection: close\r\n"
    protocol.data_received(b"POST /x HTTP/1.1\r\n" + head + b"\r\n")
    down = door.intakes[0].down
    if end == "fail":
        down.head(200, b"")
        down.fail(b"last words")
    else:
        down.whole(200, b"", b"x")
    for s in range(1, 400):
        protocol.tick(now() + s)
    assert transport.aborted


async def test_a_request_that_begins_while_writes_are_stalled_is_paused() -> None:
    protocol, _, door, _ = _made()
    one = b"POST /x HTTP/1.1\r\n" + HOST + b"\r\n"
    protocol.data_received(one)
    protocol.pause_writing()
    assert door.intakes[0].paused
    protocol.data_received(one)
    door.intakes[0].down.whole(200, b"", b"x")
    assert len(door.intakes) == 2
    assert door.intakes[1].paused
    protocol.resume_writing()
    assert not door.intakes[1].paused


async def test_a_body_that_is_drained_while_the_server_stops_closes_the_connection() -> None:
    protocol, transport, door, _ = _made()
    protocol.data_received(b"POST /x HTTP/1.1\r\n" + HOST + b"content-length: 10\r\n\r\n")
    door.intakes[0].down.whole(401, b"", b"")
    protocol.shutdown()
    protocol.data_received(b"0123456789")
    assert transport.closing


async def test_an_answer_is_deaf_once_it_is_over() -> None:
    protocol, transport, door, _ = _made()
    protocol.data_received(b"POST /x HTTP/1.1\r\n" + HOST + b"\r\n")
    down = door.intakes[0].down
    down.whole(200, b"", b"x")
    said = transport.said
    down.write(b"more")
    down.end(b"more")
    down.fail(b"more")
    down.head(200, b"")
    down.whole(500, b"", b"more")
    down.continue_()
    assert transport.said == said
