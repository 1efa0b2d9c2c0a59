"""The keys of the issuers of tokens, fetched when they are needed and kept; and the tokens that were found valid."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from switchboard import __version__
from switchboard.core.clock import now
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Transport
from switchboard.core.types import Call, Headers
from switchboard.engine.fetch import fetch
from switchboard.net.address import is_loopback
from switchboard.policy.jwk_set import LARGEST, KeySet
from switchboard.policy.jwt import Issuer, Verified

#: Seconds for which keys are believed where the issuer does not say, and the least and most that it may say.
FRESH: Final = 3600.0
LEAST_FRESH: Final = 300.0
MOST_FRESH: Final = 86_400.0
#: Seconds between two fetches, whatever tokens name which keys; less while there are no keys at all.
PAUSE: Final = 60.0
FIRST_PAUSE: Final = 5.0
#: Seconds for which keys that could not be renewed are used beyond their time.
KEPT: Final = 86_400.0
#: Seconds for which a token that was found valid is not looked at again.
BELIEVED: Final = 300.0
_TIMEOUT: Final = 10.0
_MAX_AGE: Final = re.compile(rb'(?:^|[,\s])max-age\s*=\s*"?(\d{1,10})', re.I)
_NOT_KEPT: Final = re.compile(rb"(?:^|[,\s])no-(?:store|cache)\b", re.I)
_URL: Final = re.compile(r"[\x21-\x7e]{1,2048}")
_log: Final = logging.getLogger("switchboard.jwks")


class Fetch(Protocol):
    """Gets a document from a URL: status, headers and body, of at most `limit` bytes, within `timeout` seconds. Redirects are
    not followed. Raises `UpstreamError`."""

    async def __call__(self, url: str, *, limit: int, timeout: float) -> tuple[int, Headers, bytes]:
        """Get `url`."""


def through(transport: Transport) -> Fetch:
    """A `Fetch` over the connections of `transport` (the pool, say)."""

    async def get(url: str, *, limit: int, timeout: float) -> tuple[int, Headers, bytes]:
        return await fetch(transport, _call(url), timeout=timeout, limit=limit)

    return get


def _call(url: str) -> Call:
    """The call that gets `url`. Raises `ValueError` for what is none that keys may come from: over TLS, or from this machine."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        raise ValueError("not a URL") from None  # its own words repeat the URL, which may be a document's
    host = parts.hostname
    if _URL.fullmatch(url) is None or not host or parts.username is not None or parts.password is not None:
        raise ValueError("not a URL that keys may come from")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("keys come over https only")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    authority = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        authority += f":{port}"
    head = f"host: {authority}\r\nuser-agent: switchboard/{__version__}\r\naccept: application/json\r\n"
    head += "accept-encoding: identity\r\n"
    return Call((parts.scheme, host, port), b"GET", target.encode(), head.encode())


class _Kept(Struct):
    """What is known of one issuer's keys. Times are monotonic; `asked` is when the last fetch began."""

    keys: KeySet | None = None
    until: float = 0.0  # how long they are believed without asking
    end: float = 0.0  # how long they are used if asking fails
    asked: float | None = None
    task: asyncio.Task[None] | None = None
    trouble: str = ""


