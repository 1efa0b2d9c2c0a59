"""Tickets for conversations by voice: what stands in place of a key where a key must not be, in a URL or in a page.

``vt_SECRET`` opens one voice session, once. ``ek_SECRET``, for a profile of its own ``ek_PROFILE_SECRET``, begins conversations until
it expires. The secret is 32 letters and digits (190 bits), so that a fast keyed hash of it is enough to be stored (`hash_of`).
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
from typing import Final

SESSION: Final = "vt_"
CLIENT: Final = "ek_"
#: The profile that is not named in a ticket.
DEFAULT: Final = "default"
_LONGEST: Final = 256
_LETTERS: Final = string.ascii_letters + string.digits
_SESSION: Final = re.compile(rb"vt_[0-9A-Za-z]{32}")
_CLIENT: Final = re.compile(rb"ek_(?:([a-z0-9][a-z0-9_-]*)_)?[0-9A-Za-z]{32}")


def make_session() -> str:
    """A new ticket for one voice session."""
    return SESSION + _secret()


def make_client(profile: str) -> str:
    """A new ticket for the conversations of a client of `profile`. Raises `ValueError` where its name is too long for one."""
    value = CLIENT + ("" if profile == DEFAULT else profile + "_") + _secret()
    if len(value) > _LONGEST:
        raise ValueError("the profile's name is too long for a client secret")
    return value


def profile_of(value: bytes) -> str:
    """The name of the profile that a client's ticket is for; "" where it is none. Nothing of it is checked yet."""
    found = _CLIENT.fullmatch(value) if len(value) <= _LONGEST else None
    return "" if found is None else (found[1] or DEFAULT.encode()).decode()


def is_ticket(value: bytes) -> bool:
    """Whether `value` looks like a ticket of either kind."""
    return _SESSION.fullmatch(value) is not None or bool(profile_of(value))


def hash_of(value: bytes, secret: bytes) -> bytes:
    """What is stored of a ticket (32 bytes); `secret` is not kept beside it."""
    return hmac.digest(secret, b"switchboard ticket: " + value, "sha256")


def _secret() -> str:
    return "".join([secrets.choice(_LETTERS) for _ in range(32)])
