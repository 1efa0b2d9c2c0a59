"""Real clients against a real server process, over upstreams that nobody here wrote, and offline."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from support.process import BIN, ROOT, aimock, server

#: What an upstream is asked with.
OPENAI_KEY, ANTHROPIC_KEY = "sk-mock-1234567890", "sk-ant-mock-1234567890"
#: What a client is let in with, where the server asks.
ACCESS_KEY = "test-access-key-0123456789"
#: A failed call is told at once: what the tests are about is how it is told.
_QUICK = {"SWITCHBOARD_RETRY__ATTEMPTS": "1", "SWITCHBOARD_PROVIDERS__OFFLINE__PACE": "0"}


class Upstream(NamedTuple):
    """A server over one kind of upstream, and a model's name there."""

    kind: str
    address: str
    model: str


@pytest.fixture(scope="session")
def mock() -> Iterator[str]:
    """aimock, which speaks OpenAI's wire and Anthropic's."""
    with aimock() as address:
        yield address


@pytest.fixture(scope="session")
def through_aimock(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with OPENAI_API_KEY and OPENAI_BASE_URL set at aimock."""
    environment = {"OPENAI_API_KEY": OPENAI_KEY, "OPENAI_BASE_URL": f"{mock}/v1"}
    with server(_QUICK | environment, tmp_path_factory.mktemp("through")) as address:
        yield address


@pytest.fixture(scope="session")
def through_anthropic(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL set at aimock."""
    environment = {"ANTHROPIC_API_KEY": ANTHROPIC_KEY, "ANTHROPIC_BASE_URL": mock}
    with server(_QUICK | environment, tmp_path_factory.mktemp("anthropic")) as address:
        yield address


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with no provider's key."""
    with server(_QUICK, tmp_path_factory.mktemp("offline")) as address:
        yield address


@pytest.fixture(scope="session")
def guarded(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that wants `ACCESS_KEY`, over both upstreams and offline: a model is named ``provider/model``."""
    environment = {
        "ACCESS_KEY": ACCESS_KEY,
        "OPENAI_API_KEY": OPENAI_KEY,
        "OPENAI_BASE_URL": f"{mock}/v1",
        "ANTHROPIC_API_KEY": ANTHROPIC_KEY,
        "ANTHROPIC_BASE_URL": mock,
        "SWITCHBOARD_CHAT__PROVIDER": "openai",
        "AI_MODEL": "gpt-4o",
    }
    with server(_QUICK | environment, tmp_path_factory.mktemp("guarded")) as address:
        yield address


@pytest.fixture(scope="session", params=["openai", "anthropic"])
def upstream(request: pytest.FixtureRequest) -> Upstream:
    """A server over either kind of upstream."""
    if request.param == "openai":
        return Upstream("openai", request.getfixturevalue("through_aimock"), "gpt-4o")
    return Upstream("anthropic", request.getfixturevalue("through_anthropic"), "claude-sonnet-4-5")


@pytest.fixture(scope="session")
def node() -> Callable[..., dict[str, Any]]:
    """Runs a script of this directory in Node; gives the JSON object that it prints."""

    def run(script: str, *arguments: str) -> dict[str, Any]:
        command = [BIN / "node", ROOT / "tests" / "clients" / script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    return run
