"""Where a process counts what its callers use."""

from __future__ import annotations

from pathlib import Path

from switchboard.config.tree import Settings
from switchboard.core.counting import Counters


def make_counters(settings: Settings, *, boot: str, worker: int = 0, table: Path | None = None) -> Counters:
    """In Redis where the settings name one; else in the `table` that the workers of this host share, as number `worker` of them;
    else in this process. `boot` names the process among all that there are. Raises `ValueError` for a URL that is none."""
    if settings.redis.url is not None:
        from switchboard.store.counters.redis import RedisCounters

        return RedisCounters(settings.redis.url.get_secret_value(), process=boot, prefix=settings.redis.prefix)
    if table is not None:
        from switchboard.store.counters.shared import SharedCounters

        return SharedCounters(table, worker=worker)
    from switchboard.store.counters.local import LocalCounters

    return LocalCounters()
