"""Anything at all as a credential: it is refused, and nothing is raised."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.tokens import AT, CLAIMS, ISS, document, jwk, part, signed, token
from switchboard.policy import api_keys, cookies
from switchboard.policy.jwk_set import KeySet
from switchboard.policy.jwt import Issuer, KeyNeeded, Refused, Verified, by_iss, firebase, verify

QUICK = settings(max_examples=200, deadline=None)
KEYS = KeySet.read(document(jwk(), jwk("ES256", "two")))
ISSUERS = by_iss([Issuer(name="login", issuer=ISS, audiences=("app",)), firebase("demo-project")])
HEAD = {"alg": "RS256", "typ": "JWT", "kid": "one"}
GOOD = {name: token(algorithm=name, kid=kid) for name, kid in (("RS256", "one"), ("ES256", "two"))}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from([AT, AT + 60, "app", ISS, "alice", "RS256", "ES256", "HS256", "none", "one", "two", "JWT"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
headers = st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "zip"]), values)
claims = st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "auth_time", "email", "x"]), values)
letters = st.text("AZaz09-_.=+/ ", max_size=60).map(str.encode)


def ask(data: bytes) -> Any:
    found = verify(data, ISSUERS, lambda _: KEYS, AT)
    assert isinstance(found, Verified | KeyNeeded | Refused)
    if isinstance(found, Refused):
        assert found.reason.isprintable() and len(found.reason) < 100
    return found


@QUICK
@given(st.binary(max_size=200) | letters | st.tuples(letters, letters, letters).map(b".".join))
def test_any_bytes_as_a_token(data: bytes) -> None:
    assert isinstance(ask(data), Refused)


@QUICK
@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_in_its_parts(header: bytes, payload: bytes, signature: bytes) -> None:
    assert isinstance(ask(b".".join(part(x) for x in (header, payload, signature))), Refused)
    assert isinstance(ask(part(HEAD) + b"." + part(payload) + b"." + part(signature)), Refused)
    assert isinstance(ask(part(HEAD) + b"." + part(CLAIMS) + b"." + part(signature)), Refused)


@QUICK
@given(headers, claims, st.binary(max_size=80))
def test_any_members_without_a_signature(header: dict[str, Any], body: dict[str, Any], signature: bytes) -> None:
    data = part(HEAD | header) + b"." + part(CLAIMS | body) + b"." + part(signature)
    assert isinstance(ask(data), Refused | KeyNeeded)


@QUICK
@given(claims, st.sampled_from(sorted(CLAIMS)) | st.none())
def test_any_claims_that_are_signed(body: dict[str, Any], without: str | None) -> None:
    said = {k: v for k, v in (CLAIMS | body).items() if k != without}
    found = ask(signed(HEAD, said))
    if isinstance(found, Verified):
        assert said["iss"] == ISS and (said["aud"] == "app" or "app" in said["aud"])
        assert found.subject == said["sub"] and found.subject.isprintable()
        assert isinstance(said["exp"], int | float) and said["exp"] + 60 > AT
        json.dumps(found.claims, allow_nan=False).encode()  # whoever gets them can write them
    else:
        assert isinstance(found, Refused)


@QUICK
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_good_token_with_one_letter_changed(name: str, data: st.DataObject) -> None:
    good = GOOD[name]
    assert isinstance(ask(good), Verified)
    i = data.draw(st.integers(0, len(good) - 1))
    letter = data.draw(st.sampled_from(b"AZaz09-_.=+/\n\0\xff"))
    changed = good[:i] + bytes([letter]) + good[i + 1 :]
    if changed != good:
        assert isinstance(ask(changed), Refused | KeyNeeded)
        assert isinstance(ask(good[:i]), Refused)


@QUICK
@given(
    values | st.lists(st.dictionaries(st.sampled_from(sorted({*jwk(), *jwk("ES256"), "d", "k"})), values), max_size=3)
)
def test_any_document_of_keys(rows: Any) -> None:
    for value in (
        rows,
        {"keys": rows},
        {"keys": [jwk() | r for r in rows if isinstance(r, dict)]} if isinstance(rows, list) else [],
    ):
        with suppress(ValueError):
            found = KeySet.read(json.dumps(value).encode())
            assert len(found) > 0 and not found.signed(None, "RS256", b"m", b"\0" * 256)


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_as_a_key_or_a_cookie(data: bytes) -> None:
    signer = cookies.Signer(b"0123456789abcdef")
    assert api_keys.read(data) is None and api_keys.profile_of(data) == ""
    assert signer.read(data, AT) is None and cookies.sent(data, tls=True) is None
    for value in (b"v1." + data, signer.issue(2_000_000_000)[0].encode() + data if data else b""):
        assert signer.read(value, AT) is None


@QUICK
@given(
    st.dictionaries(st.sampled_from([b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"]), st.binary()),
    st.text(max_size=8),
)
def test_any_headers_of_another_site(found: dict[bytes, bytes], method: str) -> None:
    refused = cookies.cross_site(found, method, frozenset({"https://chat.example"}))
    allowed = found.get(b"origin") == b"https://chat.example"
    assert (
        refused
        or allowed
        or method in ("GET", "HEAD", "OPTIONS")
        or found[b"sec-fetch-site"] in (b"same-origin", b"none")
    )
