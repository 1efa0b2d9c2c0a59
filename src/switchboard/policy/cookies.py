"""The signed cookie by which the page is known after logging in, and whether a request that shows it was meant by its user.

The cookie is ``v1.ID.EXPIRES.MAC``: 16 random bytes, seconds since the epoch, and an HMAC-SHA-256 over all before it. The
store knows a session by `id_hash`, so that neither a stolen store nor a stolen signing key opens one.

A browser sends cookies along with whatever any page makes it ask. `cross_site` tells those requests apart.
Sources: RFC 6265bis (cookies); W3C Fetch Metadata Request Headers; OWASP Cheat Sheet Series, "Cross-Site Request Forgery
Prevention" (verifying the origin with standard headers; Fetch Metadata).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Container
from typing import Final

from switchboard.core.types import Headers, Lines, header

NAME: Final = "switchboard_session"
#: With this prefix browsers take the cookie over TLS only, and from no other host, sub-domains of ours included.
NAME_TLS: Final = "__Host-switchboard_session"
_VALUE: Final = re.compile(rb"v1\.([A-Za-z0-9_-]{22})\.([1-9][0-9]{0,11})\.[A-Za-z0-9_-]{43}")
_LONGEST: Final = 256
_LEAST_SECRET: Final = 16
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Signer:
    """Makes and reads cookies. `purpose` keeps apart what else is signed with `secret`, of which there are at least 16 bytes;
    raises `ValueError` for less. Every process with the same secret knows the cookies of every other."""

    def __init__(self, secret: bytes, purpose: str = "session") -> None:
        if len(secret) < _LEAST_SECRET:
            raise ValueError(f"the secret that cookies are signed with has at least {_LEAST_SECRET} bytes")
        self._key = hmac.digest(secret, b"switchboard cookie: " + purpose.encode(), "sha256")

    def issue(self, expires: int) -> tuple[str, bytes]:
        """A new cookie's value, good until `expires` (seconds since the epoch), and the hash by which the store knows it.
        Raises `ValueError` for a time that a cookie cannot carry."""
        if not 0 < expires < 10**12:
            raise ValueError("a cookie ends after 1970, and not in the far future")
        name = secrets.token_bytes(16)
        body = b"v1.%b.%d" % (_text(name), expires)
        return (body + b"." + self._mac(body)).decode(), _hash(name)

    def read(self, value: str | bytes, at: float) -> bytes | None:
        """The hash of the session that `value` names, at `at` (seconds since the epoch); None where it was not made here, was
        changed, or has ended. That the store still has the session is for the store to say."""
        data = value.encode("latin-1", "replace") if isinstance(value, str) else value
        parts = _VALUE.fullmatch(data) if len(data) <= _LONGEST else None
        if parts is None:
            return None
        body, _, mac = data.rpartition(b".")
        if not hmac.compare_digest(mac, self._mac(body)) or at >= int(parts[2]):
            return None
        return _hash(urlsafe_b64decode(parts[1] + b"=="))

    def _mac(self, body: bytes) -> bytes:
        return _text(hmac.digest(self._key, body, "sha256"))


def _text(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _hash(name: bytes) -> bytes:
    return hashlib.sha256(name).digest()


def setting(value: str, max_age: int, *, tls: bool) -> Lines:
    """The ``set-cookie`` line for `value`, to be kept for `max_age` seconds. Raises `ValueError` for what is no value of ours, so
    that nothing can be put into the header."""
    data = value.encode("latin-1", "replace")
    if len(data) > _LONGEST or _VALUE.fullmatch(data) is None:
        raise ValueError("not a value of a session's cookie")
    return _line(data, max(max_age, 0), tls=tls)


def clearing(*, tls: bool) -> Lines:
    """The ``set-cookie`` line that takes the cookie away."""
    return _line(b"", 0, tls=tls)


def _line(value: bytes, max_age: int, *, tls: bool) -> Lines:
    # Lax and not Strict: who follows a link to the page is to find it logged in
    more = b"; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax" % max_age
    return header(b"set-cookie", _name(tls) + b"=" + value + more + (b"; Secure" if tls else b""))


def _name(tls: bool) -> bytes:
    return (NAME_TLS if tls else NAME).encode()


def sent(cookies: bytes, *, tls: bool) -> bytes | None:
    """The value of the session's cookie in a ``cookie`` header; None where there is none of its shape, or several that differ.

    Who may set cookies for a neighbouring host or path can put one beside ours, even before it (RFC 6265bis, 8.6). Of two
    sessions neither is chosen: logging in again is better than working in a session that somebody else has laid there.
    """
    name = _name(tls)
    found: set[bytes] = set()
    for pair in cookies.split(b";"):
        key, _, value = pair.partition(b"=")
        if key.strip(b" \t") != name:
            continue
        value = value.strip(b" \t")
        if len(value) >= 2 and value[:1] == value[-1:] == b'"':
            value = value[1:-1]
        if len(value) <= _LONGEST and _VALUE.fullmatch(value) is not None:
            found.add(value)
    return found.pop() if len(found) == 1 else None


def cross_site(headers: Headers, method: str, own_origins: Container[str]) -> bool:
    """Whether a request that is known by its cookie alone is to be refused, as another site may have made the browser send it.

    `own_origins` are this server's own and those of pages that may ask with cookies. No page can write the headers that are
    looked at. A request that changes something needs an ``Origin`` of those, or ``Sec-Fetch-Site: same-origin`` or ``none`` (the
    user's own doing); with neither header it is refused, for every browser sends one of them. One that only reads is refused when
    ``Sec-Fetch-Site`` says ``cross-site``, unless the user goes to the page (a document as a whole, not in a frame).
    """
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin not in ("", "*", "null") and origin in own_origins:
        return False
    site = headers.get(b"sec-fetch-site", b"")
    if method not in _SAFE:
        return site not in (b"same-origin", b"none")
    if site in (b"", b"same-origin", b"same-site", b"none"):
        return False
    goes_there = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
    return not goes_there
