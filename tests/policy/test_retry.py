"""Whether, where and when a failed call is tried again."""

from __future__ import annotations

import random

import pytest

from switchboard.core.errors import Fault, UpstreamError
from switchboard.policy.retry import RetryPolicy, elsewhere, seconds, wait_before

POLICY = RetryPolicy(attempts=3, wait=0.5, longest=10)


def status(code: int, retry_after: str | None = None) -> UpstreamError:
    return UpstreamError(Fault.STATUS, status=code, retry_after=retry_after)


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (status(500), True),
        (status(429), True),
        (status(529), True),
        (status(401), True),
        (status(403), True),
        (status(404), True),
        (status(400), False),
        (status(413), False),
        (status(422), False),
        (UpstreamError(Fault.REFUSED), True),
        (UpstreamError(Fault.TIMEOUT), True),
        (UpstreamError(Fault.PROTOCOL), True),
        (UpstreamError(Fault.TLS), True),
        (UpstreamError(Fault.TOO_LARGE), False),
    ],
)
def test_another_target(error: UpstreamError, may: bool) -> None:
    assert elsewhere(error) is may


@pytest.mark.parametrize("error", [status(400), status(401), status(404), UpstreamError(Fault.TIMEOUT)])
def test_the_same_again_would_be_no_better(error: UpstreamError) -> None:
    assert wait_before(POLICY, 1, error, random.Random(1)) is None


def test_waits_grow_with_a_jitter_and_end() -> None:
    chance = random.Random(1)
    first = [wait_before(POLICY, 1, status(500), chance) for _ in range(200)]
    second = [wait_before(POLICY, 2, status(500), chance) for _ in range(200)]
    assert all(w is not None and 0.25 <= w <= 0.75 for w in first)
    assert all(w is not None and 0.5 <= w <= 1.5 for w in second)
    assert len(set(first)) > 100
    assert wait_before(POLICY, 3, status(500), chance) is None


def test_retry_after_is_kept_to_or_not_waited_for() -> None:
    chance = random.Random(1)
    waits = [wait_before(POLICY, 1, status(429, "4"), chance) for _ in range(50)]
    assert all(w is not None and 4 <= w <= 4.25 for w in waits)
    assert wait_before(POLICY, 1, status(429, "11"), chance) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [(None, None), ("3", 3), ("0.5", 0.5), ("", None), ("soon", None), ("-1", None), ("nan", None), ("1e9", None)],
)
def test_seconds(text: str | None, value: float | None) -> None:
    assert seconds(text) == value
