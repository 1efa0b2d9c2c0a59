"""What a conversation by voice uses, held against the budgets of its caller while it goes on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from switchboard.core.counting import Change, Taken
from switchboard.core.errors import Problem
from switchboard.core.types import Caller, Usage
from switchboard.engine.gate import Gate
from switchboard.engine.prices import Unknown
from switchboard.policy.pricing import Price
from switchboard.policy.quotas import NANO, refusal
from switchboard.policy.rules import Rule
from switchboard.policy.target import Target

_log: Final = logging.getLogger("switchboard.relay")


class Meter:
    """Counts what responses use. `over` is told what to tell the client when nothing is left; `close` ends that."""

    def __init__(self, gate: Gate, caller: Caller, peer: str, target: Target, over: Callable[[Problem], None]) -> None:
        self._gate = gate
        self._rules = gate.quotas.rules(caller, peer).uses
        self._target = target
        self._over: Callable[[Problem], None] | None = over
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._price()  # it is looked up until it is needed

    def look(self) -> Taken | Awaitable[Taken] | None:
        """Whether anything is left, for `refused` to tell; None where nobody asks."""
        return self._gate.counters.take([r.take(0) for r in self._rules]) if self._rules else None

    def refused(self, taken: Taken) -> Problem | None:
        """What there is to say where nothing is left."""
        return None if taken.refused < 0 else refusal(self._rules[taken.refused], taken.resets[taken.refused])

    def used(self, usage: Usage) -> None:
        """A response used so much."""
        at = time.time()
        changes = [Change(r.key, r.window, self._measured(r, usage), at) for r in self._rules]
        if changes:
            self._gate.counters.give(changes)
            if self._over is not None:
                self._see()

    def close(self) -> None:
        """The conversation is over."""
        self._over = None
        if self._task is not None:
            self._task.cancel()

    def _see(self) -> None:
        if self._task is not None:
            self._again = True
            return
        found = self.look()
        if isinstance(found, Taken):
            self._seen(found)
        elif found is not None:
            self._task = asyncio.get_running_loop().create_task(self._wait(found))

    async def _wait(self, asked: Awaitable[Taken]) -> None:
        try:
            self._seen(await asked)
        except Exception:  # they go on counting by themselves when they cannot; nobody is sent away for that
            _log.exception("what a conversation may use cannot be told")
        finally:
            self._task = None
        if self._again:
            self._again = False
            self._see()

    def _seen(self, taken: Taken) -> None:
        problem = self.refused(taken)
        over = self._over
        if problem is not None and over is not None:
            self._over = None
            over(problem)

    def _measured(self, rule: Rule, usage: Usage) -> int:
        if rule.measure != "dollars":
            return usage.input + usage.output
        price = self._price()
        return 0 if price is None or isinstance(price, Unknown) else round(price.cost(usage) * NANO)

    def _price(self) -> Price | Unknown | None:
        return self._gate.prices.price_for(self._target) if any(r.measure == "dollars" for r in self._rules) else None
