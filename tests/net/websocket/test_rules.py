"""The rules of RFC 6455 and our own, each over a raw socket: what is answered, what the sink is told, what is delivered."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

import pytest
import trustme

from support.sockets import HELLO, Heard, Raw, Served, closing, frame, served, until
from switchboard.net.websocket import SocketLimits, WebSocket
from switchboard.net.websocket.frames import close_payload, head, may_be_told

pytestmark = pytest.mark.anyio

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
OCTOPUS = "🐙".encode()


async def judged(said: bytes, limits: SocketLimits | None = None, *, bytewise: bool = False) -> tuple[int, Served]:
    """What close code `said` is answered with; the sink is told the same, and the connection ends."""
    async with served(limits, then=None) as s:
        raw = await s.connect()
        for piece in [said[i : i + 1] for i in range(len(said))] if bytewise else [said]:
            raw.send(piece)
            if bytewise:
                await asyncio.sleep(0)
        while (answer := await raw.frame())[0] != CLOSE:
            pass
        code = int.from_bytes(answer[1][:2], "big")
        assert len(answer[1]) <= 125 and answer[1][2:].decode()
        assert await raw.ended()
        await until(lambda: s.heard.closed)
        assert s.heard.closed[0][0] == code and not s.heard.closed[0][2]
        raw.close()
        await until(lambda: not len(s.door.sockets) and not s.state.connections)
        return code, s


BROKEN: dict[str, tuple[bytes, int]] = {
    "no mask": (frame(TEXT, b"hi", mask=False), 1002),
    "no mask on a ping": (frame(PING, b"", mask=False), 1002),
    **{f"opcode {n}": (frame(0x80 | n, b"x"), 1002) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"reserved bit {n:x}": (frame(0x80 | n | 1, b"x"), 1002) for n in (0x10, 0x20, 0x40)},
    "reserved bit on a ping": (frame(PING | 0x40), 1002),
    "reserved bit on a continuation": (frame(0x01, b"a") + frame(0xC0, b"b"), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "long close": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "ping in fragments": (frame(0x09, b"x"), 1002),
    "close in fragments": (frame(0x08, b""), 1002),
    "continuation of nothing": (frame(0x80, b"x"), 1002),
    "unfinished continuation of nothing": (frame(0x00, b"x"), 1002),
    "text in the middle": (frame(0x01, b"a") + frame(TEXT, b"b"), 1002),
    "binary in the middle": (frame(0x02, b"a") + frame(BINARY, b"b"), 1002),
    "a second beginning": (frame(0x01, b"a") + frame(0x01, b"b"), 1002),
    "length not the shortest": (b"\x82\xfe\x00\x05" + b"\0" * 9, 1002),
    "long length not the shortest": (b"\x82\xff" + (65535).to_bytes(8, "big"), 1002),
    "length with a sign": (b"\x82\xff" + (1 << 63).to_bytes(8, "big"), 1002),
    "not UTF-8": (frame(TEXT, b"\xff"), 1007),
    "overlong": (frame(TEXT, b"\xc0\xaf"), 1007),
    "surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "beyond Unicode": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "cut character": (frame(TEXT, OCTOPUS[:3]), 1007),
    "cut character in a long text": (frame(TEXT, b"x" * 5000 + OCTOPUS[:3]), 1007),
    "bad character over fragments": (frame(0x01, OCTOPUS[:2]) + frame(0x80, b"\x41"), 1007),
    "cut character over fragments": (frame(0x01, OCTOPUS[:2]) + frame(0x80, OCTOPUS[2:3]), 1007),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    **{f"close {n}": (closing(n), 1002) for n in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)},
    "close reason not UTF-8": (closing(1000, b"\xff\xfe"), 1007),
    "too big": (frame(BINARY, b"", size=16 * 1024 * 1024 + 1), 1009),
    "far too big": (frame(BINARY, b"", size=(1 << 62)), 1009),
    "an unfinished one too big": (frame(0x02, b"", size=16 * 1024 * 1024 + 1), 1009),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_wrong(name: str) -> None:
    said, expected = BROKEN[name]
    code, s = await judged(said + frame(TEXT, b"behind"))
    assert code == expected
    assert not s.heard.messages


@pytest.mark.parametrize(
    "name", ["no mask", "cut character over fragments", "text in the middle", "too big", "close 999"]
)
async def test_what_is_wrong_byte_by_byte(name: str) -> None:
    said, expected = BROKEN[name]
    assert (await judged(said, bytewise=True))[0] == expected


async def test_what_came_before_is_delivered() -> None:
    code, s = await judged(frame(TEXT, b"one") + frame(PING, b"p") + frame(BINARY, b"two") + frame(0x83, b""))
    assert code == 1002
    assert s.heard.messages == [("text", b"one"), ("binary", b"two")]


LIMIT = SocketLimits(message=1000)


@pytest.mark.parametrize(
    "said",
    [
        frame(BINARY, b"x" * 1001),
        frame(TEXT, b"x" * 1001),
        frame(0x02, b"x" * 600) + frame(0x80, b"", size=401),
        frame(0x02, b"x" * 600) + frame(0x00, b"y" * 400) + frame(0x80, b"z"),
        frame(0x01, b"", size=1001),
    ],
)
async def test_messages_over_the_limit(said: bytes) -> None:
    assert (await judged(said, LIMIT))[0] == 1009


async def test_messages_at_the_limit() -> None:
    async with served(LIMIT) as s:
        raw = await s.connect()
        raw.send(frame(BINARY, b"x" * 1000), frame(0x02, b"y" * 600), frame(0x80, b"y" * 400))
        assert await raw.frame() == (BINARY, b"x" * 1000)
        assert await raw.frame() == (BINARY, b"y" * 1000)
        raw.close()


async def test_fragments() -> None:
    async with served() as s:
        raw = await s.connect()
        raw.send(frame(0x01, b"a"), frame(PING, b"between"), frame(0x00, b""), frame(0x80, b"b"))
        assert await raw.frame() == (PONG, b"between")
        assert await raw.frame() == (TEXT, b"ab")
        raw.send(*[frame(0x01 if not i else 0x00, OCTOPUS[i : i + 1]) for i in range(4)], frame(0x80))
        assert await raw.frame() == (TEXT, OCTOPUS)
        pieces = [bytes([i]) * 65536 for i in range(20)]
        raw.send(frame(0x02, pieces[0]), *[frame(0x00, p) for p in pieces[1:-1]], frame(0x80, pieces[-1]))
        assert await raw.frame() == (BINARY, b"".join(pieces))
        raw.send(frame(0x01), frame(0x80))
        assert await raw.frame() == (TEXT, b"")
        raw.close()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 125, 126, 127, 128, 129, 1000, 4501, 65535, 65536, 65537, 140_003])
async def test_every_length_in_any_pieces(size: int) -> None:
    payload = bytes(i & 255 for i in range(size))
    said = frame(BINARY, payload) + frame(PING, b"end")
    async with served() as s:
        raw = await s.connect()
        for step in (1, 2, 3, 5, 7, 4096, len(said)):
            if len(said) // step > 3000:
                continue
            for i in range(0, len(said), step):
                raw.send(said[i : i + step])
                await asyncio.sleep(0)
            assert await raw.frame() == (BINARY, payload)
            assert await raw.frame() == (PONG, b"end")
        raw.close()


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999])
async def test_a_close_is_answered(code: int) -> None:
    async with served() as s:
        raw = await s.connect()
        raw.send(closing(code, "grüße".encode()), frame(TEXT, b"late"))
        assert await raw.close_frame() == (code, "")
        assert await raw.ended()
        assert s.heard.closed == [(code, "grüße", True)] and not s.heard.messages
        raw.close()


async def test_a_close_without_a_code() -> None:
    async with served() as s:
        raw = await s.connect()
        raw.send(closing())
        assert await raw.close_frame() == (0, "")
        assert s.heard.closed == [(1005, "", True)]
        raw.close()


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        (1000, "", (1000, "")),
        (1005, "", (0, "")),
        (1006, "x", (1011, "x")),
        (1015, "x", (1011, "x")),
        (999, "x", (1011, "x")),
        (70000, "x", (1011, "x")),
        (4000, "é" * 100, (4000, "é" * 61)),
        (4000, "x" * 123, (4000, "x" * 123)),
        (4000, "x" * 122 + "é", (4000, "x" * 122)),
        (4000, "x" * 121 + "🐙", (4000, "x" * 121)),
        (4000, "a\ud800b", (4000, "a?b")),
    ],
)
async def test_what_our_close_says(code: int, reason: str, told: tuple[int, str]) -> None:
    async with served() as s:
        raw = await s.connect()
        s.heard.open.close(code, reason)
        s.heard.open.close(1000, "again")
        assert await raw.close_frame() == told
        raw.send(frame(TEXT, b"late"), frame(0x02, b"x"), frame(PING, b"x"), closing(1000))
        assert await raw.ended()
        assert s.heard.closed == [(1000, "", True)] and not s.heard.messages
        raw.close()


async def test_a_close_that_is_not_answered() -> None:
    async with served(SocketLimits(close_time=0.2)) as s:
        raw = await s.connect()
        s.heard.open.close()
        assert await raw.close_frame() == (1000, "")
        assert await raw.ended()
        assert [c[::2] for c in s.heard.closed] == [(1006, False)]
        raw.close()


async def test_a_close_while_the_sink_is_paused() -> None:
    async with served() as s:
        raw = await s.connect()
        s.heard.open.pause()
        raw.send(frame(TEXT, b"x"))
        await asyncio.sleep(0.02)
        s.heard.open.close()
        assert await raw.close_frame() == (1000, "")
        raw.send(closing(1000))
        assert await raw.ended()
        assert s.heard.closed == [(1000, "", True)] and not s.heard.messages
        raw.close()


@pytest.mark.parametrize("rude", [False, True])
async def test_the_other_side_vanishes(rude: bool) -> None:
    async with served() as s:
        raw = await s.connect()
        raw.send(frame(TEXT, b"hi"), frame(BINARY, b"unfinished")[:5])
        assert await raw.frame() == (TEXT, b"hi")
        if rude:
            raw.reset()
        else:
            raw.close()
        await until(lambda: s.heard.closed)
        assert [c[::2] for c in s.heard.closed] == [(1006, False)]
        await until(lambda: not len(s.door.sockets) and not s.state.connections)
        s.heard.open.send_text(b"nobody")
        s.heard.open.ping()
        s.heard.open.pause()
        s.heard.open.resume()
        s.heard.open.close()
        s.heard.open.abort()
        assert len(s.heard.closed) == 1


@pytest.mark.parametrize("kind", [frame(PING, b"x"), frame(PONG, b"x")])
async def test_floods(kind: bytes) -> None:
    code, _ = await judged(kind * 101)
    assert code == 1008


async def test_a_flood_of_empty_fragments() -> None:
    assert (await judged(frame(0x01) + frame(0x00) * 101))[0] == 1008


async def test_many_pings_are_no_flood() -> None:
    async with served() as s:
        raw = await s.connect()
        raw.send(frame(PING, b"x") * 100)
        for _ in range(100):
            assert await raw.frame() == (PONG, b"x")
        s.tick()
        await asyncio.sleep(1.05)
        raw.send(frame(PING, b"y" * 125) * 100)
        for _ in range(100):
            assert await raw.frame() == (PONG, b"y" * 125)
        raw.close()


async def test_no_pong() -> None:
    async with served(SocketLimits(ping_time=0.1, pong_time=0.2)) as s:
        raw = await s.connect()
        assert (await raw.frame())[0] == PING
        raw.send(frame(PONG, b"another"))
        raw.send(frame(TEXT, b"busy"))
        assert await raw.frame() == (TEXT, b"busy")
        assert (await raw.close_frame())[0] == 1011
        assert await raw.ended()
        assert [c[::2] for c in s.heard.closed] == [(1011, False)]
        raw.close()


async def test_pongs_keep_it_open() -> None:
    async with served(SocketLimits(ping_time=0.05, pong_time=0.2)) as s:
        raw = await s.connect()
        for _ in range(5):
            first, payload = await raw.frame()
            assert first == PING
            raw.send(frame(PONG, payload))
        await until(lambda: s.heard.pongs == 5)
        assert not s.heard.closed
        raw.close()


async def test_a_ping_that_is_asked_for() -> None:
    async with served(SocketLimits(ping_time=0.0, pong_time=0.2)) as s:
        raw = await s.connect()
        s.heard.open.ping()
        s.heard.open.ping()
        first, payload = await raw.frame()
        assert first == PING
        raw.send(frame(PONG, payload), frame(PONG, payload))
        await until(lambda: s.heard.pongs)
        s.heard.open.ping()
        assert (await raw.frame())[1] != payload
        assert (await raw.close_frame())[0] == 1011
        assert s.heard.pongs == 1
        raw.close()


async def test_no_pong_is_missed_while_the_sink_is_paused() -> None:
    async with served(SocketLimits(ping_time=0.05, pong_time=0.1)) as s:
        raw = await s.connect()
        s.heard.open.pause()
        first, payload = await raw.frame()
        assert first == PING
        await asyncio.sleep(0.4)
        assert not s.heard.closed
        raw.send(frame(PONG, payload))
        s.heard.open.resume()
        await until(lambda: s.heard.pongs)
        raw.close()


async def test_a_frame_that_stops_coming() -> None:
    async with served(SocketLimits(ping_time=0.05, pong_time=0.15)) as s:
        raw = await s.connect()
        raw.send(frame(BINARY, b"x" * 100, size=100_000))
        assert (await raw.frame())[0] == PING
        assert (await raw.close_frame())[0] == 1011
        raw.close()


async def test_a_frame_that_comes_slowly() -> None:
    async with served(SocketLimits(ping_time=0.05, pong_time=0.15), then=None) as s:
        raw = await s.connect()
        said = frame(BINARY, b"x" * 100_000)
        for i in range(0, len(said), 12_500):
            raw.send(said[i : i + 12_500])
            await asyncio.sleep(0.06)
        await until(lambda: s.heard.messages)
        assert not s.heard.closed
        raw.close()


# ---- flow


def _slow(raw: Raw) -> None:
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]


async def test_a_slow_reader() -> None:
    async with served(SocketLimits(full=100_000, drained=20_000), then=None) as s:
        raw = await s.connect()
        _slow(raw)
        sent = 0
        while "full" not in s.heard.flow:
            s.heard.open.send_binary(b"x" * 4500)
            sent += 1
            if sent % 10 == 0:
                await asyncio.sleep(0)
            assert sent < 5000
        assert 100_000 < s.heard.open.waiting < 200_000
        assert s.heard.flow == ["full"]
        raw.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(sent):
            assert await raw.frame() == (BINARY, b"x" * 4500)
        assert s.heard.flow == ["full", "drain"] and s.heard.open.waiting == 0
        raw.close()


async def test_one_that_never_reads() -> None:
    async with served(SocketLimits(full=10_000, drained=1_000, unsent=3_000_000), then=None) as s:
        raw = await s.connect()
        _slow(raw)
        for _ in range(1000):
            s.heard.open.send_binary(b"x" * 100_000)
            if s.heard.closed:
                break
            await asyncio.sleep(0)
        assert [c[::2] for c in s.heard.closed] == [(1006, False)]
        await until(lambda: not len(s.door.sockets) and not s.state.connections)
        raw.close()


async def test_a_sink_that_takes_one_at_a_time() -> None:
    def one(heard: Heard, kind: str, data: bytes) -> None:
        heard.open.pause()

    async with served(then=one) as s:
        raw = await s.connect()
        raw.send(
            *[frame(BINARY, b"%d" % i * 200) for i in range(300)], frame(0x01, b"a"), frame(0x80, b"b"), closing(1000)
        )
        for n in range(301):
            await until(lambda n=n: len(s.heard.messages) == n + 1)  # type: ignore[misc]
            assert not s.heard.closed
            if n % 50 == 0:
                await asyncio.sleep(0.01)
                assert len(s.heard.messages) == n + 1
            s.heard.open.resume()
        await until(lambda: s.heard.closed)
        assert [m for _, m in s.heard.messages] == [b"%d" % i * 200 for i in range(300)] + [b"ab"]
        raw.close()


async def test_a_paused_sink_stops_the_sender() -> None:
    async with served(then=None) as s:
        raw = await s.connect()
        s.heard.open.pause()
        for _ in range(400):
            raw.send(frame(BINARY, b"x" * 50_000, size=50_000) if _ == 0 else b"")
        big = frame(BINARY, b"x" * 100_000)
        for _ in range(200):
            raw.send(big)
        await asyncio.sleep(0.1)
        assert raw.writer.transport.get_write_buffer_size() > 1_000_000 and not s.heard.messages
        s.heard.open.resume()
        await until(lambda: len(s.heard.messages) == 201)
        raw.close()


async def test_closing_from_within(caplog: pytest.LogCaptureFixture) -> None:
    def close(heard: Heard, kind: str, data: bytes) -> None:
        heard.open.close(4001, "enough")

    async with served(then=close) as s:
        raw = await s.connect()
        raw.send(*[frame(TEXT, b"%d" % n) for n in range(10)], closing(1000))
        assert await raw.close_frame() == (4001, "enough")
        assert await raw.ended()
        assert s.heard.messages == [("text", b"0")] and s.heard.closed == [(1000, "", True)]
        assert not caplog.records
        raw.close()


async def test_aborting_from_within(caplog: pytest.LogCaptureFixture) -> None:
    def abort(heard: Heard, kind: str, data: bytes) -> None:
        heard.open.abort()

    async with served(then=abort) as s:
        raw = await s.connect()
        raw.send(*[frame(TEXT, b"%d" % n) for n in range(10)], frame(0x83))
        assert await raw.ended()
        assert s.heard.messages == [("text", b"0")] and not s.heard.closed
        await until(lambda: not len(s.door.sockets))
        assert not caplog.records
        raw.close()


# ---- bytes


def test_heads() -> None:
    cases: list[tuple[int, Any]] = [
        (0, b"\x82\x00"), (125, b"\x82\x7d"), (126, b"\x82\x7e\x00\x7e"), (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f" + (65536).to_bytes(8, "big")),
    ]  # fmt: skip
    for size, expected in cases:
        assert head(0x82, size) == expected
        assert head(0x82, size, 0x80)[1] == expected[1] | 0x80


def test_codes() -> None:
    told = [c for c in range(6000) if may_be_told(c)]
    assert (
        told[:13] == [1000, 1001, 1002, 1003, *range(1007, 1015), 3000] and told[-1] == 4999 and len(told) == 12 + 2000
    )
    for n in range(130):
        assert len(close_payload(1000, "🐙" * n)) <= 125
        close_payload(1000, "x" * n + "🐙" * 40)[2:].decode()


@pytest.mark.parametrize("paused", [False, True])
async def test_a_connection_that_broke_a_moment_ago(paused: bool, caplog: pytest.LogCaptureFixture) -> None:
    async with served() as s:
        raw = await s.connect()
        sink = s.heard
        if paused:
            sink.open.pause()
        cast("WebSocket", sink.open)._transport.abort()  # as the loop does for an error; it is told in its next round
        sink.open.send_text(b"nobody")
        sink.open.send_binary(b"x" * 100_000)
        sink.open.ping()
        sink.open.resume()
        sink.open.pause()
        sink.open.resume()
        assert sink.open.waiting == 0
        s.tick()
        sink.open.close()
        assert not sink.closed
        await until(lambda: sink.closed)
        assert [c[::2] for c in sink.closed] == [(1006, False)]
        assert not caplog.records
        raw.close()


@pytest.mark.parametrize(("said", "code"), [(frame(0x83), 1002), (closing(4000), 4000)])
async def test_over_tls(said: bytes, code: int) -> None:
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    trusted = ssl.create_default_context()
    ca.configure_trust(trusted)
    async with served(tls=context) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port, ssl=trusted, server_hostname="localhost")
        raw = Raw(reader, writer)
        raw.send(HELLO, frame(BINARY, b"x" * 100_000))
        assert (await raw.head()).startswith(b"HTTP/1.1 101")
        assert await raw.frame() == (BINARY, b"x" * 100_000)
        s.heard.open.pause()
        raw.send(frame(TEXT, b"held"))
        await asyncio.sleep(0.05)
        s.heard.open.resume()
        assert await raw.frame() == (TEXT, b"held")
        raw.send(said)
        assert (await raw.close_frame())[0] == code
        assert await raw.ended()
        assert s.heard.closed[0][0] == code
        raw.close()
        await until(lambda: not len(s.door.sockets) and not s.state.connections)
