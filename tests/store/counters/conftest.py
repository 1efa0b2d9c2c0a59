"""Fixtures of the tests of counters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.counting import KINDS
from support.redis_server import redis_server


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that all tests share which do it no harm."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of counters."""
    return str(request.param)
