"""The ordinary way: uvicorn's own ASGI cycle, for requests that the door does not take."""

from __future__ import annotations

from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from switchboard.net.front.request import Request


class Hangup(Protocol):
    """What a cycle's transport asks of its connection."""

    def write(self, data: bytes) -> None:
        """Send `data`."""

    def hang_up(self) -> None:
        """Close so that the answer is still read."""

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""


class Cycle(RequestResponseCycle):
    """uvicorn's cycle; says so when the answer is the connection's last because the body is not read to its end."""

    request: Request

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and not self.request.drains:
            self.keep_alive = False
        await super().send(message)


class ColdTransport:
    """What a cycle writes to: its `close` lets a client that is still sending read the answer."""

    def __init__(self, connection: Hangup) -> None:
        self.write = connection.write
        self.close = connection.hang_up
        self.is_closing = connection.is_closing
