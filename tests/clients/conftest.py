"""Real clients against a real server process, over an upstream that nobody here wrote, and offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.process import aimock, server


@pytest.fixture(scope="session")
def through_aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with OPENAI_API_KEY and OPENAI_BASE_URL set at aimock."""
    with aimock() as mock:
        environment = {"OPENAI_API_KEY": "sk-mock-1234567890", "OPENAI_BASE_URL": f"{mock}/v1"}
        with server(environment, tmp_path_factory.mktemp("through")) as address:
            yield address


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with nothing set."""
    directory: Path = tmp_path_factory.mktemp("offline")
    with server({"SWITCHBOARD_PROVIDERS__OFFLINE__PACE": "0"}, directory) as address:
        yield address
