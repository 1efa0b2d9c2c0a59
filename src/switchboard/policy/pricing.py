"""What a use costs, by the public prices that the package genai-prices knows.

The package takes 30 MB and a third of a second to load, and a tenth of a millisecond for a price, so a model is looked up
once and its price kept as a few numbers. Prices are of the day of the package's release.
"""

from __future__ import annotations

from msgspec import Struct

from switchboard.core.types import Usage

_PROBE = 1_000_000


class Rates(Struct, frozen=True):
    """US dollars for one of each: a token in, one read from the cache, one put into it, a token out, a character spoken, a
    second listened to, a token in that is sound, a token out that is."""

    input: float
    cached: float
    cache_written: float
    output: float
    characters: float
    seconds: float
    audio_input: float
    audio_output: float


class Price(Struct, frozen=True):
    """The price of a model: rates by the number of input tokens above which they hold, rising, the first from 0 on."""

    steps: tuple[tuple[int, Rates], ...]

    def cost(self, usage: Usage) -> float:
        """US dollars for `usage`. Nobody tells how much of what was read from the cache is sound: as little as can be."""
        rates = self.steps[0][1]
        for above, further in self.steps[1:]:
            if usage.input > above:
                rates = further
        fresh = max(0, usage.input - usage.cached - usage.cache_written)
        heard, spoken = min(usage.audio_input, fresh), min(usage.audio_output, usage.output)
        return (
            (fresh - heard) * rates.input
            + heard * rates.audio_input
            + usage.cached * rates.cached
            + usage.cache_written * rates.cache_written
            + (usage.output - spoken) * rates.output
            + spoken * rates.audio_output
            + usage.characters * rates.characters
            + usage.seconds * rates.seconds
        )


def price_of(provider: str, model: str) -> Price | None:
    """The price of `model` of a `provider` by the package's name; None where it knows none. Slow the first time."""
    from genai_prices import Usage as Used
    from genai_prices import calc_price
    from genai_prices.types import TieredPrices

    def cost(**used: int) -> float:
        return float(calc_price(Used(**used), model_ref=model, provider_id=provider).total_price)

    try:
        listed = calc_price(Used(input_tokens=1), model_ref=model, provider_id=provider).model_price
    except LookupError:
        return None
    tiered = [p for p in vars(listed).values() if isinstance(p, TieredPrices)]
    starts = sorted({0, *(t.start for p in tiered for t in p.tiers)})
    steps = []
    for start in starts:
        many = max(start + 1, _PROBE) if start == starts[-1] else start + 1
        base = cost(input_tokens=many)
        rates = Rates(
            input=base / many,
            cached=cost(input_tokens=many, cache_read_tokens=many) / many,
            cache_written=cost(input_tokens=many, cache_write_tokens=many) / many,
            output=(cost(input_tokens=many, output_tokens=_PROBE) - base) / _PROBE,
            characters=cost(input_characters=_PROBE) / _PROBE,
            seconds=cost(audio_seconds=_PROBE, input_audio_seconds=_PROBE) / _PROBE,
            audio_input=cost(input_tokens=many, input_audio_tokens=many) / many,
            audio_output=(cost(input_tokens=many, output_tokens=_PROBE, output_audio_tokens=_PROBE) - base) / _PROBE,
        )
        steps.append((start, rates))
    return Price(tuple(steps))
