"""A loop that stands still is told of, once, with the place where it stands."""

from __future__ import annotations

import threading

from switchboard.core.clock import now
from switchboard.telemetry.stalls import StallWatch


def stand_still(until: threading.Event) -> None:
    """What the stack has to show."""
    assert until.wait(5)


def test_a_stall_is_told_with_its_stack() -> None:
    told = threading.Event()
    texts: list[str] = []

    def report(text: str) -> None:
        texts.append(text)
        told.set()

    watch = StallWatch(0.02, report)
    stand_still(told)
    watch.close()
    assert len(texts) == 1
    assert "stand_still" in texts[0]


def test_a_heart_that_beats_is_left_alone() -> None:
    texts: list[str] = []
    watch = StallWatch(0.02, texts.append)
    end = now() + 0.6
    while now() < end:
        watch.beat(now())
    watch.close()
    assert texts == []
