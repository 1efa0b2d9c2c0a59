"""Counters in Redis: callers that are cancelled, and a Redis that is slow, gone, or has forgotten everything."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.counting import Clock, taken
from support.redis_server import RedisServer, redis_server
from switchboard.core.counting import Change, Take, Taken, Window
from switchboard.store.counters._batch import Asked
from switchboard.store.counters.redis import RedisCounters

pytestmark = pytest.mark.anyio

MINUTE, DAY, MONTH, HELD = Window.MINUTE, Window.DAY, Window.MONTH, Window.HELD
MANY = 10**6


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may do harm to."""
    with redis_server(tmp_path) as server:
        yield server


@asynccontextmanager
async def counters_at(
    url: str, process: str = "here", prefix: str = "t:", **options: Any
) -> AsyncIterator[RedisCounters]:
    """Counters that are told what time it is, as by the server."""
    counters = RedisCounters(url, process=process, prefix=prefix, **{"patience": 2.0, "retry": 0.3} | options)

    async def tick() -> None:
        while True:
            counters.tick(time.monotonic())
            await asyncio.sleep(0.02)

    ticking = asyncio.create_task(tick())
    try:
        async with asyncio.timeout(20):
            yield counters
    finally:
        ticking.cancel()
        counters.close()
        await counters.wait_closed()


async def until(true: Callable[[], bool], seconds: float = 8.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def used(counters: RedisCounters, key: str, window: Window) -> int:
    return (await taken(counters, [Take(key, window, 0, MANY)])).used[0]


async def add(counters: RedisCounters, key: str, window: Window, amount: int = 1) -> Taken:
    found = await taken(counters, [Take(key, window, amount, MANY)])
    assert found.refused < 0
    return found


def back(key: str, window: Window, amount: int, at: float | None = None) -> list[Change]:
    return [Change(key, window, -amount, time.time() if at is None else at)]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "switchboard.counters"]


async def test_processes_count_together_and_by_the_time_of_redis(redis_url: str) -> None:
    prefix = secrets.token_hex(4)
    async with counters_at(redis_url, "a", prefix) as a, counters_at(redis_url, "b", prefix) as b:
        for window in Window:
            assert (await add(a, "k", window, 3)).used == [3]
            found = await add(b, "k", window, 4)
            assert found.used == [7]
            assert abs(found.at - time.time()) < 1
        b.give(back("k", HELD, 100))
        assert await used(a, "k", HELD) == 3
        a.close()
        await a.wait_closed()
        assert [await used(b, "k", w) for w in Window] == [7, 7, 7, 0]


async def test_changes_and_takes_keep_their_order(redis_url: str) -> None:
    async with counters_at(redis_url, prefix=secrets.token_hex(4)) as counters:
        one = [Take("k", HELD, 1, 1)]
        for _ in range(50):
            first, refused = counters.take(one), counters.take(one)
            counters.give(back("k", HELD, 1))
            third = counters.take(one)
            counters.give(back("k", HELD, 1))
            assert not isinstance(first, Taken) and not isinstance(refused, Taken) and not isinstance(third, Taken)
            assert [(await t).refused for t in (first, refused, third)] == [-1, 0, -1]


async def test_a_floor_is_raised_to_once(redis_url: str) -> None:
    prefix = secrets.token_hex(4)
    async with counters_at(redis_url, "a", prefix) as a, counters_at(redis_url, "b", prefix) as b:
        await add(a, "k", DAY, 30)
        await add(a, "k", MINUTE, 30)
        for each in (a, b):
            each.raise_to([Change("k", DAY, 100, time.time()), Change("k", MINUTE, 10, time.time())])
        assert (await add(a, "k", DAY, 5)).used == [105] or (await used(b, "k", DAY)) == 105
        assert await used(b, "k", DAY) == 105
        assert await used(b, "k", MINUTE) == 30


async def test_a_script_that_redis_forgot_is_sent_again(redis: RedisServer) -> None:
    async with counters_at(redis.url) as counters:
        await add(counters, "k", DAY)
        await command(redis, b"SCRIPT", b"FLUSH")
        assert (await add(counters, "k", DAY)).used == [2]
        assert counters.trouble == ""


