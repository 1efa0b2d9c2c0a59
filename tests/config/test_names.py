"""What settings are called in the environment, and which places there are."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from switchboard.config.names import KNOWN, nearest, place, variable
from switchboard.config.tree import Settings, fields_of


def leaves(path: tuple[str, ...], model: type[BaseModel]) -> list[tuple[str, ...]]:
    """The places that hold values; a table of sections counts as one."""
    out: list[tuple[str, ...]] = []
    for key in fields_of(model):
        found = place((*path, key))
        assert found is not None
        out += leaves((*path, key), found.model) if found.model is not None else [(*path, key)]
    return out


def test_every_documents_variable_names_a_place() -> None:
    assert set(KNOWN) == {
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_REALTIME_API_URL",
        "AZURE_OPENAI_ENDPOINT",
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_API_VERSION",
        "AZURE_OPENAI_CHAT_DEPLOYMENT",
        "AZURE_OPENAI_TTS_DEPLOYMENT",
        "AZURE_SPEECH_KEY",
        "AZURE_SPEECH_REGION",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "HF_TOKEN",
        "ACCESS_KEY",
        "PORT",
        "LOG_LEVEL",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_SERVICE_NAME",
        "AI_MODEL",
        "AI_TEMPERATURE",
        "AI_MAX_TOKENS",
        "AI_TOP_P",
    }
    for name, path in KNOWN.items():
        assert place(path) is not None
        assert variable(path) == name


def test_no_two_places_share_a_variable() -> None:
    names = [variable(p) for p in leaves((), Settings)]
    assert len(names) == len(set(names))
    assert all(n in KNOWN or n.startswith("SWITCHBOARD_") for n in names)


@pytest.mark.parametrize("path", leaves((), Settings), ids=".".join)
def test_a_variable_leads_back_to_its_place(path: tuple[str, ...]) -> None:
    name = variable(path)
    assert KNOWN.get(name, tuple(name.removeprefix("SWITCHBOARD_").lower().split("__"))) == path


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (("auth", "access_key"), True),
        (("providers", "any", "api_key"), True),
        (("providers", "any", "headers", "x-key"), True),
        (("chat", "model"), False),
        (("port",), False),
        (("tls", "key"), False),  # the name of a file
    ],
)
def test_which_places_are_secret(path: tuple[str, ...], secret: bool) -> None:
    found: Any = place(path)
    assert found.is_secret is secret


@pytest.mark.parametrize("path", [("x",), ("port", "x"), ("chat", "x"), ("providers", "a", "x"), ("hosts", "0")])
def test_places_that_there_are_not(path: tuple[str, ...]) -> None:
    assert place(path) is None
    known, keys = nearest(path)
    assert known == path[: len(known)] and place(known) is not None
    assert path[len(known)] not in keys
