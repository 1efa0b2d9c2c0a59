"""Issuers: which settings are taken, a shared secret, several at once, Firebase."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from support.tokens import AT, CLAIMS, ISS, document, jwk, part, token
from switchboard.policy.jwk_set import KeySet
from switchboard.policy.jwt import Issuer, Refused, Verified, by_iss, firebase, verify

ISSUER = Issuer(name="login", issuer=ISS, audiences=("app", "other"))
SECRET = b"0123456789abcdef0123456789abcdef"


def keys(*rows: dict[str, Any]) -> KeySet:
    return KeySet.read(document(*(rows or (jwk(), jwk("ES256", "two")))))


def ask(data: bytes, issuer: Issuer) -> Any:
    return verify(data, by_iss([issuer]), lambda _: keys(), AT)


def reason(data: bytes, issuer: Issuer) -> str:
    found = ask(data, issuer)
    assert isinstance(found, Refused)
    return found.reason


def test_a_shared_secret() -> None:
    issuer = Issuer(name="own", issuer=ISS, audiences=("app",), secret=SECRET)
    message = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(CLAIMS)
    good = message + b"." + part(hmac.digest(SECRET, message, "sha256"))
    assert verify(good, by_iss([issuer]), lambda _: pytest.fail("asked for keys"), AT) == Verified(
        "own", "alice", CLAIMS, AT + 600
    )
    assert "signature" in reason(message + b"." + part(hmac.digest(b"x" * 32, message, "sha256")), issuer)
    assert "signature" in reason(message + b"." + part(hashlib.sha256(message).digest()), issuer)
    assert "may not" in reason(token(), issuer)  # nothing with public keys
    strong = message.replace(part({"alg": "HS256", "typ": "JWT"}), part({"alg": "HS512"}))
    assert "may not" in reason(strong + b"." + part(hmac.digest(SECRET, strong, "sha512")), issuer)
    assert "0123" not in repr(issuer)


SETTINGS_REFUSED: dict[str, dict[str, Any]] = {
    "no algorithm": {"algorithms": ("none",)},
    "a secret's algorithm without a secret": {"algorithms": ("RS256", "HS256")},
    "a key's algorithm with a secret": {"algorithms": ("HS256", "RS256"), "secret": SECRET},
    "a short secret": {"secret": b"hunter2"},
    "a secret too short for its hash": {"secret": SECRET, "algorithms": ("HS512",)},
    "a public key as a secret": {"secret": b"-----BEGIN PUBLIC KEY-----\n" + b"x" * 99},
    "a secret and keys": {"secret": SECRET, "jwks_url": "https://issuer.example/keys"},
    "leeway": {"leeway": 301},
    "negative leeway": {"leeway": -1},
    "no leeway at all": {"leeway": float("nan")},
    "no issuer": {"issuer": ""},
}


@pytest.mark.parametrize("name", SETTINGS_REFUSED)
def test_settings_that_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r".+") as e:
        Issuer(**({"name": "x", "issuer": ISS} | SETTINGS_REFUSED[name]))
    assert "hunter2" not in str(e.value)


def test_two_issuers_are_kept_apart() -> None:
    """One's keys sign nothing for the other."""
    first, second = ISSUER, Issuer(name="b", issuer="https://b.example", audiences=("app",))
    sets = {"login": keys(jwk()), "b": keys(jwk(number=1))}
    issuers = by_iss([first, second])
    assert verify(token(), issuers, lambda i: sets[i.name], AT).__class__ is Verified
    as_b = token(iss="https://b.example")
    assert isinstance(verify(as_b, issuers, lambda i: sets[i.name], AT), Refused)
    with pytest.raises(ValueError, match="two issuers"):
        by_iss([first, Issuer(name="c", issuer=ISS)])


FIREBASE = {
    "iss": "https://securetoken.google.com/demo-project",
    "aud": "demo-project",
    "sub": "uid1",
    "iat": AT - 10,
    "exp": AT + 3590,
    "auth_time": AT - 10,
}
FIREBASE_REFUSED: dict[str, dict[str, Any]] = {
    "another project's audience": {"aud": "other"},
    "another project's issuer": {"iss": "https://securetoken.google.com/other"},
    "no sub": {"sub": None},
    "empty sub": {"sub": ""},
    "long sub": {"sub": "u" * 129},
    "auth_time in the future": {"auth_time": AT + 61},
    "auth_time missing": {"auth_time": None},
    "auth_time text": {"auth_time": "1"},
    "iat missing": {"iat": None},
    "iat in the future": {"iat": AT + 61},
    "expired": {"exp": AT - 60},
}


def test_firebase() -> None:
    issuer = firebase("demo-project")
    assert issuer.jwks_url == (
        "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
    )
    assert (issuer.algorithms, issuer.leeway) == (("RS256",), 60.0)
    assert ask(token(FIREBASE), issuer).subject == "uid1"
    assert isinstance(ask(token(FIREBASE, sub="u" * 128), issuer), Verified)
    assert "names no key" in reason(token(FIREBASE, kid=None), issuer)
    assert "may not" in reason(token(FIREBASE, algorithm="ES256", kid="two"), issuer)
    for project in ("", "a/b", "a b", "A", "../x", "a\n"):
        with pytest.raises(ValueError, match="project"):
            firebase(project)


@pytest.mark.parametrize("name", FIREBASE_REFUSED)
def test_firebase_refuses(name: str) -> None:
    assert reason(token(FIREBASE, **FIREBASE_REFUSED[name]), firebase("demo-project"))
