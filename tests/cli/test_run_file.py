"""What a running server tells other commands: who runs, and who does not run any more."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from support.process import Program
from switchboard.cli.run_file import Running, data_folder, find
from switchboard.config.tree import Settings

Run = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[..., AbstractContextManager[Program]]


def port_of(p: Program) -> int:
    found = re.search(r"page +https?://[^ ]+:(\d+)/", "".join(p.said))
    assert found is not None
    return int(found[1])


def servers(folder: Path, port: int = 8000) -> list[Running]:
    return find(Settings(data_dir=str(folder), port=port))


def ready(p: Program, folder: Path) -> int:
    """The port of a server, once others can find it."""
    port = port_of(p)
    end = time.monotonic() + 5
    while p.process.pid not in [r.pid for r in servers(folder)]:
        assert time.monotonic() < end
        time.sleep(0.01)
    return port


def test_a_server_is_found_while_it_runs(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert servers(folder) == []
    with serve(SWITCHBOARD_DATA_DIR=str(folder)) as p:
        port = ready(p, folder)
        assert servers(folder) == [Running(p.process.pid, port)]
        file = folder / "run" / f"{port}.json"
        assert json.loads(file.read_text())["pid"] == p.process.pid
        # nobody else has to know
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        p.process.send_signal(signal.SIGTERM)
        assert p.process.wait(10) == 0
        assert not file.exists()
    assert servers(folder) == []


def test_a_server_that_was_killed_is_not_found(serve: Serve, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serve(SWITCHBOARD_DATA_DIR=str(folder)) as p:
        port = ready(p, folder)
        p.process.kill()
        p.process.wait(10)
    # its file is still there, and its process id may be somebody else's by now
    assert (folder / "run" / f"{port}.json").exists()
    assert servers(folder) == []
    done = run("reload", SWITCHBOARD_DATA_DIR=str(folder))
    assert done.returncode == 1 and "no server runs" in done.stderr


def test_files_that_nobody_holds_or_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    own = json.dumps({"pid": os.getpid(), "port": 1})
    for name, text in {
        "1": own,
        "2": "",
        "3": "{",
        "4": "[]",
        "5": '{"pid": 1}',
        "6": '{"pid": 1, "port": 2, "x": 3}',
    }.items():
        (folder / f"{name}.json").write_text(text)
    (folder / "7.json").mkdir()
    (folder / "8.json").symlink_to("nowhere")
    assert servers(tmp_path) == []


def test_several_servers_share_a_folder(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    data = {"SWITCHBOARD_DATA_DIR": str(folder)}
    with serve(**data) as first, serve(**data) as second:
        both = {p.process.pid: ready(p, folder) for p in (first, second)}
        assert {r.pid: r.port for r in servers(folder)} == both
        # the one on the port that is named; all of them where nobody has it
        for pid, port in both.items():
            assert [r.pid for r in servers(folder, port)] == [pid]
        first.process.terminate()
        first.process.wait(10)
        assert [r.pid for r in servers(folder)] == [second.process.pid]


def test_a_server_without_a_folder_to_write_in_serves_all_the_same(serve: Serve, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (str(tmp_path / "file"), "/proc/switchboard"):
        with serve(SWITCHBOARD_DATA_DIR=folder) as p:
            line = p.wait_for(r'"level":"warning".*data folder').string
            assert folder in line and "reload" in line
            port = port_of(p)
            done = run("reload", "--port", str(port), SWITCHBOARD_DATA_DIR=folder)
            assert done.returncode == 1 and "SIGHUP" in done.stderr
            p.process.send_signal(signal.SIGHUP)
            p.wait_for("settings were read anew")


def test_where_data_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert data_folder(Settings()) == Path("/home/me/.local/share/switchboard")
    assert data_folder(Settings(data_dir="~/here")) == Path("/home/me/here")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_folder(Settings()) == Path("/data/switchboard")
    monkeypatch.setenv("XDG_DATA_HOME", "")
    assert data_folder(Settings()) == Path("/home/me/.local/share/switchboard")
