"""The public keys of an issuer of tokens, as its JWK set (RFC 7517) lists them.

What is no key for checking signatures is left out: encryption keys, shared secrets, private keys (a document that shows
them is no proof of anything), RSA keys that are too short or absurdly long, and whatever is not known.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
from msgspec import Struct

#: What each algorithm needs of a key: ``kty``, and ``crv`` where there is one.
FAMILIES: Final[dict[str, tuple[str, str]]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
#: No document with keys is larger than this, in bytes.
LARGEST: Final = 256 * 1024
_MOST_KEYS: Final = 100
_MOST_TRIED: Final = 4  # keys that are tried for a token that names none
_RSA_BITS: Final = range(2048, 8193)
_LONGEST_RSA: Final = 1400  # base64url characters of 8192 bits, and some


class _Jwk(Struct, frozen=True):
    """A key. `kid` and `alg` are "" where the document does not say; `material` is the library's object."""

    kid: str
    family: tuple[str, str]
    alg: str
    material: Any

    def __repr__(self) -> str:
        return f"_Jwk(kid={self.kid!r}, family={self.family!r})"


class KeySet:
    """The keys of one issuer. `digest` tells whether two documents hold the same. Made by `read`."""

    def __init__(self, keys: list[_Jwk], algorithms: dict[str, Any], digest: bytes) -> None:
        self._keys = keys
        self._algorithms = algorithms
        self._names = frozenset(k.kid for k in keys if k.kid)
        self.digest = digest

    @classmethod
    def read(cls, document: bytes) -> KeySet:
        """The keys of a JWK set. Raises `ValueError`, with nothing of the document in it, where there is none that could be used."""
        from jwt.algorithms import get_default_algorithms

        if len(document) > LARGEST:
            raise ValueError(f"a key set of more than {LARGEST} bytes")
        try:
            rows = msgspec.json.decode(document)["keys"]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
            raise ValueError("not a key set") from None
        if not isinstance(rows, list) or len(rows) > _MOST_KEYS:
            raise ValueError("not a key set, or one of too many keys")
        algorithms = {name: a for name, a in get_default_algorithms().items() if name in FAMILIES}
        keys, digest = [], hashlib.sha256()
        for row in rows:
            key = _key(row, algorithms)
            if key is not None:
                keys.append(key)
                digest.update(msgspec.json.encode(row, order="deterministic") + b"\n")
        if not keys:
            raise ValueError("a key set without a key that could be used")
        return cls(keys, algorithms, digest.digest())

    def __contains__(self, kid: str) -> bool:
        """Whether there is a key of that name."""
        return kid in self._names

    def __len__(self) -> int:
        return len(self._keys)

    def signed(self, kid: str | None, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` over `message` was made with the key `kid` (None: with any), and that key is one for `algorithm`."""
        from jwt.exceptions import InvalidKeyError

        checker, tried = self._algorithms.get(algorithm), 0
        if checker is None:
            return False
        for key in self._keys:
            if key.family != FAMILIES[algorithm] or key.alg not in ("", algorithm):
                continue
            if kid is not None and key.kid != kid:
                continue
            if tried >= _MOST_TRIED:
                return False
            tried += 1
            try:
                if checker.verify(message, checker.prepare_key(key.material), signature):
                    return True
            except (InvalidKeyError, ValueError):
                continue
        return False


def _key(row: Any, algorithms: dict[str, Any]) -> _Jwk | None:
    """One key of a document; None where it is none that could be used here."""
    if not isinstance(row, dict) or "d" in row or "k" in row or row.get("use", "sig") != "sig":
        return None
    operations = row.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    family = (row.get("kty"), row.get("crv", "") if row.get("kty") != "RSA" else "")
    kid, alg = row.get("kid", ""), row.get("alg", "")
    if not isinstance(kid, str) or not isinstance(alg, str):
        return None
    fit = next((name for name, f in FAMILIES.items() if f == family and alg in ("", name)), None)
    if fit is None or (family[0] == "RSA" and not _is_short(row)):
        return None
    material = _material(algorithms[fit], row)
    if material is None or (family[0] == "RSA" and material.key_size not in _RSA_BITS):
        return None
    return _Jwk(kid, FAMILIES[fit], alg, material)


def _is_short(row: dict[str, Any]) -> bool:
    """Whether an RSA key's numbers are of a size that is worth reading."""
    return all(isinstance(row.get(name), str) and len(row[name]) <= _LONGEST_RSA for name in ("n", "e"))


def _material(algorithm: Any, row: dict[str, Any]) -> Any:
    """The library's key; None where its numbers are none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from jwt.exceptions import InvalidKeyError

    try:
        return algorithm.from_jwk(row)
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError):
        return None
