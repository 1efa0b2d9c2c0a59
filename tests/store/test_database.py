"""Transactions beside the loop, on both databases."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest

from switchboard.store import Database, Kind, StoreError
from switchboard.store.connection import Connection

pytestmark = pytest.mark.anyio

ADD = "INSERT INTO usage_batches (id, at) VALUES (?, 1)"


async def _names(database: Database) -> list[str]:
    rows = await database.run(lambda db: db.rows("SELECT id FROM usage_batches ORDER BY id"), write=False)
    return [r[0] for r in rows]


async def test_what_raises_changes_nothing(database: Database) -> None:
    def work(db: Connection) -> None:
        db.change(ADD, ("a",))
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await database.run(work, write=True)
    assert await _names(database) == []


async def test_a_statement_that_is_refused_changes_nothing_and_says_nothing_of_its_values(database: Database) -> None:
    def work(db: Connection) -> None:
        db.change(ADD, ("secret value",))
        db.change(ADD, ("secret value",))

    with pytest.raises(StoreError) as e:
        await database.run(work, write=True)
    assert e.value.kind is Kind.FAILED and "secret" not in str(e.value)
    assert await _names(database) == [] and database.ready


async def test_an_error_that_the_work_swallows_is_not_taken_for_success(database: Database) -> None:
    """SQLite goes on after a statement that failed, PostgreSQL would undo all of it without a word."""

    def work(db: Connection) -> None:
        db.change(ADD, ("a",))
        try:
            db.change(ADD, ("a",))
        except Exception:
            return

    done = (await asyncio.gather(database.run(work, write=True), return_exceptions=True))[0]
    if done is not None:
        assert isinstance(done, StoreError) and done.kind is Kind.FAILED
    assert await _names(database) == ([] if done else ["a"])


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StoreError):
        await database.run(lambda db: db.change(ADD, ("a",)), write=False)
    assert await _names(database) == [] and database.ready


async def test_a_reader_sees_one_state_of_all(database: Database) -> None:
    begun, go = threading.Event(), threading.Event()

    def read(db: Connection) -> tuple[object, object]:
        first = db.rows("SELECT COUNT(*) FROM usage_batches")
        begun.set()
        assert go.wait(5)
        return first, db.rows("SELECT COUNT(*) FROM usage_batches")

    reading = asyncio.create_task(database.run(read, write=False))
    await asyncio.to_thread(begun.wait, 5)
    await database.run(lambda db: db.change(ADD, ("a",)), write=True)
    go.set()
    first, second = await reading
    assert first == second


async def test_who_is_cancelled_leaves_no_half_of_a_transaction(database: Database) -> None:
    begun, go = threading.Event(), threading.Event()

    def work(db: Connection) -> None:
        db.change(ADD, ("a",))
        begun.set()
        assert go.wait(5)
        db.change(ADD, ("b",))

    task = asyncio.create_task(database.run(work, write=True))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await database.run(lambda db: db.change(ADD, ("c",)), write=True)
    for _ in range(100):  # PostgreSQL's threads go on side by side
        if len(await _names(database)) == 3:
            break
    assert await _names(database) == ["a", "b", "c"]


async def test_of_those_that_wait_together_each_happens_by_itself(database: Database) -> None:
    """They may share a commit; what fails in one of them is not the others' business."""

    def work(n: int, db: Connection) -> int:
        db.change(ADD, (f"{n:02}",))
        if n % 5 == 0:
            raise LookupError(f"{n}")
        if n % 7 == 0:
            db.change(ADD, (f"{n:02}",))
        return n

    begun, go = threading.Event(), threading.Event()

    def block(db: Connection) -> None:
        begun.set()
        assert go.wait(5)

    blocking = asyncio.create_task(database.run(block, write=True))
    await asyncio.to_thread(begun.wait, 5)
    tasks = [asyncio.create_task(database.run(partial(work, n), write=True)) for n in range(70)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    go.set()
    await blocking
    done = await asyncio.gather(*tasks, return_exceptions=True)
    for n, each in enumerate(done):
        if n == 3:
            assert isinstance(each, asyncio.CancelledError)
        elif n % 5 == 0:
            assert isinstance(each, LookupError) and str(each) == f"{n}"
        elif n % 7 == 0:
            assert isinstance(each, StoreError) and each.kind is Kind.FAILED
        else:
            assert each == n
    there = [f"{n:02}" for n in range(70) if n % 5 and n % 7]
    assert [name for name in await _names(database) if name != "03"] == [name for name in there if name != "03"]


async def test_what_takes_too_long_is_broken_off(url: str) -> None:
    database = Database.open(url, connections=1, longest=0.3)
    database.start()
    assert await database.wait_ready(5)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    with pytest.raises(StoreError, match="did not answer") as e:
        await database.run(lambda db: db.rows(endless), write=True)
    assert e.value.kind is Kind.BUSY
    assert await database.run(lambda db: db.change(ADD, ("a",)), write=True) == 1
    await database.close()


async def test_more_than_may_wait_is_refused_at_once(url: str) -> None:
    database = Database.open(url, connections=1, queue=3)
    database.start()
    assert await database.wait_ready(5)
    begun, go = threading.Event(), threading.Event()

    def block(db: Connection) -> None:
        begun.set()
        assert go.wait(5)

    blocking = asyncio.create_task(database.run(block, write=True))
    await asyncio.to_thread(begun.wait, 5)
    waiting = [asyncio.create_task(database.run(lambda db: db.rows("SELECT 1"), write=True)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(StoreError) as e:
        await database.run(lambda db: db.rows("SELECT 1"), write=True)
    assert e.value.kind is Kind.BUSY
    go.set()
    await asyncio.gather(blocking, *waiting)
    await database.close()


async def test_what_waits_is_finished_before_it_closes(url: str) -> None:
    database = Database.open(url)
    database.start()

    def add(n: int, db: Connection) -> int:
        return db.change(ADD, (f"{n}",))

    tasks = [asyncio.create_task(database.run(partial(add, n), write=True)) for n in range(50)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*tasks) == [1] * 50
    with pytest.raises(StoreError, match="closed") as e:
        await database.run(lambda db: db.rows("SELECT 1"), write=False)
    assert e.value.kind is Kind.UNAVAILABLE


async def test_closing_breaks_off_what_takes_too_long(url: str) -> None:
    database = Database.open(url, connections=1)
    database.start()
    assert await database.wait_ready(5)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    tasks = [asyncio.create_task(database.run(lambda db: db.rows(endless), write=True)) for _ in range(3)]
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await database.close(timeout=0.2)
    assert time.monotonic() - began < 2
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(e, StoreError) for e in done), done
    assert {t.name for t in threading.enumerate() if t.name.startswith("switchboard-")} == set()


async def test_it_may_be_closed_before_it_was_started_and_twice(url: str) -> None:
    database = Database.open(url)
    with pytest.raises(StoreError):
        await database.run(lambda db: db.rows("SELECT 1"), write=False)
    await database.close()
    database = Database.open(url)
    database.start()
    await database.close()
    await database.close()


async def test_the_loop_runs_on_while_the_database_works(database: Database) -> None:
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT COUNT(*) FROM n"
    task = asyncio.create_task(database.run(lambda db: db.rows(slow), write=False))
    longest = 0.0
    while not task.done():
        before = time.monotonic()
        await asyncio.sleep(0.001)
        longest = max(longest, time.monotonic() - before)
    assert await task == [(2_000_000,)]
    assert longest < 0.25
