"""The official ``openai`` SDK for JavaScript, in Node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clients.conftest import Upstream

pytestmark = pytest.mark.xdist_group("clients-node")


@pytest.fixture(scope="session")
def seen(upstream: Upstream, node: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """What the script saw of an upstream."""
    return node("openai.mjs", "upstream", upstream.address, upstream.model)


@pytest.fixture(scope="session")
def seen_offline(offline: str, node: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """What the script saw of the offline provider."""
    return node("openai.mjs", "offline", offline)


def test_whole_and_stream(seen: dict[str, Any]) -> None:
    assert seen["whole"] == seen["stream"] == "Hello! How can I help you today?"


def test_usage_with_and_without(seen: dict[str, Any]) -> None:
    assert seen["usage"] is True
    assert seen["unasked_usage"] is False


def test_tools(seen: dict[str, Any]) -> None:
    assert (seen["tool"]["name"], seen["tool"]["arguments"]) == ("get_weather", '{"city":"Oslo"}')
    assert seen["after_tool"] == "It is 7 degrees in Oslo."


def test_a_stream_cut_by_the_provider_is_an_error(seen: dict[str, Any]) -> None:
    assert "Error" in seen["cut_by_provider"]["name"]


def test_errors(seen_offline: dict[str, Any]) -> None:
    seen = seen_offline
    assert seen["bad_request"]["name"] == "BadRequestError"
    assert seen["bad_request"]["param"] == "messages"
    assert (seen["not_found"]["name"], seen["not_found"]["code"]) == ("NotFoundError", "model_not_found")
    assert (seen["limited"]["name"], seen["limited"]["status"]) == ("RateLimitError", 429)
    unavailable = (seen["unavailable"]["name"], seen["unavailable"]["status"], seen["tries"])
    assert unavailable == ("InternalServerError", 503, 2)
    assert (seen["unauthorized"]["name"], seen["unauthorized"]["status"]) == ("InternalServerError", 502)


@pytest.mark.parametrize("how", ["cut-midstream", "error-midstream", "garbage"])
def test_a_cut_stream_is_an_error(seen_offline: dict[str, Any], how: str) -> None:
    assert seen_offline[how] != "no error"
    assert "Error" in seen_offline[how]["name"]


def test_models_and_abort(seen_offline: dict[str, Any]) -> None:
    assert seen_offline["models"] is True
    assert seen_offline["aborted_after"] == 5
