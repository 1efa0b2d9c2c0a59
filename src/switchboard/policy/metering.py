"""What a request used."""

from __future__ import annotations

import sys
from typing import Final, Protocol

from switchboard.core.types import CHARACTERS_PER_TOKEN, Op, Outcome, Speak, Usage, estimated_tokens

_UNANSWERED: Final = (Outcome.REFUSED, Outcome.UPSTREAM_ERROR)


class Reserved(Protocol):
    """What was set aside for a request."""

    @property
    def step(self) -> int:
        """Tokens of the answer that are set aside at a time."""

    def grow(self) -> bool:
        """Set as much aside again. False: nothing is left."""

    def settle(self, usage: Usage) -> None:
        """The request is over, and used that much."""


class UsageMeter:
    """Counts one request: the provider's figures where there are some, else an estimate from the length of the text.

    `reserved` is what was set aside for it, None where nothing has to be. `exhausted` says that nothing is left of it.
    """

    __slots__ = ("_characters", "_counted", "_op", "_paid", "_settled", "exhausted", "reserved")

    def __init__(self, op: Op, reserved: Reserved | None = None) -> None:
        self._op = op
        self._characters = 0
        self._counted: Usage | None = None
        self._settled: Usage | None = None
        self._paid = sys.maxsize if reserved is None else reserved.step * CHARACTERS_PER_TOKEN
        self.reserved = reserved
        self.exhausted = False

    def saw(self, events: int, size: int) -> bool:
        """`size` characters of content went by. False: nothing is left of what was set aside."""
        self._characters += size
        return self._characters <= self._paid or self._grow()

    def _grow(self) -> bool:
        reserved = self.reserved
        while reserved is not None and self._op.stream and self._characters > self._paid and not self.exhausted:
            self.exhausted = not reserved.grow()
            self._paid += reserved.step * CHARACTERS_PER_TOKEN
        return not self.exhausted

    def usage(self, usage: Usage) -> None:
        self._counted = usage

    def settle(self, why: Outcome) -> Usage:
        if self._settled is None:
            if self._counted is None and why in _UNANSWERED:
                self._settled = Usage(estimated=True)  # nobody has done anything
            else:
                self._settled = self._counted or self._estimate()
                if isinstance(self._op, Speak):
                    self._settled.characters = len(self._op.text)
            if self.reserved is not None:
                self.reserved.settle(self._settled)
        return self._settled

    def _estimate(self) -> Usage:
        usage = self._op.asked()
        usage.output = estimated_tokens(self._characters)
        return usage
