"""What a request used: counted where somebody counted, else estimated."""

from __future__ import annotations

from typing import Any

import pytest

from switchboard.core.types import Outcome, Usage
from switchboard.policy.metering import TokenMeter

ASKED: list[dict[str, Any]] = [{"role": "user", "content": "12345678"}, {"role": "user", "content": "9"}]


def test_the_provider_s_figures_count() -> None:
    meter = TokenMeter(ASKED)
    meter.saw(3, 4000)
    meter.usage(Usage(7, 9, 2))
    used = meter.settle(Outcome.COMPLETE)
    assert (used.input, used.output, used.cached, used.estimated) == (7, 9, 2, False)


def test_the_last_figures_win() -> None:
    meter = TokenMeter(ASKED)
    meter.usage(Usage(7, 1))
    meter.usage(Usage(7, 9))
    assert meter.settle(Outcome.COMPLETE).output == 9


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_nobody_counted(size: int, tokens: int) -> None:
    meter = TokenMeter(ASKED)
    assert meter.saw(1, size)
    used = meter.settle(Outcome.CLIENT_LEFT)
    assert (used.input, used.output, used.estimated) == (3, tokens, True)


def test_pieces_add_up() -> None:
    meter = TokenMeter([])
    for _ in range(8):
        meter.saw(1, 1)
    assert meter.settle(Outcome.UPSTREAM_CUT).output == 2


def test_parts_that_are_no_text_are_not_guessed_at() -> None:
    parts = [{"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {"url": "data:" + "x" * 9000}}]
    assert TokenMeter([{"role": "user", "content": parts}]).settle(Outcome.COMPLETE).input == 1


def test_settled_once() -> None:
    meter = TokenMeter(ASKED)
    first = meter.settle(Outcome.COMPLETE)
    meter.saw(1, 4000)
    meter.usage(Usage(100, 100))
    assert meter.settle(Outcome.CLIENT_LEFT) is first
