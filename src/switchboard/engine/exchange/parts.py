"""What an Exchange is made with, where it stands, and the sink it gives to a transport."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from msgspec import Struct

from switchboard.core.errors import UpstreamError
from switchboard.core.types import Headers
from switchboard.engine.conversations import Conversations
from switchboard.engine.gate import Gate
from switchboard.engine.registry import Registry
from switchboard.engine.targets import Targets
from switchboard.engine.voice import Voice
from switchboard.telemetry.logs import Log
from switchboard.telemetry.records import Ledger


class Limits(Struct, frozen=True):
    """Bytes: `body` of a request, `upload` of one that brings files, `event` of a stream, `answer` that is not streamed. Seconds: `head_after`, when a
    stream's head goes out though nothing has come; `quiet`, after which a comment is sent."""

    body: int = 32 * 1024 * 1024
    upload: int = 25 * 1024 * 1024
    event: int = 16 * 1024 * 1024
    answer: int = 64 * 1024 * 1024
    head_after: float = 15.0
    quiet: float = 15.0


class Kit(Struct, frozen=True, gc=False):
    """What an exchange works with: parts of one immutable runtime, and the process's registry, ledger and log, and what
    it remembers of its targets, of conversations and of voice sessions (None: the server holds none)."""

    gate: Gate
    limits: Limits
    registry: Registry
    ledger: Ledger
    log: Log
    targets: Targets
    conversations: Conversations | None = None
    voice: Voice | None = None


class State(IntEnum):
    READING = 0  # the request's body
    CALLING = 1  # the upstream has not answered yet
    COLLECTING = 2  # an answer that goes out whole, or an error's body
    STREAMING = 3
    DRAINING = 4  # the client has all; the upstream's HTTP is still to end
    OVER = 5
    WAITING = 6  # to ask once more


class Upstreamed(Protocol):
    """What an attempt tells."""

    def upstream_head(self, status: int, headers: Headers) -> None:
        """The upstream answers."""

    def upstream_data(self, data: bytes) -> None:
        """Some of its answer."""

    def upstream_end(self) -> None:
        """Its answer is whole, as HTTP sees it."""

    def upstream_error(self, error: UpstreamError) -> None:
        """The call failed."""


class Attempt:
    """One call to one target: the sink that its transport pushes into. Deaf once it is `detach`ed."""

    __slots__ = ("_exchange", "on_data")

    def __init__(self, exchange: Upstreamed) -> None:
        self._exchange: Upstreamed | None = exchange
        self.on_data = exchange.upstream_data  # called for every piece: nothing stands in between

    def detach(self) -> None:
        """Nobody listens any more."""
        self._exchange = None
        self.on_data = _ignore

    def on_head(self, status: int, headers: Headers) -> None:
        if self._exchange is not None:
            self._exchange.upstream_head(status, headers)

    def on_end(self) -> None:
        exchange = self._exchange
        self.detach()
        if exchange is not None:
            exchange.upstream_end()

    def on_error(self, error: UpstreamError) -> None:
        exchange = self._exchange
        self.detach()
        if exchange is not None:
            exchange.upstream_error(error)


def _ignore(data: bytes) -> None:
    """What comes after the end."""
