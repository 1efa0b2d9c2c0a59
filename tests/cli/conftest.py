"""The program as people start it: a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from support.process import BIN, Program, data_home, program
from switchboard.config.names import KNOWN

Run = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[..., AbstractContextManager[Program]]
Serving = Callable[..., AbstractContextManager[tuple[Program, int]]]

#: What would change what the program does.
OURS = ("OPENAI_", "AI_", "SWITCHBOARD_", "ACCESS_KEY", "PORT", "LOG_LEVEL", "XDG_DATA_HOME", "AZURE_")
#: A server that ends soon after it is told to.
QUICK = {"SWITCHBOARD_SHUTDOWN__ACCEPT": "0", "SWITCHBOARD_SHUTDOWN__STREAMS": "0.1"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the program to its end."""

    def go(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        return subprocess.run(
            [str(BIN / "switchboard"), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            env=inherited | {"XDG_DATA_HOME": data_home()} | environment,
            cwd=tmp_path,
            check=False,
        )

    return go


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Start the server on a free port; its output is there once it listens."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)

    @contextmanager
    def go(*arguments: str, **environment: str) -> Iterator[Program]:
        command = [str(BIN / "switchboard"), *(arguments or ("serve",)), "--port", "0"]
        with program(*command, environment=QUICK | environment, cwd=tmp_path) as p:
            p.wait_for(r"^ +next ")
            yield p

    return go


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of servers and commands: a data folder of the test's own, and no settings of anybody's."""
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)
    return {"SWITCHBOARD_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def serving(tmp_path: Path, data: dict[str, str]) -> Serving:
    """A server that takes everything, its port too, from its settings file; gives its port beside it."""

    @contextmanager
    def go(*flags: str, **environment: str) -> Iterator[tuple[Program, int]]:
        command = [str(BIN / "switchboard"), "serve", *flags]
        free = {} if (tmp_path / "switchboard.yaml").exists() else {"PORT": "0"}
        with program(*command, environment=QUICK | data | free | environment, cwd=tmp_path) as p:
            port = int(p.wait_for(r"page +https?://[^ ]+:(\d+)/")[1])
            p.wait_for(r"^ +next ")
            yield p, port

    return go
