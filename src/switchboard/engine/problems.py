"""What a client is told when a provider failed: never in the provider's words, but for a request that it refused."""

from __future__ import annotations

import math

from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.ports import Provider
from switchboard.policy.retry import seconds

_UNREACHABLE = (Fault.REFUSED, Fault.DNS, Fault.TLS, Fault.PROXY, Fault.RESET)


def problem_for(error: UpstreamError, provider: Provider) -> Problem:
    """`error` as a client may see it; the whole of it goes into the problem's `detail`, for the log."""
    title = provider.title
    detail = f"{provider.name}: {error}"
    match error.fault:
        case Fault.STATUS | Fault.EVENT:
            return _answered(error, title, detail, provider.capabilities.own_words)
        case Fault.CONNECT_TIMEOUT | Fault.TIMEOUT:
            return Problem("PROVIDER_TIMEOUT", f"{title} did not answer in time.", detail=detail)
        case Fault.CUT:
            return Problem("PROVIDER_CUT", f"{title}'s answer was cut off.", detail=detail)
        case Fault.PROTOCOL | Fault.TOO_LARGE:
            return Problem("PROVIDER_PROTOCOL", f"{title}'s answer could not be understood.", detail=detail)
        case Fault.FULL:
            return Problem("OVERLOADED", detail=detail)
        case fault:
            assert fault in _UNREACHABLE
            return Problem("PROVIDER_UNREACHABLE", f"{title} could not be reached.", detail=detail)


def _answered(error: UpstreamError, title: str, detail: str, own_words: bool) -> Problem:
    status = error.status or 503
    if status in (401, 402, 403):
        return Problem("PROVIDER_AUTH", f"{title} did not accept this server's credentials.", detail=detail)
    if status == 429:
        text = f"{title} is limiting requests; try again later."
        return Problem("PROVIDER_RATE_LIMITED", text, detail=detail, retry_after=_seconds(error.retry_after))
    if status in (400, 404, 413, 422):
        if own_words and error.message:
            return Problem("INVALID_REQUEST", error.message, param=error.param, detail=detail)
        return Problem("PROVIDER_REJECTED", f"{title} did not accept the request.", detail=detail, upstream=error)
    if status == 408:
        return Problem("PROVIDER_TIMEOUT", f"{title} did not answer in time.", detail=detail)
    if status >= 500 or status == 409:
        text = f"{title} is unavailable; try again later."
        return Problem("PROVIDER_UNAVAILABLE", text, detail=detail, retry_after=_seconds(error.retry_after))
    return Problem("PROVIDER_PROTOCOL", f"{title}'s answer could not be understood.", detail=detail)


def _seconds(retry_after: str | None) -> str | None:
    """The provider's ``retry-after`` where it is a plausible number of seconds; dates and oddities are not passed on."""
    wait = seconds(retry_after)
    return None if wait is None else str(max(1, math.ceil(wait)))
