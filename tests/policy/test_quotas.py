"""What a request counts against."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.core.counting import Allowance, Taken, Window
from switchboard.core.types import Caller
from switchboard.policy.quotas import Quotas, caller_key, headers, refusal
from switchboard.policy.rules import Rule

PEER = "203.0.113.5"
ANN = Caller("apikey:ann", "api_key")


def limits(quotas: Quotas, caller: Caller = ANN, peer: str = PEER) -> set[tuple[str, str, int]]:
    """All rules: whose, of what, how much."""
    r = quotas.rules(caller, peer)
    return {(x.whose, x.measure, x.limit) for x in (*r.requests, *r.uses, *r.streams, *r.connects, *r.sessions)}


def test_all_that_is_set_holds_and_nothing_else() -> None:
    assert limits(Quotas()) == set()
    quotas = Quotas(
        "shop",
        Allowance(requests_per_minute=5, dollars_per_day=0.5, streams=2),
        Allowance(tokens_per_month=1000),
        Allowance(requests_per_minute=9),
    )
    assert limits(quotas) == {
        ("caller", "requests", 5),
        ("caller", "dollars", 500_000_000),
        ("caller", "streams", 2),
        ("app", "tokens", 1000),
        ("address", "requests", 9),
    }


def test_a_key_s_own_allowance_goes_over_the_profile_s() -> None:
    quotas = Quotas("shop", Allowance(requests_per_minute=5, tokens_per_day=10))
    own = Caller("apikey:bob", "api_key", allowance=Allowance(requests_per_minute=50))
    assert limits(quotas, own) == {("caller", "requests", 50), ("caller", "tokens", 10)}
    assert limits(quotas) == {("caller", "requests", 5), ("caller", "tokens", 10)}


def test_an_allowance_that_has_changed_counts_at_once() -> None:
    quotas = Quotas()
    before = Caller("apikey:bob", "api_key", allowance=Allowance(streams=1))
    after = Caller("apikey:bob", "api_key", allowance=Allowance(streams=7))
    assert [limits(quotas, c) for c in (before, after, before)] == [
        {("caller", "streams", 1)},
        {("caller", "streams", 7)},
        {("caller", "streams", 1)},
    ]


def test_counters_are_of_one_caller_of_one_profile() -> None:
    allowance = Allowance(requests_per_minute=5)
    keys = {
        r.key
        for profile in ("shop", "desk")
        for caller in (ANN, Caller("apikey:bob", "api_key"))
        for r in Quotas(profile, allowance, allowance).rules(caller, PEER).requests
    }
    assert len(keys) == 6  # two callers in each of two profiles, and the profiles


def test_a_customer_has_one_count_whichever_of_its_addresses_of_ipv6_it_uses() -> None:
    allowance = Allowance(requests_per_minute=5)
    quotas = Quotas("shop", allowance, address=allowance)

    def keys(peer: str) -> set[str]:
        return {r.key for r in quotas.rules(Caller(peer), peer).requests}

    assert keys("2001:db8::1") == keys("2001:db8::ffff:1")
    assert not keys("2001:db8::1") & keys("2001:db8:0:1::1")
    assert keys("::ffff:192.0.2.1") == keys("192.0.2.1")
    assert not keys("192.0.2.1") & keys("192.0.2.2")


@given(st.text(max_size=400), st.text(max_size=400), st.sampled_from(["default", "shop"]))
def test_keys_are_short_and_differ(one: str, other: str, profile: str) -> None:
    a, b = caller_key(profile, one), caller_key(profile, other)
    assert (a == b) == (one == other) and len(a) <= 180


@given(st.integers(1, 1000), st.integers(0, 2000), st.floats(0, 61))
def test_what_is_told_of_a_minute(limit: int, used: int, reset: float) -> None:
    rule = Rule("k", Window.MINUTE, limit, "requests", "caller")
    lines = headers((rule,), Taken(-1, [used], [reset])).decode().splitlines()
    told = dict(line.split(": ") for line in lines)
    assert told["x-ratelimit-limit-requests"] == str(limit)
    assert told["x-ratelimit-remaining-requests"] == str(max(0, limit - used))
    assert float(told["x-ratelimit-reset-requests"].removesuffix("s")) >= int(reset)


def test_of_several_the_narrowest_is_told() -> None:
    wide = Rule("a", Window.MINUTE, 100, "requests", "app")
    narrow = Rule("b", Window.MINUTE, 10, "requests", "caller")
    day = Rule("c", Window.DAY, 5, "tokens", "caller")
    for rules, used in (((wide, narrow, day), [50, 5, 1]), ((narrow, wide, day), [5, 50, 1])):
        told = headers(rules, Taken(-1, used, [1.0, 1.0, 1.0]))
        assert b"x-ratelimit-limit-requests: 10\r\n" in told and b"tokens" not in told


@pytest.mark.parametrize(
    ("rule", "code", "says"),
    [
        (Rule("k", Window.MINUTE, 60, "requests", "caller"), "RATE_LIMITED", "60 requests in a minute"),
        (
            Rule("k", Window.DAY, 500, "tokens", "app"),
            "BUDGET_EXHAUSTED",
            "The 500 tokens in a day for this app are used up",
        ),
        (
            Rule("k", Window.MONTH, 2_500_000_000, "dollars", "caller"),
            "BUDGET_EXHAUSTED",
            "The 2.5 US dollars in a month for you are used up",
        ),
        (Rule("k", Window.HELD, 2, "streams", "address"), "RATE_LIMITED", "2 streams at a time"),
    ],
)
def test_who_is_over_a_limit_is_told_which(rule: Rule, code: str, says: str) -> None:
    p = refusal(rule, 41.2)
    assert (p.code, p.status, p.retry_after) == (code, 429, "42")
    assert says in p.message
    assert (b"x-should-retry: false" in p.headers) == (code == "BUDGET_EXHAUSTED")
