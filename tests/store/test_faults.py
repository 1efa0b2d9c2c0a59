"""Databases that go away, are held by others, or have no room."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from support.postgres import PostgresServer, postgres_server
from switchboard.store import Database, Kind, StoreError

pytestmark = pytest.mark.anyio

#: Seconds: less than a loop would stand still that waited for the database itself, more than a busy machine lets it stand.
STILL = 1.0
ADD = "INSERT INTO usage_batches (id, at) VALUES (?, 1)"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test's own, which it may kill."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def file(tmp_path: Path, sqlite_template: Path) -> Path:
    """A file with this program's schema."""
    return Path(shutil.copy(sqlite_template, tmp_path / "store.db"))


@asynccontextmanager
async def opened(url: str, connections: int = 4) -> AsyncIterator[Database]:
    """The database at `url`, whether it can be reached or not."""
    database = Database.open(url, connections=connections)
    database.start()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def stalls() -> AsyncIterator[list[float]]:
    """How long the loop stood still, in seconds."""
    found: list[float] = [0.0]

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            found[0] = max(found[0], time.monotonic() - before - 0.005)

    task = asyncio.create_task(watch())
    yield found
    task.cancel()


async def _add(database: Database, name: str) -> int:
    return await database.run(lambda db: db.change(ADD, (name,)), write=True)


async def _fails(database: Database, name: str) -> StoreError:
    with pytest.raises(StoreError) as e:
        await _add(database, name)
    return e.value


async def _count(database: Database) -> int:
    rows = await database.run(lambda db: db.rows("SELECT COUNT(*) FROM usage_batches"), write=False)
    return int(rows[0][0])


async def test_a_server_that_is_down_at_the_start_is_found_when_it_is_up(server: PostgresServer) -> None:
    url = server.create()
    server.stop()
    async with opened(url) as database, stalls() as stalled:
        assert (await _fails(database, "a")).kind is Kind.UNAVAILABLE
        assert not database.ready and "PostgreSQL" in database.trouble
        began = time.monotonic()
        assert (await _fails(database, "b")).kind is Kind.UNAVAILABLE  # at once, while it is known to be down
        assert time.monotonic() - began < 0.2
        await asyncio.to_thread(server.start)
        up = time.monotonic()
        assert await database.wait_ready(5)
        assert time.monotonic() - up < 2
        assert await _add(database, "a") == 1
    assert stalled[0] < STILL


async def test_a_server_that_dies_is_noticed_and_found_again(server: PostgresServer) -> None:
    async with opened(server.create()) as database, stalls() as stalled:
        assert await database.wait_ready(5)
        written = 0
        kinds = set()

        async def write() -> None:
            nonlocal written
            n = 0
            while n < 100_000:
                n += 1
                try:
                    written += await _add(database, f"{id(asyncio.current_task())} {n}")
                except StoreError as e:
                    kinds.add(e.kind)
                    await asyncio.sleep(0.02)

        writers = [asyncio.create_task(write()) for _ in range(6)]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.3)
        assert not database.ready and database.trouble
        before = written
        assert before > 0
        await asyncio.to_thread(server.start)
        up = time.monotonic()
        while written <= before and time.monotonic() - up < 5:
            await asyncio.sleep(0.02)
        assert time.monotonic() - up < 5
        for task in writers:
            task.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        assert kinds == {Kind.UNAVAILABLE}
        assert await _count(database) >= written  # whose answer was lost may be there; what was answered is
    assert stalled[0] < STILL


async def test_an_idle_store_notices_that_its_server_died(server: PostgresServer) -> None:
    async with opened(server.create()) as database:
        assert await database.wait_ready(5)
        await asyncio.to_thread(server.kill)
        for _ in range(150):
            if not database.ready:
                break
            await asyncio.sleep(0.02)
        assert not database.ready
        await asyncio.to_thread(server.start)
        assert await database.wait_ready(5)
        assert await _add(database, "a") == 1


async def test_a_restart_between_two_transactions_goes_unseen(server: PostgresServer) -> None:
    async with opened(server.create(), connections=1) as database:
        assert await _add(database, "a") == 1
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert await database.wait_ready(5)
        assert await _add(database, "b") == 1
        assert await _count(database) == 2


async def test_a_server_that_stands_still_is_noticed(server: PostgresServer) -> None:
    async with opened(server.create(), connections=2) as database, stalls() as stalled:
        assert await database.wait_ready(5)
        server.freeze()
        try:
            for _ in range(400):
                if not database.ready:
                    break
                await asyncio.sleep(0.02)
            assert not database.ready
            assert (await _fails(database, "a")).kind is Kind.UNAVAILABLE
        finally:
            server.thaw()
        assert await database.wait_ready(5)
        assert await _add(database, "a") == 1
    assert stalled[0] < STILL


