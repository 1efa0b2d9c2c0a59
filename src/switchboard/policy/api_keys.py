"""API keys: what they look like, and what of them can be told without asking where they are kept.

A key is ``sb_PROFILE_ID_SECRET`` and a checksum: the profile that it opens, a public id of 12 characters by which it is
found, 32 characters of secret (190 bits), and the CRC-32 of all that in 6 characters. The checksum is no protection. It
tells a typing error from a key that was never made, without a look into a database, and lets programs that search for
leaked keys be sure of what they found (`PATTERN`). What is stored of a key is `hash_of`, never its text.
"""

from __future__ import annotations

import hmac
import re
import secrets
from binascii import crc32
from typing import Final

from msgspec import Struct

#: What a key looks like, for programs that search for leaked ones. The parts after the profile have no underscore.
PATTERN: Final = re.compile(rb"sb_([a-z0-9][a-z0-9_-]*)_([0-9A-Za-z]{12})_[0-9A-Za-z]{32}([0-9A-Za-z]{6})")
#: No key is longer than this, in bytes.
LONGEST: Final = 256
_PROFILE: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID, _SECRET, _CHECKSUM = 12, 32, 6
_LEAST_PEPPER: Final = 16


class ApiKey(Struct, frozen=True):
    """A key that was just made. `text` is shown to its owner once and is kept nowhere; `id` is public."""

    id: str
    profile: str
    text: str

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id!r}, profile={self.profile!r})"


class Parsed(Struct, frozen=True):
    """What a key says of itself. That there is such a key is not known yet."""

    profile: str
    id: str


def make(profile: str) -> ApiKey:
    """A new key for `profile`. Raises `ValueError` where that is no name of a profile, or a name too long for a key."""
    if _PROFILE.fullmatch(profile) is None:
        raise ValueError("a profile's name is lower case letters, digits, - and _, and begins with a letter or digit")
    name = _random(_ID)
    body = f"sb_{profile}_{name}_{_random(_SECRET)}"
    text = body + _checksum(body.encode())
    if len(text) > LONGEST:
        raise ValueError("the profile's name is too long for an API key")
    return ApiKey(name, profile, text)


def read(key: bytes) -> Parsed | None:
    """Whose key `key` says that it is; None where it has not the shape of a key or its checksum is wrong. Never raises."""
    if len(key) > LONGEST:
        return None
    found = PATTERN.fullmatch(key)
    # no secret is compared here: anybody can work out a checksum
    if found is None or _checksum(key[:-_CHECKSUM]).encode() != found[3]:
        return None
    return Parsed(found[1].decode(), found[2].decode())


def profile_of(key: bytes) -> str:
    """The name of the profile that a key is for; "" where it has not the shape of one. Its checksum is not looked at, so that
    a key with a typing error is refused in the words of its own profile."""
    found = PATTERN.fullmatch(key) if len(key) <= LONGEST else None
    return "" if found is None else found[1].decode()


def hash_of(text: str | bytes, pepper: bytes) -> bytes:
    """What is stored of a key, and looked up: HMAC-SHA-256 (32 bytes) with `pepper`, a secret that is not kept beside it. A fast
    hash is enough, for nobody can try 190 bits. Raises `ValueError` for a pepper of less than 16 bytes."""
    if len(pepper) < _LEAST_PEPPER:
        raise ValueError(f"the secret that API keys are hashed with has at least {_LEAST_PEPPER} bytes")
    return hmac.digest(pepper, text.encode() if isinstance(text, str) else text, "sha256")


def _random(length: int) -> str:
    return "".join([secrets.choice(_DIGITS) for _ in range(length)])


def _checksum(body: bytes) -> str:
    rest, digits = crc32(body), ""
    for _ in range(_CHECKSUM):
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
