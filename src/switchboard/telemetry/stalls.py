"""Says where the event loop stands when it stands still: everything a process serves waits for what blocks it."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final

from switchboard.core.clock import now

#: Seconds by which a beat may be late.
LATE: Final = 0.25


class StallWatch:
    """Watches a heart that beats every `interval` seconds (call `beat`), from a thread of its own.

    `report` gets a text with the stack of the thread that made the watch, once a stall.
    """

    def __init__(self, interval: float, report: Callable[[str], None]) -> None:
        self._interval = interval
        self._report = report
        self._thread = threading.get_ident()
        self._last = now()
        self._told = 0.0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="stalls", daemon=True)
        self._watcher.start()

    def beat(self, at: float) -> None:
        """The heart beats; `at` is on the monotonic clock."""
        self._last = at

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            last = self._last
            late = now() - last - self._interval
            if late > LATE and last != self._told:
                self._told = last
                frame = sys._current_frames().get(self._thread)
                stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
                self._report(f"the event loop has stood still for {late * 1e3:.0f} ms:\n{stack}")

    def close(self) -> None:
        """Watch no more."""
        self._ended.set()
        self._watcher.join(1.0)
