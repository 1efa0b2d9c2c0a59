"""Where the log goes.

Lines go out in batches from a thread of their own, so that a blocked terminal or pipe never blocks an answer; at most
`_BACKLOG` bytes wait, what is over that is thrown away and counted.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Final

_BACKLOG: Final = 8 * 1024 * 1024


class Output:
    """Writes bytes to a file descriptor from a thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: list[bytes] = []
        self._size = 0
        self._wake = threading.Condition()
        self._closing = False
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Have `data` written soon."""
        with self._wake:
            if self._size + len(data) > _BACKLOG:
                self.lost += data.count(b"\n")
                return
            self._waiting.append(data)
            self._size += len(data)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                data = b"".join(self._waiting)
                self._waiting.clear()
            if not data:
                return
            with contextlib.suppress(OSError):  # nobody reads the log any more; there is nowhere to say so
                self._write_out(data)
            with self._wake:
                self._size = sum(map(len, self._waiting))

    def _write_out(self, data: bytes) -> None:
        """Whole lines at a time, as many as a pipe takes in one piece: other processes write to it too."""
        view, at = memoryview(data), 0
        while at < len(data):
            end = len(data)
            if end - at > select.PIPE_BUF:
                end = data.rfind(b"\n", at, at + select.PIPE_BUF) + 1 or data.find(b"\n", at) + 1 or end
            at += os.write(self._fd, view[at:end])

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, but no longer than `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
