"""Threads for functions that wait."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from switchboard.policy.threads import Full, Threads

pytestmark = pytest.mark.anyio


def named(name: str) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(name)]


async def gone(name: str) -> None:
    async with asyncio.timeout(5):
        while named(name):
            await asyncio.sleep(0.005)


async def test_what_a_function_gives_or_raises_comes_back() -> None:
    threads = Threads(2, 10, "back")
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    with pytest.raises(RuntimeError, match="SystemExit"):
        await threads.run(sys.exit)
    assert len(named("back")) == 1  # one after the other needs one thread
    assert all(t.daemon for t in named("back"))
    threads.close()
    await gone("back")
    with pytest.raises(Full):
        await threads.run(print)


async def test_threads_end_when_they_are_idle_and_begin_again() -> None:
    threads = Threads(3, 10, "idle", idle=0.02)
    for _ in range(3):
        assert await asyncio.gather(*[threads.run(abs, -i) for i in range(10)]) == list(range(10))
        await gone("idle")
    threads.close()


async def test_a_job_that_nobody_waits_for_is_not_begun() -> None:
    threads, release, done = Threads(1, 10, "left"), threading.Event(), list[int]()
    first = asyncio.create_task(threads.run(release.wait, 5))
    second = asyncio.create_task(threads.run(done.append, 2))
    third = asyncio.create_task(threads.run(done.append, 3))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    release.set()
    await first
    await third
    assert done == [3]
    threads.close()
    await gone("left")


async def test_a_thread_that_returns_after_the_loop_ended_hurts_nobody() -> None:
    release = threading.Event()
    threads = Threads(1, 1, "late")

    def elsewhere() -> None:
        async def start() -> None:
            task = asyncio.create_task(threads.run(release.wait, 5))
            await asyncio.sleep(0.01)
            task.cancel()

        asyncio.run(start())

    await asyncio.to_thread(elsewhere)
    release.set()
    threads.close()
    await gone("late")
