"""Resampling of a stream: how long it gets, what it sounds like, and that its pieces do not matter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.errors import Problem
from switchboard.engine.converse.rate import FASTEST, SLOWEST, Resampler, load

RATES = [8000, 16000, 22050, 24000, 44100, 48000]
PAIRS = [(a, b) for a in RATES for b in RATES if a != b]


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> bytes:
    n = numpy.arange(int(rate * seconds))
    return (numpy.sin(2 * numpy.pi * hertz * n / rate) * 16000).astype("<i2").tobytes()


def samples(pcm: bytes) -> numpy.ndarray:
    return numpy.frombuffer(pcm, "<i2").astype(float)


def through(resampler: Resampler, pieces: Sequence[bytes]) -> bytes:
    return b"".join([resampler.feed(p) for p in pieces]) + resampler.end()


def loudest(pcm: bytes, rate: int) -> float:
    """The frequency that most of the sound is at."""
    x = samples(pcm)
    spectrum = numpy.abs(numpy.fft.rfft(x * numpy.hanning(len(x))))
    return float(numpy.argmax(spectrum)) * rate / len(x)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_tone_stays_what_it_is(a: int, b: int) -> None:
    out = through(Resampler(a, b), [tone(a)])
    assert abs(len(out) // 2 - b) <= 1
    assert abs(loudest(out, b) - 440) <= 1
    inside = slice(b // 10, -b // 10)  # the filter sees silence beyond the ends
    assert numpy.max(numpy.abs(samples(out)[inside] - samples(tone(b))[: len(out) // 2][inside])) < 20


@pytest.mark.parametrize(("a", "b"), [(48000, 8000), (24000, 16000)])
def test_what_the_lower_rate_cannot_hold_is_taken_out(a: int, b: int) -> None:
    out = through(Resampler(a, b), [tone(a, hertz=b * 0.6)])
    assert numpy.max(numpy.abs(samples(out)[b // 10 : -b // 10])) < 20


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_most_comes_out_at_once(a: int, b: int) -> None:
    resampler, came = Resampler(a, b), 0
    pcm = tone(a, 2.0)
    for at in range(0, len(pcm), a // 25):
        came += len(resampler.feed(pcm[at : at + a // 25]))
        due = min(at + a // 25, len(pcm)) / 2 / a  # two bytes a sample
        late = due - came / 2 / b
        assert -0.001 <= late <= (0.08 if 8000 in (a, b) else 0.03)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PAIRS), st.lists(st.integers(0, 9000), max_size=12))
def test_pieces_do_not_matter(rates: tuple[int, int], cuts: list[int]) -> None:
    pcm = tone(rates[0], 0.2)
    edges = sorted({0, len(pcm), *(min(c, len(pcm)) for c in cuts)})
    pieces = [pcm[i:j] for i, j in pairwise(edges)]
    whole, parts = through(Resampler(*rates), [pcm]), through(Resampler(*rates), pieces)
    assert len(whole) == len(parts)
    assert numpy.max(numpy.abs(samples(whole) - samples(parts)), initial=0) <= 2  # the dither's


def test_single_bytes() -> None:
    pcm = tone(16000, 0.1)
    out = through(Resampler(16000, 24000), [pcm[n : n + 1] for n in range(len(pcm))])
    whole = through(Resampler(16000, 24000), [pcm])
    assert len(out) == len(whole) == 4800
    assert numpy.max(numpy.abs(samples(out) - samples(whole))) <= 2


@pytest.mark.parametrize(("a", "b"), [(24000, 16000), (24000, 48000), (8000, 24000)])
def test_there_and_back(a: int, b: int) -> None:
    pcm = tone(a)
    back = through(Resampler(b, a), [through(Resampler(a, b), [pcm])])
    assert len(back) == len(pcm)
    inside = slice(a // 10, -a // 10)
    assert numpy.max(numpy.abs(samples(back)[inside] - samples(pcm)[inside])) < 20


def test_the_same_rate_passes_as_it_is_but_in_whole_samples() -> None:
    resampler = Resampler(24000, 24000)
    assert [resampler.feed(p) for p in (b"abc", b"", b"d", b"e")] == [b"ab", b"", b"cd", b""]
    assert resampler.end() == b"" and resampler.feed(b"xy") == b"xy"


def test_it_can_begin_anew() -> None:
    resampler, pcm = Resampler(16000, 24000), tone(16000, 0.1)
    first = through(resampler, [pcm, b"\0"])
    assert len(first) == 4800 and len(through(resampler, [pcm])) == 4800


@pytest.mark.parametrize("rate", [0, -1, SLOWEST - 1, FASTEST + 1])
def test_rates_that_there_are_not(rate: int) -> None:
    for rates in ((rate, 24000), (24000, rate), (rate, rate)):
        with pytest.raises(ValueError, match="Hz"):
            Resampler(*rates)


@pytest.mark.parametrize("name", ["soxr", "numpy"])
def test_what_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    for what in (load, lambda: Resampler(16000, 24000)):
        with pytest.raises(Problem, match=r"switchboard\[offline\]") as caught:
            what()
        assert name in caught.value.detail
    assert Resampler(24000, 24000).feed(b"ab") == b"ab"  # needs nothing
