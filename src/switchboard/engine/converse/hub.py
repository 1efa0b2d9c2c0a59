"""What all conversations of a process share."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from switchboard.core.ports import Flow
from switchboard.core.sockets import ClientSink
from switchboard.core.types import SocketCall
from switchboard.engine.converse.stats import Stats


class Connect(Protocol):
    """Opens a WebSocket to a provider."""

    def __call__(self, call: SocketCall, sink: ClientSink) -> Flow:
        """The sink hears `on_open` or `on_error`, never before this returns. Raises `ValueError`."""


class Hub(Struct, frozen=True):
    """How providers are reached, and what the conversations add up to."""

    connect: Connect
    stats: Stats
