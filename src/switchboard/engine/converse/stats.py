"""What conversations by voice add up to in this process."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

from msgspec import Struct, field

#: Bounds (seconds) of the times from the end of what a user says to the first sound of the answer.
FIRST_SOUND: Final = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class Stats(Struct):
    """Sums since the process began. Frames and bytes are those of the clients' side;
    `dropped` are frames of sound that came too late for a client that reads slowly; `renewed` sessions of a provider that went on in a new
    one; `lost` names what translation had no place for."""

    open: int = 0
    seconds: float = 0.0
    frames_in: int = 0
    bytes_in: int = 0
    frames_out: int = 0
    bytes_out: int = 0
    interruptions: int = 0
    dropped: int = 0
    renewed: int = 0
    tool_calls: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    first_sound: list[int] = field(default_factory=lambda: [0] * (len(FIRST_SOUND) + 1))
    first_sound_seconds: float = 0.0

    def sound_after(self, seconds: float) -> None:
        """The first sound of an answer came so many seconds after the user had ended."""
        self.first_sound[bisect_left(FIRST_SOUND, seconds)] += 1
        self.first_sound_seconds += seconds
