"""The sums of the requests that are over, by what they have in common."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from switchboard.telemetry.records import Record

#: Seconds. Streams live from a few milliseconds (an error) to ten minutes (the longest answer allowed).
DURATIONS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 600)
FIRST_BYTES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
#: Names of models and paths come from clients; beyond this many different ones they count as "other".
_NAMES: Final = 200

_Key = tuple[str, str, str, str, int, str]


class Sum:
    """Requests that have all their labels in common. `durations` and `first_bytes` count them by `DURATIONS` and `FIRST_BYTES`, and
    those above the last."""

    def __init__(self) -> None:
        self.durations = [0] * (len(DURATIONS) + 1)
        self.first_bytes = [0] * (len(FIRST_BYTES) + 1)
        self.requests = 0
        self.seconds = 0.0
        self.first_byte_seconds = 0.0
        self.tokens_in = 0
        self.tokens_out = 0
        self.estimated = 0
        self.characters = 0
        self.sound = 0.0
        self.images = 0
        self.cost = 0.0


class Sums:
    """Adds records up."""

    def __init__(self) -> None:
        self.by_labels: dict[_Key, Sum] = {}
        self._names: set[str] = set()

    def add(self, batch: list[Record]) -> None:
        """Count a batch of requests."""
        for r in batch:
            self._add(r)

    def _add(self, r: Record) -> None:
        key = (r.path if r.dialect else "", r.dialect, r.provider, r.model, r.status, r.outcome)
        s = self.by_labels.get(key)
        if s is None:
            s = self._new(key)
        s.requests += 1
        s.seconds += r.duration
        s.durations[bisect_left(DURATIONS, r.duration)] += 1
        first = r.first_byte
        if first is not None:
            s.first_byte_seconds += first
            s.first_bytes[bisect_left(FIRST_BYTES, first)] += 1
        usage = r.usage
        s.tokens_in += usage.input
        s.tokens_out += usage.output
        if usage.estimated:
            s.estimated += usage.input + usage.output
        if usage.characters or usage.seconds or usage.images:
            s.characters += usage.characters
            s.sound += usage.seconds
            s.images += usage.images
        if r.cost is not None:
            s.cost += r.cost

    def _new(self, key: _Key) -> Sum:
        path, dialect, provider, model, status, outcome = key
        key = (self._bounded(path), dialect, provider, self._bounded(model), status, outcome)
        if key not in self.by_labels:
            self.by_labels[key] = Sum()
        return self.by_labels[key]

    def _bounded(self, name: str) -> str:
        if name in self._names:
            return name
        if len(self._names) >= _NAMES:
            return "other"
        self._names.add(name)
        return name
