"""Completion in shells: the scripts, and what the program answers them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.process import BIN

Run = Callable[..., subprocess.CompletedProcess[str]]
VARIABLE = "_SWITCHBOARD_COMPLETE"


def offered(run: Run, words: str) -> list[str]:
    """What bash is offered for the last of `words`."""
    count = str(len(words.split(" ")) - 1)
    done = run(**{VARIABLE: "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("switchboard co", ["completion", "config"]),
        ("switchboard --port 9 in", ["init"]),
        ("switchboard config ", ["show"]),
        ("switchboard config show --o", ["--origin"]),
        ("switchboard --port 9 serve --re", ["--reload"]),
        ("switchboard init --provider a", ["azure", "anthropic"]),
        ("switchboard completion ", ["bash", "zsh", "fish"]),
        ("switchboard serve --config ", []),  # the shell offers files then
    ],
)
def test_what_may_follow(run: Run, words: str, answers: list[str]) -> None:
    assert offered(run, words) == answers


def test_what_may_follow_in_other_shells(run: Run) -> None:
    done = run(**{VARIABLE: "complete_zsh", "_TYPER_COMPLETE_ARGS": "switchboard che"})
    assert (done.returncode, done.stderr) == (0, "")
    assert '"check":"Read the settings' in done.stdout
    fish = {VARIABLE: "complete_fish", "_TYPER_COMPLETE_ARGS": "switchboard che"}
    done = run(**fish, _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert done.stdout.startswith("check\tRead the settings")
    assert run(**fish, _TYPER_COMPLETE_FISH_ACTION="is-args").returncode == 0


def test_completing_reads_no_settings(run: Run, tmp_path: Path) -> None:
    (tmp_path / "switchboard.yaml").write_text("nonsense: [")
    assert offered(run, "switchboard se") == ["serve"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{VARIABLE}=complete_{shell}" in done.stdout
    # without a name it is the user's own
    assert run("completion", SHELL=f"/usr/local/bin/{shell}").stdout == done.stdout


def test_shells_that_are_not_known(run: Run) -> None:
    for done in (run("completion", SHELL="/bin/sh"), run("completion", SHELL="")):
        assert (done.returncode, done.stdout) == (2, "")
        assert "completion bash|zsh|fish" in done.stderr
    done = run("completion", "tcsh")
    assert done.returncode == 2 and "fish" in done.stderr


def test_in_bash_itself(tmp_path: Path) -> None:
    """The script as bash runs it, asked as bash asks when Tab is pressed."""
    script = """
        source <(switchboard completion bash)
        COMP_WORDS=(switchboard config sh); COMP_CWORD=2
        read -ra said <<< "$(complete -p switchboard)"
        ${said[-2]} switchboard
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=20
    )
    assert (done.stdout, done.stderr) == ("show\n", "")
