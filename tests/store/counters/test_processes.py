"""Several processes count together, and die."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.counting import taken
from support.process import ROOT, Program, program
from switchboard.core.counting import Change, Take, Window
from switchboard.store.counters.redis import RedisCounters
from switchboard.store.counters.shared import SharedCounters

pytestmark = pytest.mark.anyio

CROWD = ROOT / "tests" / "support" / "crowd.py"
PATHS = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])


def start(stack: ExitStack, counters: Sequence[Any], do: Sequence[Any]) -> Program:
    plan = json.dumps({"counters": [str(c) if isinstance(c, Path) else c for c in counters], "do": do})
    return stack.enter_context(program(sys.executable, CROWD, plan, environment={"PYTHONPATH": PATHS}))


def race(stack: ExitStack, file: Path, of: Sequence[Sequence[Any]], rounds: int, takes: int) -> list[int]:
    """How many were admitted in each round, of 60 that may be."""
    file.write_bytes(bytes(8 * len(of)))
    crowd = [start(stack, c, ["race", str(file), i, len(of), rounds, takes, 60]) for i, c in enumerate(of)]
    admitted = [json.loads(p.wait_for(r"\[.*\]", 60)[0]) for p in crowd]
    return [sum(each) for each in zip(*admitted, strict=True)]


def test_four_workers_admit_exactly_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    SharedCounters.create(path, workers=4)
    with ExitStack() as stack:
        assert race(stack, tmp_path / "line", [("shared", path, i) for i in range(4)], 700, 50) == [60] * 700


def test_two_processes_at_redis_admit_exactly_the_limit(tmp_path: Path, redis_url: str) -> None:
    prefix = f"race-{secrets.token_hex(4)}:"
    with ExitStack() as stack:
        crowd = [("redis", redis_url, f"p{i}", prefix) for i in range(2)]
        assert race(stack, tmp_path / "line", crowd, 300, 100) == [60] * 300


def held(counters: SharedCounters, key: str) -> int:
    return counters.take([Take(key, Window.HELD, 0, 10**6)]).used[0]


def test_what_a_dead_worker_held_is_free(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    SharedCounters.create(path, workers=3)
    counters = SharedCounters(path, worker=0)
    counters.take([Take("a", Window.HELD, 1, 5)])
    with ExitStack() as stack:
        for worker in (1, 2):
            start(stack, ("shared", path, worker), ["hold", "a", 3]).wait_for("holds")
        assert held(counters, "a") == 7
    with ExitStack() as stack:
        dying = start(stack, ("shared", path, 1), ["hold", "a", 3])  # frees what the one before it held
        dying.wait_for("holds")
        assert held(counters, "a") == 7
        dying.process.kill()
        dying.process.wait()
        assert held(counters, "a") == 7
        counters.forget_worker(1)
        assert held(counters, "a") == 4
    counters.forget_worker(2)
    assert held(counters, "a") == 1
    counters.close()


def test_a_worker_may_die_at_any_moment(tmp_path: Path) -> None:
    """Killed in the middle, again and again: no lock stays behind, and nothing is counted that was not asked for."""
    path = tmp_path / "counters"
    SharedCounters.create(path, workers=4, slots=1)  # one set: everybody waits for everybody
    counters = SharedCounters(path, worker=0)
    counters.take([Take("keep", Window.DAY, 77, 1000)])
    with ExitStack() as stack:
        start(stack, ("shared", path, 3), ["storm"]).wait_for("storms")
        found = json.loads(start(stack, ("shared", path, 1), ["deaths", 200]).wait_for(r"\[.*\]", 60)[0])
        assert len(found) == 200
        for i, (held_now, used) in enumerate(found):
            assert held_now <= 1  # by the one that goes on
            assert used <= i + 2  # one that was not given back, of each that died
    counters.forget_worker(3)
    assert held(counters, "held") == 0
    assert counters.take([Take("keep", Window.DAY, 0, 1000)]).used == [77]
    counters.close()


async def test_what_a_dead_process_held_is_free_in_redis(redis_url: str) -> None:
    prefix = f"death-{secrets.token_hex(4)}:"
    counters = RedisCounters(redis_url, process="here", prefix=prefix, patience=10.0, lifetime=0.6)
    look = [Take("a", Window.HELD, 0, 100)]
    with ExitStack() as stack:
        dying = start(stack, ("redis", redis_url, "dying", prefix), ["hold", "a", 3])
        dying.wait_for("holds")
        assert (await taken(counters, [Take("a", Window.HELD, 1, 100)])).used == [4]
        time.sleep(0.8)  # noqa: ASYNC251  it is alive all the while, and this process is taken for dead
        assert (await taken(counters, look)).used == [4]
        dying.process.kill()
        dying.process.wait()
        until = time.monotonic() + 5
        while (await taken(counters, look)).used != [1]:
            assert time.monotonic() < until
    counters.give([Change("a", Window.HELD, -1, 0.0)])
    assert (await taken(counters, look)).used == [0]
    counters.close()
    await counters.wait_closed()
