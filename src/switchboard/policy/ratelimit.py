"""How many requests a caller may make in a minute: counted in this process, exact under any parallelism in it."""

from __future__ import annotations

from collections import OrderedDict, deque

from msgspec import Struct

from switchboard.core.types import Lines

#: Requests are counted by the second; one that was made at the end of a second counts until 60 s later at the latest.
_SECONDS = 61


class Verdict(Struct, gc=False):
    """Whether a request is admitted; how many more would be; seconds until there is room again, or more of it."""

    admitted: bool
    remaining: int
    reset: float


class _Minute(Struct):
    """What a caller asked in the last minute: requests by second, oldest first, and their sum."""

    seconds: deque[list[int]]
    total: int = 0


class RequestRate:
    """At most `limit` requests in any 60 seconds by each caller.

    At most `callers` are remembered; the one that was quiet longest is forgotten first.
    """

    def __init__(self, limit: int, *, callers: int = 100_000) -> None:
        self.limit = limit
        self._most = callers
        self._seen: OrderedDict[str, _Minute] = OrderedDict()

    def take(self, caller: str, now: float) -> Verdict:
        """Count a request of `caller` at `now` (seconds, monotonic) if it is admitted."""
        minute = self._seen.get(caller)
        if minute is None:
            minute = self._seen[caller] = _Minute(deque())
        seconds, second = minute.seconds, int(now)
        while seconds and seconds[0][0] + _SECONDS <= second:
            minute.total -= seconds.popleft()[1]
        admitted = minute.total < self.limit
        if admitted:
            minute.total += 1
            if seconds and seconds[-1][0] == second:
                seconds[-1][1] += 1
            else:
                seconds.append([second, 1])
        if len(self._seen) * 2 > self._most:  # the order matters only when somebody may have to be forgotten
            self._seen.move_to_end(caller)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)
        return Verdict(admitted, self.limit - minute.total, seconds[0][0] + _SECONDS - now if seconds else 0.0)

    def full(self, caller: str, now: float) -> bool:
        """Whether a request of `caller` at `now` would not be admitted; it is not counted."""
        minute = self._seen.get(caller)
        if minute is None:
            return False
        return sum([n for second, n in minute.seconds if second + _SECONDS > int(now)]) >= self.limit

    def headers(self, verdict: Verdict) -> Lines:
        """The ``x-ratelimit-*`` headers, as OpenAI names them."""
        return (
            b"x-ratelimit-limit-requests: %d\r\n"
            b"x-ratelimit-remaining-requests: %d\r\n"
            b"x-ratelimit-reset-requests: %ds\r\n" % (self.limit, verdict.remaining, verdict.reset + 0.999)
        )
