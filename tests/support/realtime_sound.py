"""Sound for tests of the Realtime interface: 16 bits, 24 kHz, mono, little-endian. Tones, and an ear for them."""

from __future__ import annotations

import itertools
import math
import sys
from array import array
from typing import Final

RATE: Final = 24_000
#: Bytes of a millisecond, and of the frames that the ear hears in.
MS: Final = RATE // 1000 * 2
FRAME: Final = 20 * MS
_LOUD: Final = 1000  # root mean square, of 32768


def tone(hertz: float, ms: int, amplitude: int = 8000) -> bytes:
    """`ms` milliseconds of one pitch."""
    n = ms * RATE // 1000
    wave = array("h", (round(amplitude * math.sin(2 * math.pi * hertz * i / RATE)) for i in range(n)))
    return _little(wave).tobytes()


def silence(ms: int) -> bytes:
    """`ms` milliseconds of nothing."""
    return bytes(ms * MS)


def described(pcm: bytes) -> str:
    """What is heard in `pcm`, as a transcript has it: "a tone of 440 Hz", by the zeros that it crosses where it is loud, to the
    next 20 Hz; "silence" where it is not."""
    heard = bytearray()
    for at in range(0, len(pcm) - FRAME + 1, FRAME):
        if is_loud(pcm[at : at + FRAME]):
            heard += pcm[at : at + FRAME]
    if not heard:
        return "silence"
    wave = _samples(bytes(heard))
    crossings = sum((a < 0) != (b < 0) for a, b in itertools.pairwise(wave))
    hertz = crossings / 2 / (len(wave) / RATE)
    return f"a tone of {round(hertz / 20) * 20} Hz"


def is_loud(frame: bytes) -> bool:
    """Whether somebody speaks in a frame."""
    wave = _samples(frame)
    return sum(s * s for s in wave) > _LOUD * _LOUD * len(wave)


class Ear:
    """Hears where speech begins and ends: it ends with `quiet` milliseconds of silence."""

    def __init__(self) -> None:
        self.heard = 0  # milliseconds since the session began
        self.speaking = False
        self._quiet = 0
        self._rest = b""

    def hear(self, pcm: bytes, quiet: int) -> list[tuple[bool, int]]:
        """What begins (True) and ends (False) in `pcm`, and when, in milliseconds."""
        pcm = self._rest + pcm
        told = []
        whole = len(pcm) - len(pcm) % FRAME
        for at in range(0, whole, FRAME):
            self.heard += FRAME // MS
            if is_loud(pcm[at : at + FRAME]):
                self._quiet = 0
                if not self.speaking:
                    self.speaking = True
                    told.append((True, self.heard))
            elif self.speaking:
                self._quiet += FRAME // MS
                if self._quiet >= quiet:
                    self.speaking = False
                    told.append((False, self.heard))
        self._rest = pcm[whole:]
        return told


def _samples(pcm: bytes) -> array[int]:
    wave = array("h")
    wave.frombytes(pcm)
    return _little(wave)


def _little(wave: array[int]) -> array[int]:
    if sys.byteorder == "big":
        wave.byteswap()
    return wave
