"""What every kind of counters does."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support.counting import NOON, Clock, Model, counters_of, taken
from switchboard.core.counting import Change, Take, Window

pytestmark = pytest.mark.anyio

MINUTE, DAY, MONTH, HELD = Window.MINUTE, Window.DAY, Window.MONTH, Window.HELD
WINDOWS = st.sampled_from(list(Window))
KEYS = st.sampled_from(["a", "ключ", "c:default:\ud800/tokens:d"])


def quickly(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


TAKES = st.lists(st.builds(Take, KEYS, WINDOWS, st.integers(0, 5), st.integers(0, 12)), min_size=1, max_size=4)
AGO = st.sampled_from([0.0, 1.0, 3.0, 30.0, 59.0, 61.0, 63.0, 90_000.0, 40 * 86_400.0])
CHANGES = st.lists(st.tuples(KEYS, WINDOWS, st.integers(-8, 8), AGO), min_size=1, max_size=4)
WAITS = st.sampled_from(
    [0.001, 0.5, 1.9, 2.0, 9.0, 30.0, 58.0, 60.0, 61.999, 63.0, 3600.0, 40_000.0, 86_400.0, 31 * 86_400.0]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), TAKES),
        st.tuples(st.just("take"), TAKES),
        st.tuples(st.just("give"), CHANGES),
        st.tuples(st.just("raise"), CHANGES),
        st.tuples(st.just("wait"), WAITS),
    ),
    max_size=25,
)


@given(STEPS, st.floats(NOON, NOON + 400 * 86_400))
@quickly(100)
async def test_counters_do_as_the_model_does(
    kind: str, tmp_path: Path, redis_url: str, steps: list[tuple[str, Any]], begin: float
) -> None:
    clock, model = Clock(round(begin, 3)), Model()
    async with counters_of(kind, clock, tmp_path, redis_url) as counters:
        for what, value in steps:
            if what == "wait":
                clock.at = round(clock.at + value, 3)
            elif what == "take":
                found, expected = await taken(counters, value), model.take(value, clock.at)
                assert (found.refused, found.used) == (expected.refused, expected.used)
                assert found.resets == pytest.approx(expected.resets, abs=0.001)
                assert found.at == pytest.approx(clock.at, abs=0.001)
            else:
                changes = [Change(key, window, n, clock.at - ago) for key, window, n, ago in value]
                (counters.give if what == "give" else counters.raise_to)(changes)
                (model.give if what == "give" else model.raise_to)(changes, clock.at)


@given(st.integers(1, 8), st.lists(st.tuples(st.floats(0, 40), st.floats(0, 100) | st.just(0.0)), max_size=60))
@example(6, [(0.0, 0.0), *[(59.0, 0.0)] + [(0.0, 0.0)] * 5, *[(31.0, 0.0)] + [(0.0, 0.0)] * 6])
@quickly(60)
async def test_no_sixty_seconds_hold_more_than_the_limit(
    kind: str, tmp_path: Path, redis_url: str, limit: int, steps: list[tuple[float, float]]
) -> None:
    """Also when the clock goes back: a step is how long one waits, and by how much the clock is set back then."""
    clock, real = Clock(), 0.0
    passed: list[float] = []
    async with counters_of(kind, clock, tmp_path, redis_url) as counters:
        for wait, back in steps:
            real += wait
            clock.at += wait - back
            if (await taken(counters, [Take("a", MINUTE, 1, limit)])).refused < 0:
                passed.append(real)
    for begin in passed:
        assert sum(0 <= t - begin < 60 - 1e-6 for t in passed) <= limit


@given(st.integers(1, 10), st.lists(st.floats(0, 200), min_size=1, max_size=40))
@quickly(60)
async def test_who_waits_as_long_as_told_is_admitted(
    kind: str, tmp_path: Path, redis_url: str, limit: int, times: list[float]
) -> None:
    clock = Clock()
    async with counters_of(kind, clock, tmp_path, redis_url) as counters:
        for t in sorted(times):
            clock.at = NOON + t
            found = await taken(counters, [Take("a", MINUTE, 1, limit)])
            assert 0 < found.resets[0] <= 62
            if found.refused >= 0:
                clock.at += found.resets[0] + 0.001
                assert (await taken(counters, [Take("a", MINUTE, 1, limit)])).refused < 0
                return


@given(st.integers(1, 500))
@quickly(10)
async def test_a_burst_gets_exactly_the_limit(kind: str, tmp_path: Path, redis_url: str, limit: int) -> None:
    async with counters_of(kind, Clock(), tmp_path, redis_url) as counters:
        found = await asyncio.gather(*[taken(counters, [Take("a", MINUTE, 1, limit)]) for _ in range(limit + 50)])
    assert [t.refused for t in found] == [-1] * limit + [0] * 50


async def test_all_are_taken_or_none(kind: str, tmp_path: Path, redis_url: str) -> None:
    async with counters_of(kind, Clock(), tmp_path, redis_url) as counters:
        takes = [Take("a", MINUTE, 1, 10), Take("b", DAY, 500, 1000), Take("c", MONTH, 7, 100), Take("d", HELD, 1, 2)]
        for i in range(2):
            found = await taken(counters, takes)
            assert (found.refused, found.used) == (-1, [i + 1, 500 * (i + 1), 7 * (i + 1), i + 1])
        assert (await taken(counters, takes)).used == [2, 1000, 14, 2]
        assert (await taken(counters, takes)).refused == 1  # the first of those that refuse
        assert (await taken(counters, takes[::-1])).refused == 0
        counters.give([Change("d", HELD, -1, NOON), Change("b", DAY, -400, NOON)])
        assert (await taken(counters, takes)).used == [3, 1100, 21, 2]


async def test_the_same_counter_twice_in_one_take(kind: str, tmp_path: Path, redis_url: str) -> None:
    async with counters_of(kind, Clock(), tmp_path, redis_url) as counters:
        takes = [Take("a", MINUTE, 1, 3), Take("a", MINUTE, 2, 9), Take("a", DAY, 1, 9)]
        assert (await taken(counters, takes)).used == [3, 3, 1]
        assert (await taken(counters, takes)).refused == 0


async def test_to_take_nothing(kind: str, tmp_path: Path, redis_url: str) -> None:
    async with counters_of(kind, Clock(), tmp_path, redis_url) as counters:
        counters.give([])
        counters.raise_to([])
        found = await taken(counters, [])
        assert (found.refused, found.used, found.resets) == (-1, [], [])
        assert (await taken(counters, [Take("a", w, 0, 1) for w in Window])).refused < 0
        assert (await taken(counters, [Take("a", w, 0, 0) for w in Window])).refused == 0


async def test_large_numbers(kind: str, tmp_path: Path, redis_url: str) -> None:
    async with counters_of(kind, Clock(), tmp_path, redis_url) as counters:
        for window in (MINUTE, DAY, MONTH):
            takes = [Take("a", window, 2**51 + 1, 2**53 - 1)]
            assert (await taken(counters, takes)).used == [2**51 + 1]
            assert (await taken(counters, takes)).used == [2**52 + 2]
        assert (await taken(counters, [Take("b", DAY, 1, 10**30)])).used == [1]


async def test_a_reservation_is_settled_in_the_day_it_was_made_in(kind: str, tmp_path: Path, redis_url: str) -> None:
    clock = Clock(datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    async with counters_of(kind, clock, tmp_path, redis_url) as counters:
        takes = [Take("a", DAY, 100, 1000), Take("a", MONTH, 100, 1000)]
        before = await taken(counters, takes)
        assert before.resets == pytest.approx([1.0, 1.0], abs=0.001)
        clock.at += 2
        assert (await taken(counters, takes)).used == [100, 100]
        counters.give([Change("a", DAY, -90, before.at), Change("a", MONTH, -90, before.at)])
        assert (await taken(counters, takes)).used == [200, 200]


@given(st.datetimes(datetime(1990, 1, 1), datetime(2150, 1, 1)))  # noqa: DTZ001  UTC below
@example(datetime(2024, 2, 29, 23, 59, 59))  # noqa: DTZ001
@example(datetime(2100, 2, 28, 1))  # noqa: DTZ001
@example(datetime(2025, 12, 31, 1))  # noqa: DTZ001
@quickly(60)
async def test_days_and_months_end_where_the_calendar_says(
    kind: str, tmp_path: Path, redis_url: str, when: datetime
) -> None:
    clock = Clock(when.replace(tzinfo=UTC).timestamp())
    takes = [Take("a", DAY, 1, 5), Take("a", MONTH, 1, 5)]
    async with counters_of(kind, clock, tmp_path, redis_url) as counters:
        found, expected = await taken(counters, takes), Model().take(takes, clock.at)
        assert found.resets == pytest.approx(expected.resets, abs=0.001)
        clock.at += found.resets[0] - 0.01
        assert (await taken(counters, takes)).used == [2, 2]
        clock.at += 0.02
        assert (await taken(counters, takes)).used[0] == 1


async def test_a_clock_that_goes_back_gives_no_second_day(kind: str, tmp_path: Path, redis_url: str) -> None:
    begin = datetime(2026, 3, 1, 0, 0, 5, tzinfo=UTC).timestamp()
    clock, takes = Clock(begin), [Take("a", DAY, 1, 3), Take("a", MONTH, 1, 3)]
    async with counters_of(kind, clock, tmp_path, redis_url) as counters:
        for _ in range(3):
            assert (await taken(counters, takes)).refused < 0
        if kind != "redis":  # which remembers the day before, and what was used of it
            clock.at -= 60
            assert (await taken(counters, takes)).refused == 0
            clock.at -= 90_000  # wholly wrong before: what was used counts now
            assert (await taken(counters, takes)).refused == 0
            clock.at += 86_400
            assert (await taken(counters, takes)).refused == 1
        clock.at = begin + 1
        assert (await taken(counters, takes)).refused == (0 if kind == "redis" else -1)


async def test_a_clock_that_goes_back_closes_nothing_for_long(kind: str, tmp_path: Path, redis_url: str) -> None:
    clock = Clock()
    async with counters_of(kind, clock, tmp_path, redis_url) as counters:
        for back in (3.0, 30.0, 61.0, 100_000.0):
            for _ in range(3):
                clock.at += 3
                await taken(counters, [Take("a", MINUTE, 1, 3)])
            clock.at -= back
            found = await taken(counters, [Take("a", MINUTE, 1, 3)])
            assert (found.refused, found.used) == (0, [3])
            assert 0 < found.resets[0] <= 62
            clock.at += 62
            assert (await taken(counters, [Take("a", MINUTE, 0, 3)])).used == [0]


async def test_budgets_are_passed_by_no_more_than_one_request(kind: str, tmp_path: Path, redis_url: str) -> None:
    """Each request sets aside the most that it may use, and settles with what it did."""
    most, reserve, chance = 10_000, 400, random.Random(5)
    async with counters_of(kind, Clock(), tmp_path, redis_url) as counters:
        spent = 0

        async def request(real: int, pause: float) -> bool:
            nonlocal spent
            found = await taken(counters, [Take("a", DAY, reserve, most), Take("open", HELD, 1, 60)])
            if found.refused < 0:
                await asyncio.sleep(pause)
                spent += real
                counters.give([Change("a", DAY, real - reserve, found.at), Change("open", HELD, -1, found.at)])
            return found.refused != 0

        for _ in range(20):
            some = [request(chance.randrange(reserve + 1), chance.random() / 500) for _ in range(100)]
            if not any(await asyncio.gather(*some)):
                break
        assert most <= spent < most + reserve
        assert (await taken(counters, [Take("a", DAY, 0, 10**9), Take("open", HELD, 0, 1)])).used == [spent, 0]


async def test_of_two_hundred_at_a_time_sixty_are_admitted(kind: str, tmp_path: Path, redis_url: str) -> None:
    async with counters_of(kind, Clock(), tmp_path, redis_url) as counters:
        for i in range(200 if kind != "redis" else 100):
            takes = [Take(f"round {i}", MINUTE, 1, 60), Take(f"all {i}", MINUTE, 1, 10_000)]
            found = await asyncio.gather(*[taken(counters, takes) for _ in range(200)])
            assert sum(t.refused < 0 for t in found) == 60
            assert found[-1].used == [60, 60]


async def test_nothing_is_held_after_closing(kind: str, tmp_path: Path, redis_url: str) -> None:
    async with counters_of(kind, Clock(), tmp_path, redis_url) as counters:
        assert (await taken(counters, [Take("a", HELD, 1, 5)])).used == [1]
        counters.tick(0.0)
        counters.close()
        counters.close()
        await counters.wait_closed()
        assert kind == "redis" or counters.trouble == ""
