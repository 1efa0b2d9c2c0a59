"""How the targets do: their circuits, and what became of each call. It outlives a reload."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from typing import Final

from switchboard.core.errors import Fault, UpstreamError
from switchboard.engine.prices import PriceBook
from switchboard.policy.circuit import CircuitPolicy, Circuits
from switchboard.policy.retry import RetryPolicy, elsewhere, wait_before
from switchboard.policy.target import Target

_COUNTED: Final = 4096  # labels of the metric; clients may name models as they like
_log: Final = logging.getLogger("switchboard.targets")


class Targets:
    """Told of every call; asked in which order to call, and whether once more. A reload changes the policies. `prices` are
    looked up of whatever may be asked."""

    def __init__(self, prices: PriceBook | None = None) -> None:
        self._prices = prices or PriceBook()
        self._told: set[str] = set()  # models that are gone or going, and that the log knows of
        self.retry = RetryPolicy()
        self.circuits = Circuits(CircuitPolicy())
        self._random = random.Random()  # noqa: S311  it spreads waits
        self._attempts: dict[tuple[str, str, str], int] = {}

    def found(self, targets: Sequence[Target]) -> None:
        """`targets` may be asked from now on: say in the log, once, which of their models are gone or going."""
        for t in targets:
            self._prices.want(t)
            if t.retired and t.retired not in self._told:
                self._told.add(t.retired)
                _log.warning("the model %s is retired; %s answers in its place", t.retired, t.model)
            if t.ending is not None and t.model not in self._told:
                self._told.add(t.model)
                after = t.ending.successor or "nothing"
                _log.warning("the model %s retires on %s; from then on %s answers", t.model, t.ending.day, after)

    def order(self, targets: Sequence[Target], at: float) -> Sequence[Target]:
        """`targets`, those behind that are to be left alone at `at` (monotonic)."""
        return self.circuits.order(targets, at)

    def answered(self, target: Target) -> None:
        """A call was answered."""
        self._count(target, "ok")
        self.circuits.succeeded(target)

    def failed(self, target: Target, error: UpstreamError, at: float) -> None:
        """A call failed at `at` (monotonic)."""
        self._count(target, f"status_{error.status}" if error.status else str(error.fault))
        if not elsewhere(error):
            if error.fault is Fault.STATUS:
                self.circuits.succeeded(target)  # it refused the request, and is alive
            return
        if self.circuits.failed(target, at):
            policy = self.circuits.policy
            text = "%s of provider %s failed %d times in a row and is left alone for %g s: %s"
            _log.error(text, target.model, target.provider.name, policy.failures, policy.rest, error)

    def wait(self, rounds: int, error: UpstreamError) -> float | None:
        """Seconds until the targets are asked once more; None: not at all. See `policy.retry.wait_before`."""
        return wait_before(self.retry, rounds, error, self._random)

    def _count(self, target: Target, result: str) -> None:
        key = (target.provider.name, target.model, result)
        known = self._attempts.get(key)
        if known is None and len(self._attempts) >= _COUNTED:
            key = (target.provider.name, "other", result)
            known = self._attempts.get(key)
        self._attempts[key] = (known or 0) + 1

    def attempts(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Calls by provider, model and result."""
        yield from list(self._attempts.items())

    def open_circuits(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """1 by provider and model where a circuit is open, 0 where it may open soon."""
        for provider, model, is_open in list(self.circuits.states()):
            yield (provider, model), float(is_open)
