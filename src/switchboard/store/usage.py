"""Usage: a row for each request, and the days' sums that questions are answered from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple

from switchboard.core.types import Outcome
from switchboard.store.connection import Connection, Row, Value, statement
from switchboard.store.database import Database
from switchboard.store.text import key, label
from switchboard.telemetry.records import Record

#: Outcomes that are nobody's fault here; with any other, or a status of 500 and above, a request counts as an error.
NO_ERROR: Final = frozenset(
    {Outcome.COMPLETE, Outcome.CLIENT_LEFT, Outcome.CLIENT_STALLED, Outcome.REFUSED, Outcome.BUDGET_EXHAUSTED}
)

_MOST: Final = 2**53  # of any number of one row: sums of a thousand of them fit into 64 bits
_DAY: Final = 24 * 3600 * 1000
_REMEMBERED: Final = _DAY  # milliseconds for which a batch is known, so that it is not counted again
_PAGE: Final = 2000
_LIMIT: Final = f"LIMIT {_PAGE})"
_COLUMNS: Final = (
    "at, request_id, caller, user_label, profile, provider, model, dialect, status, outcome, tokens_in, tokens_out,"
    " cached, estimated, characters, seconds_ms, images, cost_nano, duration_ms"
)
_SUMS: Final = (
    "requests",
    "errors",
    "tokens_in",
    "tokens_out",
    "cached",
    "characters",
    "seconds_ms",
    "images",
    "cost_nano",
    "unpriced",
)
_ADD: Final = statement(
    f"INSERT INTO usage_days (day, profile, caller, provider, model, {', '.join(_SUMS)})",
    f"VALUES ({','.join('?' * (5 + len(_SUMS)))}) ON CONFLICT (day, profile, caller, provider, model) DO UPDATE SET",
    ", ".join(f"{s} = usage_days.{s} + excluded.{s}" for s in _SUMS),
)
_TOTAL: Final = ", ".join(f"CAST(COALESCE(SUM({s}), 0) AS BIGINT)" for s in _SUMS)


# the same few texts stand in row after row; looking at each of them anew would be a fifth of the work
_key: Final = lru_cache(4096)(key)
_label: Final = lru_cache(4096)(label)


class UsageRow(Struct, frozen=True, gc=False):
    """What one request used. `at` is in milliseconds since the epoch, `seconds_ms` (of sound) and `duration_ms` in
    milliseconds, `cost_nano` in billionths of a dollar, None where the price is not known; `estimated` is 0 or 1."""

    at: int
    request_id: str
    caller: str
    user: str
    profile: str
    provider: str
    model: str
    dialect: str
    status: int
    outcome: str
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    estimated: int = 0
    characters: int = 0
    seconds_ms: int = 0
    images: int = 0
    cost_nano: int | None = None
    duration_ms: int = 0

    @classmethod
    def of(cls, record: Record, user: str = "") -> UsageRow:
        """The row for a request that is over."""
        used = record.usage
        return cls(
            at=round(record.at * 1000),
            request_id=record.request_id,
            caller=record.caller,
            user=user,
            profile=record.profile,
            provider=record.provider,
            model=record.model,
            dialect=record.dialect,
            status=record.status,
            outcome=str(record.outcome),
            tokens_in=used.input,
            tokens_out=used.output,
            cached=used.cached,
            estimated=int(used.estimated),
            characters=used.characters,
            seconds_ms=round(used.seconds * 1000),
            images=used.images,
            cost_nano=None if record.cost is None else round(record.cost * 1e9),
            duration_ms=round(record.duration * 1000),
        )

    @property
    def is_error(self) -> bool:
        """Whether it counts as an error; see `NO_ERROR`."""
        return self.status >= 500 or self.outcome not in NO_ERROR

    def stored(self) -> UsageRow:
        """The same as it can be stored, which mostly is the very same."""
        texts = (
            *(_label(self.request_id), _key(self.caller), _key(self.user), _key(self.profile)),
            *(_label(self.provider), _label(self.model), _label(self.dialect), _label(self.outcome)),
        )
        numbers = (
            *(self.at, self.status, self.tokens_in, self.tokens_out, self.cached, self.estimated, self.characters),
            *(self.seconds_ms, self.images, self.cost_nano or 0, self.duration_ms),
        )
        if texts == (
            *(self.request_id, self.caller, self.user, self.profile),
            *(self.provider, self.model, self.dialect, self.outcome),
        ) and (min(numbers) >= 0 and max(numbers) <= _MOST):
            return self
        request_id, caller, user, profile, provider, model, dialect, outcome = texts
        at, status, tokens_in, tokens_out, cached, estimated, characters, seconds, images, cost, duration = (
            max(0, min(n, _MOST)) for n in numbers
        )
        return UsageRow(
            *(at, request_id, caller, user, profile, provider, model, dialect, status, outcome),
            *(tokens_in, tokens_out, cached, estimated, characters, seconds, images),
            *(None if self.cost_nano is None else cost, duration),
        )


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


def day_of(at: int) -> int:
    """The day (UTC) of a time in milliseconds since the epoch, as a number like 20260131."""
    then = datetime.fromtimestamp(at / 1000, UTC)
    return then.year * 10_000 + then.month * 100 + then.day


class UsageLog:
    """Rows and the days' sums."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, rows: Sequence[UsageRow], batch: str = "") -> bool:
        """Keep `rows` and add them to their days' sums. With the name of a `batch`, what is written a second time under it,
        within a day, is not counted again: then False."""

        def work(db: Connection) -> bool:
            stored = [r.stored() for r in rows]
            newest = max((r.at for r in stored), default=0)
            if batch:
                db.change("DELETE FROM usage_batches WHERE at < ?", (newest - _REMEMBERED,))
                add = "INSERT INTO usage_batches (id, at) VALUES (?,?) ON CONFLICT DO NOTHING"
                if db.change(add, (key(batch), newest)) == 0:
                    return False
            if stored:
                db.add("usage_rows", _COLUMNS, [astuple(r) for r in stored])
                db.many(_ADD, _days(stored))
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
            "SELECT day, profile, provider, model,", ", ".join(_SUMS), "FROM usage_days WHERE caller = ?"
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


def _days(rows: Iterable[UsageRow]) -> list[tuple[Value, ...]]:
    """The sums of `rows`, each with what it is of; in one order for all, so that two writers cannot wait for each other."""
    sums: dict[tuple[int, str, str, str, str], list[int]] = {}
    for r in rows:
        what = (r.at // _DAY, r.profile, r.caller, r.provider, r.model)
        one = sums.get(what)
        if one is None:
            one = sums[what] = [0] * len(_SUMS)
        one[0] += 1
        if r.is_error:
            one[1] += 1
        one[2] += r.tokens_in
        one[3] += r.tokens_out
        one[4] += r.cached
        one[5] += r.characters
        one[6] += r.seconds_ms
        one[7] += r.images
        if r.cost_nano is None:
            one[9] += 1
        else:
            one[8] += r.cost_nano
    return [(day_of(what[0] * _DAY), *what[1:], *sums[what]) for what in sorted(sums)]
