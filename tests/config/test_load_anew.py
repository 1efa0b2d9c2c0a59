"""Settings that are read anew while a server runs: they have to go with where it listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from switchboard.config.load import SettingsError, load_anew
from switchboard.config.tree import Settings

OPEN = Settings.model_validate({"host": "192.0.2.1", "auth": {"access_key": "a-long-random-text"}})


def test_a_server_that_others_can_reach_goes_on_asking_who_calls(tmp_path: Path) -> None:
    file = tmp_path / "switchboard.yaml"
    for text in ("", "chat: {model: echo}", "host: 127.0.0.1"):
        file.write_text(text)
        with pytest.raises(SettingsError, match=r"192\.0\.2\.1 would open this server"):
            load_anew(OPEN, str(file), {}, {}, config=str(file))
    file.write_text("host: 127.0.0.1\nauth: {access_key: another-random-text}")
    assert load_anew(OPEN, str(file), {}, {}, config=str(file))[0].auth.access_key


def test_a_file_that_is_gone_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    running, gone = Settings(), str(tmp_path / "switchboard.yaml")
    with pytest.raises(SettingsError, match="is gone"):
        load_anew(running, gone, {}, {})
    assert load_anew(running, None, {}, {})[1].file is None
    (tmp_path / "switchboard.toml").write_text("port = 1")
    assert load_anew(running, gone, {}, {})[0].port == 1
