"""Who a JSON Web Token speaks of, and whether its issuer really signed it.

The token is read here, and not by the library that checks its signature, because that one is made for everybody: here a
token is three parts of strict base64url, JSON without a name twice, with numbers for times. What a header says of keys
(``jku``, ``x5u``, ``jwk``, ``x5c``) is never looked at. Which issuer a token is of is decided by its ``iss``, unverified;
everything after that holds it to what is set for that issuer: its algorithms, its keys, its audiences.

Sources: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practices).
"""

from __future__ import annotations

import hmac
import json
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import force_setattr

from switchboard.policy.jwk_set import FAMILIES, KeySet
from switchboard.policy.user_id import LONGEST, is_user_id

#: No token is longer than this, in bytes.
LONGEST_TOKEN: Final = 8192
#: Why a token is refused that was good once, perhaps.
EXPIRED: Final = "expired"
_SHAPE: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.:-]{0,62}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HASHES: Final = {"HS256": ("sha256", 32), "HS384": ("sha384", 48), "HS512": ("sha512", 64)}
#: What ``typ`` may say, in lower case: an ID token or an access token (RFC 9068), not a logout token or the like of the same keys.
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_LATEST: Final = 1e11  # seconds since the epoch; a later time was told in milliseconds
_DEEPEST: Final = 16
_MOST_LEEWAY: Final = 300.0
_MOST_AUDIENCES: Final = 64
_LONGEST_KID: Final = 512


class Issuer(Struct, frozen=True, kw_only=True):
    """Whose tokens are believed, and how far. Raises `ValueError` where the parts do not fit each other.

    `name` is what it is called here, `issuer` its ``iss``, to the letter. `audiences` are the ``aud`` that tokens may be for;
    empty: those that name none. `algorithms` are RS256 and ES256 unless set; with a shared `secret` (HS256 unless set, at least as
    long as the hash) there are no others. `jwks_url` is where its keys are; "": found by discovery. `user_claim` names the
    user; "email" counts only with ``email_verified``. `leeway` is in seconds (at most 300), `required` are claims that must be there
    besides ``exp``, `max_lifetime` the seconds from ``iat`` to ``exp``. `kid_required`, `auth_time` and `longest_user` are stricter
    rules that some issuers have.
    """

    name: str
    issuer: str
    audiences: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    secret: bytes | None = None
    jwks_url: str = ""
    user_claim: str = "sub"
    leeway: float = 60.0
    required: tuple[str, ...] = ()
    max_lifetime: float | None = None
    kid_required: bool = False
    auth_time: bool = False
    longest_user: int = LONGEST

    def __post_init__(self) -> None:
        if not self.issuer:
            raise ValueError("an issuer has a name in `issuer`")
        if not 0 <= self.leeway <= _MOST_LEEWAY:
            raise ValueError(f"the leeway is between 0 and {_MOST_LEEWAY:g} seconds")
        known: Iterable[str] = FAMILIES if self.secret is None else _HASHES
        if not self.algorithms:
            force_setattr(self, "algorithms", ("RS256", "ES256") if self.secret is None else ("HS256",))
        for name in self.algorithms:
            if name not in known:
                kind = "without a shared secret" if self.secret is None else "with a shared secret"
                raise ValueError(f"algorithm {name!r} is none {kind}: it is one of {', '.join(known)}")
        if self.secret is not None:
            least = max(_HASHES[name][1] for name in self.algorithms)
            if len(self.secret) < least:
                raise ValueError(f"a shared secret for {', '.join(self.algorithms)} has at least {least} bytes")
            if b"-----BEGIN" in self.secret or self.jwks_url:
                raise ValueError("an issuer has a shared secret or public keys, not both")

    def __repr__(self) -> str:
        return f"Issuer(name={self.name!r}, issuer={self.issuer!r})"


class Verified(Struct, frozen=True):
    """A token that is valid: the `issuer`'s name here, the user, all claims, and when it ends (seconds since the epoch)."""

    issuer: str
    subject: str
    claims: dict[str, Any]
    expires: float

    def __repr__(self) -> str:
        return f"Verified(issuer={self.issuer!r}, subject={self.subject!r}, expires={self.expires!r})"


