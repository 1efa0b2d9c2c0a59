"""Usage: a row for each request, and the days' sums that questions are answered from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple

from switchboard.store.connection import Connection, Row, Value, statement
from switchboard.store.database import Database
from switchboard.store.text import key
from switchboard.store.usage_row import UsageRow
from switchboard.store.usage_rows import SUMS, by_days, stored

_REMEMBERED: Final = 24 * 3600 * 1000  # milliseconds for which a batch is known, so that it is not counted again
_PAGE: Final = 2000
_LIMIT: Final = f"LIMIT {_PAGE})"
_COLUMNS: Final = (
    "at, request_id, caller, user_label, profile, provider, model, dialect, status, outcome, tokens_in, tokens_out,"
    " cached, estimated, characters, seconds_ms, images, cost_nano, duration_ms"
)
_ADD: Final = statement(
    f"INSERT INTO usage_days (day, profile, caller, provider, model, {', '.join(SUMS)})",
    f"VALUES ({','.join('?' * (5 + len(SUMS)))}) ON CONFLICT (day, profile, caller, provider, model) DO UPDATE SET",
    ", ".join(f"{s} = usage_days.{s} + excluded.{s}" for s in SUMS),
)
_TOTAL: Final = ", ".join(f"CAST(COALESCE(SUM({s}), 0) AS BIGINT)" for s in SUMS)


class By(StrEnum):
    """What sums are asked for by."""

    DAY = "day"
    MODEL = "model"
    PROFILE = "profile"
    CALLER = "caller"


class Used(Struct, frozen=True):
    """A sum over days. `what` is the day (``20260131``), model, profile or caller; units are those of `UsageRow`.
    `unpriced` of the requests are not in `cost_nano`."""

    what: str
    requests: int
    errors: int
    tokens_in: int
    tokens_out: int
    cached: int
    characters: int
    seconds_ms: int
    images: int
    cost_nano: int
    unpriced: int


class Spent(Struct, frozen=True):
    """What a caller used of a profile, on a day and in a month; tokens are those in and out together."""

    profile: str
    caller: str
    day_requests: int
    day_tokens: int
    day_cost_nano: int
    month_requests: int
    month_tokens: int
    month_cost_nano: int


class UsageLog:
    """Rows and the days' sums."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, rows: Sequence[UsageRow], batch: str = "") -> bool:
        """Keep `rows` and add them to their days' sums. With the name of a `batch`, what is written a second time under it,
        within a day, is not counted again: then False."""

        def work(db: Connection) -> bool:
            kept = [stored(r) for r in rows]
            newest = max((r.at for r in kept), default=0)
            if batch:
                db.change("DELETE FROM usage_batches WHERE at < ?", (newest - _REMEMBERED,))
                add = "INSERT INTO usage_batches (id, at) VALUES (?,?) ON CONFLICT DO NOTHING"
                if db.change(add, (key(batch), newest)) == 0:
                    return False
            if kept:
                db.add("usage_rows", _COLUMNS, [astuple(r) for r in kept])
                db.many(_ADD, by_days(kept))
            return True

        return await self._database.run(work, write=True)

    async def view(self, caller: str | None, profile: str | None, since_day: int, until_day: int, by: By) -> list[Used]:
        """Sums from `since_day` to `until_day` (both included), of a caller or all, in a profile or all; in the order of what
        they are by."""
        where, values = "day >= ? AND day <= ?", [since_day, until_day]
        where, more = _narrowed(where, caller, profile)
        what = f"CAST({by.value} AS TEXT)"
        sql = statement(
            "SELECT", what, ",", _TOTAL, "FROM usage_days WHERE", where, "GROUP BY", by.value, "ORDER BY", by.value
        )
        rows = await self._database.run(lambda db: db.rows(sql, (*values, *more)), write=False)
        return [Used(*r) for r in rows]

    async def spent(self, day: int, month: int) -> list[Spent]:
        """What each caller used of each profile on `day` (``20260131``) and in `month` (``202601``): what budgets begin with
        after a restart."""
        today = ", ".join(
            f"CAST(COALESCE(SUM(CASE WHEN day = {int(day)} THEN {s} END), 0) AS BIGINT)"
            for s in ("requests", "tokens_in + tokens_out", "cost_nano")
        )
        days = f"day >= {int(month) * 100} AND day < {(int(month) + 1) * 100}"
        all_of_it = ", ".join(
            f"CAST(COALESCE(SUM(CASE WHEN {days} THEN {s} END), 0) AS BIGINT)"
            for s in ("requests", "tokens_in + tokens_out", "cost_nano")
        )
        sql = statement(
            "SELECT profile, caller,",
            today,
            ",",
            all_of_it,
            "FROM usage_days WHERE (",
            days,
            ") OR day =",
            str(int(day)),
            "GROUP BY profile, caller ORDER BY profile, caller",
        )
        return [Spent(*r) for r in await self._database.run(lambda db: db.rows(sql), write=False)]

    async def erase(self, user: str) -> int:
        """Forget the rows of a user (by the label, or the caller's id); how many. The days' sums of that caller stay, under no
        name."""
        if not user:  # that is everybody without a name
            return 0
        who = key(user)
        of_days = statement(
            "SELECT day, profile, provider, model,", ", ".join(SUMS), "FROM usage_days WHERE caller = ?"
        )

        def forget_name(db: Connection) -> None:
            mine = db.rows(of_days, (who,))
            db.many(_ADD, [(r[0], r[1], "", *r[2:]) for r in sorted(mine)])
            db.change("DELETE FROM usage_days WHERE caller = ?", (who,))

        gone = await self._delete("user_label = ? OR caller = ?", (who, who))
        await self._database.run(forget_name, write=True)
        return gone

    async def export(self, user: str) -> AsyncIterator[UsageRow]:
        """The rows of a user (as for `erase`), in the order in which they were written."""
        if not user:  # that is everybody without a name
            return
        sql = statement(
            "SELECT",
            _COLUMNS,
            ", number FROM usage_rows WHERE (user_label = ? OR caller = ?) AND number > ? ORDER BY number LIMIT",
            str(_PAGE),
        )
        after = 0

        def work(db: Connection) -> list[Row]:
            return db.rows(sql, (key(user), key(user), after))

        while rows := await self._database.run(work, write=False):
            for r in rows:
                yield UsageRow(*r[:-1])
            after = rows[-1][-1]

    async def prune(self, before: int) -> int:
        """Forget rows of before `before` (milliseconds), not the days' sums; how many."""
        return await self._delete("at < ?", (before,))

    async def prune_days(self, before_day: int) -> int:
        """Forget sums of the days before `before_day` (``20260131``); how many."""
        sql = "DELETE FROM usage_days WHERE day < ?"
        return await self._database.run(lambda db: db.change(sql, (before_day,)), write=True)

    async def _delete(self, which: str, values: tuple[Value, ...]) -> int:
        """Delete rows in small steps, so that others get their turn; how many."""
        sql = statement("DELETE FROM usage_rows WHERE number IN (SELECT number FROM usage_rows WHERE", which, _LIMIT)
        total = 0
        while True:
            gone = await self._database.run(lambda db: db.change(sql, values), write=True)
            total += gone
            if gone < _PAGE:
                return total


def _narrowed(where: str, caller: str | None, profile: str | None) -> tuple[str, list[Value]]:
    values: list[Value] = []
    for column, value in (("caller", caller), ("profile", profile)):
        if value is not None:
            where += f" AND {column} = ?"
            values.append(key(value))
    return where, values