async def test_closing_does_not_wait_for_a_server_that_stands_still(server: PostgresServer) -> None:
    async with opened(server.create(), connections=1) as database:
        assert await database.wait_ready(5)
        server.freeze()
        try:
            adding = asyncio.create_task(_add(database, "a"))
            await asyncio.sleep(0.1)
            began = time.monotonic()
            await database.close(timeout=0.2)
            assert time.monotonic() - began < 2
            with pytest.raises(StoreError):
                await adding
        finally:
            server.thaw()


async def test_an_address_that_never_answers_does_not_hold_up_requests() -> None:
    listening = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with opened(f"postgresql://u@127.0.0.1:{port}/d") as database:
        began = time.monotonic()
        assert (await _fails(database, "a")).kind is Kind.UNAVAILABLE
        assert time.monotonic() - began < 5
        began = time.monotonic()
        assert (await _fails(database, "a")).kind is Kind.UNAVAILABLE
        assert time.monotonic() - began < 0.2
    listening.close()


async def test_a_row_that_another_holds_is_waited_for_two_seconds(server: PostgresServer) -> None:
    import psycopg

    url = server.create()
    async with opened(url) as database, stalls() as stalled:
        await _add(database, "a")
        with psycopg.connect(url) as other:
            other.execute("UPDATE usage_batches SET at = 2")
            began = time.monotonic()
            with pytest.raises(StoreError) as e:
                await database.run(lambda db: db.change("UPDATE usage_batches SET at = 3"), write=True)
            assert e.value.kind is Kind.LOCKED and 1.5 < time.monotonic() - began < 3
        assert database.ready
    assert stalled[0] < STILL


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Another process holds the file for three seconds from now."""
    program = (
        "import sqlite3, sys, time\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('BEGIN EXCLUSIVE')\n"
        "print('held', flush=True)\n"
        "time.sleep(3)\n"
        "db.execute('COMMIT')\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield


async def test_a_file_that_another_process_holds_is_waited_for_two_seconds(file: Path) -> None:
    async with opened(f"sqlite:///{file}") as database:
        assert await database.wait_ready(5)
        with held(file):
            began = time.monotonic()
            async with stalls() as stalled:
                first, second, reading = await asyncio.gather(
                    _fails(database, "a"), _fails(database, "b"), _count(database)
                )
                # who came at the same time does not wait two seconds more for it
                assert 1.8 < time.monotonic() - began < 2.8
                assert (first.kind, second.kind, reading) == (Kind.LOCKED, Kind.LOCKED, 0)
                assert database.ready
                assert await _add(database, "c") == 1  # this one waits for the rest of the three seconds
            assert stalled[0] < STILL


async def test_a_full_disk_is_named_and_got_over(file: Path) -> None:
    async with opened(f"sqlite:///{file}") as database:
        assert await _add(database, "a") == 1
        await database.run(lambda db: db.rows("PRAGMA max_page_count=1"), write=True)  # as many pages as there are
        kinds = set()
        for n in range(300):
            try:
                await _add(database, f"{n} {'x' * 2000}")
            except StoreError as e:
                kinds.add(e.kind)
                break
        assert kinds == {Kind.FULL}
        assert database.ready
        before = await _count(database)
        await database.run(lambda db: db.rows("PRAGMA max_page_count=100000"), write=True)
        assert await _add(database, "z" * 2000) == 1
        assert await _count(database) == before + 1


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_disk_that_is_really_full_is_got_over(small: Path, sqlite_template: Path) -> None:
    shutil.copy(sqlite_template, small / "store.db")
    async with opened(f"sqlite:///{small}/store.db") as database:
        assert await _add(database, "a") == 1
        (small / "ballast").write_bytes(bytes(1_000_000))
        written, kinds = 1, set()
        for n in range(300):
            try:
                written += await _add(database, f"{n} {'x' * 5000}")
            except StoreError as e:
                kinds.add(e.kind)
        assert kinds == {Kind.FULL}
        assert database.ready
        (small / "ballast").unlink()
        assert await _add(database, "b") == 1
        assert await _count(database) == written + 1


async def test_a_file_that_was_replaced_is_not_written_to(file: Path, sqlite_template: Path) -> None:
    async with opened(f"sqlite:///{file}") as database:
        assert await _add(database, "a") == 1
        for each in file.parent.glob("store.db*"):
            each.unlink()
        shutil.copy(sqlite_template, file)
        assert await _add(database, "b") == 1
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT id FROM usage_batches").fetchall() == [("b",)]
    db.close()


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is not a database, is it? " * 100)
    async with opened(f"sqlite:///{path}") as database:
        assert (await _fails(database, "a")).kind is Kind.UNAVAILABLE
        assert "not a database" in database.trouble
        path.unlink()
        assert await database.wait_ready(10)


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with opened(f"sqlite:///{tmp_path}/file/store.db") as database:
        assert (await _fails(database, "a")).kind is Kind.UNAVAILABLE
        assert "cannot be used" in database.trouble
