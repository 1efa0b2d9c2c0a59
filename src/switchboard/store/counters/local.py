"""Counters of one process, for one that serves alone: exact, and gone with it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mypy_extensions import mypyc_attr

from switchboard.core.counting import Change, Take, Taken, Window
from switchboard.store.counters._minute import BELIEVED, BUCKET, BUCKETS, Minute, day, month

_MINUTE: Final = Window.MINUTE
_DAY: Final = Window.DAY
_HELD: Final = Window.HELD
_SPAN: Final = BUCKET * BUCKETS


class _Sum:
    """What a counter of the calendar holds of the window that begins at `start` (seconds since the epoch)."""

    __slots__ = ("amount", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.amount = 0

    def advance(self, start: int) -> None:
        """It is the window `start` now."""
        if start > self.start:
            self.amount = 0
            self.start = start
        elif start + BELIEVED < self.start:  # the clock went back, and not by a little
            self.start = start


@mypyc_attr(allow_interpreted_subclasses=True)
class LocalCounters:
    """A `core.counting.Counters` in this process. `clock` gives seconds since the epoch.

    At most `most` counters of time are remembered. The one that was quiet longest is forgotten first; one of a day or a month only
    when no others are left, unless its window is over. What is held is always remembered.
    """

    def __init__(self, *, most: int = 100_000, clock: Callable[[], float] = time.time) -> None:
        self._most = most
        self._clock = clock
        self._minutes: OrderedDict[str, Minute] = OrderedDict()
        self._days: OrderedDict[str, _Sum] = OrderedDict()
        self._months: OrderedDict[str, _Sum] = OrderedDict()
        self._held: dict[str, int] = {}
        self._crowded = False  # more than half full: from here on it matters who was quiet longest

    def take(self, takes: Sequence[Take]) -> Taken:
        """All of `takes`, or none."""
        now = self._clock()
        if len(takes) == 1:
            take = takes[0]
            if take.window is _MINUTE and (minute := self._minutes.get(take.key)) is not None:  # the hot path
                bucket = int(now) // BUCKET
                if minute.newest != bucket:
                    minute.advance(bucket)
                if self._crowded:
                    self._minutes.move_to_end(take.key)
                refused = 0
                if minute.total < take.limit:
                    refused = -1
                    minute.total += take.amount
                    minute.latest += take.amount
                if not minute.older and minute.total:
                    return Taken(refused, [minute.total], [minute.newest * BUCKET + _SPAN - now], now)
                return Taken(refused, [minute.total], [minute.reset(now)], now)
        refused = next((i for i, t in enumerate(takes) if self._look(t, now)[0] >= t.limit), -1)
        if refused < 0:
            for take in takes:
                self._add(take.key, take.window, take.amount, now, now)
        seen = [self._look(t, now) for t in takes]
        return Taken(refused, [used for used, _ in seen], [reset for _, reset in seen], now)

    def give(self, changes: Sequence[Change]) -> None:
        """Correct counters."""
        now = self._clock()
        for change in changes:
            self._add(change.key, change.window, change.amount, change.at, now)

    def raise_to(self, floors: Sequence[Change]) -> None:
        """See to it that each counter is at least at its `amount`; a window that is over is left alone, and so is what is held."""
        now = self._clock()
        for floor in floors:
            short = floor.amount - self._look(floor, now)[0]
            if short > 0 and floor.window is not _HELD:
                self._add(floor.key, floor.window, short, floor.at, now)

    def tick(self, at: float) -> None:
        """Nothing to keep alive."""

    @property
    def trouble(self) -> str:
        """There is none."""
        return ""

    def close(self) -> None:
        """Let go of what is held."""
        self._held.clear()

    async def wait_closed(self) -> None:
        """Nothing to wait for."""

    def held(self) -> dict[str, int]:
        """What is held at the moment, by key."""
        return dict(self._held)

    def _look(self, what: Take | Change, now: float) -> tuple[int, float]:
        """What is used of a counter, and the seconds until there is more room."""
        key, window = what.key, what.window
        if window is _HELD:
            return self._held.get(key, 0), 0.0
        if window is _MINUTE:
            minute = self._minutes.get(key)
            if minute is None:
                return 0, 0.0
            bucket = int(now) // BUCKET
            if minute.newest != bucket:
                minute.advance(bucket)
            if self._crowded:
                self._minutes.move_to_end(key)
            return minute.total, minute.reset(now)
        sums, span = (self._days, day) if window is _DAY else (self._months, month)
        start, end = span(now)
        found = sums.get(key)
        if found is None:
            return 0, end - now
        if self._crowded:
            sums.move_to_end(key)
        found.advance(start)
        if found.start > start:  # the clock went back a little, to before the window that has begun
            end = span(found.start)[1]
        return found.amount, end - now

    def _add(self, key: str, window: Window, amount: int, at: float, now: float) -> None:
        """Add to the part of a counter that `at` falls into."""
        if window is _HELD:
            held = self._held.get(key, 0) + amount
            if held > 0:
                self._held[key] = held
            else:
                self._held.pop(key, None)
        elif window is _MINUTE:
            self._add_to_minute(key, amount, int(at) // BUCKET, int(now) // BUCKET)
        else:
            self._add_to_sum(key, window, amount, min(at, now), now)

    def _add_to_minute(self, key: str, amount: int, at: int, now: int) -> None:
        minute = self._minutes.get(key)
        if minute is None:
            if amount <= 0 or at + BUCKETS <= now:
                return
            self._make_room(now * BUCKET)
            minute = self._minutes[key] = Minute(now)
        elif self._crowded:
            self._minutes.move_to_end(key)
        if minute.newest != now:
            minute.advance(now)
        minute.change(at, amount)

    def _add_to_sum(self, key: str, window: Window, amount: int, at: float, now: float) -> None:
        sums, span = (self._days, day) if window is _DAY else (self._months, month)
        start, current = span(at)[0], span(now)[0]
        found = sums.get(key)
        if found is None:
            if amount <= 0 or start != current:
                return
            self._make_room(now)
            found = sums[key] = _Sum(start)
        elif self._crowded:
            sums.move_to_end(key)
        found.advance(current)
        if found.start == start or (found.start > current == start):
            found.amount += amount
            if found.amount <= 0:
                del sums[key]

    def _make_room(self, now: float) -> None:
        """Another counter is to be remembered."""
        size = len(self._minutes) + len(self._days) + len(self._months)
        if size >= self._most:
            for sums, start in self._calendars(now):
                if sums and next(iter(sums.values())).start < start:  # its window is over: it counts nothing
                    sums.popitem(last=False)
                    return
            if self._minutes:
                self._minutes.popitem(last=False)
            else:
                max(self._days, self._months, key=len).popitem(last=False)
        self._crowded = size * 2 > self._most

    def _calendars(self, now: float) -> Iterable[tuple[OrderedDict[str, _Sum], int]]:
        return (self._days, day(now)[0]), (self._months, month(now)[0])
