"""Windows of time, as all counters have them: the sliding minute is cut into buckets, the calendar's windows are known by
the second at which they begin.

A bucket counts from the first moment in it to 60 seconds after its last: whatever 60 seconds one looks at, they hold no
more than the limit. The price is that an amount may count for up to two seconds longer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from switchboard.core.counting import Window

#: Seconds of one bucket.
BUCKET: Final = 2
#: How many count at a time: those of 60 seconds, and the one that is not over yet.
BUCKETS: Final = 60 // BUCKET + 1
#: Seconds by which a clock may go back over the end of a day or a month before we believe it: a window that has begun goes
#: on until then, so that what was counted in it is not forgotten.
BELIEVED: Final = 3600

_DAY: Final = 86400


def day(at: float) -> tuple[int, int]:
    """Where the day that `at` is in begins and ends, in seconds since the epoch."""
    start = int(at) // _DAY * _DAY
    return start, start + _DAY


def month(at: float) -> tuple[int, int]:
    """Where the month that `at` is in begins and ends, in seconds since the epoch."""
    return _month(int(at) // _DAY)


@lru_cache(maxsize=64)
def _month(days: int) -> tuple[int, int]:
    when = datetime.fromtimestamp(days * _DAY, UTC)
    start = datetime(when.year, when.month, 1, tzinfo=UTC)
    end = datetime(when.year + when.month // 12, when.month % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp()), int(end.timestamp())


def start(window: Window, at: float) -> int:
    """What tells the part of a counter that `at` falls into from others: where its bucket, day or month begins; 0 for what is
    held."""
    if window is Window.MINUTE:
        return int(at) // BUCKET * BUCKET
    if window is Window.HELD:
        return 0
    return (day(at) if window is Window.DAY else month(at))[0]


class Minute:
    """What one counter holds of the last minute. `total` is right as of the last `advance`."""

    __slots__ = ("latest", "newest", "older", "total")

    def __init__(self, bucket: int) -> None:
        self.newest = bucket
        self.latest = 0  # what is in the newest bucket
        self.older: list[tuple[int, int]] = []  # bucket and amount, oldest first; no amount is 0
        self.total = 0

    def advance(self, bucket: int) -> None:
        """It is `bucket` now: let go of what is too old. If the clock went back, what lies ahead counts as of now."""
        older = self.older
        if bucket < self.newest:
            while older and older[-1][0] >= bucket:
                self.latest += older.pop()[1]
        elif self.latest:
            older.append((self.newest, self.latest))
            self.latest = 0
        self.newest = bucket
        while older and older[0][0] + BUCKETS <= bucket:
            self.total -= older.pop(0)[1]

    def change(self, bucket: int, amount: int) -> None:
        """Add to a bucket, to the newest one if it lies ahead; nothing happens to one that does not count any more."""
        if bucket >= self.newest:
            amount = max(amount, -self.latest)
            self.latest += amount
        elif bucket + BUCKETS > self.newest:
            amounts = dict(self.older)
            had = amounts.get(bucket, 0)
            amount = max(amount, -had)
            amounts[bucket] = had + amount
            self.older = sorted((b, n) for b, n in amounts.items() if n)
        else:
            return
        self.total += amount

    def reset(self, now: float) -> float:
        """Seconds until the oldest content goes; 0.0 where there is none."""
        if not self.total:
            return 0.0
        return (self.older[0][0] if self.older else self.newest) * BUCKET + BUCKETS * BUCKET - now
