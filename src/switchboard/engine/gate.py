"""Who may ask, how often, and under which settings: the policies, put together for one runtime."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from switchboard.core.errors import Problem
from switchboard.core.types import Caller, Lines, Op, RequestHead
from switchboard.policy.authenticate import AccessKeys
from switchboard.policy.metering import UsageMeter
from switchboard.policy.profile import Profile, apply
from switchboard.policy.ratelimit import RequestRate
from switchboard.policy.routing import Routing, Target

_JSON: Final = b"application/json"
_BARE: Final = re.compile(rb"(?:audio|video)/[a-z0-9.+-]+|application/(?:ogg|octet-stream)")


class Gate:
    """`rate` is None where there is no limit."""

    def __init__(
        self,
        keys: AccessKeys,
        rate: RequestRate | None,
        profile: Profile,
        routing: Routing,
    ) -> None:
        self.keys = keys
        self._rate = rate
        self.profile = profile
        self.routing = routing

    def identify(self, head: RequestHead, peer: str) -> Caller:
        """Who asks, by the headers alone. Raises `Problem` (401)."""
        return self.keys.identify(head.headers, peer)

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

    def admit(self, caller: Caller, at: float) -> Lines:
        """Count the request; gives the header lines that tell how many are left. Raises `Problem` (429)."""
        rate = self._rate
        if rate is None:
            return b""
        verdict = rate.take(caller.id, at)
        headers = rate.headers(verdict)
        if not verdict.admitted:
            text = f"More than {rate.limit} requests in a minute; try again in {verdict.reset:.0f} s."
            wait = str(max(1, round(verdict.reset)))
            raise Problem("RATE_LIMITED", text, retry_after=wait, headers=headers)
        return headers

    def plan(self, op: Op, *, documents: bool) -> Sequence[Target]:
        """Bring `op` under the profile and find what may answer it, the best first. Raises `Problem`."""
        targets = self.routing.plan(op, self.profile, documents=documents)
        if targets[0].substituted:
            op.drop("model")
        apply(op, self.profile, documents=documents)
        return targets

    def meter(self, op: Op) -> UsageMeter:
        """What counts `op`."""
        return UsageMeter(op)


def _is_json(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == _JSON or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def _too_large(limit: int) -> Problem:
    return Problem("PAYLOAD_TOO_LARGE", f"The body is larger than {limit} bytes.")
