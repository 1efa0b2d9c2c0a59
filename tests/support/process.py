"""Programs that tests start: the real server, and servers that nobody here wrote."""

from __future__ import annotations

import atexit
import functools
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
NODE_MODULES = ROOT / "tests" / "clients" / "node_modules"


@functools.cache
def data_home() -> str:
    """Where programs that tests start keep their data, where a test does not say: not where the user's own is."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(folder)


class Program:
    """A running program and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str, timeout: float = 20) -> re.Match[str]:
        """The first match of `pattern` in a line that it says."""
        while True:
            line = self._lines.get(timeout=timeout)
            assert line is not None, "it ended:\n" + "".join(self.said)
            if (found := re.search(pattern, line)) is not None:
                return found


@contextmanager
def program(
    *command: str | Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Program]:
    """Run a program for a while. Its environment is the test's own, without what would change its behaviour."""
    env = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(
            ("OPENAI_", "AI_", "SWITCHBOARD_", "ACCESS_KEY", "PORT", "ANTHROPIC_", "AZURE_", "HF_TOKEN", "OTEL_")
        )
    }
    env["XDG_DATA_HOME"] = data_home()
    env["PATH"] = f"{BIN}{os.pathsep}{env['PATH']}"
    process = subprocess.Popen(
        [str(c) for c in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env | dict(environment or {}),
        cwd=cwd,
    )
    try:
        yield Program(process)
    finally:
        process.terminate()
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def server(environment: Mapping[str, str], cwd: Path) -> Iterator[str]:
    """The real server on a free port; gives its address."""
    quick = {
        "SWITCHBOARD_SHUTDOWN__ACCEPT": "0",
        "SWITCHBOARD_SHUTDOWN__STREAMS": "0.1",
        "SWITCHBOARD_DATA_DIR": str(cwd / "data"),
    }
    command = (BIN / "switchboard", "serve", "--port", "0")
    with program(*command, environment=quick | dict(environment), cwd=cwd) as p:
        yield p.wait_for(r"page +(http://127\.0\.0\.1:\d+)")[1]
