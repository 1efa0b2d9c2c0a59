"""The official ``openai`` SDK for JavaScript, in Node."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from support.process import BIN, ROOT

pytestmark = pytest.mark.xdist_group("clients")


@pytest.fixture(scope="module")
def seen(through_aimock: str, offline: str) -> dict[str, Any]:
    """What the script saw."""
    script = ROOT / "tests" / "clients" / "openai.mjs"
    run = subprocess.run(
        [BIN / "node", script, through_aimock, offline], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    value: dict[str, Any] = json.loads(run.stdout)
    return value


def test_whole_and_stream(seen: dict[str, Any]) -> None:
    assert seen["whole"] == seen["stream"] == "Hello! How can I help you today?"


def test_usage_with_and_without(seen: dict[str, Any]) -> None:
    assert seen["usage"] is True
    assert seen["unasked_usage"] is False


def test_tools(seen: dict[str, Any]) -> None:
    assert (seen["tool"]["name"], seen["tool"]["arguments"]) == ("get_weather", '{"city":"Oslo"}')


def test_errors(seen: dict[str, Any]) -> None:
    assert seen["bad_request"]["name"] == "BadRequestError"
    assert seen["bad_request"]["param"] == "messages"
    assert (seen["not_found"]["name"], seen["not_found"]["code"]) == ("NotFoundError", "model_not_found")
    assert (seen["limited"]["name"], seen["limited"]["status"]) == ("RateLimitError", 429)
    assert (seen["unavailable"]["name"], seen["unavailable"]["status"], seen["tries"]) == (
        "InternalServerError",
        503,
        2,
    )
    assert (seen["unauthorized"]["name"], seen["unauthorized"]["status"]) == ("InternalServerError", 502)


@pytest.mark.parametrize("how", ["cut-midstream", "error-midstream", "garbage", "cut_by_provider"])
def test_a_cut_stream_is_an_error(seen: dict[str, Any], how: str) -> None:
    assert seen[how] != "no error"
    assert "Error" in seen[how]["name"]


def test_models_and_abort(seen: dict[str, Any]) -> None:
    assert seen["models"] is True
    assert seen["aborted_after"] == 5
