"""Time, in one place: a monotonic clock for durations, the wall clock for what people read."""

from __future__ import annotations

import time
from datetime import UTC, datetime

#: Seconds on a clock that never goes back; the same one that event loops use.
now = time.monotonic


def wall_iso(t: float | None = None) -> str:
    """`t` (seconds since the epoch; now if None) as UTC in ISO 8601 with milliseconds and Z."""
    when = datetime.fromtimestamp(time.time() if t is None else t, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
