"""Frames of RFC 6455 as bytes: how they begin, and what a close frame may say. No I/O, no state."""

from __future__ import annotations

import struct
from typing import Final

from switchboard.core.sockets import BAD_TEXT, INTERNAL, NO_CODE, PROTOCOL_ERROR

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FIN: Final = 0x80

#: Bytes that a control frame may carry.
CONTROL: Final = 125

_BYTES: Final = struct.Struct("!BB").pack
_SHORT: Final = struct.Struct("!BBH").pack
_LONG: Final = struct.Struct("!BBQ").pack


class Violation(Exception):  # noqa: N818  an error of the other side
    """The other side broke a rule: the close `code` for it, and a `reason` that may be told."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


def head(first: int, size: int, mask: int = 0) -> bytes:
    """How a frame of `size` bytes begins whose first byte is `first`; `mask` is 0x80 where a masking key follows."""
    if size < 126:
        return _BYTES(first, mask | size)
    if size < 65536:
        return _SHORT(first, mask | 126, size)
    return _LONG(first, mask | 127, size)


def may_be_told(code: int) -> bool:
    """Whether a close frame may carry `code`."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))


def close_payload(code: int, reason: str) -> bytes:
    """What a close frame says; see `core.sockets.Socket.close` for codes that may not be sent and reasons that are too long."""
    if code == NO_CODE:
        return b""
    text = reason.encode("utf-8", "replace")
    if len(text) > CONTROL - 2:
        text = text[: CONTROL - 2].decode("utf-8", "ignore").encode()
    return (code if may_be_told(code) else INTERNAL).to_bytes(2, "big") + text


def read_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame; 1005 where it names none. Raises `Violation`."""
    if not payload:
        return NO_CODE, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not may_be_told(code):
        raise Violation(PROTOCOL_ERROR, "a close code that is none")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise Violation(BAD_TEXT, "a close reason that is not UTF-8") from None
