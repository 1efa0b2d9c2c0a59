"""The exchanges that are open in this process: they are told of the time, and of the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from switchboard.core.clock import now

#: Seconds between two ticks: how finely deadlines are held.
TICK = 0.25
_log: Final = logging.getLogger("switchboard.registry")


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
            self._guarded(x.tick, at)
        for f in self._extra:
            self._guarded(f, at)

    def _guarded(self, function: Callable[[float], None], at: float) -> None:
        """A fault in one must not keep the time from the others."""
        try:
            function(at)
        except Exception:
            _log.exception("a deadline could not be held")

    def stop_all(self) -> None:
        """End everything that is open."""
        for x in list(self.open):
            try:
                x.stop()
            except Exception:
                _log.exception("an exchange could not be stopped")

    def close(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
