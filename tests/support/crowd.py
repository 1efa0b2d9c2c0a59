"""A process that counts, for tests of several: run as ``python crowd.py PLAN``, where PLAN is JSON.

``{"counters": ["shared", PATH, WORKER] | ["redis", URL, NAME, PREFIX], "do": …}``. What to do:

- ``["race", FILE, INDEX, OF, ROUNDS, TAKES, LIMIT]``: in each of ROUNDS, take a new counter TAKES times, together with the others; they
  wait for each other in FILE. Says how many were admitted in each round.
- ``["hold", KEY, N]``: take so many, say ``holds``, and wait to be killed.
- ``["storm"]``: take and give back as fast as can be, some of it held, until killed; says ``storms``.
- ``["deaths", N]``: so many processes storm, one after the other, as the worker behind ours, and are killed at any moment. Says what was
  found after each: how much was held, and how much of the day was used.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from support.counting import taken
from switchboard.core.counting import Change, Counters, Take, Taken, Window
from switchboard.store.counters.shared import SharedCounters


class Line:
    """Where processes wait for each other: the line is crossed when all `of` of them stand at it."""

    def __init__(self, path: Path, index: int, of: int) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8 * of)
        self._rounds = memoryview(self._map).cast("q")
        self._index = index

    def wait(self) -> None:
        self._rounds[self._index] += 1
        mine = self._rounds[self._index]
        while min(self._rounds) < mine:
            os.sched_yield()


def counters_of(kind: str, *where: Any) -> Counters:
    if kind == "shared":
        return SharedCounters(where[0], worker=where[1])
    from switchboard.store.counters.redis import RedisCounters

    return RedisCounters(where[0], process=where[1], prefix=where[2], patience=10.0, lifetime=0.6)


async def race(counters: Counters, file: str, index: int, of: int, rounds: int, takes: int, limit: int) -> None:
    line, admitted = Line(Path(file), index, of), []
    await taken(counters, [Take("warm", Window.MINUTE, 1, 10)])
    for i in range(rounds):
        counters.tick(time.monotonic())
        asked = [Take(f"round {i}", Window.MINUTE, 1, limit), Take(f"day {i}", Window.DAY, 5, 5 * limit)]
        line.wait()
        found = await asyncio.gather(*[taken(counters, asked) for _ in range(takes)])
        admitted.append(sum(t.refused < 0 for t in found))
    print(json.dumps(admitted), flush=True)


async def hold(counters: Counters, key: str, n: int) -> None:
    for _ in range(n):
        assert (await taken(counters, [Take(key, Window.HELD, 1, 1000)])).refused < 0
    print("holds", flush=True)
    while True:
        counters.tick(time.monotonic())
        await asyncio.sleep(0.05)


def storms(counters: Counters) -> Iterator[None]:
    """One turn at a time; for counters that answer at once."""
    for i in count():
        asked = [
            Take("held", Window.HELD, 1, 1000),
            Take(f"some {i % 7}", Window.MINUTE, 1, 10**9),
            Take("day", Window.DAY, 1, 10**9),
        ]
        found = counters.take(asked)
        assert isinstance(found, Taken)
        if found.refused < 0:
            counters.give([Change("held", Window.HELD, -1, found.at), Change("day", Window.DAY, -1, found.at)])
        yield


async def storm(counters: Counters) -> None:
    print("storms", flush=True)
    for _ in storms(counters):
        pass


def deaths(counters: SharedCounters, path: str, worker: int, n: int) -> None:
    chance, found = random.Random(n), []
    for _ in range(n):
        child = os.fork()
        if not child:
            for _ in storms(SharedCounters(path, worker=worker + 1)):
                pass
        time.sleep(0.002 + chance.random() / 300)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        counters.forget_worker(worker + 1)
        look = [Take("held", Window.HELD, 0, 10**9), Take("day", Window.DAY, 0, 10**9)]
        found.append(counters.take(look).used)
    print(json.dumps(found), flush=True)


async def main(plan: dict[str, Any]) -> None:
    counters = counters_of(*plan["counters"])
    what, *rest = plan["do"]
    if isinstance(counters, SharedCounters) and what == "deaths":
        deaths(counters, plan["counters"][1], plan["counters"][2], *rest)
    else:
        doing: dict[str, Callable[..., Awaitable[None]]] = {"race": race, "hold": hold, "storm": storm}
        await doing[what](counters, *rest)
    counters.close()
    await counters.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
