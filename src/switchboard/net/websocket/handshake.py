"""The opening handshake of RFC 6455 as headers: what a client has to say, and what it is answered. No I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final

from msgspec import Struct

from switchboard.core.types import Headers, Lines, RequestHead

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Offer(Struct, frozen=True, gc=False):
    """A valid wish for a WebSocket: its key, and the subprotocols it names, in order."""

    key: bytes
    subprotocols: tuple[str, ...]

    def __repr__(self) -> str:
        # some clients bring their API key as a subprotocol
        return f"<Offer {len(self.subprotocols)} subprotocols>"


def tokens(value: bytes) -> list[str]:
    """What stands between the commas of a header, in lower case."""
    return [t.strip().lower() for t in value.decode("latin-1").split(",")]


def is_token(text: str) -> bool:
    """Whether `text` may be a subprotocol."""
    return _TOKEN.fullmatch(text) is not None


def read_offer(head: RequestHead) -> Offer | None:
    """What the client wishes for; None where this is no valid handshake of version 13."""
    headers = head.headers
    key = headers.get(b"sec-websocket-key", b"")
    if (
        head.method != "GET"
        or "websocket" not in tokens(headers.get(b"upgrade", b""))
        or "upgrade" not in tokens(headers.get(b"connection", b""))
        or headers.get(b"sec-websocket-version") != b"13"
        or headers.get(b"content-length", b"0") != b"0"
        or b"transfer-encoding" in headers
        or not _is_key(key)
    ):
        return None
    value = headers.get(b"sec-websocket-protocol")
    names = [] if value is None else [t.strip() for t in value.decode("latin-1").split(",")]
    if len(set(names)) != len(names) or not all(map(is_token, names)):
        return None
    return Offer(key, tuple(names))


def _is_key(key: bytes) -> bool:
    try:
        return len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def accept_key(key: bytes) -> bytes:
    """What a server answers to `key`."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def accept_lines(offer: Offer, subprotocol: str | None) -> Lines:
    """The header lines of an answer that opens the socket. Raises `ValueError` for a subprotocol that was not offered."""
    lines = b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: %b\r\n" % accept_key(offer.key)
    if subprotocol is None:
        return lines
    if subprotocol not in offer.subprotocols:
        raise ValueError("a subprotocol that was not offered")
    return lines + b"sec-websocket-protocol: %b\r\n" % subprotocol.encode("latin-1")


def flaw(headers: Headers, key: bytes, offered: tuple[str, ...]) -> str:
    """What is wrong with the headers of a server's 101; "" where nothing is."""
    if "websocket" not in tokens(headers.get(b"upgrade", b"")):
        return "it does not upgrade to a WebSocket"
    if "upgrade" not in tokens(headers.get(b"connection", b"")):
        return "its connection header lacks upgrade"
    if headers.get(b"sec-websocket-accept") != accept_key(key):
        return "its accept key is not ours"
    if headers.get(b"sec-websocket-extensions"):
        return "it wants an extension that nobody offered"
    chosen = headers.get(b"sec-websocket-protocol")
    if chosen is not None and chosen.decode("latin-1") not in offered:
        return "it wants a subprotocol that nobody offered"
    return ""
