"""Keys and tokens of issuers, good ones and forged ones."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

ISS = "https://issuer.example/"
AT = 1_800_000_000.0
CLAIMS: dict[str, Any] = {"iss": ISS, "aud": "app", "sub": "alice", "iat": AT - 10, "exp": AT + 600}


def private(algorithm: str, number: int = 0) -> Any:
    """The private key number `number` of those for `algorithm`."""
    return _made("RSA" if algorithm[:2] in ("RS", "PS") else algorithm, number)


@cache
def _made(kind: str, number: int) -> Any:
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    return ec.generate_private_key(curves[kind])


def jwk(algorithm: str = "RS256", kid: str | None = "one", number: int = 0, **more: Any) -> dict[str, Any]:
    """A public key as an issuer lists it; members that are None are left out."""
    row = get_default_algorithms()[algorithm].to_jwk(private(algorithm, number).public_key(), as_dict=True)
    row |= {"kid": kid, "use": "sig", "alg": algorithm, "key_ops": None} | more
    return {k: v for k, v in row.items() if v is not None}


def document(*rows: dict[str, Any]) -> bytes:
    """A JWK set."""
    return json.dumps({"keys": list(rows)}).encode()


def token(
    claims: dict[str, Any] | None = None,
    *,
    algorithm: str = "RS256",
    kid: str | None = "one",
    number: int = 0,
    header: dict[str, Any] | None = None,
    **changes: Any,
) -> bytes:
    """A token with a good signature; claims that are None are left out."""
    body = {k: v for k, v in {**(CLAIMS if claims is None else claims), **changes}.items() if v is not None}
    head = ({"kid": kid} if kid is not None else {}) | (header or {})
    return jwt.api_jws.encode(json.dumps(body).encode(), private(algorithm, number), algorithm, head).encode()


def now_token(lifetime: float = 600, **changes: Any) -> bytes:
    """A token that is good at this moment."""
    at = time.time()
    return token(iat=at, exp=at + lifetime, **changes)


def part(value: Any) -> bytes:
    """Bytes, or JSON of anything else, as a part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=")


def signed(header: Any, payload: Any, algorithm: str = "RS256", number: int = 0) -> bytes:
    """Any header and any payload, with the signature that an issuer would make over them."""
    message = part(header) + b"." + part(payload)
    return message + b"." + part(get_default_algorithms()[algorithm].sign(message, private(algorithm, number)))
