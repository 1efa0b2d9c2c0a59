"""The tree of settings: its defaults, and values that it does not take."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from switchboard.config.tree import Settings


def test_the_defaults_are_the_promised_ones() -> None:
    s = Settings()
    assert (s.host, s.port, s.https, s.log.level) == ("127.0.0.1", 8000, "allow", "INFO")
    assert s.cors.origins == ["http://localhost:5173", "http://localhost:3000"]
    assert (s.limits.json_body, s.limits.nesting, s.limits.event) == (32 << 20, 64, 16 << 20)
    assert (s.limits.header_seconds, s.limits.body_rate, s.limits.requests_per_minute) == (10, 1024, None)
    t = s.timeouts
    assert (t.connect, t.first_event, t.idle, t.total) == (5, 120, 60, 600)
    assert (s.stream.head_after, s.stream.quiet) == (15, 15)
    assert (s.shutdown.accept, s.shutdown.streams) == (5, 30)
    assert (s.chat.format, s.chat.max_conversation_length, s.chat.trim_v1) == ("auto", 50, False)


def test_settings_cannot_be_changed() -> None:
    s = Settings()
    with pytest.raises(ValidationError):
        s.__setattr__("port", 1)
    with pytest.raises(ValidationError):
        s.chat.__setattr__("model", "x")


@pytest.mark.parametrize(
    "tree",
    [
        {"port": -1},
        {"port": 65_536},
        {"limits": {"nesting": 1}},
        {"limits": {"json_body": 0}},
        {"limits": {"requests_per_minute": 0}},
        {"chat": {"temperature": 2.1}},
        {"chat": {"temperature": float("nan")}},
        {"chat": {"paths": ["chat"]}},
        {"chat": {"paths": ["/chat?x"]}},
        {"chat": {"max_conversation_length": 0}},
        {"timeouts": {"total": float("inf")}},
        {"public_url": "https://a b"},
        {"public_url": "https://a/?q"},
        {"cors": {"origins": ["file:///x"]}},
        {"auth": {"access_key": ""}},
        {"auth": {"access_key": [" "]}},
        {"providers": {"a": {"api_key": "line\nend"}}},
        {"providers": {"a": {"realtime_url": "https://x"}}},
        {"unknown": 1},
    ],
)
def test_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(tree)


@pytest.mark.parametrize("origin", ["https://App.Example.com", "app://local", "capacitor://localhost", "*"])
def test_origins(origin: str) -> None:
    assert Settings.model_validate({"cors": {"origins": [origin]}}).cors.origins == [origin.lower()]


def test_one_key_or_several() -> None:
    one = Settings.model_validate({"auth": {"access_key": "a"}})
    two = Settings.model_validate({"auth": {"access_key": ["a", "b"]}})
    assert [len(s.auth.access_key) for s in (one, two)] == [1, 2]


def test_a_route_may_name_one_target() -> None:
    settings = Settings(routes={"fast": "openai/gpt-5", "slow": ["openai/o3"]})
    assert [e.target for e in settings.routes["fast"]] == ["openai/gpt-5"]
