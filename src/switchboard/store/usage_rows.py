"""Rows of usage: made of records, brought into what can be stored, and added up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from switchboard.core.types import Outcome
from switchboard.store.connection import Value
from switchboard.store.text import key, label
from switchboard.store.usage_row import UsageRow
from switchboard.telemetry.records import Record

#: Outcomes that are nobody's fault here; with any other, or a status of 500 and above, a request counts as an error.
NO_ERROR: Final = frozenset(
    {Outcome.COMPLETE, Outcome.CLIENT_LEFT, Outcome.CLIENT_STALLED, Outcome.REFUSED, Outcome.BUDGET_EXHAUSTED}
)

#: What is added up of a day.
SUMS: Final = (
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
_MOST: Final = 2**53  # of any number of one row: sums of a thousand of them fit into 64 bits
_DAY: Final = 24 * 3600 * 1000


def row_of(record: Record) -> UsageRow:
    """The row for a request that is over."""
    used = record.usage
    return UsageRow(
        round(record.at * 1000),
        record.request_id,
        record.caller,
        record.user,
        record.profile,
        record.provider,
        record.model,
        record.dialect,
        record.status,
        str(record.outcome),
        used.input,
        used.output,
        used.cached,
        int(used.estimated),
        used.characters,
        round(used.seconds * 1000) if used.seconds else 0,
        used.images,
        None if record.cost is None else round(record.cost * 1e9),
        round(record.duration * 1000),
    )


def is_error(row: UsageRow) -> bool:
    """Whether it counts as an error; see `NO_ERROR`."""
    return row.status >= 500 or row.outcome not in NO_ERROR


def stored(row: UsageRow) -> UsageRow:
    """The same as it can be stored, which mostly is the very same."""
    texts = (
        label(row.request_id),
        key(row.caller),
        key(row.user),
        key(row.profile),
        label(row.provider),
        label(row.model),
        label(row.dialect),
        label(row.outcome),
    )
    told = (row.request_id, row.caller, row.user, row.profile, row.provider, row.model, row.dialect, row.outcome)
    numbers = (
        row.at,
        row.status,
        row.tokens_in,
        row.tokens_out,
        row.cached,
        row.estimated,
        row.characters,
        row.seconds_ms,
        row.images,
        row.cost_nano or 0,
        row.duration_ms,
    )
    if texts == told and min(numbers) >= 0 and max(numbers) <= _MOST:
        return row
    request_id, caller, user, profile, provider, model, dialect, outcome = texts
    at, status, tokens_in, tokens_out, cached, estimated, characters, seconds, images, cost, duration = [
        max(0, min(n, _MOST)) for n in numbers
    ]
    return UsageRow(
        *(at, request_id, caller, user, profile, provider, model, dialect, status, outcome),
        *(tokens_in, tokens_out, cached, estimated, characters, seconds, images),
        *(None if row.cost_nano is None else cost, duration),
    )


def day_of(at: int) -> int:
    """The day (UTC) of a time in milliseconds since the epoch, as a number like 20260131."""
    then = datetime.fromtimestamp(at / 1000, UTC)
    return then.year * 10_000 + then.month * 100 + then.day


def by_days(rows: Iterable[UsageRow]) -> list[tuple[Value, ...]]:
    """The sums of `rows`, each with what it is of; in one order for all, so that two writers cannot wait for each other."""
    sums: dict[tuple[int, str, str, str, str], list[int]] = {}
    for r in rows:
        what = (r.at // _DAY, r.profile, r.caller, r.provider, r.model)
        one = sums.get(what)
        if one is None:
            one = sums[what] = [0] * len(SUMS)
        one[0] += 1
        if is_error(r):
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
