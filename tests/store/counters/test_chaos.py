"""Whatever becomes of Redis and of those who wait for it: in the end everything is counted once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from support.counting import NOON, taken
from support.redis_server import RedisServer, redis_server
from switchboard.core.counting import Change, Take, Window
from switchboard.store.counters.redis import RedisCounters

pytestmark = pytest.mark.anyio

DAY, MINUTE, MONTH, HELD = Window.DAY, Window.MINUTE, Window.MONTH, Window.HELD
MANY = 10**6


class Caller:
    """Takes, gives back, is cancelled; and knows what has to be counted in the end."""

    def __init__(self, counters: RedisCounters, chance: random.Random, expected: Counter[tuple[str, Window]]) -> None:
        self._counters = counters
        self._chance = chance
        self._expected = expected

    async def run(self, end: float) -> None:
        while time.monotonic() < end:
            key = self._chance.choice("abcdefgh")
            takes = [Take(key, w, self._chance.randrange(1, 9), MANY) for w in Window if self._chance.random() < 0.6]
            if self._chance.random() < 0.2:
                takes.append(Take("full", DAY, 1, 0))
            asked = asyncio.create_task(taken(self._counters, takes))
            await asyncio.sleep(0)  # it has asked
            if self._chance.random() < 0.3:
                asyncio.get_running_loop().call_later(self._chance.random() / 100, asked.cancel)
            counted = await asyncio.wait([asked], timeout=10)
            assert asked in counted[0]
            if asked.cancelled() or asked.result().refused < 0:
                await asyncio.sleep(self._chance.random() / 50)
                left = asked.cancelled() or self._chance.random() < 0.5
                amounts = [
                    -t.amount if left or t.window is HELD else self._chance.randrange(-t.amount, 5) for t in takes
                ]
                self._counters.give([Change(t.key, t.window, n, NOON) for t, n in zip(takes, amounts, strict=True)])
                for t, n in zip(takes, amounts, strict=True):
                    self._expected[t.key, t.window] += t.amount + n
            if self._chance.random() < 0.2:
                floor = self._chance.randrange(10**6)
                self._counters.raise_to([Change("floor", MONTH, floor, NOON)])
                self._expected["floor", MONTH] = max(floor, self._expected["floor", MONTH])
            await asyncio.sleep(self._chance.random() / 200)


async def harm(redis: RedisServer, chance: random.Random, end: float) -> None:
    """Stop it for a little or a long while, break its connections."""
    while time.monotonic() < end:
        await asyncio.sleep(chance.random() / 10)
        if chance.random() < 0.5:
            redis.stop()
            await asyncio.sleep(chance.choice([0.005, 0.03, 0.3]))
            redis.go_on()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
            writer.write(b"CLIENT KILL TYPE normal SKIPME yes\r\n")
            await reader.read(64)
            writer.close()


async def tick(counters: RedisCounters, end: float) -> None:
    while time.monotonic() < end:
        counters.tick(time.monotonic())
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(3))
async def test_everything_is_counted_once(tmp_path: Path, seed: int) -> None:
    chance, begun = random.Random(seed), time.monotonic()
    end = begun + 1.5

    def slowly() -> float:
        """Time goes on, but all of this is in the same two seconds."""
        return NOON + (time.monotonic() - begun) / 10

    with redis_server(tmp_path) as redis:
        both = [
            RedisCounters(redis.url, process=p, prefix="t:", patience=0.02, retry=0.06, lifetime=0.02, clock=slowly)
            for p in "ab"
        ]
        expected = [Counter[tuple[str, Window]]() for _ in both]
        callers = [Caller(c, chance, e).run(end) for c, e in zip(both, expected, strict=True) for _ in range(12)]
        await asyncio.gather(*callers, harm(redis, chance, end), *[tick(c, end) for c in both])
        until = time.monotonic() + 8
        while any(c.trouble for c in both):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        for counters in both:  # whatever waits yet
            await taken(counters, [Take("a", DAY, 0, MANY)])
        look = [Take(k, w, 0, MANY) for k in "abcdefgh" for w in Window]
        await asyncio.gather(*[tick(c, time.monotonic() + 0.3) for c in both])
        found = await taken(both[0], [*look, Take("full", DAY, 0, MANY), Take("floor", MONTH, 0, MANY)])
        floor = max(e["floor", MONTH] for e in expected)
        assert found.used == [*[sum(e[t.key, t.window] for e in expected) for t in look], 0, floor]
        assert both[0].trouble == ""
        for counters in both:
            counters.close()
            await counters.wait_closed()
