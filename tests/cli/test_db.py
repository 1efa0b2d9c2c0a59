"""``switchboard db upgrade``."""

from __future__ import annotations

from pathlib import Path

import pytest

from switchboard.cli.db import upgrade


def test_the_database_gets_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        upgrade(f"sqlite:///{tmp_path}/store.db")
        assert capsys.readouterr().out.startswith("the database has schema 0")


def test_what_keeps_it_from_it_is_said_without_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        upgrade("postgresql://u:geheim@127.0.0.1:1/d")
    said = capsys.readouterr().err
    assert e.value.code == 1 and said.startswith("switchboard: ") and "refused" in said and "geheim" not in said


def test_a_url_that_is_none_is_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        upgrade("mysql://u:geheim@h/d")
    said = capsys.readouterr().err
    assert "sqlite:///PATH" in said and "geheim" not in said
