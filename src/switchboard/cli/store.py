"""What commands have in common that look into the database."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from switchboard.config.folder import database_url
from switchboard.config.tree import Settings
from switchboard.store import Database, StoreError

T = TypeVar("T")
_WAIT: Final = 15.0  # seconds that the database may take to be there
_SPAN: Final = re.compile(r"(\d{1,5})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """What `work` gives. Exits with 1, and the reason, where the database cannot be used."""

    async def run() -> T:
        database = Database.open(database_url(settings), connections=1)
        database.start()
        try:
            if not await database.wait_ready(_WAIT):
                raise SystemExit(f"switchboard: the database cannot be used: {database.trouble}")
            return await work(database)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except StoreError as e:
        raise SystemExit(f"switchboard: the database did not do it: {e}") from None


def later(text: str, at: datetime) -> datetime:
    """The time that `text` names: a span from `at` on (30d, 12h), or a day (2027-01-31; its end, UTC). Exits with 2 for
    anything else, and for what is over."""
    span = _SPAN.fullmatch(text)
    try:
        if span is not None:
            end = at + timedelta(**{_UNITS[span[2]]: int(span[1])})
        else:
            end = datetime.fromisoformat(text) + timedelta(days=1 if len(text) == 10 else 0)
            end = end if end.tzinfo is not None else end.replace(tzinfo=UTC)
        over = end <= at
    except (ValueError, OverflowError):
        print(f"switchboard: '{text}' is no time: write 30d, 12h or 2027-01-31", file=sys.stderr)
        raise SystemExit(2) from None
    if over:
        print(f"switchboard: '{text}' is over: name a time to come", file=sys.stderr)
        raise SystemExit(2)
    return end


def milliseconds(at: datetime) -> int:
    """A time as the store counts it."""
    return int(at.timestamp() * 1000)


def shown(ms: int | None) -> str:
    """A time of the store for people; "-" for none."""
    return "-" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def table(rows: list[list[str]]) -> str:
    """Columns side by side; the first row is their heads."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
