"""Which targets an exchange asks, one after the other, until one answers."""

from __future__ import annotations

from collections.abc import Sequence

from switchboard.core.errors import UpstreamError
from switchboard.core.types import Call
from switchboard.engine.targets import Targets
from switchboard.policy.retry import elsewhere
from switchboard.policy.target import Target


class Plan:
    """The `order` of targets, and how far it has come. `target` is the one to ask now; `asked` counts calls."""

    __slots__ = ("_index", "_keys", "_order", "_rounds", "asked", "target")

    def __init__(self, order: Sequence[Target]) -> None:
        self._order = order
        self._index = 0
        self._keys = 1  # of the current target that were tried
        self._rounds = 1
        self.asked = 0
        self.target: Target = order[0]

    def skip(self) -> bool:
        """Pass over the current target. False where it is the last."""
        if self._index + 1 >= len(self._order):
            return False
        self._index += 1
        self._keys = 1
        self.target = self._order[self._index]
        return True

    def after(self, error: UpstreamError, call: Call, targets: Targets) -> float | None:
        """`call` to the current target failed: seconds to wait before `target` is asked, which may be another one now;
        None where nothing is left to try."""
        if error.status == 401 and self.target.provider.another_key(call, self._keys):
            self._keys += 1
            return 0.0
        if elsewhere(error) and self.skip():
            return 0.0
        wait = targets.wait(self._rounds, error)
        if wait is not None:
            self._rounds += 1
            self._index = 0
            self._keys = 1
            self.target = self._order[0]
        return wait
