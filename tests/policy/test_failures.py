"""Failed attempts by address."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.policy.failures import Failures


def test_thirty_a_minute_and_not_one_more() -> None:
    failures = Failures()
    for i in range(30):
        assert failures.blocked("192.0.2.1", i) == 0.0
        failures.failed("192.0.2.1", i)
    assert failures.blocked("192.0.2.1", 30) == 30.0
    assert failures.blocked("192.0.2.1", 59.5) == 0.5
    assert failures.blocked("192.0.2.1", 60) == 0.0
    assert failures.blocked("192.0.2.2", 30) == 0.0
    failures.failed("192.0.2.1", 60)
    assert failures.blocked("192.0.2.1", 60) == 1.0  # the next oldest is of second 1


def test_who_goes_on_stays_out() -> None:
    failures = Failures(2)
    for i in range(100):
        failures.failed("a", i)
    assert failures.blocked("a", 100) == 58.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:DB8:0:0:1:2:3:4", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("no address", "not:one", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    failures = Failures(1)
    failures.failed(one, 0)
    assert (failures.blocked(other, 1) > 0) == same


def test_memory_is_bounded() -> None:
    failures = Failures(3, addresses=100)
    for i in range(1000):
        failures.failed(f"192.0.{i // 256}.{i % 256}", i / 1000)
        failures.failed("198.51.100.1", i / 1000)
    assert len(failures) == 100
    assert failures.blocked("198.51.100.1", 1) > 0
    assert failures.blocked("192.0.0.0", 1) == 0.0


@pytest.mark.parametrize("limits", [(0, 10), (-1, 10), (1, 0)])
def test_limits_below_one(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Failures(*limits)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=80), st.floats(0, 1e9)), max_size=50))
def test_any_text_is_an_address(steps: list[tuple[str, float]]) -> None:
    failures = Failures(2, addresses=10)
    for address, at in steps:
        assert 0.0 <= failures.blocked(address, at) <= 60.0
        failures.failed(address, at)
    assert len(failures) <= 10
