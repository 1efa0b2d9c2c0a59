"""Text as both databases take it: PostgreSQL knows no U+0000, neither knows half a surrogate pair, and what an index
holds must be short."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

import msgspec

#: Bytes of UTF-8 that are kept of a key, and of a label.
MOST: Final = 256

_STAND_IN: Final = re.compile(r"~[0-9a-f]{64}")
_encode: Final = msgspec.json.Encoder().encode


def key(value: str) -> str:
    """`value`, by which something is looked up, as it is stored. Different ones stay different.

    What cannot be stored (too long, U+0000, a lone surrogate) is kept as a digest of it: "~" and 64 hexadecimal digits.
    """
    if value.isascii() and len(value) <= MOST and "\0" not in value and not value.startswith("~"):
        return value
    data = value.encode("utf-8", "surrogatepass")
    if len(data) <= MOST and "\0" not in value and not _STAND_IN.fullmatch(value) and not _lone(value):
        return value
    return "~" + hashlib.sha256(data).hexdigest()


def label(value: str, most: int = MOST) -> str:
    """`value`, which is only shown, as it is stored: cut to `most` bytes, with U+FFFD for what cannot be stored."""
    if len(value) <= most and value.isascii() and "\0" not in value:
        return value
    data = value.replace("\0", "\ufffd")[:most].encode("utf-8", "surrogatepass")
    text = data.decode("utf-8", "replace") if _lone(value) else data.decode()
    return text.encode()[:most].decode("utf-8", "ignore")


def to_json(value: Any) -> str:
    """`value` as JSON text, which never holds U+0000 itself; "?" for lone surrogates."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), ensure_ascii=False).encode("utf-8", "replace").decode()


def _lone(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False
