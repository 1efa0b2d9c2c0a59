"""Time, in one place: a monotonic clock for durations, the wall clock for what people read."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

#: Seconds on a clock that never goes back; the same one that event loops use.
now = time.monotonic
_MILLISECONDS: Final = [f".{n:03d}Z" for n in range(1000)]


def wall_iso(t: float | None = None) -> str:
    """`t` (seconds since the epoch; now if None) as UTC in ISO 8601 with milliseconds and Z."""
    if t is None:
        t = time.time()
    second = int(t)
    return _second(second) + _MILLISECONDS[int((t - second) * 1000)]


@lru_cache(maxsize=16)
def _second(t: int) -> str:
    return datetime.fromtimestamp(t, UTC).isoformat().removesuffix("+00:00")
