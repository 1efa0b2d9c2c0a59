"""Which keys of an issuer's document are used."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm, get_default_algorithms

from support.tokens import document, jwk, private
from switchboard.policy.jwk_set import LARGEST, KeySet


def rsa_row(bits: int) -> dict[str, Any]:
    key = rsa.generate_private_key(65537, bits).public_key()
    return RSAAlgorithm.to_jwk(key, as_dict=True) | {"kid": "x"}


LEFT_OUT: dict[str, Any] = {
    "for encryption": jwk(use="enc"),
    "for other operations": jwk(key_ops=["encrypt"]),
    "operations that are none": jwk(key_ops="verify"),
    "private": RSAAlgorithm.to_jwk(private("RS256"), as_dict=True) | {"kid": "p"},
    "a shared secret": {"kty": "oct", "k": "AAAA", "kid": "s"},
    "an RSA key with a secret beside it": jwk(k="AAAA"),
    "too short": rsa_row(1024),
    "too long": jwk(n="A" * 2000),
    "no modulus": jwk(n=None),
    "a modulus that is none": jwk(n=7),
    "an even exponent": jwk(e="Ag"),
    "a point off the curve": jwk("ES256", x="A" * 43),
    "a short point": jwk("ES256", x="AA"),
    "a coordinate that is none": jwk("ES256", y=["x"]),
    "another curve": jwk("ES256", crv="secp256k1"),
    "a curve and an algorithm that do not fit": jwk("ES256", alg="ES384"),
    "a kind and an algorithm that do not fit": jwk(alg="ES256"),
    "an algorithm for encryption": jwk(alg="RSA-OAEP"),
    "an unknown kind": {"kty": "AKP", "kid": "x"},
    "a kind that is none": {"kty": ["RSA"], "kid": "x"},
    "a name that is none": jwk() | {"kid": 7},
    "no object": "key",
    "nothing": {},
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_keys_that_are_left_out(name: str) -> None:
    row = LEFT_OUT[name]
    found = KeySet.read(json.dumps({"keys": [row, jwk(kid="good", number=1)]}).encode())
    assert len(found) == 1 and "good" in found
    with pytest.raises(ValueError, match="could be used") as e:
        KeySet.read(json.dumps({"keys": [row]}).encode())
    assert e.value.__cause__ is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b'{"keys": []}',
        b"<html>",
        b"\xff",
        b"[" * 100_000,
        b" " * (LARGEST + 1),
        b'{"keys": [' + b",".join([b"{}"] * 101) + b"]}",
    ],
)
def test_documents_that_are_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="key set"):
        KeySet.read(data)


def test_the_digest_tells_whether_keys_changed() -> None:
    first = KeySet.read(document(jwk(), jwk("ES256", "two")))
    spaced = KeySet.read(json.dumps({"x": 1, "keys": [jwk(), jwk("ES256", "two")]}, indent=2).encode())
    assert first.digest == spaced.digest
    assert KeySet.read(document(jwk())).digest != first.digest
    assert "n=" not in repr(first) and jwk()["n"] not in repr(vars(first))


def test_a_key_may_sign_for_its_own_algorithm_only() -> None:
    message, key = b"m", private("ES256")
    signature = get_default_algorithms()["ES256"].sign(message, key)
    found = KeySet.read(document(jwk("ES256")))
    assert found.signed("one", "ES256", message, signature)
    assert found.signed(None, "ES256", message, signature)
    assert not found.signed("two", "ES256", message, signature)
    assert not found.signed("one", "ES384", message, signature)
    assert not found.signed("one", "HS256", message, signature)
    assert not found.signed("one", "none", message, b"")
