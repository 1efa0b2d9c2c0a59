"""Anything at all sent to the front door: it never breaks, answers no 500, and serves the next connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from support.client import Connection, chat, request
from support.fuzzing import errors_seen, quick, split
from support.gateway import Gateway, gateway

HOST = b"host: localhost\r\n"
HEALTH = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
CHAT = request("/api/chat", chat("Hello there", stream=False))
CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\n"
    b'transfer-encoding: chunked\r\n\r\n2e\r\n{"messages":[{"role":"user","content":"hey"}],\r\nf\r\n"model":"echo"}\r\n'
    b"0\r\nchecksum: 1\r\n\r\n"
)
H2C = HEALTH.replace(HOST, HOST + b"connection: upgrade\r\nupgrade: h2c\r\n")
SEEDS = [
    HEALTH,
    CHAT,
    CHUNKED,
    H2C,
    H2C + CHAT,
    HEALTH + CHAT,
    CHUNKED + HEALTH,
    CHAT + CHUNKED + HEALTH,
    CHAT.replace(b"HTTP/1.1", b"HTTP/1.0"),
]
TOKENS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"content-length: 5\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"connection: upgrade\r\nupgrade: websocket\r\n",
    b"expect: 100-continue\r\n",
    b"host: other\r\n",
    b"origin: http://localhost:5173\r\n",
    b"content-type: text/plain\r\n",
    b"connection: keep-alive\r\n",
    b"0\r\n\r\n",
    b"ffffffff\r\n",
    b"HTTP/1.0",
    b"CONNECT",
    b"OPTIONS * ",
    b"%00",
    b"\xff\xfe",
    HEALTH,
]


class Served:
    """A gateway on a loop of its own: examples share it, since hypothesis calls plain functions."""

    def __init__(self, runner: asyncio.Runner, g: Gateway, seen: list[str]) -> None:
        self.runner = runner
        self.g = g
        self.seen = seen

    def run(self, what: Coroutine[Any, Any, None]) -> None:
        self.runner.run(what)

    async def hears(self, pieces: list[bytes]) -> None:
        """Send `pieces`; whatever is answered is no fault of ours, and the next connection works."""
        c = await self.g.connect()
        raw = b""
        try:
            for p in pieces:
                await c.send(p)
                await asyncio.sleep(0)
            # what is not whole keeps the server waiting: no more than a moment is given to it
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(0.01):
                    while data := await c.reader.read(1 << 16):
                        raw += data
        finally:
            c.reset()
        for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw):
            assert status < b"500", raw
        after = await Connection.open(self.g.port)
        try:
            await after.send(HEALTH)
            async with asyncio.timeout(2):
                assert (await after.answer()).status == 200
        finally:
            after.close()
        assert self.seen == []


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        context = gateway("splice")
        g = runner.run(context.__aenter__())
        s = Served(runner, g, stack.enter_context(errors_seen(runner)))
        try:
            yield s
            log = runner.run(g.log())
            assert '"ERROR"' not in log
            assert not g.app.registry.open
        finally:
            runner.run(context.__aexit__(None, None, None))


_QUICK = quick(300)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid request, or several, with some bytes taken out, put in, or doubled."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            data = data[:at] + draw(st.sampled_from(TOKENS)) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + draw(st.integers(1, 20)) :]
        elif kind == 2:  # where a line begins, so that it is still HTTP more often
            at = data.rfind(b"\r\n", 0, at) + 2 if b"\r\n" in data[:at] else at
            data = data[:at] + draw(st.sampled_from(TOKENS)) + data[at:]
        elif kind == 3:
            data = data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at + 1 :]
        else:
            data = data[:at] + data[at : at + draw(st.integers(1, 80))] + data[at:]
    return data


@_QUICK
@given(data=st.binary(max_size=400), cuts=st.lists(st.integers(0, 1000), max_size=4))
def test_random_bytes(served: Served, data: bytes, cuts: list[int]) -> None:
    served.run(served.hears(split(data, cuts)))


@_QUICK
@given(data=mutated(), cuts=st.lists(st.integers(0, 2000), max_size=5))
def test_requests_with_something_wrong(served: Served, data: bytes, cuts: list[int]) -> None:
    served.run(served.hears(split(data, cuts)))


@_QUICK
@given(
    seed=st.sampled_from([HEALTH + CHAT, CHAT + CHUNKED + HEALTH, CHUNKED * 2]),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_valid_requests_split_anywhere(served: Served, seed: bytes, cuts: list[int]) -> None:
    async def go() -> None:
        c = await served.g.connect()
        try:
            for p in split(seed, cuts):
                await c.send(p)
                await asyncio.sleep(0)
            async with asyncio.timeout(2):
                for _ in range(seed.count(b" HTTP/1.1\r\n")):
                    assert (await c.answer()).status == 200
        finally:
            c.close()
        assert served.seen == []

    served.run(go())


@_QUICK
@given(name=st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20), value=st.binary(max_size=60))
def test_any_header(served: Served, name: str, value: bytes) -> None:
    served.run(served.hears([HEALTH.replace(HOST, HOST + name.encode() + b": " + value + b"\r\n")]))


@_QUICK
@given(
    target=st.binary(min_size=1, max_size=60),
    method=st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT"]),
)
def test_any_target(served: Served, target: bytes, method: bytes) -> None:
    served.run(served.hears([method + b" /" + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"]))
