"""How many requests a caller may make in a minute."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from switchboard.policy.ratelimit import RequestRate


def admitted(limit: int, times: list[float]) -> list[float]:
    rate = RequestRate(limit)
    return [t for t in times if rate.take("a", t).admitted]


@given(st.integers(1, 500), st.floats(0, 1e6))
def test_a_burst_gets_exactly_the_limit(limit: int, at: float) -> None:
    assert len(admitted(limit, [at] * (limit + 50))) == limit


@given(st.integers(1, 20), st.lists(st.floats(0, 200), min_size=1, max_size=100))
@example(60, [0.0, *[59.0] * 59, *[90.0] * 60])
@settings(max_examples=300)
def test_no_sixty_seconds_hold_more_than_the_limit(limit: int, times: list[float]) -> None:
    passed = admitted(limit, sorted(times))
    for start in passed:
        assert sum(0 <= t - start < 60 - 1e-6 for t in passed) <= limit


@given(st.integers(1, 20), st.lists(st.floats(0, 200), min_size=1, max_size=100))
@settings(max_examples=300)
def test_who_waits_as_long_as_told_is_admitted(limit: int, times: list[float]) -> None:
    """`reset` becomes Retry-After: a client that obeys it is not sent away again."""
    rate = RequestRate(limit)
    for t in sorted(times):
        verdict = rate.take("a", t)
        if not verdict.admitted:
            assert rate.take("a", t + verdict.reset + 0.001).admitted
            return


@given(st.integers(1, 50), st.lists(st.floats(0, 300), max_size=100))
def test_verdicts_are_plausible(limit: int, times: list[float]) -> None:
    rate = RequestRate(limit)
    for t in sorted(times):
        verdict = rate.take("a", t)
        assert 0 <= verdict.remaining < limit
        assert 0 <= verdict.reset <= 120
        if not verdict.admitted:
            assert verdict.remaining == 0


def test_callers_do_not_share() -> None:
    rate = RequestRate(2)
    assert [rate.take(c, 0.0).admitted for c in "aababb"] == [True, True, True, False, True, False]


def test_a_quiet_caller_has_all_of_it_again() -> None:
    rate = RequestRate(3)
    for _ in range(5):
        rate.take("a", 10.0)
    verdict = rate.take("a", 10.0 + 121)
    assert (verdict.admitted, verdict.remaining) == (True, 2)


def test_memory_is_bounded_and_the_quietest_is_forgotten() -> None:
    rate = RequestRate(1, callers=10)
    for n in range(10):
        assert rate.take(f"c{n}", 0.0).admitted
    assert not rate.take("c0", 1.0).admitted  # was heard last of all now
    assert rate.take("new", 2.0).admitted
    assert len(rate._seen) == 10
    assert not rate.take("c0", 3.0).admitted
    assert rate.take("c1", 3.0).admitted  # forgotten, so it begins anew
    for n in range(1000):
        rate.take(f"x{n}", 4.0)
    assert len(rate._seen) == 10


def test_headers_as_openai_names_them() -> None:
    rate = RequestRate(2)
    lines = rate.headers(rate.take("a", 0.0)).decode()
    assert "x-ratelimit-limit-requests: 2\r\n" in lines
    assert "x-ratelimit-remaining-requests: 1\r\n" in lines
    assert "x-ratelimit-reset-requests: " in lines
    assert lines.endswith("s\r\n")
