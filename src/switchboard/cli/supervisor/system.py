"""What a process without threads and event loop needs of the system: to hear signals, and to write a log."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections import deque
from types import FrameType
from typing import Final

from switchboard.telemetry.output import Output

#: The signals that the supervisor takes.
HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Direct(Output):
    """Writes at once: what forks has no threads. Who does not read for a second misses what is said."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.lost = 0

    def write(self, data: bytes) -> None:
        """Write `data`, in pieces that a pipe takes whole."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        for at in range(0, len(data), select.PIPE_BUF):
            try:
                if not poll.poll(1000):
                    self.lost += 1
                    return
                os.write(self._fd, data[at : at + select.PIPE_BUF])
            except OSError:
                return  # nobody reads the log any more

    def close(self, timeout: float = 2.0) -> None:
        """Nothing waits."""


class Signals:
    """The signals that have come, oldest first; `socket` is readable when there are some."""

    def __init__(self) -> None:
        self._came: deque[int] = deque(maxlen=1024)
        self.socket, self._writer = socket.socketpair()
        self.socket.setblocking(False)
        self._writer.setblocking(False)
        for s in HANDLED:
            signal.signal(s, self._come)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def _come(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)

    def take(self) -> list[int]:
        """Those that have come since this was asked last."""
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(4096):
                pass
        out = []
        while self._came:
            out.append(self._came.popleft())
        return out

    def leave(self) -> None:
        """This process is a worker: signals are for its server."""
        signal.set_wakeup_fd(-1)
        for s in HANDLED:
            signal.signal(s, signal.SIG_IGN if s in (signal.SIGINT, signal.SIGHUP) else signal.SIG_DFL)
        self.close()

    def close(self) -> None:
        """Hear no more."""
        signal.set_wakeup_fd(-1)
        self.socket.close()
        self._writer.close()
