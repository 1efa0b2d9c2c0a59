"""What a use costs."""

from __future__ import annotations

import pytest

from switchboard.core.types import Usage
from switchboard.policy.pricing import Price, Rates, price_of


def test_each_kind_of_token_has_its_rate() -> None:
    price = Price(
        ((0, Rates(1.0, 0.1, 2.0, 10.0, 0.0, 0.0, 1.0, 10.0)), (100, Rates(3.0, 0.3, 6.0, 30.0, 0.0, 0.0, 3.0, 30.0)))
    )
    assert price.cost(Usage(100, 1)) == 110
    assert price.cost(Usage(101, 1)) == 333
    assert price.cost(Usage(10, 0, cached=4, cache_written=2)) == pytest.approx(4 + 0.4 + 4)


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("openai", "gpt-4o", {"input_tokens": 1200, "output_tokens": 345, "cache_read_tokens": 200}),
        ("openai", "gpt-6-luna", {"input_tokens": 900_000, "output_tokens": 12}),
        ("anthropic", "claude-sonnet-4-5", {"input_tokens": 5000, "output_tokens": 100, "cache_read_tokens": 4000}),
        ("anthropic", "claude-sonnet-4-5", {"input_tokens": 300_000, "output_tokens": 100, "cache_write_tokens": 9000}),
        ("openai", "text-embedding-3-small", {"input_tokens": 77}),
    ],
)
def test_it_is_what_the_list_says(provider: str, model: str, usage: dict[str, int]) -> None:
    from genai_prices import Usage as Used
    from genai_prices import calc_price

    listed = calc_price(Used(**usage), model_ref=model, provider_id=provider).total_price
    price = price_of(provider, model)
    assert price is not None
    own = Usage(
        usage["input_tokens"],
        usage.get("output_tokens", 0),
        usage.get("cache_read_tokens", 0),
        cache_written=usage.get("cache_write_tokens", 0),
    )
    assert price.cost(own) == pytest.approx(float(listed), rel=1e-9)


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("gpt-4o-transcribe", {"input_tokens": 1000, "input_audio_tokens": 800, "output_tokens": 50}),
        ("gpt-4o-mini-transcribe", {"input_tokens": 14, "input_audio_tokens": 14, "output_tokens": 45}),
        (
            "gpt-audio",
            {"input_tokens": 1000, "input_audio_tokens": 800, "output_tokens": 50, "output_audio_tokens": 30},
        ),
        # without prices of its own for sound, a token is a token
        ("gpt-4o", {"input_tokens": 1000, "input_audio_tokens": 800, "output_tokens": 50, "output_audio_tokens": 30}),
    ],
)
def test_tokens_of_sound_cost_what_the_list_says(model: str, usage: dict[str, int]) -> None:
    from genai_prices import Usage as Used
    from genai_prices import calc_price

    listed = calc_price(Used(**usage), model_ref=model, provider_id="openai").total_price
    price = price_of("openai", model)
    assert price is not None
    own = Usage(
        usage["input_tokens"],
        usage["output_tokens"],
        audio_input=usage["input_audio_tokens"],
        audio_output=usage.get("output_audio_tokens", 0),
    )
    assert price.cost(own) == pytest.approx(float(listed), rel=1e-9)


def test_no_token_is_paid_twice() -> None:
    """Nobody tells how much of what came from the cache is sound, and counts need not add up."""
    price = Price(((0, Rates(1.0, 0.1, 2.0, 10.0, 0.0, 0.0, 5.0, 50.0)),))
    assert price.cost(Usage(10, 4, cached=6, audio_input=8, audio_output=1)) == pytest.approx(0.6 + 4 * 5 + 30 + 50)
    assert price.cost(Usage(10, 4, audio_input=99, audio_output=99)) == pytest.approx(10 * 5 + 4 * 50)
    assert price.cost(Usage(10, 4, cached=99, audio_input=10)) == pytest.approx(9.9 + 40)


def test_characters_and_seconds() -> None:
    speech, listening = price_of("openai", "tts-1"), price_of("openai", "whisper-1")
    assert speech is not None and listening is not None
    assert speech.cost(Usage(characters=1_000_000)) == pytest.approx(15)
    assert listening.cost(Usage(seconds=60)) == pytest.approx(0.006)


def test_a_model_that_is_not_listed_has_no_price() -> None:
    assert price_of("openai", "no-such-model") is None
    assert price_of("no-such-provider", "gpt-4o") is None
