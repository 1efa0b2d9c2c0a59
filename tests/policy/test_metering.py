"""What a request used: counted where somebody counted, else estimated."""

from __future__ import annotations

from typing import Any

import pytest

from switchboard.core.types import Generate, Outcome, Speak, Usage
from switchboard.policy.metering import UsageMeter

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "12345678"}, {"role": "user", "content": "9"}]


def generate(messages: list[dict[str, Any]]) -> Generate:
    return Generate("m", messages=messages, params={})


def test_the_provider_s_figures_count() -> None:
    meter = UsageMeter(generate(MESSAGES))
    meter.saw(3, 4000)
    meter.usage(Usage(7, 9, 2))
    used = meter.settle(Outcome.COMPLETE)
    assert (used.input, used.output, used.cached, used.estimated) == (7, 9, 2, False)


def test_the_last_figures_win() -> None:
    meter = UsageMeter(generate(MESSAGES))
    meter.usage(Usage(7, 1))
    meter.usage(Usage(7, 9))
    assert meter.settle(Outcome.COMPLETE).output == 9


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_nobody_counted(size: int, tokens: int) -> None:
    meter = UsageMeter(generate(MESSAGES))
    assert meter.saw(1, size)
    used = meter.settle(Outcome.CLIENT_LEFT)
    assert (used.input, used.output, used.estimated) == (3, tokens, True)


def test_pieces_add_up() -> None:
    meter = UsageMeter(generate([]))
    for _ in range(8):
        meter.saw(1, 1)
    assert meter.settle(Outcome.UPSTREAM_CUT).output == 2


def test_parts_that_are_no_text_are_not_guessed_at() -> None:
    parts = [{"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {"url": "data:" + "x" * 9000}}]
    assert UsageMeter(generate([{"role": "user", "content": parts}])).settle(Outcome.COMPLETE).input == 1


def test_settled_once() -> None:
    meter = UsageMeter(generate(MESSAGES))
    first = meter.settle(Outcome.COMPLETE)
    meter.saw(1, 4000)
    meter.usage(Usage(100, 100))
    assert meter.settle(Outcome.CLIENT_LEFT) is first


def test_characters_are_counted_whatever_the_provider_says() -> None:
    op = Speak("m", members={}, text="äöü")
    assert UsageMeter(op).settle(Outcome.COMPLETE).characters == 3
    counted = UsageMeter(op)
    counted.usage(Usage(5, 70))
    used = counted.settle(Outcome.COMPLETE)
    assert (used.characters, used.input, used.output, used.estimated) == (3, 5, 70, False)
