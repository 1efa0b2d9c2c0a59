"""Who asks, by what the request's headers carry."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence

from switchboard.core.types import Caller, Headers
from switchboard.policy.tokens import PREFIX, Tokens

#: What a 401 says of how to be known.
CHALLENGE = b'www-authenticate: Bearer realm="switchboard"\r\n'


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
    """One or several access keys of a `profile`, any of which opens every surface, and the tokens that stand for them."""

    def __init__(self, keys: Sequence[str], *, profile: str = "default", act_as: bool = False) -> None:
        self.profile = profile
        self._keys = [k.encode() for k in keys]
        self._tokens = Tokens(self._keys, profile)
        self._admitted: dict[bytes, Caller] = {}  # by the whole header, and only what was right
        self._callers = [
            Caller("key:" + hashlib.sha256(k).hexdigest()[:12], "access_key", act_as=act_as) for k in self._keys
        ]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def known(self, authorization: bytes) -> Caller | None:
        """Whose ``authorization`` header this is, if it was seen before."""
        return self._admitted.get(authorization)

    def find(self, shown: bytes, authorization: bytes) -> Caller | None:
        """Whose key or token was `shown`, None where it is nobody's. Takes the same time whichever key is wrong, and wherever it is
        wrong. `authorization` is the header that it stood in, or something else."""
        if shown.startswith(PREFIX):
            index = self._tokens.check(shown, time.time())
            return None if index is None else self._callers[index]
        index = self._index(shown)
        if index is None:
            return None
        found = self._callers[index]
        if _bearer(authorization) is not None and len(self._admitted) < 64:
            self._admitted[authorization] = found  # it was this header that was right, and nothing beside it
        return found

    def by_id(self, name: str) -> Caller | None:
        """The caller that is called `name`, as long as there is a key for it."""
        return next((c for c in self._callers if c.id == name), None)

    def _index(self, shown: bytes) -> int | None:
        """The number of the key that `shown` is."""
        found: int | None = None
        for i, key in enumerate(self._keys):
            if hmac.compare_digest(shown, key):
                found = i
        return found

    def holder(self, key: bytes) -> Caller | None:
        """Whose access key `key` is."""
        index = self._index(key)
        return None if index is None else self._callers[index]

    def token(self, key: bytes, expires: int) -> str | None:
        """A token that stands for `key` until `expires` (seconds since the epoch); None where it is no key of ours."""
        index = self._index(key)
        return None if index is None else self._tokens.issue(index, expires)
