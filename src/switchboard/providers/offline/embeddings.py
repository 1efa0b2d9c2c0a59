"""Embeddings without a model: ``hashed-words``.

Each word of a text, and each of its sequences of three letters, adds to a few numbers that its hash picks; texts with
words in common are near each other, and that is all the meaning there is. The same text has the same vector on every machine.
"""

from __future__ import annotations

import math
import re
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Struct

from switchboard.providers.offline.models import Head, Script

HASHED: Final = "hashed-words"
_LENGTH: Final = 256
_LONGEST: Final = 4096
_WORD: Final = re.compile(r"\w+")
_CHARACTERS: Final = 50_000
_NUMBERS: Final = 500_000
_ROWS: Final = 4  # numbers that one feature adds to


class _Request(Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None


def vector(text: str, length: int = _LENGTH) -> list[float]:
    """The vector of `text`, `length` numbers long, of length one (all zeros where there is no word)."""
    numbers = [0.0] * length
    for word in _WORD.findall(text.casefold()):
        _add(numbers, word, 1.0)
        padded = f" {word} "
        for i in range(len(padded) - 2):
            _add(numbers, padded[i : i + 3], 0.3)
    size = math.sqrt(sum([n * n for n in numbers]))
    return [round(n / size, 7) for n in numbers] if size else numbers


def _add(numbers: list[float], feature: str, weight: float) -> None:
    digest = blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=4 * _ROWS).digest()
    for i in range(_ROWS):
        value = int.from_bytes(digest[4 * i : 4 * i + 4], "big")
        numbers[value % len(numbers)] += weight if value & 0x80000000 else -weight


def embed(body: bytes) -> Script:
    """The script that answers an embeddings request."""
    request = msgspec.json.decode(body, type=_Request)
    given = request.input
    ids = isinstance(given, list) and given and isinstance(given[0], int)
    texts: list[Any] = [given] if isinstance(given, str) or ids else list(given)
    readable = [t if isinstance(t, str) else " ".join(map(str, t)) for t in texts]
    length = min(request.dimensions or _LENGTH, _LONGEST)
    # it is done in the server's own process: no more than some hundredths of a second's work
    if sum([len(t) for t in readable]) > _CHARACTERS or len(readable) * length > _NUMBERS:
        text = f"input: at most {_CHARACTERS} characters and {_NUMBERS} numbers at once are taken offline."
        error = {"message": text, "type": "invalid_request_error", "param": "input", "code": "too_much"}
        yield Head(400, {b"content-type": b"application/json"})
        yield msgspec.json.encode({"error": error})
        return
    data = [{"object": "embedding", "index": i, "embedding": vector(t, length)} for i, t in enumerate(readable)]
    words = sum([len(t.split()) for t in readable])
    usage = {"prompt_tokens": words, "total_tokens": words}
    yield Head(200, {b"content-type": b"application/json"})
    yield msgspec.json.encode({"object": "list", "data": data, "model": request.model, "usage": usage})
