"""The commands: what they say, and with which status they end when something is wrong."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from switchboard import __version__

Run = Callable[..., subprocess.CompletedProcess[str]]
CANARY = "Canary7Kq9zHidden"


def refused(done: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """What a start that failed said: on standard error, and no traceback."""
    assert done.returncode == status, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(run: Run, flag: str) -> None:
    done = run(flag)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("serve", "check", "--host", "--port", "--config", "--reload", "--version"):
        assert word in done.stdout
    for command in ("serve", "check"):
        done = run(command, flag)
        assert done.returncode == 0 and "--port" in done.stdout


def test_help_needs_no_settings(run: Run, tmp_path: Path) -> None:
    (tmp_path / "switchboard.yaml").write_text("nonsense: [")
    assert run("--help", PORT="x").returncode == 0
    assert run("--version").stdout == f"{__version__}\n"


def test_unknown_flags_and_commands(run: Run) -> None:
    assert "--port" in refused(run("--prot", "9"))
    assert "nonsense" in refused(run("nonsense"))
    assert "--port" in refused(run("serve", "--port", "eighty"))


def test_check_reads_the_settings_and_does_nothing_else(run: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # it does not even look whether the port is free
        done = run("check", "--port", str(taken.getsockname()[1]))
    assert (done.returncode, done.stderr) == (0, "")
    assert "fine" in done.stdout and "no settings file" in done.stdout
    (tmp_path / "switchboard.toml").write_text("port = 9000\n")
    assert "switchboard.toml" in run("check").stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["switchboard.toml"]


@pytest.mark.parametrize("command", [["check"], ["serve"], []])
def test_all_that_is_wrong_at_once(run: Run, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "switchboard.yaml").write_text("hsot: x\nchat: {temprature: 1}\nlog: {level: LOUD}\n")
    said = refused(run(*command, "--port", "99999", AI_TOP_P="high", SWITCHBOARD_CHTA__MODEL="x"))
    complaints = [line for line in said.splitlines() if line.startswith("  - ")]
    assert len(complaints) == 6
    for place, hint in {
        "switchboard.yaml: hsot": "did you mean host?",
        "switchboard.yaml: chat.temprature": "did you mean chat.temperature?",
        "switchboard.yaml: log.level": "INFO",
        "--port": "65535",
        "AI_TOP_P": "number",
        "SWITCHBOARD_CHTA__MODEL": "did you mean SWITCHBOARD_CHAT__MODEL?",
    }.items():
        assert any(place in c and hint in c for c in complaints), place


def test_flags_before_the_command_are_not_passed_over(run: Run) -> None:
    """`switchboard --port 9 check` is what somebody may well write; it must not mean something else."""
    assert "--port" in refused(run("--port", "99999", "check"))
    assert "nowhere.yaml" in refused(run("--config", "nowhere.yaml", "check"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_beyond_loopback_without_identity(run: Run, host: str) -> None:
    said = refused(run("serve", "--host", host))
    assert said.count("  - ") == 1
    assert f"--host: listening on {host}" in said
    assert "set ACCESS_KEY (or auth.access_key in the settings file)" in said
    assert "listen on 127.0.0.1" in said


def test_a_port_that_is_taken(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, environment in ((["--port", str(port)], {}), ([], {"PORT": str(port)})):
            said = refused(run("serve", *arguments, **environment), 1)
            assert said.count("\n") == 1
            assert f"cannot listen on 127.0.0.1, port {port}" in said
            assert "another program has it" in said and "--port" in said


def test_an_address_that_is_not_ours(run: Run) -> None:
    said = refused(run("serve", "--host", "192.0.2.1", "--port", "0", ACCESS_KEY="k"), 1)
    assert "cannot listen on 192.0.2.1" in said
    said = refused(run("serve", "--host", "no-such-host.invalid", "--port", "0", ACCESS_KEY="k"), 1)
    assert "no such address" in said


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [("switchboard.yaml", "port: 1\nchat: [\n", "line 3"), ("switchboard.toml", "port = 1\nhost =\n", "line 2")],
)
def test_a_file_that_cannot_be_parsed(run: Run, tmp_path: Path, name: str, text: str, line: str) -> None:
    (tmp_path / name).write_text(text)
    said = refused(run("serve"))
    assert name in said and line in said


def test_an_empty_secret_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    said = refused(run("serve", OPENAI_API_KEY_FILE="key", ACCESS_KEY_FILE="nowhere"))
    assert "OPENAI_API_KEY_FILE: the file is empty" in said
    assert "ACCESS_KEY_FILE: the file cannot be read" in said


def test_a_certificate_that_is_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong.pem").write_text("this is no certificate\n")
    done = run("serve", "--port", "0", SWITCHBOARD_TLS__CERTIFICATE="wrong.pem", SWITCHBOARD_TLS__KEY="wrong.pem")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "SWITCHBOARD_TLS__CERTIFICATE" in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PORT": "x"},
        {"SWITCHBOARD_HOST": "0.0.0.0", "ACCESS_KEY": f"{CANARY} x"},
        {"OPENAI_BASE_URL": f"http://u:{CANARY}@h/v1"},
        {"SWITCHBOARD_PROVIDERS__UP__API_KEY": CANARY},
        {"SWITCHBOARD_AUTH__ACCES_KEY": CANARY},
        {"SWITCHBOARD_LOG": CANARY},
    ],
)
def test_a_start_that_fails_shows_no_secret(run: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "switchboard.yaml").write_text(
        f"providers: {{own: {{base_url: 'http://h/v1', api_key: {CANARY}, headers: {{x: {CANARY}}}}}}}\n"
    )
    said = refused(run("serve", **({"OPENAI_API_KEY": CANARY, "LOG_LEVEL": "DEBUG"} | environment)))
    assert CANARY not in said
