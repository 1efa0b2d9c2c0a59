"""What the tests of counters stand on: a clock that is moved by hand, the same rules in the plainest way, and all three
kinds of counters."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from switchboard.core.counting import Change, Counters, Take, Taken, Window
from switchboard.store.counters.local import LocalCounters
from switchboard.store.counters.shared import SharedCounters

KINDS = ("local", "shared", "redis")
#: 2026-03-10 12:00:00 UTC.
NOON = 1_773_144_000.0


class Clock:
    """A wall clock that stands still."""

    def __init__(self, at: float = NOON) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@asynccontextmanager
async def counters_of(kind: str, clock: Clock, directory: Path, url: str) -> AsyncIterator[Counters]:
    """Counters of a kind, in which nothing is counted yet. Redis is given time: here it is not to be slow."""
    counters: Counters
    if kind == "local":
        counters = LocalCounters(clock=clock)
    elif kind == "shared":
        path = directory / f"counters-{secrets.token_hex(6)}"
        SharedCounters.create(path, workers=4, slots=4096)
        counters = SharedCounters(path, worker=1, clock=clock)
        path.unlink()
    else:
        from switchboard.store.counters.redis import RedisCounters  # takes a while

        prefix = f"test-{secrets.token_hex(6)}:"
        counters = RedisCounters(url, process="here", prefix=prefix, patience=5.0, clock=clock)
    try:
        yield counters
        assert counters.trouble == ""
    finally:
        counters.close()
        await counters.wait_closed()


async def taken(counters: Counters, takes: Sequence[Take]) -> Taken:
    """The answer, whether it comes at once or not."""
    answer = counters.take(takes)
    if inspect.isawaitable(answer):
        return await answer
    return answer


class Model:
    """What counters do. The clock of a model never goes back."""

    def __init__(self) -> None:
        self._minutes: dict[str, dict[int, int]] = {}  # amounts by the two seconds they fell into
        self._sums: dict[tuple[Window, str, tuple[int, ...]], int] = {}
        self._held: dict[str, int] = {}

    def take(self, takes: Sequence[Take], now: float) -> Taken:
        refused = next((i for i, t in enumerate(takes) if self.used(t.key, t.window, now) >= t.limit), -1)
        if refused < 0:
            for t in takes:
                self.add(t.key, t.window, t.amount, now, now)
        used = [self.used(t.key, t.window, now) for t in takes]
        return Taken(refused, used, [self._reset(t.key, t.window, now) for t in takes], now)

    def used(self, key: str, window: Window, now: float) -> int:
        if window is Window.HELD:
            return self._held.get(key, 0)
        if window is Window.MINUTE:
            return sum(n for b, n in self._minutes.get(key, {}).items() if b + 31 > now // 2)
        return self._sums.get((window, key, _date(window, now)), 0)

    def _reset(self, key: str, window: Window, now: float) -> float:
        if window is Window.HELD:
            return 0.0
        if window is Window.MINUTE:
            return min(
                (b * 2 + 62 - now for b, n in self._minutes.get(key, {}).items() if n and b + 31 > now // 2),
                default=0.0,
            )
        here = datetime.fromtimestamp(now, UTC)
        if window is Window.DAY:
            return 86_400 - (here.hour * 3600 + here.minute * 60 + here.second + here.microsecond / 1e6)
        after = datetime(here.year + here.month // 12, here.month % 12 + 1, 1, tzinfo=UTC)
        return (after - here).total_seconds()

    def add(self, key: str, window: Window, amount: int, at: float, now: float) -> None:
        if window is Window.HELD:
            self._held[key] = max(0, self._held.get(key, 0) + amount)
        elif window is Window.MINUTE:
            if at // 2 + 31 > now // 2:
                minute = self._minutes.setdefault(key, {})
                minute[int(at // 2)] = max(0, minute.get(int(at // 2), 0) + amount)
        else:
            part = (window, key, _date(window, at))
            self._sums[part] = max(0, self._sums.get(part, 0) + amount)

    def give(self, changes: Sequence[Change], now: float) -> None:
        for c in changes:
            self.add(c.key, c.window, c.amount, c.at, now)

    def raise_to(self, floors: Sequence[Change], now: float) -> None:
        for f in floors:
            short = f.amount - self.used(f.key, f.window, now)
            current = f.window is Window.MINUTE or _date(f.window, f.at) == _date(f.window, now)
            if short > 0 and f.window is not Window.HELD and current:
                self.add(f.key, f.window, short, f.at, now)


def _date(window: Window, at: float) -> tuple[int, ...]:
    when = datetime.fromtimestamp(at, UTC)
    return (when.year, when.month, when.day) if window is Window.DAY else (when.year, when.month)
