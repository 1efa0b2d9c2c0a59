"""Usage and its sums, on both databases."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from switchboard.core.types import Outcome, Usage
from switchboard.store import Database
from switchboard.store.usage import By, UsageLog
from switchboard.store.usage_row import UsageRow
from switchboard.store.usage_rows import day_of, is_error, row_of
from switchboard.telemetry.records import Record

pytestmark = pytest.mark.anyio

DAY = 86_400_000
NOON = 1_769_860_800_000  # 2026-01-31T12:00:00Z
ROW = UsageRow(
    at=NOON,
    request_id="r",
    caller="ann",
    user="u",
    profile="p",
    provider="openai",
    model="m",
    dialect="openai_chat",
    status=200,
    outcome="complete",
    tokens_in=10,
    tokens_out=5,
    cached=2,
    characters=7,
    seconds_ms=1500,
    images=1,
    cost_nano=123,
    duration_ms=250,
)


async def test_rows_are_summed_up_by_day(database: Database) -> None:
    log = UsageLog(database)
    rows = [
        ROW,
        replace(ROW, cost_nano=None, status=502, outcome="upstream_error"),
        replace(ROW, caller="bob", model="n", at=NOON + DAY),
        replace(ROW, profile="q", outcome="client_left", status=200),
    ]
    assert await log.write(rows)
    assert await log.write([ROW])
    days = await log.view(None, None, 20260101, 20261231, By.DAY)
    assert [(u.what, u.requests, u.errors, u.unpriced) for u in days] == [("20260131", 4, 1, 1), ("20260201", 1, 0, 0)]
    first = days[0]
    assert (first.tokens_in, first.tokens_out, first.cached, first.cost_nano) == (40, 20, 8, 369)
    assert (first.characters, first.seconds_ms, first.images) == (28, 6000, 4)
    assert [(u.what, u.requests) for u in await log.view(None, "p", 20260131, 20260131, By.CALLER)] == [("ann", 3)]
    assert [(u.what, u.requests) for u in await log.view("bob", None, 0, 99999999, By.MODEL)] == [("n", 1)]
    profiles = await log.view("ann", None, 0, 99999999, By.PROFILE)
    assert [(u.what, u.requests) for u in profiles] == [("p", 3), ("q", 1)]
    assert await log.view("nobody", None, 0, 99999999, By.DAY) == []


async def test_a_batch_that_is_written_twice_counts_once(database: Database) -> None:
    log = UsageLog(database)
    assert await log.write([ROW] * 3, "one")
    assert not await log.write([ROW] * 3, "one")
    assert sum(await asyncio.gather(*(log.write([ROW], "two") for _ in range(8)))) == 1
    assert (await log.view(None, None, 0, 99999999, By.DAY))[0].requests == 4
    assert len([r async for r in log.export("u")]) == 4


async def test_writers_at_once_lose_nothing(database: Database) -> None:
    log = UsageLog(database)
    rows = [replace(ROW, model=f"m{n}") for n in range(30)]
    await asyncio.gather(*(log.write(rows[n:] + rows[:n], f"b{n}") for n in range(30)))
    assert [u.requests for u in await log.view(None, None, 0, 99999999, By.MODEL)] == [30] * 30


async def test_budgets_begin_with_what_was_spent(database: Database) -> None:
    log = UsageLog(database)
    before = NOON - 40 * DAY
    await log.write([ROW, replace(ROW, at=NOON - DAY), replace(ROW, at=before), replace(ROW, caller="bob", at=before)])
    (spent,) = await log.spent(20260131, 202601)
    assert (spent.profile, spent.caller) == ("p", "ann")
    assert (spent.day_requests, spent.day_tokens, spent.day_cost_nano) == (1, 15, 123)
    assert (spent.month_requests, spent.month_tokens, spent.month_cost_nano) == (2, 30, 246)


async def test_a_user_is_exported_and_erased(database: Database) -> None:
    log = UsageLog(database)
    mine = [replace(ROW, request_id=str(n), caller="ann" if n % 2 else "key") for n in range(4500)]
    await log.write([*mine, replace(ROW, user="", caller="bob")])
    assert [r async for r in log.export("u")] == mine
    assert await log.erase("") == 0
    assert await log.erase("u") == 4500
    assert [r async for r in log.export("ann")] == []
    await log.write([ROW])
    assert await log.erase("ann") == 1
    callers = {u.what: u.requests for u in await log.view(None, None, 0, 99999999, By.CALLER)}
    assert callers == {"": 2251, "bob": 1, "key": 2250}


async def test_old_rows_go_and_their_sums_stay(database: Database) -> None:
    log = UsageLog(database)
    await log.write([replace(ROW, at=NOON + n) for n in range(5000)])
    await log.write([replace(ROW, at=NOON + DAY)])
    assert await log.prune(NOON + DAY) == 5000
    assert [u.requests for u in await log.view(None, None, 0, 99999999, By.DAY)] == [5000, 1]
    assert await log.prune_days(20260201) == 1
    assert [u.what for u in await log.view(None, None, 0, 99999999, By.DAY)] == ["20260201"]


async def test_numbers_and_texts_that_no_database_takes_are_brought_to_what_it_does(database: Database) -> None:
    log = UsageLog(database)
    odd = replace(ROW, tokens_in=2**70, tokens_out=-5, model="m\0\ud800" + "x" * 9999, caller="\0" * 5000)
    await log.write([odd])
    (used,) = await log.view("\0" * 5000, None, 0, 99999999, By.MODEL)
    assert (used.tokens_in, used.tokens_out) == (2**53, 0)
    assert used.what.startswith("m\ufffd\ufffd") or used.what.startswith("m\ufffd")
    assert len(used.what.encode()) <= 256


def test_a_row_is_made_of_a_record() -> None:
    used = Usage(input=3, output=4, cached=1, estimated=True, seconds=1.25, images=2, characters=9)
    record = Record(1.5, "r", "POST", "/x", 200, Outcome.COMPLETE, 0.25, profile="p", caller="c", usage=used, cost=1e-6)
    record.user = "u"
    row = row_of(record)
    assert (row.at, row.user, row.tokens_in, row.tokens_out, row.cached, row.estimated) == (1500, "u", 3, 4, 1, 1)
    assert (row.seconds_ms, row.cost_nano, row.duration_ms) == (1250, 1000, 250)
    assert type(row.outcome) is str and not is_error(row)


@pytest.mark.parametrize(
    ("status", "outcome", "error"),
    [(200, "complete", False), (429, "refused", False), (503, "refused", True), (200, "upstream_cut", True)],
)
def test_what_counts_as_an_error(status: int, outcome: str, error: bool) -> None:
    assert is_error(replace(ROW, status=status, outcome=outcome)) is error


def test_days_are_those_of_utc() -> None:
    assert day_of(NOON) == 20260131
    assert day_of(NOON + DAY // 2 - 1) == 20260131
    assert day_of(NOON + DAY // 2) == 20260201


async def test_questions_are_answered_from_the_days_sums_alone(database: Database) -> None:
    """So it does not matter how many requests there were; how long a million take is the bench's to tell."""
    log = UsageLog(database)
    for start in range(0, 3000, 1000):
        rows = [
            replace(ROW, at=NOON - n % 90 * DAY, caller=f"c{n % 60}", profile=f"p{n % 4}")
            for n in range(start, start + 1000)
        ]
        await log.write(rows)
    questions = [
        (None, None, By.DAY),
        (None, "p1", By.MODEL),
        ("c7", None, By.DAY),
        (None, None, By.CALLER),
    ]
    before = [await log.view(caller, profile, 0, 99999999, by) for caller, profile, by in questions]
    assert sum(u.requests for u in before[0]) == 3000
    assert await log.prune(NOON + DAY) == 3000
    assert [await log.view(caller, profile, 0, 99999999, by) for caller, profile, by in questions] == before
