"""Failed attempts to log in, by the address that they came from."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from switchboard.net.address import network_of

_WINDOW: Final = 60.0
_LONGEST: Final = 64  # characters of what is no address


class Failures:
    """At most `most_per_minute` failures in any 60 seconds by each address; then it is blocked until the oldest of them is a
    minute old. Of IPv6, the first 64 bits count: one customer has them all.

    At most `addresses` are remembered; the one that failed longest ago is forgotten first. Raises `ValueError` for limits
    below 1.
    """

    def __init__(self, most_per_minute: int = 30, addresses: int = 10_000) -> None:
        if most_per_minute < 1 or addresses < 1:
            raise ValueError("limits of failed attempts are at least 1")
        self._most = most_per_minute
        self._addresses = addresses
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failed)

    def allow(self, most_per_minute: int) -> None:
        """Hold by another limit from now on; what an address did before counts, as far as it is remembered."""
        if most_per_minute < 1:
            raise ValueError("limits of failed attempts are at least 1")
        if most_per_minute != self._most:
            self._most = most_per_minute
            self._failed = OrderedDict((a, deque(t, maxlen=most_per_minute)) for a, t in self._failed.items())

    def blocked(self, address: str, at: float) -> float:
        """Seconds for which `address` is blocked, as of `at` (seconds, monotonic); 0.0 where it is not."""
        if not self._failed:
            return 0.0
        times = self._failed.get(network_of(address)[:_LONGEST])
        if times is None or len(times) < self._most:
            return 0.0
        return min(max(times[0] + _WINDOW - at, 0.0), _WINDOW)

    def failed(self, address: str, at: float) -> None:
        """An attempt of `address` failed at `at` (seconds, monotonic)."""
        key = network_of(address)[:_LONGEST]
        times = self._failed.get(key)
        if times is None:
            times = self._failed[key] = deque(maxlen=self._most)
        times.append(at)
        self._failed.move_to_end(key)
        if len(self._failed) > self._addresses:
            self._failed.popitem(last=False)
