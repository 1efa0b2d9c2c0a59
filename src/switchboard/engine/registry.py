"""The exchanges that are open in this process: they are told of the time, and of the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from switchboard.core.clock import now

#: Seconds between two ticks: how finely deadlines are held.
TICK = 0.25


class Ticking(Protocol):
    """Something with deadlines."""

    def tick(self, at: float) -> None:
        """It is `at` (seconds, monotonic)."""

    def stop(self) -> None:
        """The server stops: end, and say so."""


class Registry:
    """Holds what is open and calls it every `TICK` seconds, once `start` was called inside an event loop."""

    def __init__(self) -> None:
        self.open: set[Ticking] = set()
        self._extra: list[Callable[[float], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def every_tick(self, function: Callable[[float], None]) -> None:
        """Call `function` with the time at every tick."""
        self._extra.append(function)

    def start(self) -> None:
        """Begin to tick."""
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        at = now()
        for x in list(self.open):
            x.tick(at)
        for f in self._extra:
            f(at)

    def stop_all(self) -> None:
        """End everything that is open."""
        for x in list(self.open):
            x.stop()

    def close(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