class KeySets:
    """The keys of each issuer, as long as they are fresh.

    `fetch` gets documents. `changed` is told the ``iss`` of an issuer whose keys are no more what they were: what was found valid
    with the old ones is to be forgotten. It outlives a reload; made and used inside one event loop, and closed at the end.
    """

    def __init__(
        self, fetch: Fetch, changed: Callable[[str], None] | None = None, *, clock: Callable[[], float] = now
    ) -> None:
        self._fetch = fetch
        self._changed = changed
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._closed = False

    def get(self, issuer: Issuer) -> KeySet | None:
        """The keys of `issuer` where they are at hand and fresh; else None, and `refresh` is to be asked."""
        kept = self._kept.get((issuer.issuer, issuer.jwks_url))
        return None if kept is None or self._clock() >= kept.until else kept.keys

    async def refresh(self, issuer: Issuer) -> KeySet | None:
        """Ask `issuer` for its keys: because there are none, they are old, or one is not among them. Gives those that are good now.

        Whoever asks at the same time waits for one fetch. There is at most one a minute; in between, and where it fails, what is
        given is what there is. A waiter that is cancelled stops nothing.
        """
        kept = self._kept.setdefault((issuer.issuer, issuer.jwks_url), _Kept())
        if kept.task is None and not self._closed:
            pause = FIRST_PAUSE if kept.keys is None else PAUSE
            if kept.asked is None or self._clock() - kept.asked >= pause:
                kept.asked = self._clock()
                kept.task = asyncio.create_task(self._renew(issuer, kept), name="jwks")
        if kept.task is not None:
            await asyncio.wait([kept.task])
        return self.get(issuer)

    def trouble(self) -> dict[str, str]:
        """Why the keys of which issuers could not be fetched when they last were to be, by ``iss``, for ``/health`` and `doctor`."""
        return {iss: k.trouble for (iss, _), k in self._kept.items() if k.trouble}

    async def close(self) -> None:
        """Fetch nothing any more, and end what is being fetched."""
        self._closed = True
        tasks = [k.task for k in self._kept.values() if k.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renew(self, issuer: Issuer, kept: _Kept) -> None:
        """Fetch the keys of `issuer` into `kept`. Fails by leaving what there is."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                keys, fresh = await self._load(issuer)
        except UpstreamError as e:
            self._failed(issuer, kept, str(e.fault))
        except TimeoutError:
            self._failed(issuer, kept, str(Fault.TIMEOUT))
        except (ValueError, OSError) as e:
            # a ValueError is one of ours, which holds nothing of the document; an OSError's text may hold addresses only
            self._failed(issuer, kept, str(e))
        except Exception as e:
            _log.exception("the keys of %s could not be fetched", issuer.name)
            self._failed(issuer, kept, type(e).__name__)
        else:
            is_new = kept.keys is not None and kept.keys.digest != keys.digest
            kept.keys, kept.trouble = keys, ""
            kept.until = self._clock() + fresh
            kept.end = kept.until + KEPT
            if is_new and self._changed is not None:
                self._changed(issuer.issuer)
        finally:
            kept.task = None

    def _failed(self, issuer: Issuer, kept: _Kept, why: str) -> None:
        """Go on with the last good keys, for a while."""
        kept.trouble = why
        _log.warning("the keys of issuer %s could not be fetched: %s", issuer.name, why)
        at = self._clock()
        kept.until = max(kept.until, min(at + PAUSE, kept.end))
        if kept.keys is not None and at >= kept.end:
            kept.keys = None
            if self._changed is not None:
                self._changed(issuer.issuer)

    async def _load(self, issuer: Issuer) -> tuple[KeySet, float]:
        """The keys of `issuer`, and the seconds for which they are fresh. Raises `UpstreamError`, `ValueError`."""
        url = issuer.jwks_url
        if not url:
            where = issuer.issuer.rstrip("/") + "/.well-known/openid-configuration"
            _, document = await self._document(where)
            url = _jwks_url(document, issuer)
        headers, body = await self._document(url)
        return KeySet.read(body), _fresh(headers)

    async def _document(self, url: str) -> tuple[Headers, bytes]:
        _call(url)  # whatever fetches it: only from where keys may come
        status, headers, body = await self._fetch(url, limit=LARGEST, timeout=_TIMEOUT)
        if status != 200:
            raise UpstreamError(Fault.STATUS, status=status)
        if len(body) > LARGEST:
            raise UpstreamError(Fault.TOO_LARGE)
        return headers, body


def _jwks_url(document: bytes, issuer: Issuer) -> str:
    """Where the OpenID configuration of `issuer` says that its keys are (OpenID Connect Discovery 1.0, 4.3). Raises `ValueError`."""
    try:
        found: Any = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError("its OpenID configuration is not JSON")
    if found.get("issuer") != issuer.issuer:
        raise ValueError("its OpenID configuration is of another issuer")
    url = found.get("jwks_uri")
    if not isinstance(url, str):
        raise ValueError("its OpenID configuration does not say where the keys are")
    return url


def _fresh(headers: Headers) -> float:
    """For how many seconds an answer may be kept: what ``cache-control`` says less its ``age``, within bounds."""
    control = headers.get(b"cache-control", b"")
    said = _MAX_AGE.search(control)
    if _NOT_KEPT.search(control) is not None:
        return LEAST_FRESH
    if said is None:
        return FRESH
    age = headers.get(b"age", b"").strip()
    passed = int(age) if len(age) <= 10 and age.isdigit() else 0
    return min(max(float(int(said[1]) - passed), LEAST_FRESH), MOST_FRESH)


class VerifiedTokens:
    """Tokens that were found valid, so that a signature is checked once in five minutes and not with every request. They are kept by
    their SHA-256, never as they are; at most `most`, the one that was not shown for longest is forgotten first.

    One for each set of issuers: what is valid for one profile need not be for another, or after a reload.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._known: OrderedDict[bytes, tuple[Verified, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, token: bytes, at: float) -> Verified | None:
        """What `token` was found to be; None where it is not known at `at` (seconds since the epoch)."""
        key = hashlib.sha256(token).digest()
        found = self._known.get(key)
        if found is None:
            return None
        if at >= found[1]:
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return found[0]

    def put(self, token: bytes, verified: Verified, at: float) -> None:
        """`token` was found valid at `at` (seconds since the epoch)."""
        until = min(verified.expires, at + BELIEVED)
        if until <= at:  # within the leeway of its end: looked at each time
            return
        key = hashlib.sha256(token).digest()
        self._known[key] = verified, until
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, iss: str = "") -> None:
        """Forget what was found of the tokens with that ``iss`` ("": of all), as its issuer's keys changed."""
        gone = [k for k, (v, _) in self._known.items() if not iss or v.claims.get("iss") == iss]
        for key in gone:
            del self._known[key]
