"""Counting what callers do against what they may: the nouns, and the port behind which counters are kept.

A counter has a key (whose it is, and of what) and a window. To *take* is to ask whether all of several counters are
below their limits and, if so, to add to each of them, in one step that nothing else comes between; so a counter is
never over its limit by more than the one request that crossed it. To *give* is to correct afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Allowance(Struct, frozen=True, omit_defaults=True):
    """How much may be used; None: as much as one likes. Tokens are those of questions and answers together; `streams` and
    `voice_sessions` are how many may be open at a time; dollars are US dollars."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    dollars_per_day: float | None = None
    dollars_per_month: float | None = None
    streams: int | None = None
    voice_connects_per_minute: int | None = None
    voice_sessions: int | None = None

    def over(self, other: Allowance) -> Allowance:
        """This one, and what `other` says where this one says nothing."""
        names = self.__struct_fields__
        own = [getattr(self, n) for n in names]
        return Allowance(*[getattr(other, n) if v is None else v for n, v in zip(names, own, strict=True)])


class Window(StrEnum):
    """The time that a counter spans."""

    MINUTE = "minute"  # the last 60 seconds, whenever one looks: never more than the limit in any 60 seconds
    DAY = "day"  # the calendar's day, UTC
    MONTH = "month"  # the calendar's month, UTC
    HELD = "held"  # what is held at this moment: given back, or freed when the process that took it dies


class Take(Struct, frozen=True, gc=False):
    """Add `amount` to the counter `key`, which is allowed while it is below `limit`.

    `key` is at most 200 characters. Amounts and limits are whole numbers of anything below 2**53: requests, tokens,
    billionths of a dollar.
    """

    key: str
    window: Window
    amount: int
    limit: int


class Taken(Struct, gc=False):
    """What became of several takes: all were added, or none.

    `refused` is the index of the first one that was not below its limit, -1 where there is none. `used` is each counter
    as it is now; `resets` the seconds until each has more room (0.0 for what is held). `at` is when they were counted, by the clock
    that the counters go by (seconds since the epoch): what a later `Change` of them names as its own.
    """

    refused: int
    used: list[int]
    resets: list[float]
    at: float = 0.0


class Change(Struct, frozen=True, gc=False):
    """Add `amount` (which may be negative) to a counter, in the window that was current at `at` (seconds since the epoch): a
    reservation is settled in the day that it was made in. A counter never falls below 0."""

    key: str
    window: Window
    amount: int
    at: float


class Counters(Protocol):
    """Where counters are kept: in this process, in a table that the workers of one host share, or in Redis."""

    def take(self, takes: Sequence[Take]) -> Taken | Awaitable[Taken]:
        """All of `takes`, or none. At once where the counters are at hand. Who is cancelled while it waits gives back what it
        asked for, for that counts as taken, whatever became of it."""

    def give(self, changes: Sequence[Change]) -> None:
        """Correct counters. Returns at once; changes are made in the order in which they and takes were asked for."""

    def raise_to(self, floors: Sequence[Change]) -> None:
        """See to it that each counter is at least at its `amount`, after a restart say: what was used before it. A window that is
        over is left alone, and so is what is held."""

    def tick(self, at: float) -> None:
        """It is `at` (seconds, monotonic): keep alive what this process holds. Called about every 0.25 s."""

    @property
    def trouble(self) -> str:
        """What keeps the counters from being exact at the moment, for the log and ``/health``; "" where nothing does."""

    def close(self) -> None:
        """Let go of what this process holds."""

    async def wait_closed(self) -> None:
        """Wait, after `close`, until what this process held is let go of; bounded in time."""
