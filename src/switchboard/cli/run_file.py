"""What a running server tells other commands about itself: a small file in the data folder, locked while it runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from msgspec import Struct

from switchboard.config.folder import data_folder as data_folder  # who looks for servers looks for this too
from switchboard.config.tree import Settings


class Running(Struct):
    """A server: its process, its port, how often its settings were read anew or could not be, and what came of the last
    time."""

    pid: int
    port: int
    reloads: int = 0
    failures: int = 0
    message: str = ""


def run_folder(settings: Settings) -> Path:
    """Where running servers keep what is of them only while they run."""
    return data_folder(settings) / "run"


class RunFile:
    """The file of this process's server. Raises `OSError` where the data folder cannot be written."""

    def __init__(self, settings: Settings, port: int) -> None:
        folder = run_folder(settings)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{port}.json"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.running = Running(os.getpid(), port)
        self.write()

    def write(self) -> None:
        """Write down `running` as it is now."""
        r = self.running
        data = json.dumps({n: getattr(r, n) for n in Running.__struct_fields__}).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, data, 0)

    def leave(self) -> None:
        """This process is no longer the server's own, but one that it has forked."""
        os.close(self._fd)

    def close(self) -> None:
        """The server ends."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._fd)


def find(settings: Settings) -> list[Running]:
    """The servers that run with the data folder of `settings`: the one on its port, else all of them."""
    found = []
    try:
        paths = sorted(run_folder(settings).glob("*.json"))
    except OSError:  # a folder that may not be looked into
        paths = []
    for path in paths:
        running = _read(path)
        if running is not None:
            found.append(running)
    return [r for r in found if r.port == settings.port] or found


def _read(path: Path) -> Running | None:
    """What the file at `path` says, None where no process holds it."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Running(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None  # gone, or being written at this moment
    return None
