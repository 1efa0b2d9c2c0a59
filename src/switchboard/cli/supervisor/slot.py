"""A worker's place, filled by one process after the other."""

from __future__ import annotations

import signal
from typing import Final

from switchboard.cli.supervisor.line import Line

#: Seconds after which a worker that was ready counts as one that works.
STEADY: Final = 10.0
#: Seconds that a place stays empty, at most.
LONGEST: Final = 30.0


class BackOff:
    """The waits before one place is filled again: none for a worker that served for `STEADY` seconds or died for the first time
    since one did, then 1 s, 2 s, 4 s, up to `LONGEST`. One that never became ready is waited after from the first time on."""

    def __init__(self) -> None:
        self._deaths = 0

    def died(self, served: float | None) -> float:
        """Seconds to wait after a worker that had been ready for `served` seconds, None where it never was."""
        if served is not None and served >= STEADY:
            self._deaths = 0
        self._deaths += 1
        if served is None:
            self._deaths = max(self._deaths, 2)
        return min(LONGEST, 2.0 ** (self._deaths - 2)) if self._deaths > 1 else 0.0


class Slot:
    """The place of the worker `index`. Times are on the monotonic clock (seconds).

    `pid` is 0 while nobody is in it; `due` is then when somebody will be. `ready` is since when its worker answers, None before
    that; `leaving` says that it was told to end by somebody else than the supervisor. `tried` says that it is known how its first
    worker fared, `listens` that its socket has ever been listened on; `keeper` is the worker that accepts from its socket meanwhile.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.pid = 0
        self.line: Line | None = None
        self.due: float | None = None
        self.ready: float | None = None
        self.leaving = False
        self.reason = ""
        self.tried = False
        self.listens = False
        self.keeper: int | None = None
        self._back_off = BackOff()

    def filled(self, pid: int, line: Line) -> None:
        """A new worker is in it."""
        self.pid = pid
        self.line = line
        self.due = self.ready = None
        self.leaving = False
        self.reason = ""

    def begun(self, at: float) -> None:
        """Its worker answers requests."""
        self.ready = at
        self.tried = self.listens = True

    @property
    def able(self) -> bool:
        """Whether its worker accepts connections, and will."""
        return self.ready is not None and not self.leaving

    def left(self, at: float) -> float:
        """Its worker is dead; gives the seconds to wait for the next one."""
        self.pid = 0
        if self.line is not None:
            self.line.close()
            self.line = None
        wait = self._back_off.died(None if self.ready is None else at - self.ready)
        self.ready = None
        self.tried = True
        self.due = at + wait
        return wait


def how(status: int) -> str:
    """How a process ended, by what `os.waitstatus_to_exitcode` makes of its status."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
