"""Journals: numbers, followers, and how long an answer goes on."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from switchboard.core.clock import now
from switchboard.core.types import Lines
from switchboard.engine.journal import LEFT, Journal

pytestmark = pytest.mark.anyio


class Running:
    """What makes the answer."""

    def __init__(self) -> None:
        self.ended = False

    def client_left(self) -> None:
        self.ended = True

    def resume(self) -> None:
        pass


class Down:
    """A client's connection."""

    def __init__(self) -> None:
        self.data = b""

    def head(self, status: int, headers: Lines) -> None: ...

    def whole(self, status: int, headers: Lines, body: bytes) -> None: ...

    def write(self, data: bytes) -> None:
        self.data += data

    def end(self, data: bytes = b"") -> None:
        self.data += data

    def fail(self, last: bytes) -> None:
        self.data += last

    def continue_(self) -> None: ...


def journal(events: int = 0) -> Journal:
    made = Journal(Running(), Down())
    made.head(200, b"content-type: text/event-stream\r\n")
    for n in range(events):
        made.write(b"data: %d\n\n" % n)
    return made


async def follow(j: Journal, last: int = 0) -> bytes:
    got = b""
    with suppress(EOFError):
        async for data in j.read(last):
            got += data
    return got


async def test_who_follows_has_come_back() -> None:
    """An answer that somebody reads does not end because the one who asked has left."""
    j = journal(1)
    assert j.goes_on() and j.expired(now() + LEFT + 1)
    following = asyncio.create_task(follow(j))
    await asyncio.sleep(0.01)
    assert not j.expired(now() + LEFT + 1)  # though nothing has come for so long
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert not j.expired(now() + LEFT - 1)
    assert j.expired(now() + LEFT + 1)


async def test_who_looks_from_another_worker_has_come_back() -> None:
    j = journal(1)
    assert j.goes_on() and j.left is not None
    j.left -= LEFT - 0.01
    j.since(0)
    await asyncio.sleep(0.02)
    assert not j.expired(now())


async def test_a_number_of_an_earlier_answer_means_all_of_this_one() -> None:
    j = journal(3)
    following = asyncio.create_task(follow(j, last=300))
    await asyncio.sleep(0.01)
    j.end(b"data: end\n\n")
    assert (await following).count(b"data: ") == 4


async def test_following_a_long_answer_costs_what_is_new() -> None:
    j = journal(40_000)
    began = now()
    for _ in range(1000):
        assert j.since(39_999) == (b"id: 40000\ndata: 39999\n\n", 40_000)
    assert now() - began < 0.2
