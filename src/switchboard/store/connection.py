"""What a transaction may do with its connection, whichever database is behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

from switchboard.store.errors import Kind, StoreError

#: Times are milliseconds since the epoch, booleans 0 or 1, money billionths of a dollar.
Value: TypeAlias = int | str | bytes | None
Row: TypeAlias = tuple[Any, ...]


class Connection(Protocol):
    """A connection inside a transaction. Statements have ``?`` where a value goes, and hold neither ``?`` nor ``%``
    otherwise. Database errors are raised as the library's own; `Database` makes a `StoreError` of them."""

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """All rows that the statement gives."""

    def change(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run a statement that gives no rows; how many it changed."""

    def add(self, table: str, columns: str, values: Iterable[Sequence[Value]]) -> None:
        """Insert rows, in the fastest way that there is."""

    def many(self, sql: str, values: Iterable[Sequence[Value]]) -> None:
        """Run a statement once with each of `values`."""


class Link(Connection, Protocol):
    """The same with what `Database` needs besides."""

    def begin(self, *, write: bool, patience: float) -> None:
        """Begin a transaction; where it has to wait for others, at most `patience` seconds."""

    def mark(self) -> None:
        """Remember this point of the transaction, in place of the one before."""

    def undo(self) -> bool:
        """Go back to the point that was marked. False: there is no transaction any more."""

    def commit(self) -> None:
        """Make it last."""

    def rollback(self) -> None:
        """Undo it. Raises nothing: where it cannot, the connection is of no more use."""

    def check(self) -> None:
        """See whether the database is still there; takes some seconds at most."""

    def interrupt(self) -> None:
        """Break off what runs, also where the database does not answer any more; from any thread, raises nothing."""

    def close(self) -> None:
        """Let go of it. Raises nothing."""


class Backend(Protocol):
    """One of the databases, and how many threads it gets, each with a connection of its own."""

    writers: int
    readers: int  # 0: the writers read too

    @property
    def one_writer(self) -> bool:
        """Whether nobody can write while another one does, so that writing is best done together."""

    def connect(self, *, write: bool) -> Link:
        """A connection to a database whose schema is this program's. Raises `StoreError` or the library's error."""

    def explain(self, error: Exception) -> StoreError | None:
        """What an error means, without secrets; None for one that is not the database's."""


@lru_cache(maxsize=512)
def percent(sql: str) -> str:
    """`sql` as psycopg takes it."""
    return sql.replace("%", "%%").replace("?", "%s")


def statement(*parts: str) -> str:
    """A statement in parts, all of them this program's own words: what comes from elsewhere goes where a ``?`` is."""
    return " ".join(parts)


def schema_trouble(found: str, wanted: str, remedy: str) -> StoreError:
    """The error for a database whose schema is `found` ("" for none) where `wanted` is needed."""
    if found > wanted:
        text = f"the database has schema {found}, newer than this program's {wanted}: run a newer switchboard"
    elif found:
        text = f"the database has schema {found}, this program needs {wanted}: {remedy}"
    else:
        text = f"the database has no schema yet: {remedy}"
    return StoreError(Kind.UNAVAILABLE, text)
