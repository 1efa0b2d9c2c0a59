"""A process that counts, for tests of several: run as ``python crowd.py PLAN``, where PLAN is JSON.

``{"counters": ["shared", PATH, WORKER] | ["redis", URL, NAME, PREFIX], "do": …}``. What to do:

- ``["race", FILE, INDEX, OF, ROUNDS, TAKES, LIMIT]``: in each of ROUNDS, take a new counter TAKES times, together with the others; they
  wait for each other in FILE. Says how many were admitted in each round.
- ``["hold", KEY, N]``: take so many, say ``holds``, and wait to be killed.
- ``["storm", LIMIT]``: take and give back as fast as can be, some of it held, until killed; says ``storms``.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Any

from support.counting import taken
from switchboard.core.counting import Change, Counters, Take, Window


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
        from switchboard.store.counters.shared import SharedCounters

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


async def storm(counters: Counters, limit: int) -> None:
    i = 0
    print("storms", flush=True)
    while True:
        i += 1
        asked = [
            Take("held", Window.HELD, 1, 1000),
            Take(f"some {i % 7}", Window.MINUTE, 1, limit),
            Take("day", Window.DAY, 1, 10**9),
        ]
        found = await taken(counters, asked)
        if found.refused < 0:
            counters.give([Change("held", Window.HELD, -1, found.at), Change("day", Window.DAY, -1, found.at)])


async def main(plan: dict[str, Any]) -> None:
    counters = counters_of(*plan["counters"])
    what, *rest = plan["do"]
    await {"race": race, "hold": hold, "storm": storm}[what](counters, *rest)
    counters.close()
    await counters.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
