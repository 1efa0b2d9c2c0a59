"""New settings for all workers: read and checked once, taken by all of them or by none."""

from __future__ import annotations

import json
import pickle
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from switchboard.cli.live import LOOK, Readings, SecretFiles
from switchboard.config.fixed import pinned
from switchboard.config.load import Sources
from switchboard.config.tree import Settings
from switchboard.core.clock import now

#: Seconds that a worker has for new settings; `switchboard reload` waits a little longer.
PATIENCE: Final = 8.0


class _Round(Struct):
    """Settings that the workers were told, and what they say."""

    number: int
    settings: Settings
    sources: Sources
    before: Settings
    end: float
    waiting: set[int]
    fixed: dict[str, None]
    failed: dict[int, str]


class Reloading:
    """Reads the settings anew with `read`, which is told those that hold and their file, and has the workers take them. `tell` sends a frame to all there are and gives their
    indexes; `taken` is called with settings that all have taken."""

    def __init__(
        self,
        settings: Settings,
        sources: Sources,
        read: Callable[[Settings, str | None], tuple[Settings, Sources]],
        readings: Readings,
        tell: Callable[[bytes, bytes], list[int]],
        taken: Callable[[Settings], None],
    ) -> None:
        self.settings = settings  # what a new worker begins with
        self._taken = taken
        self._read = read
        self._readings = readings
        self._tell = tell
        self._file = sources.file
        self._secrets = SecretFiles(sources.secret_files)
        self._round: _Round | None = None
        self._number = 0
        self._wanted = False
        self._owed: dict[int, deque[int]] = {}  # the rounds that each worker has yet to answer, in order

    def begin(self) -> None:
        """Read the settings anew. What is asked for while that is under way follows it."""
        if self._round is not None:
            self._wanted = True
            return
        self._wanted = False
        try:
            settings, sources = self._read(self.settings, self._file)
        except Exception as e:
            self._over(e)
            return
        self._number += 1
        waiting = self._send(settings, self._number)
        end = now() + PATIENCE
        self._round = _Round(self._number, settings, sources, self.settings, end, waiting, {}, {})
        self.settings = settings
        self._look()

    def _send(self, settings: Settings, number: int) -> set[int]:
        told = self._tell(b"S", pickle.dumps(settings, 5))
        for worker in told:
            self._owed.setdefault(worker, deque()).append(number)
        return set(told)

    def answered(self, worker: int, kind: bytes, payload: bytes) -> None:
        """A worker says what became of the oldest settings that it was told and did not answer for."""
        owed = self._owed.get(worker)
        number = owed.popleft() if owed else 0
        r = self._round
        if r is None or r.number != number:
            return
        r.waiting.discard(worker)
        if kind == b"O":
            r.fixed |= dict.fromkeys(json.loads(payload))
        else:
            r.failed[worker] = payload.decode(errors="replace")
        self._look()

    def gone(self, worker: int) -> None:
        """A worker is dead; the next one begins with the settings of the moment."""
        self._owed.pop(worker, None)
        if self._round is not None:
            self._round.waiting.discard(worker)
            self._look()

    def tick(self, at: float) -> None:
        """Look at the files of secrets, and at the time. `at` is on the monotonic clock."""
        r = self._round
        if r is not None and at >= r.end:
            r.failed |= dict.fromkeys(r.waiting, "it does not answer")
            r.waiting.clear()
            self._look()
        if self._secrets.changed(at):
            self._readings.begin_by_itself()
            self.begin()

    @property
    def counts(self) -> bytes:
        """What workers are told of how often the settings were read."""
        return json.dumps(self._readings.counts).encode()

    @property
    def next_tick(self) -> float | None:
        """Seconds until `tick` has something to do; None while it has not."""
        if self._round is not None:
            return max(0.0, min(LOOK, self._round.end - now()))
        return LOOK if self._secrets else None

    def _look(self) -> None:
        """Whether the round is over."""
        r = self._round
        if r is None or r.waiting:
            return
        self._round = None
        if r.failed:
            # the others go back, so that all serve by the same
            self.settings = r.before
            self._send(r.before, 0)
            worker, why = next(iter(r.failed.items()))
            self._over(f"worker {worker}: {why}")
            return
        self.settings = pinned(r.settings, r.before, list(r.fixed))
        self._file = r.sources.file
        self._secrets = SecretFiles(r.sources.secret_files)
        self._taken(r.settings)
        self._over(None, list(r.fixed))

    def _over(self, error: Exception | str | None, fixed: list[str] | None = None) -> None:
        if error is None:
            self._readings.succeeded(fixed or [])
        else:
            self._readings.failed(error)
        self._tell(b"C", self.counts)
        if self._wanted:
            self.begin()
