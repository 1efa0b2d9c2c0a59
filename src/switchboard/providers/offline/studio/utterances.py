"""Where one stretch of speech ends and the next begins."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from msgspec import Struct

#: Seconds of one frame.
FRAME: Final = 0.03
_AROUND: Final = 10  # frames that are kept on either side
_LOOK, _SPEECH = 5, 3  # as many of the last frames have to be speech for it to begin
_QUIET: Final = 20  # frames without speech that end it: 0.6 s
_MOST: Final = 667  # frames: 20 s
_GAP: Final = 5  # frames over which the quietest place for a cut is looked for


class Utterance(Struct):
    """`sound` (16 bits, one channel) that begins at frame `start`."""

    start: int
    sound: bytes


def utterances(frames: Iterable[bytes], is_speech: Callable[[bytes], bool]) -> Iterator[Utterance]:
    """Cut `frames` to utterances of at most 20 s; what nobody speaks in is left out."""
    before: deque[bytes] = deque(maxlen=_AROUND)
    recent: deque[bool] = deque(maxlen=_LOOK)
    current: list[bytes] = []
    start = quiet = 0
    for n, frame in enumerate(frames):
        speech = is_speech(frame)
        if not current:
            before.append(frame)
            recent.append(speech)
            if sum(recent) >= _SPEECH:
                current, start, quiet = list(before), n + 1 - len(before), 0
            continue
        current.append(frame)
        quiet = 0 if speech else quiet + 1
        if quiet >= _QUIET:
            yield Utterance(start, b"".join(current[: _AROUND - _QUIET]))
            before.extend(current[-_AROUND:])
            recent.clear()
            current = []
        elif len(current) >= _MOST:
            at = _quietest(current)
            yield Utterance(start, b"".join(current[:at]))
            current, start = current[at:], start + at
    if current:
        yield Utterance(start, b"".join(current))


def _quietest(frames: list[bytes]) -> int:
    """Where in the second half of `frames` a cut does least harm."""
    half = len(frames) // 2
    sound = np.frombuffer(b"".join(frames[half:]), dtype=np.int16).astype(np.float32)
    power = (sound * sound).reshape(len(frames) - half, -1).sum(axis=1)
    smooth = np.convolve(power, np.ones(_GAP), mode="valid")
    return half + int(smooth.argmin()) + _GAP // 2
