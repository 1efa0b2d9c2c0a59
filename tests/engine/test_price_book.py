"""The book of prices: what is kept of any number of names, and who waits for what is being looked up."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any, cast

import pytest

from switchboard.core.capabilities import Capabilities
from switchboard.core.ports import Provider
from switchboard.core.types import Usage
from switchboard.engine.prices import UNKNOWN, PriceBook
from switchboard.policy.pricing import Price, Rates
from switchboard.policy.target import Target
from switchboard.telemetry.records import Record

pytestmark = pytest.mark.anyio

DEAR = Price(((0, Rates(2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0)),))
CHEAP = Price(((0, Rates(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)),))


class Named:
    def __init__(self, listed: str, name: str) -> None:
        self.name = name
        self.capabilities = Capabilities(prices=listed)


def target(model: str, listed: str = "openai", name: str = "up") -> Target:
    return Target(cast("Provider", Named(listed, name)), model)


def record(model: str) -> Record:
    return Record(0.0, "r", "POST", "/", 200, "complete", 0.1, provider="up", model=model, usage=Usage(10))


class Lists:
    """Knows the models whose names begin with "real", and writes down what it is asked. Waits for `go`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.go = threading.Event()
        self.go.set()

    def look_up(self, listed: str, model: str) -> Price | None:
        self.go.wait(5)
        self.asked.append((listed, model))
        if model == "broken":
            raise ArithmeticError(model)
        if not model.startswith("real"):
            return None
        return DEAR if listed == "openai" else CHEAP


@pytest.fixture
def lists() -> Lists:
    return Lists()


async def settled(book: PriceBook, t: Target) -> Price | None:
    """The price, waited for as a client of the book may: by asking again."""
    async with asyncio.timeout(5):
        while (price := book.price_for(t)) is UNKNOWN:
            await asyncio.sleep(0.001)
    return price


async def test_it_is_unknown_until_it_was_looked_up(lists: Lists) -> None:
    book = PriceBook(lists.look_up)
    lists.go.clear()
    assert book.price_for(target("real")) is UNKNOWN
    assert book.price(record("real")) is False
    lists.go.set()
    assert await settled(book, target("real")) is DEAR
    r = record("real")
    assert (book.price(r), r.cost) == (True, 20.0)
    assert await settled(book, target("made-up")) is None
    r = record("made-up")
    assert (book.price(r), r.cost) == (True, None)
    assert book.price_for(target("real", "")) is None  # a server of one's own
    assert lists.asked == [("openai", "real"), ("openai", "made-up")]
    book.close()


async def test_the_price_list_itself() -> None:
    book = PriceBook()
    price = await book.wait_for(target("gpt-4o"))
    assert price is not None and price.cost(Usage(1_000_000)) == pytest.approx(2.5)
    book.close()


async def test_made_up_names_push_no_real_one_out(lists: Lists) -> None:
    book = PriceBook(lists.look_up, most=8)
    for i in range(4):
        assert await settled(book, target(f"real-{i}")) is DEAR
    for i in range(100):
        assert await settled(book, target(f"made-up-{i}")) is None
    before = len(lists.asked)
    for i in range(4):
        assert book.price_for(target(f"real-{i}")) is DEAR
    assert await settled(book, target("real-new")) is DEAR
    assert book.price_for(target("made-up-99")) is None
    assert len(lists.asked) == before + 1


async def test_the_longest_unused_go_first_and_come_back(lists: Lists) -> None:
    book = PriceBook(lists.look_up, most=3)
    for model in ("a", "b", "c"):
        assert await settled(book, target(model)) is None
    assert book.price_for(target("a")) is None  # used: b is the oldest now
    assert await settled(book, target("d")) is None
    assert [book.price_for(target(m)) for m in ("a", "c", "d")] == [None] * 3
    assert book.price_for(target("b")) is UNKNOWN
    for i in range(4):
        assert await settled(book, target(f"real-{i}")) is DEAR
    assert book.price_for(target("real-0")) is UNKNOWN
    r = record("real-0")  # it is known again when its record is told
    async with asyncio.timeout(5):
        while not book.price(r):
            await asyncio.sleep(0.001)
    assert r.cost == 20.0
    book.close()


async def test_no_more_are_looked_up_at_once_than_are_kept(lists: Lists) -> None:
    book = PriceBook(lists.look_up, most=4)
    lists.go.clear()
    for i in range(50):
        book.want(target(f"made-up-{i}"))
    assert book.price_for(target("real")) is UNKNOWN
    assert await book.wait_for(target("real")) is None  # nobody has begun to look: nothing to wait for
    lists.go.set()
    assert await settled(book, target("real")) is DEAR
    assert len(lists.asked) == 5
    book.close()


async def test_a_provider_that_becomes_one_of_another_kind(lists: Lists) -> None:
    book = PriceBook(lists.look_up)
    book.want(target("real", ""))
    r = record("real")
    assert (book.price(r), r.cost) == (True, None)
    for listed, cost in (("openai", 20.0), ("azure", 10.0), ("openai", 20.0)):
        assert await settled(book, target("real", listed)) is not None
        r = record("real")
        assert (book.price(r), r.cost) == (True, cost)
    assert lists.asked == [("openai", "real"), ("azure", "real")]
    book.close()


async def test_a_list_that_breaks_is_no_price(lists: Lists, caplog: pytest.LogCaptureFixture) -> None:
    book = PriceBook(lists.look_up)
    assert await book.wait_for(target("broken")) is None
    r = record("broken")
    assert (book.price(r), r.cost) == (True, None)
    assert "the price of broken in the list openai could not be looked up" in caplog.text
    book.close()


async def test_many_wait_for_one_look(lists: Lists) -> None:
    book = PriceBook(lists.look_up)
    lists.go.clear()
    waiting = [asyncio.create_task(book.wait_for(target("real"))) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    lists.go.set()
    async with asyncio.timeout(2):
        assert await asyncio.gather(*waiting[1:]) == [DEAR] * 19
    assert waiting[0].cancelled()
    assert lists.asked == [("openai", "real")]
    book.close()


async def test_nobody_waits_for_long(lists: Lists) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
    before = pending()
    book = PriceBook(lists.look_up, patience=0.05)
    lists.go.clear()
    at = time.monotonic()
    assert await book.wait_for(target("real")) is None
    assert 0.04 < time.monotonic() - at < 1
    lists.go.set()
    assert await settled(book, target("real")) is DEAR
    assert await book.wait_for(target("real")) is DEAR
    book.close()
    gc.collect()
    assert told == []
    assert pending() == before


def pending() -> int:
    """Futures that somebody may wait for."""
    return sum([isinstance(x, asyncio.Future) and not x.done() for x in gc.get_objects()])


async def test_what_waits_ends_with_the_book(lists: Lists) -> None:
    book = PriceBook(lists.look_up)
    lists.go.clear()
    first, second = (asyncio.create_task(book.wait_for(target(m))) for m in ("real-1", "real-2"))
    await asyncio.sleep(0)
    book.close()
    async with asyncio.timeout(1):
        assert await second is None  # nobody has begun with it
        lists.go.set()
        assert await first is DEAR
    assert book.price_for(target("real-3")) is UNKNOWN
    assert book.price(record("real-3")) is True  # nobody looks: it waits for nothing
    assert await book.wait_for(target("real-3")) is None
    assert ("openai", "real-2") not in lists.asked
