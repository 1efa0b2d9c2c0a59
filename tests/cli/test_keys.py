"""``switchboard keys``, ``usage`` and ``data``: mistakes, and what is told of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from switchboard.config.check import check
from switchboard.config.tree import Settings
from switchboard.surface.usage import days_between

Run = Any


def keys(run: Run, folder: Path, *arguments: str, **environment: str) -> Any:
    return run("keys", *arguments, SWITCHBOARD_DATA_DIR=str(folder / "data"), **environment)


def test_a_name_is_free_again_once_its_key_has_ended(run: Run, tmp_path: Path) -> None:
    """After a rotation with a grace the old one stays in the list; it must not stand in the way of the new one."""
    assert keys(run, tmp_path, "create", "app").returncode == 0
    assert keys(run, tmp_path, "rotate", "app", "--grace", "1s").returncode == 0
    time.sleep(1.1)
    again = keys(run, tmp_path, "rotate", "app")
    assert again.returncode == 0, again.stderr
    assert keys(run, tmp_path, "revoke", "app").returncode == 0
    assert keys(run, tmp_path, "create", "app").returncode == 0


@pytest.mark.parametrize("when", ["9999-12-31", "2020-01-01", "0d"])
def test_times_that_are_none(run: Run, tmp_path: Path, when: str) -> None:
    made = keys(run, tmp_path, "create", "app", "--expires", when)
    assert made.returncode == 2 and "Traceback" not in made.stderr and when in made.stderr and made.stdout == ""


def test_a_surface_that_is_none(run: Run, tmp_path: Path) -> None:
    """Else the key is good for nothing, which shows only when somebody uses it."""
    made = keys(run, tmp_path, "create", "app", "--surfaces", "webchat")
    assert made.returncode == 2 and "web_chat" in made.stderr


def test_a_user_that_is_nobody(run: Run, tmp_path: Path) -> None:
    """An unset variable must not print everybody without a name."""
    for command in (("export", "--user", ""), ("erase", "--user", "", "--yes")):
        assert run("data", *command, SWITCHBOARD_DATA_DIR=str(tmp_path / "data")).returncode == 2


def test_doctor_never_shows_a_password(run: Run) -> None:
    """A # in it ends the place in the URL, and what stands before it is taken for the port."""
    said = run("doctor", "--offline", SWITCHBOARD_REDIS__URL="redis://:hunter2#x@localhost:6379")
    assert "hunter2" not in said.stdout + said.stderr and "Traceback" not in said.stderr
    said = run("doctor", SWITCHBOARD_REDIS__URL="redis://:hunter2#x@localhost:6379")
    assert "hunter2" not in said.stdout + said.stderr and "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ({"auth": {"secret": "short"}}, "auth.secret"),
        ({"redis": {"url": "redis://:pass#word@localhost"}}, "redis.url"),
        ({"redis": {"url": "redis://localhost:port"}}, "redis.url"),
        ({"database": {"url": "sqlite://"}}, "database.url"),
    ],
)
def test_settings_that_would_end_in_a_traceback(tree: dict[str, Any], place: str) -> None:
    found = check(Settings.model_validate(tree), lambda path: ".".join(path))
    assert [f for f in found if f.startswith(place)], found
    assert not any("pass" in f.partition("in a password")[0] for f in found)


def test_the_first_days_there_are() -> None:
    assert days_between(None, "0001-01-05")[0].isoformat() == "0001-01-01"
