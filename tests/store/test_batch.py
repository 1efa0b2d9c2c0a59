"""Usage on its way to the database."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from store.test_usage import ROW
from support.postgres import PostgresServer
from switchboard.store import Database
from switchboard.store.batch import UsageWriter
from switchboard.store.connection import Connection
from switchboard.store.usage import By, UsageLog

pytestmark = pytest.mark.anyio


async def _written(database: Database) -> int:
    return sum(u.requests for u in await UsageLog(database).view(None, None, 0, 99999999, By.DAY))


async def test_rows_are_written_within_a_second(database: Database) -> None:
    writer = UsageWriter(UsageLog(database))
    writer.start()
    writer.put([ROW] * 3)
    began = time.monotonic()
    while await _written(database) < 3 and time.monotonic() - began < 5:
        await asyncio.sleep(0.02)
    assert time.monotonic() - began < 1
    writer.put([])
    writer.put([ROW])
    await writer.close()
    assert (await _written(database), writer.lost, writer.waiting) == (4, 0, 0)


async def test_closing_writes_what_waits(database: Database) -> None:
    writer = UsageWriter(UsageLog(database))
    writer.start()
    for _ in range(25):
        writer.put([ROW] * 100)
    began = time.monotonic()
    await writer.close(timeout=10)
    assert time.monotonic() - began < 5
    assert (await _written(database), writer.lost) == (2500, 0)


async def test_closing_at_once_after_the_start_writes_too(database: Database) -> None:
    writer = UsageWriter(UsageLog(database))
    writer.put([ROW])
    writer.start()
    await writer.close()
    assert await _written(database) == 1
    idle = UsageWriter(UsageLog(database))
    await idle.close()


async def test_nothing_is_lost_or_counted_twice_while_the_database_is_down(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.create()
    database = Database.open(url)
    database.start()
    assert await database.wait_ready(5)
    writer = UsageWriter(UsageLog(database))
    writer.start()
    put = 0

    async def produce() -> None:
        nonlocal put
        while put < 3000:
            writer.put([replace(ROW, request_id=f"{put}")] * 10)
            put += 10
            await asyncio.sleep(0.005)

    producing = asyncio.create_task(produce())
    for _ in range(2):
        await asyncio.sleep(0.4)
        await asyncio.to_thread(postgres.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(postgres.start)
    await producing
    await writer.close(timeout=10)
    assert (await _written(database), writer.lost) == (put, 0)
    await database.close()
    postgres.drop(url)


async def test_a_batch_whose_answer_was_lost_is_not_counted_again(database: Database) -> None:
    class Forgetful(UsageLog):
        """Writes, and once does not hear of it."""

        forgot = False

        async def write(self, rows, batch=""):  # type: ignore[no-untyped-def]
            done = await super().write(rows, batch)
            if not self.forgot:
                self.forgot = True
                from switchboard.store import Kind, StoreError

                raise StoreError(Kind.UNAVAILABLE, "the connection broke")
            return done

    writer = UsageWriter(Forgetful(database))
    writer.start()
    writer.put([ROW] * 7)
    await writer.close()
    assert (await _written(database), writer.lost) == (7, 0)


async def test_the_oldest_are_lost_where_there_are_too_many(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = Database.open(f"sqlite:///{tmp_path}/file/store.db")
    database.start()
    writer = UsageWriter(UsageLog(database), bound=1500)
    writer.start()
    writer.put([ROW] * 1400)
    await asyncio.sleep(0.6)  # the first thousand are begun
    for n in range(1000):
        writer.put([replace(ROW, at=n)])
    assert (writer.waiting, writer.lost) == (1500, 900)
    await writer.close(timeout=0.1)
    assert (writer.waiting, writer.lost) == (0, 2400)
    await database.close()


async def test_a_row_that_the_database_never_takes_does_not_hold_up_others(url: str) -> None:
    database = Database.open(url)
    database.start()

    def refuse(db: Connection) -> None:
        if url.startswith("sqlite"):
            db.change(
                "CREATE TRIGGER refuse BEFORE INSERT ON usage_rows WHEN NEW.status = 666"
                " BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        else:
            db.change("ALTER TABLE usage_rows ADD CHECK (status <> 666)")

    await database.run(refuse, write=True)
    writer = UsageWriter(UsageLog(database))
    writer.start()
    rows = [ROW] * 100
    rows[37] = replace(ROW, status=666)
    writer.put(rows)
    await writer.close()
    assert (await _written(database), writer.lost) == (99, 1)
    await database.close()
