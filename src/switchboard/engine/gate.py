"""Who may ask, how often, and under which settings: the policies, put together for one runtime.

Where what is needed is at hand, an answer is given at once; else a coroutine that gives it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, Final

from switchboard.core.counting import Counters, Taken
from switchboard.core.errors import Problem
from switchboard.core.types import Caller, Lines, Op, RequestHead
from switchboard.engine.identity import Identity
from switchboard.engine.prices import UNKNOWN, PriceBook
from switchboard.engine.reservation import Reservation
from switchboard.policy.applying import apply
from switchboard.policy.profile import Profile
from switchboard.policy.quotas import Quotas, headers, refusal
from switchboard.policy.routing import Routing
from switchboard.policy.rules import Rules
from switchboard.policy.target import Target

_JSON: Final = b"application/json"
_BARE: Final = re.compile(rb"(?:audio|video)/[a-z0-9.+-]+|application/(?:ogg|octet-stream)")


class Gate:
    """The policies of one profile."""

    def __init__(
        self,
        identity: Identity,
        quotas: Quotas,
        counters: Counters,
        profile: Profile,
        routing: Routing,
        prices: PriceBook,
    ) -> None:
        self.identity = identity
        self.quotas = quotas
        self.counters = counters
        self.profile = profile
        self.routing = routing
        self.prices = prices
        self.identify = identity.identify

    def check(self, head: RequestHead, limit: int) -> None:
        """Whether the body is one that is read here: JSON, at most `limit` bytes. Raises `Problem` (415, 413)."""
        headers = head.headers
        kind = headers.get(b"content-type", _JSON)
        length = headers.get(b"content-length")
        if kind != _JSON and not _is_json(kind) and length != b"0":
            raise Problem("UNSUPPORTED_MEDIA_TYPE", "The body must be JSON: send content-type: application/json.")
        if length is not None and int(length) > limit:
            raise _too_large(limit)

    def check_files(self, head: RequestHead, limit: int, *, bare: bool) -> None:
        """Whether the body is one that brings files, at most `limit` bytes: a form, or where `bare` sound by itself.
        Raises `Problem` (415, 413)."""
        kind = head.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"multipart/form-data" and not (bare and _BARE.fullmatch(kind)):
            also = ", or sound with its own content type (audio/wav, say)" if bare else ""
            raise Problem("UNSUPPORTED_MEDIA_TYPE", f"The body must be a form: send multipart/form-data{also}.")
        length = head.headers.get(b"content-length")
        if length is not None and int(length) > limit:
            raise _too_large(limit)

    def admit(self, caller: Caller, peer: str, surface: str) -> Lines | Coroutine[Any, Any, Lines]:
        """Count the request; gives the header lines that tell how many are left. Raises `Problem` (403, 429)."""
        if caller.surfaces is not None and surface not in caller.surfaces:
            raise Problem("FORBIDDEN", f"This caller may not use {surface}.")
        rules = self.quotas.rules(caller, peer)
        if not rules.admission:
            return b""
        taken = self.counters.take(rules.admission)
        return _admitted(rules, taken) if isinstance(taken, Taken) else _admitted_later(rules, taken)

    def plan(self, op: Op, caller: Caller, *, documents: bool) -> Sequence[Target]:
        """Bring `op` under the profile and find what may answer it, the best first. Raises `Problem`."""
        targets = self.routing.plan(op, self.profile, documents=documents)
        if caller.models is not None and (targets[0].substituted or op.model not in caller.models):
            # by what answers, and not by what was asked for; also where another steps in
            may = [t for t in targets if t.model in caller.models]
            if not may:
                name = targets[0].model if targets[0].substituted else op.model or targets[0].model
                raise Problem("FORBIDDEN", f"This caller may not use the model '{name}'.", param="model")
            targets = may
        if targets[0].substituted:
            op.drop("model")
        apply(op, self.profile, documents=documents)
        return targets

    def reservation(self, op: Op, caller: Caller, peer: str) -> Reservation | None:
        """What `op` has to have set aside; None where nothing is."""
        if caller.allowance is None and not self.quotas.sets_aside:
            return None
        rules = self.quotas.rules(caller, peer)
        if not rules.uses and not (rules.streams and op.stream):
            return None
        return Reservation(self.counters, rules, op)

    def reserve(self, reservation: Reservation, target: Target) -> Lines | Coroutine[Any, Any, Lines]:
        """Set aside what an answer of `target` may use. Raises `Problem` (429)."""
        if not self.price(reservation, target):
            return self._reserve_later(reservation, target)
        return reservation.begin()

    def price(self, reservation: Reservation, target: Target) -> bool:
        """What is used costs what `target` costs from now on. False: that is still being looked up."""
        if not reservation.in_dollars:
            return True
        price = self.prices.price_for(target)
        if price is UNKNOWN:
            return False
        reservation.toward(price)
        return True

    async def _reserve_later(self, reservation: Reservation, target: Target) -> Lines:
        reservation.toward(await self.prices.wait_for(target))
        lines = reservation.begin()
        return lines if isinstance(lines, bytes) else await lines


def _admitted(rules: Rules, taken: Taken) -> Lines:
    if taken.refused < 0:
        return headers(rules.requests, taken)
    problem = refusal(rules.requests[taken.refused], taken.resets[taken.refused])
    problem.headers += headers(rules.requests, taken)
    raise problem


async def _admitted_later(rules: Rules, taken: Awaitable[Taken]) -> Lines:
    return _admitted(rules, await taken)


def _is_json(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == _JSON or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def _too_large(limit: int) -> Problem:
    return Problem("PAYLOAD_TOO_LARGE", f"The body is larger than {limit} bytes.")
