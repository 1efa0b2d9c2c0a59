"""PostgreSQL, through psycopg; loaded only where it is used."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, Final

import psycopg

from switchboard.store.connection import Row, Value, percent, schema_trouble, statement
from switchboard.store.errors import Kind, StoreError
from switchboard.store.schema import SCHEMA
from switchboard.store.urls import masked

#: Seconds for a connection to be made.
CONNECT: Final = 3
#: Milliseconds that a statement may take, and may wait for a lock.
STATEMENT: Final = 10_000
LOCK: Final = 2_000

_OPTIONS: Final = {
    "connect_timeout": CONNECT,
    "application_name": "switchboard",
    # a server that went away without a word is noticed after some seconds, not after hours
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 5000,
    "client_encoding": "utf8",
}
_KINDS: Final = {
    "25006": Kind.UNAVAILABLE,  # a standby: no writing here until the address points to the new primary
    "40001": Kind.LOCKED,
    "40P01": Kind.LOCKED,
    "53100": Kind.FULL,
    "53200": Kind.BUSY,
    "53300": Kind.UNAVAILABLE,
    "55P03": Kind.LOCKED,
    "57014": Kind.BUSY,
    "57P01": Kind.UNAVAILABLE,
    "57P02": Kind.UNAVAILABLE,
    "57P03": Kind.UNAVAILABLE,
    "58030": Kind.UNAVAILABLE,
}


class PostgresLink:
    """A connection to a server; see `connection.Link`."""

    def __init__(self, url: str) -> None:
        self._db = open_server(url)
        try:
            self._db.execute(f"SET statement_timeout={STATEMENT}")
            self._db.execute(f"SET lock_timeout={LOCK}")
            self._db.execute(f"SET idle_in_transaction_session_timeout={STATEMENT}")
        except BaseException:
            self._db.close()
            raise

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        return self._db.execute(percent(sql), values).fetchall()

    def change(self, sql: str, values: Sequence[Value] = ()) -> int:
        return self._db.execute(percent(sql), values).rowcount

    def add(self, table: str, columns: str, values: Iterable[Sequence[Value]]) -> None:
        with self._db.cursor() as cursor, cursor.copy(statement("COPY", table, "(", columns, ") FROM STDIN")) as copy:
            for row in values:
                copy.write_row(row)

    def many(self, sql: str, values: Iterable[Sequence[Value]]) -> None:
        self._db.cursor().executemany(percent(sql), values)

    def begin(self, *, write: bool, patience: float) -> None:
        # a reader sees one state of all tables, as it does in SQLite
        self._db.execute("BEGIN" if write else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def mark(self) -> None:
        self._db.execute("SAVEPOINT mark")

    def undo(self) -> bool:
        if self._db.closed:
            return False
        self._db.execute("ROLLBACK TO SAVEPOINT mark")
        return True

    def commit(self) -> None:
        if self._db.execute("COMMIT").statusmessage != "COMMIT":
            raise StoreError(Kind.FAILED, "PostgreSQL: a statement had failed, nothing was stored")

    def rollback(self) -> None:
        try:
            if not self._db.closed:
                self._db.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def check(self) -> None:
        # by hand, for psycopg waits without end for a server that stands still
        server, end = self._db.pgconn, monotonic() + CONNECT
        server.send_query(b"")
        server.flush()
        waiting = select.poll()
        waiting.register(server.socket, select.POLLIN)
        while server.is_busy():
            if not waiting.poll(max(0.0, end - monotonic()) * 1000):
                raise StoreError(Kind.UNAVAILABLE, "PostgreSQL: the server does not answer")
            server.consume_input()
        while server.get_result() is not None:
            pass

    def interrupt(self) -> None:
        # the server sees that its client is gone, and gives up what it does; asking it to would need its answer
        try:
            with socket.socket(fileno=os.dup(self._db.fileno())) as way:
                way.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):  # it is closed already
            return

    def close(self) -> None:
        try:
            self._db.close()
        except psycopg.Error:
            return

    def schema(self) -> str:
        """The revision that the database has; "" for none."""
        if self.rows("SELECT to_regclass('alembic_version')") == [(None,)]:
            return ""
        found = self.rows("SELECT version_num FROM alembic_version")
        return str(found[0][0]) if found else ""


class Postgres:
    """A server. Its schema is made and brought up by ``switchboard db upgrade``; until then the store is not ready."""

    readers = 0
    one_writer = False

    def __init__(self, url: str, connections: int) -> None:
        self.writers = connections
        self._url = url
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "Postgres(…)"

    def connect(self, *, write: bool) -> PostgresLink:
        """Connect, and look at the schema."""
        link = PostgresLink(self._url)
        try:
            found = link.schema()
            if found != SCHEMA:
                raise schema_trouble(found, SCHEMA, "run `switchboard db upgrade`")
        except BaseException:
            link.close()
            raise
        return link

    def explain(self, error: Exception) -> StoreError | None:
        """The kind of an error by its SQLSTATE, or by what became of the connection."""
        return explain(error, self._url)


def open_server(url: str) -> psycopg.Connection[Row]:
    """A connection in which transactions are begun by hand. Raises `StoreError` where `url` cannot be read."""
    try:
        given: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise StoreError(Kind.UNAVAILABLE, "the database's URL is not one that PostgreSQL takes") from None
    return psycopg.Connection.connect(**{**_OPTIONS, **given}, autocommit=True, prepare_threshold=None)


def explain(error: Exception, url: str) -> StoreError | None:
    """See `Postgres.explain`."""
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate
    if state is None:  # the way to the server, not its word
        gone = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        # the name of what failed, and not the text, where a statement's values might be in it
        text = masked(" ".join(str(error).split()), url)[:300] if gone else type(error).__name__
        return StoreError(Kind.UNAVAILABLE if gone else Kind.FAILED, f"PostgreSQL: {text}")
    kind = _KINDS.get(state) or (Kind.UNAVAILABLE if state[:2] in ("08", "28", "3D") else Kind.FAILED)
    # the primary message alone: details quote values
    return StoreError(kind, f"PostgreSQL: {masked(error.diag.message_primary or '', url)} ({state})")
