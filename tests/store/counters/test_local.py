"""Counters of one process: what is remembered, and for how long."""

from __future__ import annotations

from support.counting import NOON, Clock
from switchboard.core.counting import Change, Take, Window
from switchboard.store.counters.local import LocalCounters

MINUTE, DAY, MONTH, HELD = Window.MINUTE, Window.DAY, Window.MONTH, Window.HELD


def one(counters: LocalCounters, key: str, window: Window = MINUTE, amount: int = 1) -> int:
    return counters.take([Take(key, window, amount, 10**6)]).used[0]


def test_the_quietest_is_forgotten_first() -> None:
    counters = LocalCounters(most=10, clock=Clock())
    for key in "abcdefghij":
        one(counters, key)
    assert one(counters, "a") == 2  # not so quiet any more
    assert one(counters, "new") == 1
    assert one(counters, "a", amount=0) == 2
    assert one(counters, "c", amount=0) == 1
    assert one(counters, "b", amount=0) == 0


def test_who_is_refused_is_not_quiet() -> None:
    counters = LocalCounters(most=10, clock=Clock())
    for window in (MINUTE, DAY):
        assert counters.take([Take("a", window, 1, 1)]).refused < 0
    for i in range(100):
        one(counters, f"{i}")
        assert counters.take([Take("a", MINUTE, 1, 1)]).refused == 0
        assert counters.take([Take("a", DAY, 1, 1)]).refused == 0


def test_what_is_held_is_never_forgotten() -> None:
    counters = LocalCounters(most=5, clock=Clock())
    for i in range(20):
        one(counters, f"h{i}", HELD)
        one(counters, f"m{i}", MINUTE)
        one(counters, f"d{i}", DAY)
    assert counters.held() == {f"h{i}": 1 for i in range(20)}
    counters.close()
    assert counters.held() == {}


def test_days_and_months_are_forgotten_last() -> None:
    counters = LocalCounters(most=6, clock=Clock())
    for i in range(2):
        one(counters, f"d{i}", DAY)
        one(counters, f"c{i}", MONTH)
    for i in range(50):
        one(counters, f"m{i}")
    assert [one(counters, f"{w[0]}{i}", w, 0) for w in (DAY,) for i in range(2)] == [1, 1]
    assert [one(counters, f"c{i}", MONTH, 0) for i in range(2)] == [1, 1]
    for i in range(6):
        one(counters, f"new{i}", DAY)
    assert [one(counters, f"d{i}", DAY, 0) for i in range(2)] == [0, 0]


def test_a_day_that_is_over_goes_first() -> None:
    clock = Clock()
    counters = LocalCounters(most=4, clock=clock)
    one(counters, "yesterday", DAY)
    one(counters, "month", MONTH)
    clock.at += 86_400
    for i in range(3):
        one(counters, f"m{i}")
    assert [one(counters, f"m{i}") for i in range(3)] == [2, 2, 2]
    assert one(counters, "month", MONTH) == 2


def test_nothing_is_remembered_of_what_is_given_back() -> None:
    counters = LocalCounters(most=2, clock=Clock())
    for window in (DAY, MONTH, HELD):
        one(counters, "a", window)
        counters.give([Change("a", window, -1, NOON)])
    one(counters, "x")
    one(counters, "y")
    assert (one(counters, "x"), one(counters, "y")) == (2, 2)
    assert counters.held() == {}


def test_a_refused_stranger_takes_no_room() -> None:
    counters = LocalCounters(most=1, clock=Clock())
    one(counters, "a")
    assert counters.take([Take("b", MINUTE, 1, 0)]).refused == 0
    assert one(counters, "a") == 2
