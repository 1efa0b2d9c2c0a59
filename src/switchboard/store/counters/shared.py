"""Counters that the worker processes of one host share: exact among them, in a file that all of them map into memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Final

from switchboard.core.counting import Change, Take, Taken, Window
from switchboard.store.counters import _table
from switchboard.store.counters._minute import BELIEVED, BUCKET, BUCKETS, day, month
from switchboard.store.counters._table import AMOUNT, CELLS, START, TOUCHED, Place, Table

_MINUTE: Final = Window.MINUTE
_DAY: Final = Window.DAY
_HELD: Final = Window.HELD
_M, _D, _C, _H = b"mdch"  # how the table calls them: minute, day, calendar's month, held
_SPAN: Final = BUCKET * BUCKETS
#: Seconds for which it is told that the table was too small.
_TOLD: Final = 60.0


class SharedCounters:
    """A `core.counting.Counters` for the worker number `worker` (from 0). `clock` gives seconds since the epoch.

    `create` makes the file, before there are workers; it is best put where files are kept in memory. It belongs to one thread of
    one process, and is not to be used by a child that was forked. Raises OSError where there is no file, and ValueError where
    it is none of this version, or has no room for the worker.

    A counter's place is one of the 32 slots of its set: a table with three times as many slots as there are counters at a time has
    room for all of them. When a set is full, the one that was quiet longest is forgotten: those first
    that count nothing any more, then those of a minute, then those of a day or a month, but none that somebody holds.
    What a worker takes of days and months stays taken if it is killed before it settles.
    """

    def __init__(self, path: str | os.PathLike[str], *, worker: int, clock: Callable[[], float] = time.time) -> None:
        self._table = Table(path)
        if not 0 <= worker < self._table.workers:
            self._table.close()
            raise ValueError(f"{path} has no room for the worker {worker}")
        self._worker = worker
        self._clock = clock
        self._full = 0.0  # when a counter was forgotten that should not have been
        self._closed = False
        self.forget_worker(worker)

    @staticmethod
    def create(path: str | os.PathLike[str], *, workers: int = _table.MOST_WORKERS, slots: int = 65_536) -> None:
        """See to it that there is a table at `path` for so many workers (at most 64) and counters. What is counted in it already stays, but nothing is
        held; a table of another version or shape is replaced. A slot takes 320 bytes with up to 34 workers, once it is
        used. Raises OSError, and ValueError for an impossible shape."""
        _table.create(path, workers, slots)
        table = Table(path)
        try:
            for index in range(table.workers):
                _forget(table, index)
        finally:
            table.close()

    def forget_worker(self, index: int) -> None:
        """Free what the worker `index` holds, which is dead."""
        _forget(self._table, index)

    def take(self, takes: Sequence[Take]) -> Taken:
        """All of `takes`, or none."""
        table = self._table
        places = [self._place(t.window, t.key) for t in takes]
        if len(places) == 1:
            sets, twice = [places[0].set], False
        else:
            sets, twice = sorted({p.set for p in places}), len({p.first for p in places}) < len(places)
        table.lock(sets)
        try:
            now = self._clock()  # not before: it never goes back for those who wait for each other
            used: list[int] = []
            resets: list[float] = []
            refused = -1
            for place, take in zip(places, takes, strict=True):
                amount, reset = self._look(place, now)
                if amount >= take.limit and refused < 0:
                    refused = len(used)
                used.append(amount)
                resets.append(reset)
            if refused < 0:
                refused = self._room(places, now)
            if refused < 0:
                for i, place in enumerate(places):
                    amount = takes[i].amount
                    if place.kind == _M and not used[i] and amount:
                        resets[i] = int(now) // BUCKET * BUCKET + _SPAN - now
                    used[i] += amount
                    table.words[self._cell(place, now)] += amount
                if twice:
                    seen = [self._look(p, now) for p in places]
                    used, resets = [n for n, _ in seen], [r for _, r in seen]
        finally:
            table.unlock()
        return Taken(refused, used, resets, now)

    def give(self, changes: Sequence[Change]) -> None:
        """Correct counters."""
        self._change(changes, floors=False)

    def raise_to(self, floors: Sequence[Change]) -> None:
        """See to it that each counter is at least at its `amount`; a window that is over is left alone, and so is what is held."""
        self._change([f for f in floors if f.window is not _HELD], floors=True)

    def _change(self, changes: Sequence[Change], *, floors: bool) -> None:
        table = self._table
        places = [self._place(c.window, c.key) for c in changes]
        for i in range(0, len(changes), 8):  # nobody has to wait long
            some = places[i : i + 8]
            table.lock(sorted({p.set for p in some}))
            try:
                now = self._clock()
                for place, change in zip(some, changes[i : i + 8], strict=True):
                    amount = change.amount
                    if floors:
                        amount = max(0, amount - self._look(place, now)[0])
                    if table.find(place) >= 0 or (
                        amount > 0 and _counts(place.kind, change.at, now) and self._room([place], now) < 0
                    ):
                        self._add(place, amount, change.at, now)
            finally:
                table.unlock()

    def tick(self, at: float) -> None:
        """Nothing to keep alive."""

    @property
    def trouble(self) -> str:
        """That the table is too small, for a minute after it was."""
        if self._full and abs(self._clock() - self._full) < _TOLD:
            return "there are more counters than the table has room for, and some were forgotten"
        return ""

    def close(self) -> None:
        """Let go of what this worker holds, and of the file. May be called more than once."""
        if not self._closed:
            self._closed = True
            self.forget_worker(self._worker)
            self._table.close()

    async def wait_closed(self) -> None:
        """Nothing to wait for."""

    def _place(self, window: Window, key: str) -> Place:
        if window is _MINUTE:
            kind = _M
        elif window is _HELD:
            kind = _H
        else:
            kind = _D if window is _DAY else _C
        return self._table.place(kind, key)

    def _look(self, place: Place, now: float) -> tuple[int, float]:
        """What is used of a counter, and the seconds until there is more room. Brings its slot up to `now`."""
        table, kind = self._table, place.kind
        slot = table.find(place)
        second = int(now)
        if slot >= 0:
            table.words[slot + TOUCHED] = second
        if kind == _M:
            if slot < 0:
                return 0, 0.0
            bucket = second // BUCKET
            if table.words[slot + START] != bucket:
                self._advance_minute(slot, bucket)
            used, empty = table.buckets(slot, (bucket + 1) % BUCKETS)
            return used, (bucket + 1 + empty) * BUCKET - now if used else 0.0
        if kind == _H:
            return 0 if slot < 0 else table.held(slot), 0.0
        span = day if kind == _D else month
        start, end = span(now)
        if slot < 0:
            return 0, end - now
        begun = self._advance_sum(slot, start)
        return table.words[slot + AMOUNT], (end if begun == start else span(begun)[1]) - now

    def _cell(self, place: Place, now: float) -> int:
        """The word that counts now, of a slot that was brought up to it."""
        if place.kind == _M:
            return place.slot + CELLS + int(now) // BUCKET % BUCKETS
        return place.slot + (CELLS + self._worker if place.kind == _H else AMOUNT)

    def _add(self, place: Place, amount: int, at: float, now: float) -> None:
        """Add to the part of a counter that `at` falls into; nothing happens where it is over, or has no slot."""
        words, slot, kind = self._table.words, self._table.find(place), place.kind
        if slot < 0:
            return
        if kind == _M:
            bucket = int(now) // BUCKET
            self._advance_minute(slot, bucket)
            then = min(int(at) // BUCKET, bucket)
            if then + BUCKETS <= bucket:
                return
            cell = slot + CELLS + then % BUCKETS
        elif kind == _H:
            cell = slot + CELLS + self._worker
        else:
            span = day if kind == _D else month
            start, current = span(min(at, now))[0], span(now)[0]
            begun = self._advance_sum(slot, current)
            if start != begun and start != current:
                return
            cell = slot + AMOUNT
        words[cell] = max(0, words[cell] + amount)

    def _advance_minute(self, slot: int, bucket: int) -> None:
        """It is `bucket` now: empty what is too old. If the clock went back, what lies ahead counts as of now."""
        words, cells = self._table.words, slot + CELLS
        newest = words[slot + START]
        if newest == bucket:
            return
        if bucket - newest >= BUCKETS:
            self._table.clear_buckets(slot)
        elif bucket > newest:
            for b in range(newest + 1, bucket + 1):
                words[cells + b % BUCKETS] = 0
        elif newest - bucket >= BUCKETS:
            ahead = self._table.buckets(slot, 0)[0]
            self._table.clear_buckets(slot)
            words[cells + bucket % BUCKETS] = ahead
        else:
            for b in range(bucket + 1, newest + 1):
                words[cells + bucket % BUCKETS] += words[cells + b % BUCKETS]
                words[cells + b % BUCKETS] = 0
        words[slot + START] = bucket

    def _advance_sum(self, slot: int, start: int) -> int:
        """It is the window `start` now; gives the one that counts, which is later if the clock went back a little."""
        words = self._table.words
        begun = words[slot + START]
        if start > begun:
            words[slot + AMOUNT] = 0
            words[slot + START] = start
        elif start + BELIEVED < begun:
            words[slot + START] = start
        else:
            return begun
        return start

    def _room(self, places: Sequence[Place], now: float) -> int:
        """Give each of `places` a slot; the index of the first for which there is none, or -1."""
        for i, place in enumerate(places):
            if self._table.find(place) < 0:
                slot = self._free(place.set, {p.slot for p in places}, now)
                if slot < 0:
                    return i
                self._table.claim(slot, place, _begin(place.kind, now), int(now))
        return -1

    def _free(self, number: int, kept: set[int], now: float) -> int:
        """The slot of a set that is missed least, none of `kept`; -1 where each is held by somebody."""
        table, best, found = self._table, (3, 0), -1
        for slot in table.slots_of(number):
            kind = table.kind(slot)
            if not kind:
                return slot
            if slot not in kept:
                rank = (self._worth(slot, kind, now), table.words[slot + TOUCHED])
                if rank < best:
                    best, found = rank, slot
        if best[0]:
            self._full = now
        return found

    def _worth(self, slot: int, kind: int, now: float) -> int:
        """How much a slot is missed: 0 nothing counts in it, 1 a minute does, 2 a day or a month, 3 it is held."""
        table = self._table
        if kind == _H:
            return 3 if table.held(slot) else 0
        if kind == _M:
            over = table.words[slot + START] + BUCKETS <= int(now) // BUCKET
            return 0 if over or not table.buckets(slot, 0)[0] else 1
        over = table.words[slot + START] < _begin(kind, now)
        return 0 if over or not table.words[slot + AMOUNT] else 2


def _begin(kind: int, now: float) -> int:
    """The `START` of a slot whose counter is new."""
    if kind == _M:
        return int(now) // BUCKET
    return 0 if kind == _H else (day if kind == _D else month)(now)[0]


def _counts(kind: int, at: float, now: float) -> bool:
    """Whether what was done at `at` counts yet, in a counter of which nothing is known."""
    if kind == _M:
        return int(at) // BUCKET + BUCKETS > int(now) // BUCKET
    return kind == _H or _begin(kind, min(at, now)) == _begin(kind, now)


def _forget(table: Table, worker: int) -> None:
    for slot, number in table.slots_of_kind(_H):
        table.lock([number])
        try:
            if table.kind(slot) == _H:  # not another counter's by now
                table.words[slot + CELLS + worker] = 0
        finally:
            table.unlock()
