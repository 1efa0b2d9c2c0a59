"""What a use is held against."""

from __future__ import annotations

from msgspec import Struct

from switchboard.core.counting import Take, Window
from switchboard.core.types import Caller


class Rule(Struct, frozen=True, gc=False):
    """One counter that a use is held against. `measure` is "requests", "tokens", "dollars" (counted in billionths), "streams", "connects" or
    "sessions"; `whose` is "caller", "app" or "address"."""

    key: str
    window: Window
    limit: int
    measure: str
    whose: str

    def take(self, amount: int) -> Take:
        """Add `amount`."""
        return Take(self.key, self.window, amount, self.limit)


class Rules(Struct, frozen=True, gc=False):
    """All that holds for a caller at an address. `admission` are the takes for one request, one for each of `requests`;
    `uses` are those of tokens and dollars."""

    caller: Caller
    requests: tuple[Rule, ...]
    admission: tuple[Take, ...]
    uses: tuple[Rule, ...]
    streams: tuple[Rule, ...]
    connects: tuple[Rule, ...]
    sessions: tuple[Rule, ...]
