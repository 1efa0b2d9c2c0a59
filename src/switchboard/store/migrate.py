"""``python -m switchboard.store.migrate``, with the database's URL on its standard input: brings its schema up.

Loads Alembic and SQLAlchemy, and so is a process of its own. Any number of them may run at once.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from switchboard.store.connection import schema_trouble
from switchboard.store.errors import StoreError
from switchboard.store.schema import SCHEMA
from switchboard.store.urls import is_postgres, masked, sqlite_path

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: The advisory lock under which a PostgreSQL database is migrated.
LOCK: Final = 0x5357_4244_4231


def migrate(url: str) -> None:
    """Bring the database at `url` to `SCHEMA`. Raises `StoreError`, ValueError and what the libraries do."""
    with _postgres(url) if is_postgres(url) else _sqlite(sqlite_path(url)) as engine:
        _upgrade(engine)


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.begin() as connection:
        found = MigrationContext.configure(connection).get_current_revision() or ""
        if found > SCHEMA:
            raise schema_trouble(found, SCHEMA, "")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _sqlite(path: Path) -> Iterator[Engine]:
    from sqlalchemy import Connection, NullPool, create_engine, event

    from switchboard.store.sqlite import prepare

    prepare(path)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with closing(sqlite3.connect(path, timeout=10.0)) as db:
            db.execute("PRAGMA journal_mode=WAL")

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(path, isolation_level=None, timeout=30.0)

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # Python's module would begin no transaction before DDL, and leave half a schema after a crash
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        yield engine
        engine.dispose()
    finally:
        os.close(lock)


@contextmanager
def _postgres(url: str) -> Iterator[Engine]:
    from sqlalchemy import NullPool, create_engine

    from switchboard.store.postgres import open_server

    with open_server(url) as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", (LOCK,))

        def connect() -> Any:
            db = open_server(url)
            db.autocommit = False
            return db

        engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
        yield engine
        engine.dispose()


def main() -> int:
    """The program: 0, or 1 with the reason as the last line on its standard error."""
    url = sys.stdin.read().strip()
    try:
        migrate(url)
    except (StoreError, ValueError) as e:
        print(masked(" ".join(str(e).split()), url), file=sys.stderr)  # noqa: T201
    except Exception as e:
        original = getattr(e, "orig", None) or e
        print(f"{type(original).__name__}: {masked(' '.join(str(original).split()), url)[:500]}", file=sys.stderr)  # noqa: T201
    else:
        return 0
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
