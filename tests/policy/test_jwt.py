"""Tokens of issuers: which are believed, and every way that is known to have others believed."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.tokens import AT, CLAIMS, ISS, document, jwk, part, private, signed, token
from switchboard.policy import jwt
from switchboard.policy.jwk_set import FAMILIES, KeySet
from switchboard.policy.jwt import Issuer, KeyNeeded, Refused, Verified, by_iss, verify

ISSUER = Issuer(name="login", issuer=ISS, audiences=("app", "other"))
HEAD = {"alg": "RS256", "typ": "JWT", "kid": "one"}


def keys(*rows: dict[str, Any]) -> KeySet:
    return KeySet.read(document(*(rows or (jwk(), jwk("ES256", "two")))))


def ask(data: bytes, issuer: Issuer = ISSUER, keyset: KeySet | None = None, at: float = AT) -> Any:
    known = keyset or keys()
    return verify(data, by_iss([issuer]), lambda _: known, at)


def reason(data: bytes, issuer: Issuer = ISSUER, keyset: KeySet | None = None, at: float = AT) -> str:
    found = ask(data, issuer, keyset, at)
    assert isinstance(found, Refused)
    return found.reason


def test_a_good_token_says_who_it_is() -> None:
    found = ask(token(role="admin"))
    assert found == Verified("login", "alice", CLAIMS | {"role": "admin"}, AT + 600)
    assert "admin" not in repr(found)


@pytest.mark.parametrize("algorithm", FAMILIES)
def test_every_algorithm_that_is_named_works(algorithm: str) -> None:
    issuer = Issuer(name="x", issuer=ISS, audiences=("app",), algorithms=(algorithm,))
    good = token(algorithm=algorithm)
    assert isinstance(ask(good, issuer, keys(jwk(algorithm))), Verified)
    assert isinstance(ask(good, issuer, keys(jwk(algorithm, alg=None))), Verified)  # a key that does not say what for
    head, payload, signature = good.split(b".")
    for forged in (b"AA" * (len(signature) // 2), signature[:-8], part(b"\0" * 64), part(b"\0" * 256)):
        assert "signature" in reason(b".".join([head, payload, forged]), issuer, keys(jwk(algorithm)))
    changed = part(CLAIMS | {"sub": "mallory"})
    assert "signature" in reason(b".".join([head, changed, signature]), issuer, keys(jwk(algorithm)))


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", " none", None, 0, False, [], ["RS256"], {}, "rs256"]
)
@pytest.mark.parametrize("end", [b"", b".", b".AA", b".e30"])
def test_no_algorithm_is_no_signature(alg: Any, end: bytes) -> None:
    assert reason(part({"alg": alg, "typ": "JWT"}) + b"." + part(CLAIMS) + end)


def test_a_header_without_an_algorithm() -> None:
    assert "algorithm" in reason(signed({"kid": "one"}, CLAIMS))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_shared_secret(algorithm: str) -> None:
    """RFC 8725, 2.1: what everybody knows is used as the key of an HMAC."""
    public = private("RS256").public_key()
    row = jwk()
    for secret in [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.PKCS1),
        public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        json.dumps(row).encode(),
        json.dumps(row, separators=(",", ":")).encode(),
        document(row),
        row["n"].encode(),
        b"",
    ]:
        message = part(HEAD | {"alg": algorithm}) + b"." + part(CLAIMS)
        mac = hmac.digest(secret, message, algorithm.replace("HS", "sha"))
        assert "algorithm" in reason(message + b"." + part(mac))


def test_a_key_of_another_kind_than_the_algorithm() -> None:
    wide = Issuer(name="x", issuer=ISS, audiences=("app",), algorithms=tuple(FAMILIES))
    for name in FAMILIES:  # the key "one" is RSA and says RS256, "two" is of P-256
        if name != "RS256":
            assert "signature" in reason(signed(HEAD | {"alg": name}, CLAIMS, name), wide)
        if name != "ES256":
            assert "signature" in reason(signed(HEAD | {"alg": name, "kid": "two"}, CLAIMS, name), wide)
    only = Issuer(name="x", issuer=ISS, audiences=("app",), algorithms=("RS256",))
    assert "may not" in reason(token(algorithm="ES256", kid="two"), only)
    # a document's shared secret is never used, not even where its issuer lists one
    with pytest.raises(ValueError, match="could be used"):
        keys({"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"})


def test_es256_with_zeros_for_a_signature() -> None:
    """CVE-2022-21449."""
    head, payload, _ = token(algorithm="ES256", kid="two").split(b".")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    n = order.to_bytes(32, "big")
    for signature in [
        b"\0" * 64,
        n + n,
        b"\0" * 63 + b"\1",
        n + b"\0" * 32,
        b"\xff" * 64,
        b"\0" * 63,
        b"\0",
        b"0\6\2\1\0\2\1\0",
    ]:
        assert "signature" in reason(b".".join([head, payload, part(signature)]))


HEADERS: dict[str, dict[str, Any]] = {
    "critical": {"crit": ["exp"], "exp": 1},
    "critical, empty": {"crit": []},
    "critical, null": {"crit": None},
    "unencoded": {"b64": False, "crit": ["b64"]},
    "unencoded, not critical": {"b64": False},
    "a logout token": {"typ": "logout+jwt"},
    "a DPoP proof": {"typ": "dpop+jwt"},
    "kind as number": {"typ": 1},
    "kid as number": {"kid": 1},
    "kid as list": {"kid": ["one"]},
    "kid empty": {"kid": ""},
    "kid without end": {"kid": "k" * 513},
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_refused(name: str) -> None:
    assert reason(signed(HEAD | HEADERS[name], CLAIMS))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"])
def test_kinds_that_are_taken(kind: str) -> None:
    assert isinstance(ask(signed(HEAD | {"typ": kind}, CLAIMS)), Verified)
    assert isinstance(ask(signed({"alg": "RS256", "kid": "one"}, CLAIMS)), Verified)


def test_keys_that_the_token_brings_are_not_looked_at() -> None:
    """CVE-2018-0114, and fetching what a token says."""
    own = jwk(kid="mine", number=1)
    for more in (
        {"jwk": own},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/"},
        {"x5c": ["AA=="]},
    ):
        forged = HEAD | more
        assert "signature" in reason(signed(forged, CLAIMS, number=1))
        assert isinstance(ask(signed(forged | {"kid": "mine"}, CLAIMS, number=1)), KeyNeeded)
        assert isinstance(ask(signed(forged, CLAIMS)), Verified)  # a good one may carry them


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "one' OR '1'='1",
        "x' UNION SELECT 'a",
        "|id",
        "one\0",
        "ONE",
        "one\r\nx: y",
        "https://evil.example/key",
        " one",
        "é",
    ],
)
def test_a_kid_is_a_name_and_nothing_else(kid: str) -> None:
    assert ask(signed(HEAD | {"kid": kid}, CLAIMS, number=1)) == KeyNeeded(ISSUER, kid)


def test_no_key_at_hand() -> None:
    found = verify(token(), by_iss([ISSUER]), lambda _: None, AT)
    assert found == KeyNeeded(ISSUER, "one")
    # but nothing is fetched for what would be refused all the same
    for bad in (token(aud="x"), token(exp=AT - 999), token(iss="https://else.example/"), token(sub="")):
        assert isinstance(verify(bad, by_iss([ISSUER]), lambda _: pytest.fail("asked"), AT), Refused)


def test_a_token_that_names_no_key() -> None:
    nameless = token(kid=None)
    assert isinstance(ask(nameless), Verified)
    assert isinstance(ask(nameless, keyset=keys(jwk(number=1, kid="zero"), jwk())), Verified)
    assert "signature" in reason(nameless, keyset=keys(jwk(number=1)))
    many = [jwk(number=1, kid=str(i)) for i in range(4)]
    assert "signature" in reason(nameless, keyset=keys(*many, jwk()))  # no more than four are tried


CLAIMS_REFUSED: dict[str, dict[str, Any]] = {
    "expired": {"exp": AT - 60},
    "exp missing": {"exp": None},
    "exp text": {"exp": str(AT + 60)},
    "exp true": {"exp": True},
    "exp list": {"exp": [AT + 60]},
    "exp huge": {"exp": 10**400},
    "exp negative": {"exp": -1},
    "exp milliseconds": {"exp": (AT + 60) * 1000},
    "iat in the future": {"iat": AT + 61},
    "iat text": {"iat": "1"},
    "iat false": {"iat": False},
    "nbf in the future": {"nbf": AT + 61},
    "nbf huge": {"nbf": 10**400},
    "nbf object": {"nbf": {}},
    "aud missing": {"aud": None},
    "aud else": {"aud": "else"},
    "aud prefix": {"aud": "app2"},
    "aud case": {"aud": "APP"},
    "aud empty": {"aud": ""},
    "aud list": {"aud": ["else"]},
    "aud empty list": {"aud": []},
    "aud number": {"aud": 1},
    "aud numbers": {"aud": ["app", 1]},
    "aud object": {"aud": {"app": 1}},
    "aud nested": {"aud": [["app"]]},
    "aud many": {"aud": ["app"] * 65},
    "iss missing": {"iss": None},
    "iss else": {"iss": "https://evil.example/"},
    "iss shorter": {"iss": ISS.rstrip("/")},
    "iss case": {"iss": ISS.upper()},
    "iss longer": {"iss": ISS + "x"},
    "iss blank": {"iss": ISS + " "},
    "iss list": {"iss": [ISS]},
    "iss object": {"iss": {}},
    "sub missing": {"sub": None},
    "sub empty": {"sub": ""},
    "sub number": {"sub": 1},
    "sub true": {"sub": True},
    "sub list": {"sub": ["alice"]},
    "sub long": {"sub": "a" * 256},
    "sub line end": {"sub": 'alice\n{"level":"info"}'},
    "sub return": {"sub": "alice\r"},
    "sub null": {"sub": "alice\0"},
    "sub escape": {"sub": "\x1b[2Jalice"},
    "sub line separator": {"sub": "a\u2028b"},
    "sub right to left": {"sub": "a\u202eb"},
    "sub invisible": {"sub": "a\u200bb"},
    "sub blanks around": {"sub": " alice"},
}


@pytest.mark.parametrize("name", CLAIMS_REFUSED)
def test_claims_that_are_refused(name: str) -> None:
    found = reason(token(**CLAIMS_REFUSED[name]))
    assert "alice" not in found and found.isprintable()  # nothing of a token is told


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1" + "0" * 5000, '"x"', "null", "0x7fffffffff"]
)
@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "other"])
def test_numbers_that_are_none(number: str, claim: str) -> None:
    rest = {k: v for k, v in CLAIMS.items() if k != claim}
    raw = json.dumps(rest)[:-1] + f', "{claim}": {number}}}'
    if (number, claim) in {("null", "other"), ('"x"', "other")}:
        assert isinstance(ask(signed(HEAD, raw.encode())), Verified)
    else:
        assert reason(signed(HEAD, raw.encode()))


def test_clocks_may_differ_a_little() -> None:
    assert isinstance(ask(token(exp=AT - 59.5, iat=AT - 900)), Verified)
    assert isinstance(ask(token(iat=AT + 59, nbf=AT + 59)), Verified)
    strict = Issuer(name="x", issuer=ISS, audiences=("app",), leeway=0)
    assert reason(token(exp=AT), strict) == "expired"
    assert isinstance(ask(token(exp=AT + 1, iat=None), strict), Verified)


def test_limits_are_met_exactly() -> None:
    assert isinstance(ask(token(sub="a" * 255)), Verified)
    assert isinstance(ask(token(aud=["app"] * 64)), Verified)
    assert isinstance(ask(token(iat=AT + 60, nbf=AT + 60, exp=AT + 60)), Verified)
    lasting = Issuer(name="x", issuer=ISS, audiences=("app",), max_lifetime=610)
    assert isinstance(ask(token(), lasting), Verified)
    long = token(more="x" * 6000)
    longest = token(more="x" * (6000 + (8192 - len(long)) * 3 // 4))
    assert 8190 <= len(longest) <= 8192 and isinstance(ask(longest), Verified)


def test_a_list_of_audiences_and_floats_are_fine() -> None:
    assert isinstance(ask(token(aud=["else", "other"])), Verified)
    assert isinstance(ask(token(exp=AT + 0.5, iat=AT - 0.5)), Verified)


def test_without_an_audience_set_a_token_must_name_none() -> None:
    anyone = Issuer(name="x", issuer=ISS)
    assert isinstance(ask(token(aud=None), anyone), Verified)
    assert "audience" in reason(token(), anyone)


def test_claims_that_are_demanded() -> None:
    strict = Issuer(name="x", issuer=ISS, audiences=("app",), required=("tenant",), max_lifetime=3600)
    assert "tenant" in reason(token(), strict)
    assert isinstance(ask(token(tenant="t"), strict), Verified)
    assert "longer" in reason(token(tenant="t", exp=AT + 3600), strict)
    assert "longer" in reason(token(tenant="t", iat=None), strict)


def test_another_claim_may_name_the_user() -> None:
    by_name = Issuer(name="x", issuer=ISS, audiences=("app",), user_claim="name")
    assert ask(token(name="Zoë"), by_name).subject == "Zoë"
    assert "name is missing" in reason(token(), by_name)
    assert reason(token(name=["Zoë"]), by_name)
    by_mail = Issuer(name="x", issuer=ISS, audiences=("app",), user_claim="email")
    assert "not verified" in reason(token(email="a@b.example"), by_mail)
    assert "not verified" in reason(token(email="a@b.example", email_verified="false"), by_mail)
    assert ask(token(email="a@b.example", email_verified=True), by_mail).subject == "a@b.example"


def _twice(name: str, first: Any, second: Any) -> bytes:
    rest = {k: v for k, v in CLAIMS.items() if k != name}
    return (json.dumps(rest)[:-1] + f', "{name}": {json.dumps(first)}, "{name}": {json.dumps(second)}}}').encode()


SHAPES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "dots": lambda: b"..",
    "more dots": lambda: b"....",
    "two parts": lambda: token().rpartition(b".")[0],
    "signature stripped": lambda: token().rpartition(b".")[0] + b".",
    "four parts": lambda: token() + b".e30",
    "five parts": lambda: token() + b".e30.e30",
    "two dots": lambda: token().replace(b".", b"..", 1),
    "dot before": lambda: b"." + token(),
    "dot after": lambda: token() + b".",
    "line end": lambda: token() + b"\n",
    "blank": lambda: b" " + token(),
    "padded": lambda: token() + b"=",
    "padded header": lambda: token().replace(b".", b"=.", 1),
    "standard base64": lambda: token().replace(b"-", b"+").replace(b"_", b"/") + b"+",
    "one letter": lambda: b"A.A.A",
    "a signature of one letter": lambda: token().rpartition(b".")[0] + b".A",
    "other spelling of the last letter": lambda: _respelled(token()),
    "a megabyte": lambda: b"A" * 1_000_000,
    "a megabyte of dots": lambda: b"." * 1_000_000,
    "too long": lambda: token(more="x" * 8192),
    "header a list": lambda: signed([HEAD], CLAIMS),
    "header a text": lambda: signed("RS256", CLAIMS),
    "header null": lambda: signed(None, CLAIMS),
    "payload a list": lambda: signed(HEAD, [CLAIMS]),
    "payload a text": lambda: signed(HEAD, "alice"),
    "payload a token": lambda: signed(HEAD, token()),
    "payload not JSON": lambda: signed(HEAD, b"{'iss': 1}"),
    "payload not UTF-8": lambda: signed(HEAD, json.dumps(CLAIMS).encode()[:-1] + b', "x": "\xff"}'),
    "payload UTF-16": lambda: signed(HEAD, json.dumps(CLAIMS).encode("utf-16")),
    "payload with a mark": lambda: signed(HEAD, b"\xef\xbb\xbf" + json.dumps(CLAIMS).encode()),
    "payload and more": lambda: signed(HEAD, json.dumps(CLAIMS).encode() + b"{}"),
    "lone surrogate": lambda: signed(HEAD, CLAIMS | {"x": "\ud800"}),
    "lone surrogate as name": lambda: signed(HEAD, CLAIMS | {"\ud800": 1}),
    "deep lists": lambda: signed(HEAD, b"[" * 5000),
    "deep objects": lambda: signed(HEAD, b'{"a":' * 1000),
    "deep and closed": lambda: signed(
        HEAD, json.dumps(CLAIMS)[:-1].encode() + b', "x": ' + b"[" * 900 + b"]" * 900 + b"}"
    ),
    "sub twice": lambda: signed(HEAD, _twice("sub", "alice", "admin")),
    "exp twice": lambda: signed(HEAD, _twice("exp", AT + 60, AT + 60)),
    "alg twice": lambda: signed(b'{"alg":"none","alg":"RS256","kid":"one"}', CLAIMS),
    "twice further down": lambda: signed(HEAD, json.dumps(CLAIMS)[:-1].encode() + b', "x": {"a": 1, "a": 2}}'),
}


def _respelled(data: bytes) -> bytes:
    """256 bytes end in a letter of which only two bits count: another one with the same bits."""
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return data[:-1] + letters[letters.index(data[-1]) ^ 1 :][:1]


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_are_refused(name: str) -> None:
    assert reason(SHAPES[name]())


def test_what_looks_like_a_token() -> None:
    assert jwt.looks_like_jwt(token())
    assert not any(jwt.looks_like_jwt(x) for x in (b"sk-123", b"sbt_a.1.b.c", b"a.b", b"a.b.c\n", b"a." * 9000))


def test_the_rest_of_a_base64_alphabet_is_read() -> None:
    odd = signed(HEAD, CLAIMS | {"x": "\u07ff\u083f>>>???"})
    assert isinstance(ask(odd), Verified)
    assert b"+" not in urlsafe_b64encode(odd)
