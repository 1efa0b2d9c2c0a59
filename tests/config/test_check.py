"""What is wrong with settings that are each right by themselves: every complaint has its place and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from switchboard.config.check import check, provider_type
from switchboard.config.tree import Settings


def said(tree: dict[str, Any]) -> list[str]:
    return check(Settings.model_validate(tree), ".".join)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_identity(host: str) -> None:
    assert said({"host": host}) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "10.0.0.1", "chat.example.com"])
def test_beyond_loopback_somebody_must_be_asked_for(host: str) -> None:
    (complaint,) = said({"host": host})
    assert complaint.startswith("host: ")
    # the fix is exact: the variable, the key in the file, the other way out
    assert "ACCESS_KEY" in complaint and "auth.access_key" in complaint and "127.0.0.1" in complaint
    assert said({"host": host, "auth": {"access_key": "long-random-text"}}) == []


def test_https_has_to_end_somewhere(tmp_path: Path) -> None:
    (complaint,) = said({"https": "require"})
    assert complaint.startswith("https: ") and "trusted_proxies" in complaint and "tls.certificate" in complaint
    assert said({"https": "require", "trusted_proxies": ["10.0.0.0/8"]}) == []


def test_half_a_tls_and_files_that_are_not_there(tmp_path: Path) -> None:
    there = tmp_path / "c.pem"
    there.write_text("x")
    assert any("are needed together" in c for c in said({"tls": {"certificate": str(there)}}))
    complaints = said({"tls": {"certificate": str(there), "key": "/nonexistent.pem"}})
    assert any(c.startswith("tls.key: ") and "cannot be read" in c for c in complaints)
    (complaint,) = said({"providers": {"up": {"base_url": "http://h/v1", "ca_file": "/nonexistent.pem"}}})
    assert complaint.startswith("providers.up.ca_file: ")


@pytest.mark.parametrize("place", ["tls.certificate", "ca_file"])
def test_files_that_hold_no_certificate(tmp_path: Path, place: str) -> None:
    # else the start ends in a traceback of the ssl module
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("this is no certificate\n")
    if place == "ca_file":
        complaints = said({"providers": {"up": {"base_url": "https://h/v1", "ca_file": str(wrong)}}})
    else:
        complaints = said({"tls": {"certificate": str(wrong), "key": str(wrong)}})
    assert any(place in c for c in complaints)


@pytest.mark.parametrize(
    ("tree", "place", "hint"),
    [
        ({"chat": {"format": "xml"}}, "chat.format", "simple"),
        ({"chat": {"locked": ["mood"]}}, "chat.locked", "temperature"),
        ({"chat": {"provider": "opnai"}}, "chat.provider", "did you mean openai?"),
        ({"chat": {"provider": "zzz"}}, "chat.provider", "there are openai, anthropic, huggingface, offline"),
        ({"chat": {"model": "a b"}}, "chat.model", "'a b'"),
        ({"chat": {"models": ["ok", "a b"]}}, "chat.models", "'a b'"),
        ({"chat": {"model": "a", "models": ["b"]}}, "chat.model", "not among chat.models"),
        ({"providers": {"up": {}}}, "providers.up", "needs a base_url"),
        ({"providers": {"offline": {"api_key": "k"}}}, "providers.offline", "no api_key"),
        ({"providers": {"up": {"base_url": "http://h", "models": ["a b"]}}}, "providers.up.models", "'a b'"),
        ({"providers": {"up": {"base_url": "http://h", "headers": {"a b": "x"}}}}, "providers.up.headers", "'a b'"),
        ({"providers": {"up": {"base_url": "http://h", "headers": {"a": "x\ny"}}}}, "providers.up.headers", "'a'"),
        ({"realtime": {"tools": ["no_such_shop:order"]}}, "realtime.tools", "there is no module 'no_such_shop'"),
        ({"realtime": {"tools": ["shop"]}}, "realtime.tools", 'expected "package.module:function"'),
        (
            {"profiles": {"app": {"realtime": {"tools": ["os:nothing"]}}}},
            "profiles.app.realtime.tools",
            "there is no 'nothing'",
        ),
        ({"realtime": {"client_fields": ["voices"]}}, "realtime.client_fields", "did you mean voice?"),
        (
            {"realtime": {"turn_detection": {"eagerness": "low", "threshold": 0.5}}},
            "realtime.turn_detection.threshold",
            "no place in semantic_vad",
        ),
        (
            {"realtime": {"turn_detection": {"type": "none", "create_response": True}}},
            "realtime.turn_detection.create_response",
            "no place in none",
        ),
    ],
)
def test_contradictions(tree: dict[str, Any], place: str, hint: str) -> None:
    (complaint,) = said(tree)
    assert complaint.startswith(f"{place}: ") and hint in complaint


def test_all_of_them_at_once() -> None:
    tree = {"host": "0.0.0.0", "https": "require", "chat": {"format": "x"}, "providers": {"up": {}}}
    assert [c.split(":")[0] for c in said(tree)] == ["host", "https", "chat.format", "providers.up"]


@pytest.mark.parametrize(
    ("name", "given", "kind"),
    [("openai", None, "openai"), ("offline", None, "offline"), ("up", None, "compatible"), ("up", "openai", "openai")],
)
def test_the_type_of_a_provider(name: str, given: str | None, kind: str) -> None:
    assert provider_type(name, given) == kind


def test_members_of_sessions_that_are_not_known_yet() -> None:
    """What a provider learns may be let through before this server knows of it."""
    fields = ["voice", "tracing", "mcp", "holography"]
    assert said({"realtime": {"client_fields": fields, "turn_detection": {"type": "server_vad", "threshold": 1}}}) == []