class KeyNeeded(Struct, frozen=True):
    """All but the signature is in order, and the key `kid` is not at hand: have the keys of `issuer` fetched and ask again, once."""

    issuer: Issuer
    kid: str


class Refused(Struct, frozen=True):
    """A token that is not valid. `reason` is for the log; a client is told no more than that it is not valid. It holds
    nothing of the token."""

    reason: str


class _RefusedError(Exception):
    """Carries a reason from where it is found to `verify`."""


def firebase(project: str, name: str = "firebase") -> Issuer:
    """Firebase Authentication's ID tokens of `project`. Raises `ValueError` for what is no project's id.

    Source: https://firebase.google.com/docs/auth/admin/verify-id-tokens#verify_id_tokens_using_a_third-party_jwt_library
    """
    if _PROJECT.fullmatch(project) is None:
        raise ValueError("a Firebase project's id is lower case letters, digits and hyphens")
    return Issuer(
        name=name,
        issuer=f"https://securetoken.google.com/{project}",
        audiences=(project,),
        algorithms=("RS256",),
        jwks_url="https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
        required=("iat", "auth_time"),
        kid_required=True,
        auth_time=True,
        longest_user=128,
    )


def looks_like_jwt(token: bytes) -> bool:
    """Whether `token` is worth `verify`: of the three parts that no other credential here has."""
    return len(token) <= LONGEST_TOKEN and _SHAPE.fullmatch(token) is not None


def by_iss(issuers: Iterable[Issuer]) -> dict[str, Issuer]:
    """`issuers` as `verify` takes them. Raises `ValueError` where two have the same ``iss``."""
    found: dict[str, Issuer] = {}
    for issuer in issuers:
        if found.setdefault(issuer.issuer, issuer) is not issuer:
            raise ValueError(f"two issuers have the name {issuer.issuer}; one with both audiences does it")
    return found


def verify(
    token: bytes, issuers: Mapping[str, Issuer], keysets: Callable[[Issuer], KeySet | None], at: float
) -> Verified | KeyNeeded | Refused:
    """Whether `token` is valid at `at` (seconds since the epoch). `issuers` are by ``iss`` (see `by_iss`); `keysets` gives the keys of
    one, or None where they are not at hand. Never raises, whatever the token is.

    What costs nothing is looked at first: nobody makes this server fetch keys or check signatures for a token that has
    expired or is for somebody else.
    """
    try:
        if len(token) > LONGEST_TOKEN:
            raise _RefusedError("the token is too long")
        parts = _SHAPE.fullmatch(token)
        if parts is None:
            raise _RefusedError("not three parts of base64url")
        header = _object(parts[1], "header")
        algorithm, kid = _header(header)
        claims = _object(parts[2], "payload")
        iss = claims.get("iss")
        issuer = issuers.get(iss) if isinstance(iss, str) else None
        if issuer is None:
            raise _RefusedError("of no known issuer")
        if algorithm not in issuer.algorithms:
            raise _RefusedError("signed with an algorithm that its issuer may not use")
        if kid is None and issuer.kid_required:
            raise _RefusedError("names no key")
        expires = _times(claims, issuer, at)
        _audience(claims.get("aud"), issuer)
        subject = _subject(claims, issuer)
        signature = _decode(parts[3], "signature")
        signed = token[: parts.start(3) - 1]
        if issuer.secret is not None:
            right = hmac.digest(issuer.secret, signed, _HASHES[algorithm][0])
            genuine = hmac.compare_digest(signature, right)
        else:
            keys = keysets(issuer)
            if keys is None or (kid is not None and kid not in keys):
                return KeyNeeded(issuer, kid or "")
            genuine = keys.signed(kid, algorithm, signed, signature)
        if not genuine:
            raise _RefusedError("the signature is not its issuer's")
        return Verified(issuer.name, subject, claims, expires)
    except _RefusedError as e:
        return Refused(str(e))


def _decode(part: bytes, what: str) -> bytes:
    """base64url without padding, in the one spelling that there is of each value."""
    if len(part) % 4 == 1:
        raise _RefusedError(f"the {what} is not base64url")
    data = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    if urlsafe_b64encode(data).rstrip(b"=") != part:
        raise _RefusedError(f"the {what} is not base64url")
    return data


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's members. One name twice is read differently by different readers (RFC 8725, 2.1): refused."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> Any:
    raise ValueError  # NaN and Infinity are no JSON


