"""Anything at all said to a WebSocket: nothing breaks, hangs or is left, and what is valid is heard whole, however it is split."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, suppress
from typing import Any, cast

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from support.fuzzing import errors_seen, quick, split
from support.sockets import HELLO, Heard, Served, closing, frame, served, until
from switchboard.net.websocket import SocketLimits, Sockets, WebSocket
from switchboard.net.websocket.masking import Keys, mask, mask_with_integers

LIMITS = SocketLimits(message=5000, controls=1000)
SEEDS = [
    frame(0x81, b"hello") + frame(0x82, b"\x00" * 4500),
    frame(0x01, b"a") + frame(0x89, b"p") + frame(0x00, b"b" * 300) + frame(0x80, "ü".encode()),
    frame(0x89, b"x" * 125) + frame(0x8A) + closing(1000, b"bye"),
    frame(0x81, "🐙".encode() * 40) + closing() + frame(0x81, b"late"),
    frame(0x82, b"", size=5001) + frame(0x82, b"y" * 200),
]
TOKENS = [
    b"\x81",
    b"\x82\xfe",
    b"\x82\xff",
    b"\x88\x80",
    b"\x88\x82",
    b"\x00",
    b"\xff",
    b"\x7f" * 8,
    frame(0x80),
    frame(0x01, b"\xf0"),
]


class Running:
    """A front door on a loop of its own: examples share it, since hypothesis calls plain functions."""

    def __init__(self, runner: asyncio.Runner, s: Served, seen: list[str]) -> None:
        self.runner = runner
        self.s = s
        self.seen = seen

    def run(self, what: Coroutine[Any, Any, None]) -> None:
        self.runner.run(what)

    async def hears(self, pieces: list[bytes], hello: bytes = HELLO) -> None:
        """Say `pieces`, hear what comes for a moment, leave; nothing stays behind."""
        self.s.door.heard.clear()
        raw = await self.s.connect(hello)
        for p in pieces:
            raw.send(p)
            await asyncio.sleep(0)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.005):
                while await raw.reader.read(1 << 16):
                    pass
        raw.reset()
        await until(lambda: not len(self.s.door.sockets) and not self.s.state.connections)
        for heard in self.s.door.heard:
            assert len(heard.closed) == 1
        assert self.seen == []


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        context = served(LIMITS)
        r = Running(runner, runner.run(context.__aenter__()), stack.enter_context(errors_seen(runner)))
        try:
            yield r
        finally:
            runner.run(context.__aexit__(None, None, None))


_QUICK = quick(200)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid stream with some bytes taken out, put in, or doubled."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(data), 40) if draw(st.booleans()) else len(data)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            data = data[:at] + draw(st.sampled_from(TOKENS)) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + draw(st.integers(1, 20)) :]
        elif kind == 2:
            data = data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at + 1 :]
        else:
            data = data[:at] + data[at : at + draw(st.integers(1, 80))] + data[at:]
    return data


@_QUICK
@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 1000), max_size=4))
def test_random_bytes(running: Running, data: bytes, cuts: list[int]) -> None:
    running.run(running.hears(split(data, cuts)))


@_QUICK
@given(data=mutated(), cuts=st.lists(st.integers(0, 6000), max_size=6))
def test_frames_with_something_wrong(running: Running, data: bytes, cuts: list[int]) -> None:
    running.run(running.hears(split(data, cuts)))


@_QUICK
@given(at=st.integers(0, len(HELLO)), junk=st.binary(max_size=6), cut=st.integers(0, 10))
def test_handshakes_with_something_wrong(running: Running, at: int, junk: bytes, cut: int) -> None:
    hello = HELLO[:at] + junk + HELLO[at + cut :]
    running.run(running.hears([frame(0x81, b"x")], hello))


# ---- without a network, so that there may be many


class Nowhere:
    """A transport that goes nowhere; `said` is what was written."""

    def __init__(self) -> None:
        self.said = b""
        self.ended = False

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.said += data

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def close(self) -> None:
        self.ended = True

    write_eof = abort = close

    def is_closing(self) -> bool:
        return self.ended

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int, low: int) -> None: ...
    def set_protocol(self, protocol: object) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def _told(pieces: list[bytes], *, client: bool) -> tuple[list[tuple[str, bytes]], list[tuple[int, str, bool]], bytes]:
    heard = Heard()
    transport = Nowhere()
    sockets = Sockets(LIMITS)
    socket = WebSocket(sockets, cast("Any", transport), heard, None, client=client)
    socket.begin(b"")
    for p in pieces:
        socket.data_received(p)
    said = b"" if client else transport.said  # masked with keys that differ
    socket.connection_lost(None)
    assert len(heard.closed) == 1 and not len(sockets)
    return heard.messages, heard.closed, said


@settings(_QUICK, max_examples=600)
@given(data=st.one_of(mutated(), st.sampled_from(SEEDS)), cuts=st.lists(st.integers(0, 6000), max_size=12))
def test_it_does_not_matter_how_bytes_aresplit(data: bytes, cuts: list[int]) -> None:
    assert _told([data], client=False) == _told(split(data, cuts), client=False)


@settings(_QUICK, max_examples=300)
@given(
    messages=st.lists(
        st.tuples(st.booleans(), st.text(max_size=200), st.lists(st.integers(0, 900), max_size=3)), max_size=6
    ),
    cuts=st.lists(st.integers(0, 6000), max_size=12),
    client=st.booleans(),
    pings=st.booleans(),
)
def test_what_is_valid_is_heard_whole(
    messages: list[tuple[bool, str, list[int]]], cuts: list[int], client: bool, pings: bool
) -> None:
    said, expected = b"", []
    for is_text, text, fragments in messages:
        payload = text.encode()
        pieces = split(payload, fragments) or [b""]
        for i, p in enumerate(pieces):
            kind = (1 if is_text else 2) if i == 0 else 0
            said += frame(kind | (0x80 if i == len(pieces) - 1 else 0), p, mask=not client)
            if pings:
                said += frame(0x89, b"?", mask=not client)
        expected.append(("text" if is_text else "binary", payload))
    heard, closed, _ = _told(split(said + closing(4000, b"end", mask=not client), cuts), client=client)
    assert heard == expected and closed == [(4000, "end", True)]


@settings(_QUICK, max_examples=300)
@given(data=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=5), client=st.booleans())
def test_random_bytes_on_either_side(data: bytes, cuts: list[int], client: bool) -> None:
    first, second = _told([data] if data else [], client=client), _told(split(data, cuts), client=client)
    assert first == second


@_QUICK
@given(data=st.binary(max_size=300), key=st.binary(min_size=4, max_size=4))
def test_masking(data: bytes, key: bytes) -> None:
    expected = bytes(b ^ key[i & 3] for i, b in enumerate(data))
    assert mask(data, key) == mask(memoryview(data), key) == mask_with_integers(data, key) == expected
    assert mask_with_integers(memoryview(data), key) == expected


def test_keys_are_not_used_twice() -> None:
    keys = Keys()
    drawn = [keys.next() for _ in range(3000)]
    assert all(len(k) == 4 for k in drawn) and len(set(drawn)) > 2990


def test_nothing_is_left(running: Running) -> None:
    async def many() -> None:
        for _ in range(30):
            await running.hears([SEEDS[1], SEEDS[4]])

    running.run(many())
    running.s.door.heard.clear()
    running.s.door.intakes.clear()
    gc.collect()
    assert not [o for o in gc.get_objects() if isinstance(o, WebSocket)]
