"""SQLite, through Python's own module: one writer and two readers of a file in WAL mode."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from errno import EACCES
from itertools import chain
from pathlib import Path
from typing import Final

from switchboard.store.connection import Row, Value, schema_trouble, statement
from switchboard.store.errors import Kind, StoreError
from switchboard.store.schema import SCHEMA, upgrade

#: What an empty file is given.
FRESH: Final = Path(__file__).parent / "migrations" / "fresh.sql"
#: Bytes that the log beside the file is cut to when it was longer.
_LOG: Final = 64 * 1024 * 1024
#: Rows that one statement inserts. Python's module takes the interpreter's lock anew for each statement that it runs, and a server that is busy
#: gives it away as rarely as it can.
_AT_ONCE: Final = 64

_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_GONE: Final = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)


class SqliteLink:
    """A connection to a file; see `connection.Link`."""

    def __init__(self, path: Path, *, write: bool) -> None:
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2.0)
        try:
            self._identity = _identity(path)
            for pragma in ("synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF", f"journal_size_limit={_LOG}"):
                self._db.execute(f"PRAGMA {pragma}")
            if self._db.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                self._db.execute("PRAGMA journal_mode=WAL")
            if not write:
                self._db.execute("PRAGMA query_only=ON")
        except BaseException:
            self._db.close()
            raise

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        return self._db.execute(sql, values).fetchall()

    def change(self, sql: str, values: Sequence[Value] = ()) -> int:
        return self._db.execute(sql, values).rowcount

    def add(self, table: str, columns: str, values: Iterable[Sequence[Value]]) -> None:
        row = f"({','.join('?' * (columns.count(',') + 1))})"
        into = statement("INSERT INTO", table, "(", columns, ") VALUES")
        rows = list(values)
        whole = len(rows) - len(rows) % _AT_ONCE
        if whole:
            several = statement(into, ",".join([row] * _AT_ONCE))
            for n in range(0, whole, _AT_ONCE):
                self._db.execute(several, list(chain.from_iterable(rows[n : n + _AT_ONCE])))
        self._db.executemany(statement(into, row), rows[whole:])

    def many(self, sql: str, values: Iterable[Sequence[Value]]) -> None:
        self._db.executemany(sql, values)

    def begin(self, *, write: bool, patience: float) -> None:
        if self._identity != _identity(self._path):  # what was written now would be gone with the old file
            raise StoreError(Kind.UNAVAILABLE, "the database's file was replaced")
        self._db.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")
        self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")

    def mark(self) -> None:
        self._db.execute("SAVEPOINT mark")

    def undo(self) -> bool:
        if not self._db.in_transaction:  # some errors, a full disk say, undo all of it
            return False
        self._db.execute("ROLLBACK TO mark")
        return True

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()

    def check(self) -> None:
        if self._identity != _identity(self._path):
            raise StoreError(Kind.UNAVAILABLE, "the database's file was replaced")

    def interrupt(self) -> None:
        try:
            self._db.interrupt()
        except sqlite3.Error:  # it was closed meanwhile
            return

    def close(self) -> None:
        try:
            self._db.close()
        except sqlite3.Error:
            return


class Sqlite:
    """A file. It and its folder are made for the owner's eyes only; its schema is made, or brought up, by itself."""

    writers = 1
    readers = 2
    one_writer = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opening = threading.Lock()

    def connect(self, *, write: bool) -> SqliteLink:
        """Open the file, after a migration where one is needed."""
        with self._opening:
            prepare(self.path)
            found = self._schema() or _begin(self.path)
            if found < SCHEMA:
                upgrade(f"sqlite:///{self.path}")
                found = self._schema()
            if found != SCHEMA:
                raise schema_trouble(found, SCHEMA, "its migration did not take")
        return SqliteLink(self.path, write=write)

    def explain(self, error: Exception) -> StoreError | None:
        """The kind of an error by SQLite's own code."""
        if isinstance(error, OSError):
            return StoreError(Kind.UNAVAILABLE, f"the database's file cannot be used: {error.strerror}")
        if not isinstance(error, sqlite3.Error):
            return None
        # Python's own complaints (a closed connection, say) have no code
        code = getattr(error, "sqlite_errorcode", None)
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if code is None:
            gone = isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error)
            return StoreError(Kind.UNAVAILABLE if gone else Kind.FAILED, f"SQLite: {name}")
        primary = code & 0xFF
        text = f"SQLite: {error} ({name})"
        if primary in _LOCKED:
            return StoreError(Kind.LOCKED, text)
        if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and self._no_room()):
            return StoreError(Kind.FULL, text)
        if primary == sqlite3.SQLITE_INTERRUPT:
            return StoreError(Kind.BUSY, text)
        return StoreError(Kind.UNAVAILABLE if primary in _GONE else Kind.FAILED, text)

    def _schema(self) -> str:
        db = sqlite3.connect(self.path, isolation_level=None, timeout=2.0)
        try:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall():
                return ""
            found = db.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(found[0]) if found else ""
        finally:
            db.close()

    def _no_room(self) -> bool:
        try:
            room = os.statvfs(self.path.parent)
        except OSError:
            return False
        return room.f_bavail * room.f_frsize < 1024 * 1024


def _begin(path: Path) -> str:
    """Give a file that is empty its tables, as migrations would, which take a process and most of a second; the schema that it has
    then. "": there is something else in it."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10.0)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("BEGIN IMMEDIATE")  # several processes may begin at once
        if not db.execute("SELECT 1 FROM sqlite_master").fetchall():
            for made in FRESH.read_text().split(";\n"):
                db.execute(made)
        rows = db.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
        found = db.execute("SELECT version_num FROM alembic_version").fetchone() if rows else None
        db.execute("COMMIT")
    return str(found[0]) if found else ""


def tables_of(path: Path) -> str:
    """The statements that make what is in a migrated file: `FRESH` is made so, by `make docs`."""
    with closing(sqlite3.connect(path)) as db:
        made = db.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY rowid"
        )
        statements = [" ".join(row[0].split()) for row in made]
        (version,) = db.execute("SELECT version_num FROM alembic_version").fetchone()
    statements.append(f"INSERT INTO alembic_version (version_num) VALUES ('{version}')")  # noqa: S608  a number of ours
    return ";\n".join(statements) + "\n"


def prepare(path: Path) -> None:
    """See to it that the file is there, readable by nobody else, and can be used. Raises OSError.

    One that is there is not opened: to close it would drop all locks that this process has on it (POSIX), and the next process
    that closes the database would take the log away from under it, with what was written since.
    Source: https://www.sqlite.org/howtocorrupt.html, 2.2
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    elif not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES))


def _identity(path: Path) -> tuple[int, int]:
    try:
        seen = path.stat()
    except OSError:
        return (0, 0)
    return (seen.st_dev, seen.st_ino)
