"""How a database gets its schema."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from docs.make import fresh_tables

import switchboard.store
from support.postgres import PostgresServer
from switchboard.store import Database
from switchboard.store.conversations import Conversations
from switchboard.store.schema import SCHEMA, upgrade
from switchboard.store.sqlite import FRESH, Sqlite, tables_of

pytestmark = pytest.mark.anyio

VERSIONS = Path(switchboard.store.__file__).parent / "migrations" / "versions"
NINE = "UPDATE alembic_version SET version_num = '9999'"


def _children(url: str, count: int) -> None:
    command = [sys.executable, "-m", "switchboard.store.migrate"]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(url)
        child.stdin.close()
    for child in children:
        child.wait(60)
        assert child.stderr is not None
        said = child.stderr.read()
        child.stderr.close()
        assert child.returncode == 0, said


def test_the_schema_s_number_is_that_of_the_newest_migration() -> None:
    assert max(p.name for p in VERSIONS.glob("[0-9]*.py")).startswith(f"{SCHEMA}_")


async def test_a_file_is_made_with_its_schema_for_its_owner_s_eyes(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store.db"
    before = os.umask(0)
    try:
        database = Database.open(f"sqlite:///{path}")
        database.start()
        await database.run(lambda db: db.change("DELETE FROM api_keys"), write=True)
    finally:
        os.umask(before)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for each in path.parent.iterdir():
        assert each.stat().st_mode & 0o777 == 0o600, each
    assert await database.wait_ready(5) and database.trouble == ""
    await database.close()
    assert not database.ready


def test_processes_that_migrate_at_once_do_not_break_a_file(tmp_path: Path) -> None:
    _children(f"sqlite:///{tmp_path}/store.db", 3)
    Sqlite(tmp_path / "store.db").connect(write=True).close()


async def test_processes_that_migrate_at_once_do_not_break_a_server_s_database(postgres: PostgresServer) -> None:
    url = postgres.create(migrated=False)
    _children(url, 3)
    database = Database.open(url)
    database.start()
    assert await database.wait_ready(5)
    await database.close()
    postgres.drop(url)


async def test_a_server_s_database_waits_for_its_upgrade(postgres: PostgresServer) -> None:
    url = postgres.create(migrated=False)
    database = Database.open(url)
    database.start()
    for _ in range(200):
        if "upgrade" in database.trouble:
            break
        await asyncio.sleep(0.02)
    assert "run `switchboard db upgrade`" in database.trouble and not database.ready
    await asyncio.to_thread(upgrade, url)
    assert await database.wait_ready(3)
    assert database.trouble == ""
    await database.run(lambda db: db.rows("SELECT * FROM api_keys"), write=False)
    await database.close()
    postgres.drop(url)


async def test_a_newer_schema_is_left_alone(url: str) -> None:
    database = Database.open(url)
    database.start()
    await database.run(lambda db: db.change(NINE), write=True)
    await database.close()
    database = Database.open(url)
    database.start()
    assert not await database.wait_ready(0.7)
    assert re.search(r"schema 9999, newer than this program's \d+", database.trouble)
    await database.close()
    with pytest.raises(switchboard.store.StoreError, match="newer"):
        upgrade(url)


def test_a_migration_that_is_killed_leaves_nothing_or_all(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for delay in (0.2, 0.35, 0.5, 0.6):
        child = subprocess.Popen([sys.executable, "-m", "switchboard.store.migrate"], stdin=subprocess.PIPE, text=True)
        assert child.stdin is not None
        child.stdin.write(f"sqlite:///{path}")
        child.stdin.close()
        try:
            child.wait(delay)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if path.exists():
            db = sqlite3.connect(path)
            tables = len(db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall())
            db.close()
            assert tables == 0 or tables > 10
    upgrade(f"sqlite:///{path}")


def test_the_serving_process_loads_no_heavy_library(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from switchboard.store import Database\n"
        "async def main():\n"
        f"    d = Database.open('sqlite:///{tmp_path}/store.db'); d.start()\n"
        "    assert await d.wait_ready(20), d.trouble\n"
        "    await d.close()\n"
        "asyncio.run(main())\n"
        "print([m for m in ('psycopg', 'sqlalchemy', 'alembic') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_a_fresh_file_has_what_migrations_make() -> None:
    """`make docs` writes it."""
    assert FRESH.read_text() == fresh_tables()


@pytest.mark.anyio
async def test_a_fresh_file_needs_no_migration(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store.db"
    databases = [Database.open(f"sqlite:///{path}") for _ in range(4)]
    for d in databases:  # all at once
        d.start()
    assert all([await d.wait_ready(5) for d in databases])
    assert tables_of(path) == FRESH.read_text()
    assert await Conversations(databases[0]).append("p", "o", "id", 0, [{"role": "user", "content": "a"}], 1)
    for d in databases:
        await d.close()
