"""How many requests a caller may make in a minute: counted in this process, exact under any parallelism in it."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from switchboard.core.types import Lines

_WINDOW = 60.0


class Verdict(Struct, gc=False):
    """Whether a request is admitted; how many more would be; seconds until there is room again."""

    admitted: bool
    remaining: int
    reset: float


class RequestRate:
    """At most `limit` requests in any 60 seconds by each caller.

    A sliding window of two counters: the last whole window counts by the share of it that is still inside. At most
    `callers` are remembered; the one that was quiet longest is forgotten first.
    """

    def __init__(self, limit: int, *, callers: int = 100_000) -> None:
        self.limit = limit
        self._most = callers
        self._seen: OrderedDict[str, tuple[float, int, int]] = OrderedDict()

    def take(self, caller: str, now: float) -> Verdict:
        """Count a request of `caller` at `now` (seconds, monotonic) if it is admitted."""
        start, count, before = self._seen.get(caller, (now, 0, 0))
        windows = int((now - start) / _WINDOW)
        if windows:
            before = count if windows == 1 else 0
            count = 0
            start += windows * _WINDOW
        left = 1.0 - (now - start) / _WINDOW
        used = count + before * left
        admitted = used + 1 <= self.limit
        if admitted:
            count += 1
            used += 1
        self._seen[caller] = (start, count, before)
        if len(self._seen) * 2 > self._most:  # the order matters only when somebody may have to be forgotten
            self._seen.move_to_end(caller)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)
        return Verdict(admitted, max(0, int(self.limit - used)), left * _WINDOW)

    def headers(self, verdict: Verdict) -> Lines:
        """The ``x-ratelimit-*`` headers, as OpenAI names them."""
        return (
            b"x-ratelimit-limit-requests: %d\r\n"
            b"x-ratelimit-remaining-requests: %d\r\n"
            b"x-ratelimit-reset-requests: %ds\r\n" % (self.limit, verdict.remaining, verdict.reset + 0.999)
        )
