"""Who asks, by what the request's headers carry."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence

from switchboard.core.errors import Problem
from switchboard.core.types import Caller, Headers
from switchboard.policy.tokens import PREFIX, Tokens

_CHALLENGE = b'www-authenticate: Bearer realm="switchboard"\r\n'


def presented(headers: Headers) -> bytes:
    """The key that a request shows: ``Authorization: Bearer …`` or ``x-api-key``; b"" where it shows none."""
    bearer = _bearer(headers.get(b"authorization", b""))
    return headers.get(b"x-api-key", b"").strip() if bearer is None else bearer


def digest(key: bytes) -> bytes:
    """What stands for a key where it is looked up, so that the look tells nothing of the key."""
    return hashlib.sha256(key).digest()


def _bearer(authorization: bytes) -> bytes | None:
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None


class AccessKeys:
    """One or several access keys of a `profile`, any of which opens every surface, and the tokens that stand for them. No
    keys: everybody is let in, unless `closed`."""

    def __init__(self, keys: Sequence[str], *, closed: bool = False, profile: str = "default") -> None:
        self._closed = closed or bool(keys)
        self._keys = [k.encode() for k in keys]
        self._tokens = Tokens(self._keys, profile)
        self._admitted: dict[bytes, Caller] = {}  # by the whole header, and only what was right
        self._callers = [Caller("key:" + hashlib.sha256(k).hexdigest()[:12], "access_key") for k in self._keys]

    def __bool__(self) -> bool:
        return self._closed

    def identify(self, headers: Headers, peer: str) -> Caller:
        """Who asks. Raises `Problem` (401). Takes the same time whichever key is wrong, and wherever it is wrong."""
        if not self._closed:
            return Caller(peer)
        authorization = headers.get(b"authorization", b"")
        known = self._admitted.get(authorization)
        if known is not None:
            return known
        shown = presented(headers)
        if shown.startswith(PREFIX):
            index = self._tokens.check(shown, time.time())
            if index is None:
                raise Problem("UNAUTHORIZED", "The token is not valid, or not any more.", headers=_CHALLENGE)
            return self._callers[index]
        index = self._index(shown)
        found = None if index is None else self._callers[index]
        if found is None:
            message = "The access key is not valid." if shown else "An access key is needed: Authorization: Bearer KEY."
            raise Problem("UNAUTHORIZED", message, headers=_CHALLENGE)
        if _bearer(authorization) is not None and len(self._admitted) < 64:
            self._admitted[authorization] = found  # it was this header that was right, and nothing beside it
        return found

    def _index(self, shown: bytes) -> int | None:
        """The number of the key that `shown` is."""
        found: int | None = None
        for i, key in enumerate(self._keys):
            if hmac.compare_digest(shown, key):
                found = i
        return found

    def token(self, key: bytes, expires: int) -> str | None:
        """A token that stands for `key` until `expires` (seconds since the epoch); None where it is no key of ours. Where no
        key is needed, any gives one."""
        if not self._closed:
            return "open"
        index = self._index(key)
        return None if index is None else self._tokens.issue(index, expires)
