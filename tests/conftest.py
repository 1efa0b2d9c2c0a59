"""Fixtures of all tests."""

from __future__ import annotations

from typing import Any

import pytest

from support.gateway import SHELLS


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Asynchronous tests run on uvloop, as the server does."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """Either way to an Exchange."""
    return str(request.param)
