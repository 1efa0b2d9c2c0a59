"""Targets that fail again and again are left alone."""

from __future__ import annotations

from typing import Any, cast

from switchboard.core.ports import Provider
from switchboard.policy.circuit import CircuitPolicy, Circuits
from switchboard.policy.target import Target


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


A, B = (Target(cast("Provider", cast("Any", Named(n))), "m") for n in "ab")


def circuits() -> Circuits:
    return Circuits(CircuitPolicy(failures=3, rest=10))


def test_failures_in_a_row_put_a_target_behind_the_others() -> None:
    c = circuits()
    assert [c.failed(A, t) for t in (1, 2)] == [False, False]
    assert c.order([A, B], 3) == [A, B]
    assert c.failed(A, 3)  # now it has opened, and that is told once
    assert not c.failed(A, 3)
    assert c.order([A, B], 4) == [B, A]
    assert list(c.states()) == [("a", "m", True)]


def test_success_forgets_the_failures_before_it() -> None:
    c = circuits()
    for _ in range(5):
        c.failed(A, 1)
        c.failed(A, 1)
        c.succeeded(A)
    assert c.order([A, B], 2) == [A, B]
    assert list(c.states()) == []


def test_after_its_rest_one_request_tries_it() -> None:
    c = circuits()
    for _ in range(3):
        c.failed(A, 1)
    assert c.order([A, B], 10.9) == [B, A]
    assert c.order([A, B], 11) == [A, B]  # the trial
    assert c.order([A, B], 11.1) == [B, A]  # everybody else meanwhile
    c.failed(A, 12)
    assert c.order([A, B], 21.9) == [B, A]
    assert c.order([A, B], 22) == [A, B]
    c.succeeded(A)
    assert [c.order([A, B], 22.1) for _ in range(3)] == [[A, B]] * 3


def test_a_trial_that_never_told_is_not_the_last() -> None:
    c = circuits()
    for _ in range(3):
        c.failed(A, 1)
    assert c.order([A, B], 11) == [A, B]
    assert c.order([A, B], 20) == [B, A]
    assert c.order([A, B], 21) == [A, B]


def test_where_all_are_open_all_are_asked() -> None:
    c = circuits()
    for t in (A, B):
        for _ in range(3):
            c.failed(t, 1)
    assert c.order([A, B], 2) == [A, B]
    assert c.order([A], 2) == [A]


def test_what_is_remembered_is_bounded() -> None:
    c = circuits()
    for n in range(5000):
        c.failed(Target(A.provider, f"m{n}"), 1)
    assert len(list(c.states())) == 1024
