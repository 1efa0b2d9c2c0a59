"""What a process does by itself while Redis cannot be asked, and what Redis is to be told afterwards."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from switchboard.core.counting import Change, Take, Taken, Window
from switchboard.store.counters._batch import Given, Raised
from switchboard.store.counters._minute import BUCKET, BUCKETS, start
from switchboard.store.counters.local import LocalCounters

#: Counters for which it is remembered what Redis is to be told, or what was used of them when it last said so.
MOST: Final = 100_000
#: Seconds between two looks for what is over by now, when there is no room.
_SWEEP: Final = 10.0

_Part = tuple[Window, str, int]  # window, key, and where its bucket, day or month begins


class Seen:
    """What was used of the counters of days and months when Redis last said so: the `MOST` that were asked for last."""

    def __init__(self) -> None:
        self._used: OrderedDict[tuple[Window, str], tuple[int, int]] = OrderedDict()

    def note(self, takes: Sequence[Take], taken: Taken) -> None:
        """Redis answered."""
        for take, used in zip(takes, taken.used, strict=True):
            if take.window is Window.DAY or take.window is Window.MONTH:
                key = (take.window, take.key)
                self._used[key] = (start(take.window, taken.at), used)
                self._used.move_to_end(key)
                if len(self._used) > MOST:
                    self._used.popitem(last=False)

    def used(self, window: Window, key: str, at: float) -> int:
        """What was used in the window that `at` is in; 0 where nothing is known."""
        begun, used = self._used.get((window, key), (0, 0))
        return used if begun == start(window, at) else 0


class Outage:
    """Takes are decided here as long as this lasts: each of `processes` has its share of a limit, and has used its share of what was
    `seen` to be used. `held` is what this process holds when it begins.

    What is taken is also `owed` to Redis: told when it is back, so that nothing is lost, and it does not matter who decided a take that
    is given back then.
    """

    def __init__(self, clock: Callable[[], float], processes: int, seen: Seen, held: Mapping[str, int]) -> None:
        self._clock = clock
        self._processes = max(1, processes)
        self._seen = seen
        self._since = clock()
        self._local = LocalCounters(clock=clock)
        self._local.give([Change(k, Window.HELD, n, self._since) for k, n in held.items()])
        self._known: set[tuple[Window, str]] = set()  # counters that began here with what was seen
        self._owed: dict[_Part, int] = {}
        self._floors: dict[_Part, int] = {}
        self._swept = 0.0
        self.lost = False  # some of what is owed was forgotten

    @property
    def processes(self) -> int:
        """Among how many processes each limit is shared."""
        return self._processes

    @property
    def size(self) -> int:
        """How many counters Redis is to be told of."""
        return len(self._owed) + len(self._floors)

    def take(self, takes: Sequence[Take]) -> Taken:
        """Decide."""
        shares = []
        for t in takes:
            if (
                t.window in (Window.DAY, Window.MONTH)
                and (t.window, t.key) not in self._known
                and len(self._known) < MOST
            ):
                self._known.add((t.window, t.key))
                used = self._seen.used(t.window, t.key, self._clock())
                self._local.raise_to([Change(t.key, t.window, used // self._processes, self._clock())])
            shares.append(Take(t.key, t.window, t.amount, t.limit and max(1, t.limit // self._processes)))
        taken = self._local.take(shares)
        if taken.refused < 0:
            self.owe([Change(t.key, t.window, t.amount, taken.at) for t in takes])
        return taken

    def give(self, changes: Sequence[Change]) -> None:
        """Correct what was taken here, or of Redis before."""
        self._local.give([c for c in changes if c.window is Window.HELD or c.at >= self._since])
        self.owe(changes)

    def raise_to(self, floors: Sequence[Change]) -> None:
        """Raise to the share of a floor here; Redis is told of all of it."""
        self._local.raise_to([Change(f.key, f.window, f.amount // self._processes, f.at) for f in floors])
        for f in floors:
            part = (f.window, f.key, start(f.window, f.at))
            if f.window is not Window.HELD and self._has_room(self._floors, part):
                self._floors[part] = max(f.amount, self._floors.get(part, 0))

    def owe(self, changes: Sequence[Change]) -> None:
        """Redis is to be told of `changes`; what is held it is told in another way."""
        for c in changes:
            part = (c.window, c.key, start(c.window, c.at))
            if c.window is not Window.HELD and self._has_room(self._owed, part):
                amount = self._owed.get(part, 0) + c.amount
                if amount:
                    self._owed[part] = amount
                else:
                    self._owed.pop(part, None)

    def held(self) -> dict[str, int]:
        """What this process holds at the moment."""
        return self._local.held()

    def unload(self, most: int) -> list[Given | Raised]:
        """Up to `most` of each of what Redis is to be told, in the order in which it is to be; it is not owed any more."""
        floors, owed = _some(self._floors, most), _some(self._owed, most)
        told: list[Given | Raised] = []
        if floors:
            told.append(Raised(floors))
        if owed:
            told.append(Given(owed))
        return told

    def _has_room(self, parts: dict[_Part, int], part: _Part) -> bool:
        if part in parts or len(parts) < MOST:
            return True
        now = self._clock()
        if abs(now - self._swept) > _SWEEP:
            self._swept = now
            for p in [p for p in parts if not _counts(p, now)]:
                del parts[p]
        self.lost = self.lost or len(parts) >= MOST
        return len(parts) < MOST


def _counts(part: _Part, now: float) -> bool:
    """Whether a part of a counter is not over."""
    if part[0] is Window.MINUTE:
        return part[2] + BUCKET * BUCKETS > now
    return part[2] >= start(part[0], now)


def _some(parts: dict[_Part, int], most: int) -> list[Change]:
    some = list(parts.items())[:most]
    for part, _ in some:
        del parts[part]
    return [Change(key, window, amount, float(begun)) for (window, key, begun), amount in some]
