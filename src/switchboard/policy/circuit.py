"""A circuit per target: one that fails again and again is left alone for a while, then tried by a single request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from switchboard.policy.target import Target

_REMEMBERED: Final = 1024  # a client may name models as it likes


class CircuitPolicy:
    """`failures` in a row open a circuit for `rest` seconds."""

    def __init__(self, failures: int = 5, rest: float = 30.0) -> None:
        self.failures: Final = failures
        self.rest: Final = rest


class _Circuit:
    def __init__(self) -> None:
        self.failures = 0
        self.closed_at = 0.0  # from when on the target may be asked again


class Circuits:
    """Remembers how targets did. Times are on the monotonic clock.

    A target whose circuit is open goes behind the others: where there is no other, it is asked all the same, for a
    refusal of ours would help nobody.
    """

    def __init__(self, policy: CircuitPolicy) -> None:
        self.policy = policy
        self._circuits: dict[tuple[str, str], _Circuit] = {}

    def order(self, targets: Sequence[Target], at: float) -> Sequence[Target]:
        """`targets` with those behind that are to be left alone."""
        if not self._circuits or len(targets) == 1:
            return targets
        rested, resting = [], []
        for t in targets:
            circuit = self._circuits.get(_key(t))
            if circuit is None or circuit.failures < self.policy.failures:
                rested.append(t)
            elif at >= circuit.closed_at:
                circuit.closed_at = at + self.policy.rest  # this request tries it; the others wait for what it finds
                rested.append(t)
            else:
                resting.append(t)
        return [*rested, *resting]

    def succeeded(self, target: Target) -> None:
        """It answered."""
        if self._circuits:
            self._circuits.pop(_key(target), None)

    def failed(self, target: Target, at: float) -> bool:
        """It did not. True: with that its circuit has opened."""
        if len(self._circuits) >= _REMEMBERED and _key(target) not in self._circuits:
            return False
        circuit = self._circuits.setdefault(_key(target), _Circuit())
        circuit.failures += 1
        if circuit.failures < self.policy.failures:
            return False
        circuit.closed_at = at + self.policy.rest
        return circuit.failures == self.policy.failures

    def states(self) -> Iterator[tuple[str, str, bool]]:
        """Provider, model, and whether the circuit is open, of every target that failed since it last answered."""
        for (provider, model), circuit in self._circuits.items():
            yield provider, model, circuit.failures >= self.policy.failures


def _key(target: Target) -> tuple[str, str]:
    return target.provider.name, target.model