async def test_all_that_is_kept_expires(redis: RedisServer) -> None:
    async with counters_at(redis.url) as counters:
        for window in Window:
            await add(counters, "k", window)
        found = (await command(redis, b"KEYS", b"*")).split(b"\r\n")
        keys = [k for k in found if k.startswith(b"t:")]
        assert len(keys) == 6
        for key in keys:
            assert int((await command(redis, b"TTL", key))[1:]) > 0, key


async def command(redis: RedisServer, *words: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(w), w) for w in words]))
    answer = await reader.read(65_536)
    writer.close()
    return answer


@pytest.mark.parametrize("limit", [1000, 0])
@pytest.mark.parametrize("when", ["at once", "sent", "slow", "heard"])
async def test_who_is_cancelled_gives_back_what_it_asked_for(redis: RedisServer, when: str, limit: int) -> None:
    """And all is as before: whether it had been counted, or refused, or was never sent."""
    async with counters_at(redis.url, clock=Clock()) as counters:
        before = await taken(counters, [Take(w, w, 5, MANY) for w in Window])
        asked = [Take(w, w, 1, MANY) for w in Window] + [Take("full", DAY, 1, limit)]
        for _ in range(10):
            if when == "slow":
                redis.stop()
            waiting = asyncio.create_task(taken(counters, asked))
            await asyncio.sleep(0)  # it begins to wait
            if when in ("sent", "slow"):
                await asyncio.sleep(0)
                await asyncio.sleep(0.001 if when == "slow" else 0)
            elif when == "heard":
                redis.stop()
                await asyncio.sleep(0.01)
                redis.go_on()
                time.sleep(0.01)  # noqa: ASYNC251  the answer is there, and nobody has read it
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            counters.give([Change(t.key, t.window, -t.amount, before.at) for t in asked])
            redis.go_on()
            found = await taken(counters, [Take(w, w, 0, MANY) for w in Window])
            assert found.used == [5] * 4
        assert counters.trouble == ""
        assert await used(counters, "full", DAY) == 0


async def test_who_was_refused_and_cancelled_before_it_heard(redis_url: str) -> None:
    """Its answer was there in the very turn in which it was cancelled."""
    async with counters_at(redis_url, prefix=secrets.token_hex(4)) as counters:
        await add(counters, "k", DAY, 5)
        answer = counters.take([Take("k", DAY, 1, 5)])
        assert isinstance(answer, Asked)
        answer.future.add_done_callback(lambda _: waiting.cancel())

        async def wait() -> Taken:
            return await answer

        waiting = asyncio.create_task(wait())
        with pytest.raises(asyncio.CancelledError):
            await waiting
        counters.give(back("k", DAY, 1))
        assert await used(counters, "k", DAY) == 5


