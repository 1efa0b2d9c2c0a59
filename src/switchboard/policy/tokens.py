"""Tokens that stand for an access key: what a page keeps in place of the key itself.

A token is ``sbt_PROFILE.EXPIRY.KEY.MAC``: the profile whose key it was, seconds since the epoch, which of the keys, and
an HMAC over the rest whose key is made of the access key. So every process and every restart knows it, nothing has to
be stored, and an access key that is taken away takes its tokens along.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from functools import cached_property
from typing import Final

PREFIX: Final = b"sbt_"
_PURPOSE: Final = b"switchboard access token"


def profile_of(token: bytes) -> str:
    """The name of the profile that a token is for; "" where it is none. Nothing of it is checked yet."""
    return token[len(PREFIX) :].split(b".")[0].decode("latin-1") if token.startswith(PREFIX) else ""


class Tokens:
    """Makes and checks the tokens of the `keys` of one `profile`."""

    def __init__(self, keys: Sequence[bytes], profile: str) -> None:
        self._profile = profile.encode()
        self._secrets = keys

    @cached_property
    def _keys(self) -> list[bytes]:
        """Made with effort, so that a token that got lost is no quick way to guess its key; once, when they are needed."""
        return [hashlib.scrypt(k, salt=_PURPOSE, n=2**14, r=8, p=1, dklen=32) for k in self._secrets]

    def issue(self, index: int, expires: int) -> str:
        """A token for the key number `index`, good until `expires` (seconds since the epoch)."""
        name = hashlib.sha256(self._keys[index]).hexdigest()[:12].encode()
        body = b"%b%b.%d.%b" % (PREFIX, self._profile, expires, name)
        return (body + b"." + self._mac(index, body)).decode()

    def check(self, token: bytes, at: float) -> int | None:
        """The number of the key that `token` stands for at `at` (seconds since the epoch); None where it is not valid."""
        if not token.startswith(PREFIX) or len(token) > 512:
            return None
        body, _, mac = token.rpartition(b".")
        parts = body.split(b".")
        if len(parts) != 3 or not parts[1].isdigit() or len(parts[1]) > 12:
            return None
        found = None
        for i in range(len(self._secrets)):
            if hmac.compare_digest(mac, self._mac(i, body)):
                found = i
        return found if found is not None and at < int(parts[1]) else None

    def _mac(self, index: int, body: bytes) -> bytes:
        return hmac.new(self._keys[index], body, "sha256").hexdigest().encode()
