"""Whether a failed call is tried again, where, and after how long."""

from __future__ import annotations

import random
from typing import Final

from msgspec import Struct

from switchboard.core.errors import Fault, UpstreamError

#: A provider's refusals that say nothing of what another provider, or another key, would say.
_ELSEWHERE: Final = frozenset({401, 402, 403, 404})
#: Failures that have cost all the time there was.
_SLOW: Final = frozenset({Fault.TIMEOUT})


class RetryPolicy(Struct, frozen=True):
    """`attempts` is how often each target is asked; `wait` and `longest` are in seconds: the mean wait before the second
    round (doubled for each one after it), and the longest that a provider may ask for."""

    attempts: int = 2
    wait: float = 0.5
    longest: float = 3.0


def elsewhere(error: UpstreamError) -> bool:
    """Whether another target may do better."""
    if error.fault in (Fault.STATUS, Fault.EVENT) and error.status in _ELSEWHERE:
        return True
    return error.retryable or error.fault is Fault.TLS


def wait_before(policy: RetryPolicy, rounds: int, error: UpstreamError, chance: random.Random) -> float | None:
    """Seconds to wait before the targets are asked once more after `rounds` rounds; None: not at all.

    What the provider asks for in ``retry-after`` is kept to; a jitter of a half both ways keeps clients that failed
    together from coming back together.
    """
    if rounds >= policy.attempts or not error.retryable or error.fault in _SLOW:
        return None
    asked = seconds(error.retry_after)
    if asked is not None:
        return asked + chance.uniform(0, policy.wait / 2) if asked <= policy.longest else None
    return min(policy.longest, policy.wait * 2.0 ** (rounds - 1)) * chance.uniform(0.5, 1.5)


def seconds(retry_after: str | None) -> float | None:
    """A ``retry-after`` as seconds, where it is a plausible number; dates and oddities are passed over."""
    if retry_after is None:
        return None
    try:
        value = float(retry_after)
    except ValueError:
        return None
    return value if 0 <= value <= 86_400 else None