async def test_a_slow_redis(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Takes are decided here, at once; when it is fast again it knows all that was used, and what is held."""
    async with (
        counters_at(redis.url, "a", patience=0.1) as a,
        counters_at(redis.url, "b", patience=5.0, lifetime=60) as b,
    ):
        for _ in range(4):
            await add(a, "streams", HELD)
        made = await add(a, "tokens", DAY, 1000)
        await add(a, "requests", MINUTE)
        await add(a, "call", HELD)
        await add(b, "streams", HELD)
        a.give(back("streams", HELD, 1))
        await used(a, "streams", HELD)
        redis.stop()
        begun = time.monotonic()
        waiting = [
            asyncio.create_task(taken(a, [Take("requests", MINUTE, 1, 60), Take("tokens", DAY, 7, MANY)]))
            for _ in range(100)
        ]
        found = await asyncio.gather(*waiting)
        assert time.monotonic() - begun < 0.5
        assert sum(t.refused < 0 for t in found) == 30  # half the limit: there are two processes
        assert "does not answer in time" in a.trouble and "shared among 2" in a.trouble
        assert isinstance(a.take([Take("requests", MINUTE, 1, 60)]), Taken)
        a.give([*back("tokens", DAY, 900, made.at), *back("call", HELD, 1)])  # of what Redis counted
        assert await used(a, "tokens", DAY) == 30 * 7 + 1000 // 2  # gives no room here
        for _ in range(2):
            await add(a, "streams", HELD)
        a.give(back("streams", HELD, 1))  # 4 in all
        a.raise_to([Change("floor", MONTH, 500, time.time())])
        assert (await taken(a, [Take("streams", HELD, 1, 8)])).refused == 0
        redis.go_on()
        await until(lambda: a.trouble == "")
        assert await used(a, "streams", HELD) == 5
        assert await used(b, "tokens", DAY) == 100 + 30 * 7
        assert await used(b, "requests", MINUTE) == 31
        assert await used(b, "call", HELD) == 0
        assert await used(b, "floor", MONTH) == 500
        a.give([*back("streams", HELD, 4), *back("tokens", DAY, 30 * 7)])
        await used(a, "tokens", DAY)
        assert await used(b, "streams", HELD) == 1
        assert await used(b, "tokens", DAY) == 100
    messages = said(caplog)
    assert len(messages) == 2
    assert "does not answer in time" in messages[0] and "answers again" in messages[1]


async def test_a_redis_that_stays_slow_is_asked_now_and_then(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with counters_at(redis.url, patience=0.05, retry=0.1) as counters:
        await add(counters, "k", DAY)
        redis.stop()
        await add(counters, "k", DAY)
        await asyncio.sleep(1.2)  # longer than one waits for an answer, more than once
        for i in range(2000):
            assert isinstance(counters.take([Take("k", DAY, 1, MANY), Take(f"k{i}", MONTH, i, MANY)]), Taken)
        redis.go_on()
        await until(lambda: counters.trouble == "")
        assert await used(counters, "k", DAY) == 2002
        assert (await taken(counters, [Take(f"k{i}", MONTH, 0, MANY) for i in range(2000)])).used == list(range(2000))
    assert len(said(caplog)) == 2


async def test_a_redis_that_is_killed_and_starts_again(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async with counters_at(redis.url) as counters:
        for _ in range(3):
            await add(counters, "streams", HELD)
        await add(counters, "tokens", DAY, 40)
        redis.kill()
        found = await asyncio.gather(*[taken(counters, [Take("requests", MINUTE, 1, 60)]) for _ in range(200)])
        assert sum(t.refused < 0 for t in found) == 60
        assert "cannot be reached" in counters.trouble
        counters.give(back("streams", HELD, 1))
        assert (await taken(counters, [Take("tokens", DAY, 2, 42)])).used == [42]  # it is not forgotten what was used
        assert (await taken(counters, [Take("tokens", DAY, 2, 42)])).refused == 0
        redis.start()
        await until(lambda: counters.trouble == "")
        assert await used(counters, "streams", HELD) == 2
        assert await used(counters, "requests", MINUTE) == 60
        assert await used(counters, "tokens", DAY) == 2  # what it knew is gone, and what came meanwhile is not
        assert (await taken(counters, [Take("requests", MINUTE, 1, 60)])).refused == 0
    assert len(said(caplog)) == 2


async def test_there_is_no_redis_when_it_begins(redis: RedisServer) -> None:
    redis.kill()
    async with counters_at(redis.url) as counters:
        counters.raise_to([Change("k", DAY, 100, time.time())])
        assert (await add(counters, "k", DAY, 5)).used == [105]
        await add(counters, "s", HELD)
        assert counters.trouble != ""
        redis.start()
        await until(lambda: counters.trouble == "")
        assert [await used(counters, "k", DAY), await used(counters, "s", HELD)] == [105, 1]


async def test_a_broken_connection_goes_unnoticed(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever breaks off is asked again, and counted once."""
    async with counters_at(redis.url, patience=2.0) as counters:
        count = 0
        for _ in range(20):
            breaking = asyncio.create_task(command(redis, b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes"))
            for _ in range(20):
                count += 1
                await add(counters, "k", DAY, 1)
                counters.give([Change("k", DAY, 1, time.time())])
            await breaking
        assert await used(counters, "k", DAY) == 2 * count
    assert said(caplog) == []


async def test_a_redis_that_was_emptied_is_told_what_is_held(redis: RedisServer) -> None:
    async with counters_at(redis.url, "a") as a, counters_at(redis.url, "b") as b:
        for _ in range(3):
            await add(a, "k", HELD)
        await add(b, "k", HELD)
        await command(redis, b"FLUSHALL")
        await asyncio.sleep(0.05)
        assert (await add(a, "k", HELD)).used[0] in (4, 5)
        await add(b, "k", HELD)
        assert await used(a, "k", HELD) == 6


async def test_a_process_that_slept_holds_what_it_held(redis: RedisServer) -> None:
    async with counters_at(redis.url, "b", lifetime=0.2) as b:
        a = RedisCounters(redis.url, process="a", prefix="t:", lifetime=0.2, patience=1.0)
        for _ in range(3):
            await add(a, "k", HELD)
        await add(b, "k", HELD)
        await add(a, "one", HELD)
        await asyncio.sleep(0.4)  # nobody ticks for a
        assert await used(b, "k", HELD) == 1
        a.give(back("k", HELD, 1))
        a.give(back("one", HELD, 1))
        assert (await taken(a, [Take("one", HELD, 1, 1)])).refused < 0
        assert await used(a, "k", HELD) == 3
        assert await used(b, "k", HELD) == 3
        a.close()
        await a.wait_closed()
        assert await used(b, "k", HELD) == 1


async def test_two_hundred_at_a_time_are_no_trouble(redis_url: str) -> None:
    async with counters_at(redis_url, prefix=secrets.token_hex(4), patience=0.5) as counters:
        for i in range(20):
            found = await asyncio.gather(*[taken(counters, [Take(f"{i}", MINUTE, 1, 60)]) for _ in range(200)])
            assert sum(t.refused < 0 for t in found) == 60
        assert counters.trouble == ""


async def test_a_loop_that_stood_still_is_not_a_slow_redis(redis_url: str) -> None:
    async with counters_at(redis_url, prefix=secrets.token_hex(4), patience=0.1) as counters:
        await asyncio.sleep(0.05)
        for _ in range(5):
            waiting = asyncio.create_task(taken(counters, [Take("k", DAY, 1, MANY)]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.15)  # noqa: ASYNC251
            await waiting
        assert counters.trouble == ""


async def test_after_closing_takes_are_decided_here(redis_url: str) -> None:
    counters = RedisCounters(redis_url, process="here", prefix=secrets.token_hex(4))
    waiting = asyncio.create_task(taken(counters, [Take("k", MINUTE, 1, 2)]))
    await asyncio.sleep(0)
    counters.close()
    await counters.wait_closed()
    assert (await waiting).refused < 0
    assert isinstance(counters.take([Take("k", MINUTE, 1, 2)]), Taken)
    counters.give(back("k", MINUTE, 1))
    counters.tick(time.monotonic())


async def test_counters_that_were_never_asked_close() -> None:
    counters = RedisCounters("redis://127.0.0.1:1/0", process="here")
    counters.close()
    await counters.wait_closed()


async def test_nothing_tells_the_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with redis_server(tmp_path, password="geheim") as server:
        async with counters_at(server.url) as counters:
            assert (await add(counters, "k", DAY)).used == [1]
            assert counters.trouble == ""
        async with counters_at(server.url.replace("geheim", "falsch1")) as counters:
            await add(counters, "k", DAY)
            assert "cannot be reached" in counters.trouble
            shown = repr(counters) + str(counters.trouble) + "".join(said(caplog))
    for bad in ("nothing", "redis://:geheim@host:po%20rt/0", "http://:geheim@h", "redis://user:geheim"):
        with pytest.raises(ValueError, match="URL of Redis") as e:
            RedisCounters(bad, process="here")
        shown += str(e.value) + repr(e.value.__cause__)
    assert "geheim" not in shown
    assert "falsch1" not in shown
