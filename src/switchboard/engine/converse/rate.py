"""Sound at another sampling rate, while it comes."""

from __future__ import annotations

from typing import Any, Final

from switchboard.core.errors import Problem

SLOWEST: Final = 8000  # Hz
FASTEST: Final = 48000

#: 16 bits exact, up to 0.8 of half the lower rate; holds back at most 22 ms, 77 where one of the rates is 8 kHz. "HQ" keeps 0.94, and
#: twice as much back, which is heard more: somebody waits for an answer.
_QUALITY: Final = "LQ"


def load() -> tuple[Any, Any]:
    """The modules that resample, numpy and soxr, which take their time when they are imported first. Raises `Problem` where they
    are not installed."""
    try:
        import numpy
        import soxr
    except ImportError as e:
        raise Problem(
            "INTERNAL_ERROR",
            "This server cannot resample sound: it needs the extra 'offline' (pip install 'switchboard[offline]').",
            detail=f"{e.name or 'numpy or soxr'} cannot be imported: {e}",
        ) from e
    return numpy, soxr


class Resampler:
    """A stream of sound from `from_rate` to `to_rate` Hz: 16 bits, little-endian, mono. It holds no more than its filter does, and half a sample.

    Raises `ValueError` for rates that are not from `SLOWEST` to `FASTEST`, and `Problem` where what it needs is not installed.
    """

    __slots__ = ("_numpy", "_odd", "_stream")

    def __init__(self, from_rate: int, to_rate: int) -> None:
        for rate in (from_rate, to_rate):
            if not SLOWEST <= rate <= FASTEST:
                raise ValueError(f"a rate of {rate} Hz is not from {SLOWEST} to {FASTEST}")
        self._odd = b""
        self._numpy: Any = None
        self._stream: Any = None  # None: as it comes
        if from_rate != to_rate:
            self._numpy, soxr = load()
            self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="int16", quality=_QUALITY)

    def feed(self, pcm: bytes) -> bytes:
        """What comes out of the filter when `pcm` goes in, which may be nothing yet. An odd byte waits for its other half."""
        if self._odd:
            pcm = self._odd + pcm
        whole = len(pcm) & ~1
        self._odd = pcm[whole:]
        return self._resampled(pcm[:whole], last=False)

    def end(self) -> bytes:
        """What the filter holds yet; half a sample is dropped. What is fed then begins anew."""
        self._odd = b""
        rest = self._resampled(b"", last=True)
        if self._stream is not None:
            self._stream.clear()
        return rest

    def _resampled(self, pcm: bytes, *, last: bool) -> bytes:
        if self._stream is None or not (pcm or last):
            return pcm
        samples = self._numpy.frombuffer(pcm, "<i2").astype("int16", copy=False)
        out: bytes = self._stream.resample_chunk(samples, last=last).astype("<i2", copy=False).tobytes()
        return out
