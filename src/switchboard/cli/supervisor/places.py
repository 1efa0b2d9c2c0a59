"""Where workers are reached: the sockets that they listen on, and the paths of those by which they ask each other."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final

from switchboard.cli.run_file import run_folder
from switchboard.cli.serve import listen
from switchboard.config.tree import Settings
from switchboard.core.process import Process

_LONGEST_PATH: Final = 100  # bytes of a Unix socket's path that every system takes


def listeners(settings: Settings) -> list[socket.socket]:
    """A socket for each worker, all on one port: the kernel spreads connections over those that listen. (Where workers share one
    socket, one of them gets nearly all.)

    The first is bound and listened on in the ordinary way before it is shared: so a port that another program has is refused,
    even one which that program would share. Exits with status 1 and a word on what to do if the port cannot be had.
    """
    first = listen(settings, at_once=True)
    out = [first]
    with contextlib.suppress(OSError):  # where the system does not know how, all share the first
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(settings.workers - 1):
            other = socket.socket(first.family, first.type, first.proto)
            out.append(other)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(first.getsockname())
        return out
    for other in out[1:]:
        other.close()
    return [first, *(first.dup() for _ in range(settings.workers - 1))]


class Sockets:
    """The folder of the workers' control sockets: the data folder's, or where that cannot be written, or has too long a name, a
    temporary one. `process` describes the first worker; it has no `control` where no folder can be had."""

    def __init__(self, settings: Settings, port: int) -> None:
        self._temporary: Path | None = None
        self.process = Process(0, settings.workers, secrets.token_hex(8))
        with contextlib.suppress(OSError):
            self.process = self.of(0, str(self._folder(settings, port) / str(port)))

    def of(self, worker: int, control: str | None = None) -> Process:
        """What the worker with this index is."""
        p = self.process
        return Process(worker, p.workers, p.boot, p.control if control is None else control)

    def _folder(self, settings: Settings, port: int) -> Path:
        folder = run_folder(settings).absolute()
        longest = Process(0, 1, "", str(folder / str(port))).socket_of(settings.workers)
        if len(bytes(longest)) <= _LONGEST_PATH:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                probe = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed at once
                probe.close()
                return folder
        self._temporary = Path(tempfile.mkdtemp(prefix="switchboard-"))
        return self._temporary

    def close(self) -> None:
        """Remove what dead workers have left behind."""
        if self.process.control:
            for n in range(self.process.workers):
                with contextlib.suppress(OSError):
                    self.process.socket_of(n).unlink()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
