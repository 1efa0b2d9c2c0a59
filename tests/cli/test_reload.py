"""``reload``: which server is told, what it says of it, and with which status the command ends."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from support.client import chat
from support.process import BIN, Program

Run = Callable[..., subprocess.CompletedProcess[str]]
Serving = Callable[..., AbstractContextManager[tuple[Program, int]]]
CANARY = "Canary7Kq9zHidden"


def ask(port: int, path: str, body: Any = None) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as c:
        kind = {"content-type": "application/json"} if body is not None else {}
        c.request("GET" if body is None else "POST", path, body and json.dumps(body), kind)
        r = c.getresponse()
        return r.status, r.read().decode()


def model_of(port: int) -> str:
    """The model that answers where none is named."""
    status, text = ask(port, "/v1/chat/completions", chat("hi"))
    assert status == 200, text
    return str(json.loads(text)["model"])


def reloads(port: int) -> dict[str, float]:
    """How many there were, by what became of them."""
    _, text = ask(port, "/metrics")
    return {r: float(n) for r, n in re.findall(r'^switchboard_reloads_total\{result="(\w+)"\} ([\d.]+)$', text, re.M)}


def write(tmp_path: Path, **settings: Any) -> None:
    (tmp_path / "switchboard.yaml").write_text(json.dumps({"port": 0} | settings))


def test_new_settings_hold_from_the_next_request_on(
    serving: Serving, run: Run, tmp_path: Path, data: dict[str, str]
) -> None:
    write(tmp_path, chat={"model": "echo"})
    with serving() as (p, port):
        assert model_of(port) == "echo"
        assert reloads(port) == {"ok": 0, "failed": 0}
        write(tmp_path, chat={"model": "tool-call", "paths": ["/further"]})
        assert model_of(port) == "echo"  # not before somebody says so
        done = run("reload", **data)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"The server on port {port}: the settings were read anew.\n"
        assert model_of(port) == "tool-call"
        assert ask(port, "/further", chat("hi"))[0] == 200
        assert "/further" in ask(port, "/openapi.json")[1]
        assert reloads(port) == {"ok": 1, "failed": 0}
        line = json.loads(p.wait_for("settings were read anew").string)
        assert (line["level"], line["event"]) == ("info", "message")
        # once more, with nothing new
        assert run("reload", "--port", str(port), **data).returncode == 0
        assert reloads(port) == {"ok": 2, "failed": 0}


def test_settings_that_cannot_be_used_change_nothing(
    serving: Serving, run: Run, tmp_path: Path, data: dict[str, str]
) -> None:
    write(tmp_path, chat={"model": "echo"})
    with serving() as (p, port):
        # by the signal: the log says it
        for n, (text, complaint) in enumerate(
            [
                ("hsot: x\nchat: {model: tool-call}\n", "did you mean host?"),
                ("chat: {provider: nobody}\n", "there is no provider 'nobody'"),
                ("chat: [\n", "not valid YAML"),
            ]
        ):
            (tmp_path / "switchboard.yaml").write_text(text)
            p.process.send_signal(signal.SIGHUP)
            line = json.loads(p.wait_for("settings stay as they were").string)
            assert line["level"] == "error"
            assert "switchboard.yaml" in line["message"] and complaint in line["message"]
            assert model_of(port) == "echo"
            assert reloads(port) == {"ok": 0, "failed": n + 1}
        # by the command, which says it itself
        done = run("reload", **data)
        assert (done.returncode, done.stdout) == (2, "")
        assert "switchboard.yaml" in done.stderr and complaint in done.stderr and "Traceback" not in done.stderr
        assert model_of(port) == "echo"
        # and when the file is right again, all goes on
        write(tmp_path, chat={"model": "tool-call"})
        assert run("reload", **data).returncode == 0
        assert model_of(port) == "tool-call"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_settings_file_that_is_gone_opens_nothing(
    serving: Serving, run: Run, tmp_path: Path, data: dict[str, str], workers: int
) -> None:
    write(tmp_path, workers=workers, auth={"access_key": CANARY})
    with serving() as (p, port):
        assert ask(port, "/v1/chat/completions", chat("hi"))[0] == 401
        (tmp_path / "switchboard.yaml").unlink()
        done = run("reload", **data)
        assert done.returncode == 2 and "the settings file is gone" in done.stdout + done.stderr
        assert ask(port, "/v1/chat/completions", chat("hi"))[0] == 401
        p.wait_for("the settings stay as they were")


def test_what_only_the_server_finds_wrong_is_told_by_the_command(
    serving: Serving, run: Run, tmp_path: Path, data: dict[str, str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("port: 0\n")
    with serving("--config", "other.yaml") as (p, port):
        other.write_text(f"port: 0\nauth: {{acces_key: {CANARY}}}\nhsot: x\n")
        done = run("reload", **data)  # which finds no file, and nothing wrong
        assert (done.returncode, done.stdout) == (2, "")
        assert "the settings stay as they were" in done.stderr
        assert "other.yaml: hsot" in done.stderr and "other.yaml: auth.acces_key" in done.stderr
        assert reloads(port) == {"ok": 0, "failed": 1}
        p.wait_for("settings stay as they were")
        assert CANARY not in done.stderr + "".join(p.said)
        assert CANARY not in (tmp_path / "data" / "run" / f"{port}.json").read_text()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"host": "localhost", "port": 8123}, ["host", "port"]),
        ({"log": {"format": "human"}}, ["log.format"]),
    ],
)
def test_what_needs_a_restart_is_told(
    serving: Serving, run: Run, tmp_path: Path, data: dict[str, str], change: dict[str, Any], names: list[str]
) -> None:
    write(tmp_path)
    with serving() as (p, port):
        write(tmp_path, chat={"model": "tool-call"}, **change)
        done = run("reload", **data)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"a restart is needed for {', '.join(names)}" in done.stdout
        line = json.loads(p.wait_for("a restart is needed").string)
        assert line["level"] == "warning"
        assert model_of(port) == "tool-call"  # the rest holds, and the port is the old one


def test_no_server(run: Run, tmp_path: Path, data: dict[str, str]) -> None:
    done = run("reload", **data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "no server runs" in done.stderr and str(tmp_path / "data") in done.stderr
    assert "--config" in done.stderr and "SIGHUP" in done.stderr


def test_several_servers(serving: Serving, run: Run, tmp_path: Path, data: dict[str, str]) -> None:
    write(tmp_path)
    with serving() as (_, one), serving() as (_, two):
        done = run("reload", **data)
        assert (done.returncode, done.stdout) == (1, "")
        assert str(one) in done.stderr and str(two) in done.stderr and "--port" in done.stderr
        write(tmp_path, chat={"model": "tool-call"})
        done = run("reload", "--port", str(two), **data)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"port {two}:" in done.stdout
        assert (model_of(one), model_of(two)) == ("echo", "tool-call")
        assert reloads(one) == {"ok": 0, "failed": 0}
        # with neither's port, both are told of again
        assert run("reload", "--port", "1", **data).returncode == 1


def test_counts_of_the_rate_limit_survive(serving: Serving, run: Run, tmp_path: Path, data: dict[str, str]) -> None:
    write(tmp_path, limits={"requests_per_minute": 4}, profiles={"app": {"limits": {"requests_per_minute": 2}}})
    hot, app = "/v1/chat/completions", "/p/app/v1/chat/completions"
    with serving() as (_, port):
        assert [ask(port, hot, chat("a"))[0] for _ in range(3)] == [200] * 3
        assert ask(port, app, chat("a"))[0] == 200
        write(
            tmp_path,
            limits={"requests_per_minute": 4},
            profiles={"app": {"limits": {"requests_per_minute": 2}}, "b": {}},
        )
        assert run("reload", **data).returncode == 0
        assert [ask(port, hot, chat("a"))[0] for _ in range(2)] == [200, 429]
        assert [ask(port, app, chat("a"))[0] for _ in range(2)] == [200, 429]
        # another limit counts what was asked before
        write(tmp_path, limits={"requests_per_minute": 6}, profiles={"app": {"limits": {"requests_per_minute": 1}}})
        assert run("reload", **data).returncode == 0
        assert [ask(port, hot, chat("a"))[0] for _ in range(3)] == [200, 200, 429]
        assert ask(port, app, chat("a"))[0] == 429
        write(tmp_path)
        assert run("reload", **data).returncode == 0
        assert ask(port, hot, chat("a"))[0] == 200


@pytest.mark.parametrize("command", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(tmp_path: Path, command: list[str]) -> None:
    """What the program imports before it knows that it has to work is what every start waits for."""
    python = [str(BIN / "python"), "-X", "importtime", "-m", "switchboard", *command]
    done = subprocess.run(python, capture_output=True, text=True, cwd=tmp_path, timeout=20, check=False)
    assert done.returncode == 0
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "switchboard.cli.program" in modules
    heavy = {"fastapi", "pydantic", "uvicorn", "uvloop", "starlette", "msgspec", "yaml", "rich", "prometheus_client"}
    heavy |= {"ssl", "asyncio", "httptools", "watchfiles"}
    assert not {m for m in modules if m.partition(".")[0] in heavy}
    ours = {m for m in modules if m.startswith("switchboard.")}
    light = {"switchboard.cli", "switchboard.cli.kept", "switchboard.cli.program"}
    assert ours <= light | {"switchboard.__main__", "switchboard.compiled"}
