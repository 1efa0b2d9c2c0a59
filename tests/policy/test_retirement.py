"""Models that are gone, and what answers for them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from switchboard.policy.retirement import Retirement, Retirements, table
from switchboard.policy.routing import MODEL_NAME

KNOWN = {"x": (Retirement("old", 100.0, "newer"), Retirement("newer", 200.0, "newest"), Retirement("pre-*", 50, "n"))}


@pytest.mark.parametrize(
    ("model", "at", "successor"),
    [
        ("old", 99, None),
        ("old", 100, "newer"),
        ("old", 200, "newest"),
        ("newer", 100, None),
        ("pre-2024", 60, "n"),
        ("pre", 60, None),
        ("other", 999, None),
    ],
)
def test_from_its_day_on_the_successor_answers(model: str, at: float, successor: str | None) -> None:
    assert Retirements(known=KNOWN).successor("x", model, at) == successor
    assert Retirements(known=KNOWN).successor("y", model, at) is None


def test_settings_add_to_it_and_hold_at_once() -> None:
    r = Retirements({"mine": "old", "loop": "pool", "pool": "loop", "same": "same"}, KNOWN)
    assert r.successor("", "mine", 0) == "old"
    assert r.successor("x", "mine", 150) == "newer"
    assert r.successor("x", "same", 0) is None
    assert r.successor("x", "loop", 0) in (None, "pool", "loop")  # no end, but an answer


def test_the_next_change() -> None:
    r = Retirements(known=KNOWN)
    assert [r.next_change(t) for t in (0, 50, 150, 300)] == [50, 100, 200, float("inf")]


def test_the_table() -> None:
    assert {"openai", "anthropic"} <= set(table())
    for rows in table().values():
        for r in rows:
            assert MODEL_NAME.fullmatch(r.model.removesuffix("*"))
            assert r.successor == "" or MODEL_NAME.fullmatch(r.successor)
            assert date(2023, 1, 1) < r.day < date(2030, 1, 1)
    openai = Retirements()
    assert openai.successor("openai", "gpt-3.5-turbo-instruct", _at(2026, 11, 21)) == "gpt-4.1-mini"
    assert openai.successor("openai", "gpt-3.5-turbo-instruct", _at(2027, 1, 14)) == "gpt-6-luna"
    assert openai.successor("openai", "tts-1", _at(2028, 1, 1)) is None  # gone, and nothing answers in its place
    gpt4o = Retirements().find("openai", "gpt-4o")
    assert gpt4o is not None and gpt4o.day == date(2027, 1, 14)


def _at(year: int, month: int, day: int) -> float:
    return datetime(year, month, day, tzinfo=UTC).timestamp()