def _object(part: bytes, what: str) -> dict[str, Any]:
    """The JSON object that `part` of a token is."""
    try:
        text = _decode(part, what).decode()
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # ValueError: no UTF-8, no JSON, or a number of thousands of digits
        raise _RefusedError(f"the {what} is not JSON") from None
    if not isinstance(value, dict):
        raise _RefusedError(f"the {what} is not an object")
    if not _is_plain(value):
        raise _RefusedError(f"the {what} is nested too deeply or is not Unicode")
    return value


def _is_plain(value: Any) -> bool:
    """Whether whoever gets `value` can walk through it and write it as JSON again."""
    level = [value]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for v in level:
            if isinstance(v, dict):
                below += v.keys()
                below += v.values()
            elif isinstance(v, list):
                below += v
            elif isinstance(v, str):
                if _SURROGATE.search(v) is not None:
                    return False
            elif isinstance(v, float) and not math.isfinite(v):
                return False  # 1e400
        if not below:
            return True
        level = below
    return False


def _header(header: dict[str, Any]) -> tuple[str, str | None]:
    """Algorithm and key's name as the header says them."""
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or (algorithm not in FAMILIES and algorithm not in _HASHES):
        raise _RefusedError("signed with no algorithm, or one that is not known")
    if "crit" in header or "b64" in header:
        raise _RefusedError("the header demands an extension")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise _RefusedError("a token of another kind")
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= _LONGEST_KID):
        raise _RefusedError("the key's name is not a text")
    return algorithm, kid


def _time(claims: dict[str, Any], name: str) -> float | None:
    """A time in seconds since the epoch; None where the claim is not there."""
    if name not in claims:
        return None
    value = claims[name]
    # `bool` is an `int` to Python; the comparison is right for whole numbers of any size, and for infinity
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LATEST:
        raise _RefusedError(f"{name} is not a time")
    return float(value)


def _times(claims: dict[str, Any], issuer: Issuer, at: float) -> float:
    """When the token ends. Refuses one that has ended, or has not begun."""
    missing = [name for name in issuer.required if claims.get(name) is None]
    if missing:
        raise _RefusedError(f"{missing[0]} is missing")
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if expires is None:
        raise _RefusedError("exp is missing")
    if at >= expires + issuer.leeway:
        raise _RefusedError(EXPIRED)
    begun = {"iat": issued, "nbf": _time(claims, "nbf")}
    if issuer.auth_time:
        begun["auth_time"] = _time(claims, "auth_time")
    for name, value in begun.items():
        if value is not None and value > at + issuer.leeway:
            raise _RefusedError(f"{name} is in the future")
    if issuer.max_lifetime is not None and (issued is None or expires - issued > issuer.max_lifetime):
        raise _RefusedError("valid for longer than its issuer may say, or issued nobody knows when")
    return expires


def _audience(aud: Any, issuer: Issuer) -> None:
    """Refuses a token for somebody else. One that names an audience where none is set is not for us (RFC 7519, 4.1.3)."""
    named = [aud] if isinstance(aud, str) else [] if aud is None else aud
    if not isinstance(named, list) or len(named) > _MOST_AUDIENCES or not all(isinstance(a, str) for a in named):
        raise _RefusedError("aud is neither a text nor a list of texts")
    if not issuer.audiences and not named:
        return
    if not any(a in issuer.audiences for a in named):
        raise _RefusedError("for another audience")


def _subject(claims: dict[str, Any], issuer: Issuer) -> str:
    """The user that the token is of."""
    for name in {"sub", issuer.user_claim}:
        if name in claims and not is_user_id(claims[name], issuer.longest_user):
            raise _RefusedError(f"{name} is no name of a user")
    subject = claims.get(issuer.user_claim)
    if not isinstance(subject, str):
        raise _RefusedError(f"{issuer.user_claim} is missing")
    # anybody may have registered with anybody's address; some issuers write the truth as a text
    if issuer.user_claim == "email" and claims.get("email_verified") not in (True, "true"):
        raise _RefusedError("the email address is not verified")
    return subject
