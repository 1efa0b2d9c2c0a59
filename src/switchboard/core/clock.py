"""Time, in one place: a monotonic clock for durations, the wall clock for what people read."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

#: Seconds on a clock that never goes back; the same one that event loops use.
now = time.monotonic


def wall_iso(t: float | None = None) -> str:
    """`t` (seconds since the epoch; now if None) as UTC in ISO 8601 with milliseconds and Z."""
    if t is None:
        t = time.time()
    second = int(t)
    return f"{_second(second)}.{int((t - second) * 1000):03d}Z"


@lru_cache(maxsize=16)
def _second(t: int) -> str:
    return datetime.fromtimestamp(t, UTC).isoformat().removesuffix("+00:00")
