"""``config show``: every setting, where it comes from, and no secret."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from switchboard.config.names import KNOWN
from switchboard.config.tree import ProviderSettings, Settings, fields_of

Run = Callable[..., subprocess.CompletedProcess[str]]
CANARY = "Canary7Kq9zHidden"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and addresses of whoever runs the tests do not count."""
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)


def shown(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What stands beside each key."""
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(None, 1) for line in done.stdout.splitlines()]
    assert len({line[0] for line in lines}) == len(lines)
    return {key: rest.rstrip() for key, rest in lines}


def leaves(model: type[BaseModel], path: str = "") -> set[str]:
    """The keys of all settings of a section."""
    out = set()
    for key, field in fields_of(model).items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            out |= leaves(kind, f"{path}{key}.")
        else:
            out.add(path + key)
    return out


def test_every_setting_is_there_with_its_default(run: Run) -> None:
    found = shown(run("config", "show"))
    assert set(found) == leaves(Settings)
    assert {found["host"], found["port"], found["https"]} == {"127.0.0.1", "8000", "allow"}
    assert found["cors.origins"] == '["http://localhost:5173", "http://localhost:3000"]'
    assert (found["timeouts.connect"], found["providers"]) == ("5", "{}")
    assert (found["auth.access_key"], found["chat.model"]) == ("(secret, not set)", "(not set)")
    assert found["chat.trim_v1"] == "false"


def test_where_each_comes_from(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(
        "port: 1\nhttps: allow\nchat: {temperature: 0.5}\nlog: {}\nproviders:\n  up: {base_url: 'http://h/v1'}\n  openai: {}\n"
    )
    done = run("--host", "localhost", "config", "show", "--origin", "--config", "other.yaml", PORT="2", AI_TOP_P="1.0")
    found = {key: tuple(rest.split(None, 1)) for key, rest in shown(done).items()}
    assert found["host"] == ("localhost", "--host")
    assert found["port"] == ("2", "PORT")
    assert found["https"] == ("allow", "other.yaml: https")  # said, though it is what it would be anyway
    assert found["chat.temperature"] == ("0.5", "other.yaml: chat.temperature")
    assert found["chat.top_p"] == ("1", "AI_TOP_P")
    assert found["chat.format"] == ("auto", "default")
    assert found["providers.up.base_url"] == ("http://h/v1", "other.yaml: providers.up.base_url")
    # a section that is named and left empty sets nothing in it
    assert found["log.level"] == ("INFO", "default")
    assert found["providers.openai.pace"] == ("0.02", "default")
    assert {f"providers.openai.{key}" for key in leaves(ProviderSettings)} <= set(found)


def test_what_counts_where_nothing_is_set(run: Run, tmp_path: Path) -> None:
    (tmp_path / "switchboard.yaml").write_text(
        "chat: {model: m, temperature: 1}\nlimits: {requests_per_minute: 7}\ntimeouts: {idle: 9}\n"
        "profiles: {app: {temperature: 0}}\nproviders: {openai: {timeouts: {connect: 2}}}\n"
        "routes: {fast: [openai/a, {target: openai/b, weight: 2}]}\n"
    )
    done = run("config", "show", "--origin")
    found = {key: tuple(x.strip() for x in rest.rsplit("  ", 1)) for key, rest in shown(done).items()}
    assert found["profiles.app.model"] == ("m", "as chat.model")
    assert found["profiles.app.temperature"] == ("0", "switchboard.yaml: profiles.app.temperature")
    assert found["profiles.app.limits.requests_per_minute"] == ("7", "as limits.requests_per_minute")
    assert found["profiles.app.access_key"] == ("(secret, not set)", "default")
    assert found["providers.openai.timeouts.idle"] == ("9", "as timeouts.idle")
    assert found["providers.openai.timeouts.connect"] == ("2", "switchboard.yaml: providers.openai.timeouts.connect")
    value, origin = found["routes.fast"]
    assert [x["target"] for x in json.loads(value)] == ["openai/a", "openai/b"]
    assert origin == "switchboard.yaml: routes.fast"


@pytest.mark.parametrize("flags", [[], ["--origin"], ["--json"], ["--origin", "--json"]])
def test_no_secret_is_shown(run: Run, tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "key").write_text(f"{CANARY}-a\n")
    (tmp_path / "switchboard.yaml").write_text(
        f"""
auth: {{access_key: [{CANARY}-1, {CANARY}-2]}}
profiles: {{app: {{access_key: {CANARY}-7}}}}
public_url: https://me:{CANARY}-3@chat.example.com/
providers:
  up:
    base_url: http://h/v1
    api_key_file: key
    headers: {{x-own: {CANARY}-4, x.dotted: {CANARY}-5}}
"""
    )
    done = run("config", "show", *flags, OPENAI_API_KEY=f"{CANARY}-6")
    assert (done.returncode, done.stderr) == (0, "")
    assert CANARY not in done.stdout
    assert done.stdout.count("(secret, set)") == 5
    assert done.stdout.count("(secret, 2 set)") == 1
    if "--origin" in flags:
        for place in ("providers.up.api_key_file", "OPENAI_API_KEY", "providers.up.headers.x-own", "auth.access_key"):
            assert place in done.stdout
    if not flags:
        assert 'providers.up.headers."x.dotted"' in done.stdout


def test_text_that_could_be_taken_for_something_else_is_quoted(run: Run, tmp_path: Path) -> None:
    titles = ["a\nb", "  a", "true", "7", "[a]", "(not set)", '"', "a \u202e b", "é 漢", "Brief, please: 1 < 2."]
    rows = {f"p{n}": {"type": "offline", "title": title} for n, title in enumerate(titles)}
    (tmp_path / "switchboard.yaml").write_text(json.dumps({"providers": rows}, ensure_ascii=False))
    found = shown(run("config", "show"))
    values = [found[f"providers.p{n}.title"] for n in range(len(titles))]
    assert values[-2:] == titles[-2:]
    assert [json.loads(value) for value in values[:-2]] == titles[:-2]
    assert all(value.isprintable() for value in values)


def test_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "switchboard.yaml").write_text("providers: {up: {base_url: 'http://h/v1', models: [a, b]}}\n")
    tree: dict[str, Any] = json.loads(run("config", "show", "--json", "--port", "9").stdout)
    assert (tree["port"], tree["chat"]["model"], tree["chat"]["trim_v1"]) == (9, None, False)
    assert tree["providers"]["up"]["models"] == ["a", "b"]
    assert tree["providers"]["up"]["timeouts"] == tree["timeouts"]
    tree = json.loads(run("config", "show", "--json", "--origin", "--port", "9").stdout)
    assert tree["port"] == {"value": 9, "origin": "--port"}
    assert tree["providers"]["up"]["models"] == {
        "value": ["a", "b"],
        "origin": "switchboard.yaml: providers.up.models",
    }
    assert tree["chat"]["model"] == {"value": None, "origin": "default"}


def test_settings_that_cannot_be_used(run: Run, tmp_path: Path) -> None:
    (tmp_path / "switchboard.yaml").write_text("hsot: x\n")
    done = run("config", "show", "--port", "99999")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean host?" in done.stderr and "--port" in done.stderr and "Traceback" not in done.stderr
    done = run("config", "show", "--config", "nowhere.yaml")
    assert (done.returncode, done.stdout) == (2, "") and "nowhere.yaml" in done.stderr


def test_config_alone_says_what_it_can_do(run: Run) -> None:
    done = run("config")
    assert "show" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
