"""Calls to providers, ready to be made."""

from __future__ import annotations

from msgspec import Struct

from switchboard.core.types.bodies import Upload
from switchboard.core.types.requests import Lines


class Timeouts(Struct, frozen=True, gc=False):
    """Seconds a call may take: to connect, to the first event, between bytes, and in all."""

    connect: float = 5.0
    first_event: float = 120.0
    idle: float = 60.0
    total: float = 600.0


class Call(Struct, gc=False):
    """One HTTP call to a provider, ready to be sent.

    `origin` is (scheme, host, port); `target` is path and query; `body` is held in memory, or an `Upload`; `head` are the header lines that do not change from
    call to call, each ended by CRLF, secrets included, so a call is never logged whole. `key` says which of the
    provider's keys it carries.
    """

    origin: tuple[str, str, int]
    method: bytes
    target: bytes
    head: bytes
    body: bytes | Upload = b""
    connect_timeout: float = 5.0
    key: int = 0

    def __repr__(self) -> str:
        scheme, host, port = self.origin
        size = len(self.body) if isinstance(self.body, bytes) else self.body.size
        return f"<Call {self.method.decode()} {scheme}://{host}:{port}{self.target.decode()} {size} bytes>"


class SocketCall(Struct, frozen=True, gc=False):
    """One WebSocket to a provider, ready to be opened.

    `url` is its address, `head` are header lines, secrets included, so that it is never logged whole. `shape` is which of OpenAI's
    Realtime interfaces is spoken there: "ga" or "beta". `key` says which of the provider's keys it carries.
    """

    url: str
    head: Lines
    shape: str = "ga"
    connect_timeout: float = 5.0
    key: int = 0

    def __repr__(self) -> str:
        return f"<SocketCall {self.url.partition('?')[0]}>"
