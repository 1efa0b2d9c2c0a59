"""What a request may use, set aside before it is used: tokens and dollars of the caller, the app and the address, and a
place among the open streams. Settled with what was really used, exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from msgspec import Raw

from switchboard.core.counting import Change, Counters, Taken, Window
from switchboard.core.types import Draw, Embed, Generate, Lines, Op, Usage
from switchboard.policy.pricing import Price
from switchboard.policy.quotas import NANO, headers, refusal
from switchboard.policy.rules import Rules

#: Tokens of an answer that are set aside at a time while it streams.
_STEP: Final = 512
#: … and for one that comes whole, where its request names no limit of its own: it cannot be cut in the middle, and a budget is
#: over by no more than one request only if as much is set aside as is used then.
_WHOLE: Final = 4096
#: … and at most so much, whatever it names: longer answers there are none, and what is set aside is kept from others.
_LONGEST: Final = 131_072
#: … of which so many count in a minute, so that short answers do not wait for each other.
_IN_A_MINUTE: Final = 1024


class Reservation:
    """Made for one request; `begin` sets aside, `grow` sets more aside, `settle` corrects."""

    __slots__ = (
        "_amounts",
        "_asking",
        "_at",
        "_counters",
        "_gone",
        "_growing",
        "_more",
        "_op",
        "_price",
        "_rules",
        "_step",
        "_streams",
        "_wanted",
    )

    def __init__(self, counters: Counters, rules: Rules, op: Op) -> None:
        self._counters = counters
        self._op = op
        self._streams = rules.streams if op.stream else ()
        self._rules = rules.uses
        self._wanted: list[int] = []
        self._asking: asyncio.Future[Taken] | None = None  # for those
        self._amounts: list[int] | None = None  # what is set aside, once it is
        self._more: list[tuple[list[int], float]] = []  # … and while it streams, with the time of each
        self._price: Price | None = None
        self._at = 0.0
        self._step = _output(op)
        self._gone = False
        self._growing: asyncio.Task[None] | None = None

    @property
    def in_dollars(self) -> bool:
        """Whether it matters what the answer costs."""
        return any(r.measure == "dollars" for r in self._rules)

    @property
    def step(self) -> int:
        """Tokens of the answer that are set aside at a time."""
        return self._step

    def toward(self, price: Price | None) -> None:
        """What answers costs `price`."""
        self._price = price

    def begin(self) -> Lines | Coroutine[Any, Any, Lines]:
        """Set aside what the request will need, as far as can be known; gives the header lines that tell what is left. Raises
        `Problem` (429)."""
        asked = self._op.asked()
        short = asked.input + min(self._step, _IN_A_MINUTE)
        asked.output = self._step
        amounts = self._measured(asked)
        amounts = [min(n, short) if r.window is Window.MINUTE else n for r, n in zip(self._rules, amounts, strict=True)]
        takes = [r.take(n) for r, n in zip(self._rules, amounts, strict=True)] + [r.take(1) for r in self._streams]
        self._wanted = amounts
        taken = self._counters.take(takes)
        if isinstance(taken, Taken):
            return self._begun(amounts, taken)
        # it goes on when nobody waits for it any more: what it takes then has to be given back
        asking = self._asking = asyncio.ensure_future(taken)

        async def later() -> Lines:
            return self._begun(amounts, await asyncio.shield(asking))

        return later()

    def _begun(self, amounts: list[int], taken: Taken) -> Lines:
        self._asking = None
        self._at = taken.at
        rules = (*self._rules, *self._streams)
        if taken.refused >= 0:
            raise refusal(rules[taken.refused], taken.resets[taken.refused])
        self._amounts = amounts
        return headers(rules, taken)

    def grow(self) -> bool:
        """The answer is longer than what was set aside for it: set more aside. False: nothing is left."""
        if self._gone or self._growing is not None or self._amounts is None:
            return not self._gone
        amounts = self._measured(Usage(output=self._step))
        taken = self._counters.take([r.take(n) for r, n in zip(self._rules, amounts, strict=True)])
        if isinstance(taken, Taken):
            self._grown(amounts, taken)
        else:  # the answer goes on meanwhile

            async def later() -> None:
                self._grown(amounts, await taken)
                self._growing = None

            self._growing = asyncio.get_running_loop().create_task(later())
        return not self._gone

    def _grown(self, amounts: list[int], taken: Taken) -> None:
        if taken.refused >= 0:
            self._gone = True
        elif self._amounts is None:  # it was settled while this was asked for
            self._give([-n for n in amounts], taken.at)
        else:
            self._more.append((amounts, taken.at))

    def settle(self, usage: Usage) -> None:
        """The request is over, and used that much."""
        if self._asking is not None:
            self._asking.add_done_callback(self._late)
        set_aside, self._amounts = self._amounts, None
        if set_aside is not None:
            self._correct(set_aside, usage)

    def _late(self, asking: asyncio.Future[Taken]) -> None:
        """What was asked for is there now, and nobody wants it."""
        if not asking.cancelled() and asking.exception() is None and asking.result().refused < 0:
            self._at = asking.result().at
            self._correct(self._wanted, Usage())

    def _correct(self, set_aside: list[int], usage: Usage) -> None:
        used = self._measured(usage)
        self._give([u - s for u, s in zip(used, set_aside, strict=True)], self._at)
        for amounts, at in self._more:  # each is given back where it was taken: minutes are counted by when
            self._give([-n for n in amounts], at)
        if self._streams:
            self._counters.give([Change(r.key, r.window, -1, self._at) for r in self._streams])

    def _give(self, amounts: list[int], at: float) -> None:
        changes = [Change(r.key, r.window, n, at) for r, n in zip(self._rules, amounts, strict=True) if n]
        if changes:
            self._counters.give(changes)

    def _measured(self, usage: Usage) -> list[int]:
        """`usage` in the measure of each rule."""
        tokens = usage.input + usage.output
        nano = 0 if self._price is None else round(self._price.cost(usage) * NANO)
        return [nano if r.measure == "dollars" else tokens for r in self._rules]


def _output(op: Op) -> int:
    """Tokens of the answer to set aside at first."""
    if isinstance(op, Draw):
        return _WHOLE * max(1, op.choices)  # for each image
    if not isinstance(op, Generate):
        return 0 if isinstance(op, Embed) or not op.stream else _STEP
    named = [_count(op.params.get(n)) for n in ("max_completion_tokens", "max_tokens")]
    limit = next((n for n in named if n is not None), None)
    if op.stream:
        limit = _STEP if limit is None else min(limit, _STEP)
    return max(1, _WHOLE if limit is None else min(limit, _LONGEST)) * max(1, op.choices)


def _count(value: Any) -> int | None:
    text = bytes(value) if isinstance(value, Raw) else str(value).encode()
    return int(text) if text.isdigit() and len(text) < 10 else None
