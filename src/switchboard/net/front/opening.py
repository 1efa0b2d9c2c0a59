"""A client that asks for a WebSocket: from its request until the socket is open, or refused.

The app may take its time over that. Meanwhile the `Opening` stands where the connection has its parser, and keeps what the client sends.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from switchboard.core.errors import Problem
from switchboard.core.sockets import Handshake, SocketIntake, SocketSink
from switchboard.core.types import Lines, Outcome, RequestHead
from switchboard.net.front.request import Request
from switchboard.net.websocket import Sockets, WebSocket
from switchboard.net.websocket.handshake import Offer, accept_lines


class SocketDoor(Protocol):
    """What the app gives a front door that lets WebSockets in."""

    sockets: Sockets

    def enter_socket(self, head: RequestHead, handshake: Handshake) -> SocketIntake | None:
        """Decide about a valid handshake, or None: it is answered as an ordinary request without the upgrade."""


class Upgradable(Protocol):
    """What an opening asks of its connection."""

    @property
    def default_lines(self) -> Lines:
        """Header lines of every answer."""

    def opened(self, socket: WebSocket) -> None:
        """`socket` has the transport now."""

    def read_on(self) -> None:
        """The handshake is refused: HTTP goes on."""

    def data_received(self, data: bytes) -> None:
        """Some of that HTTP."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""


class Opening:
    """One handshake: the `core.sockets.Handshake` that the app is given."""

    __slots__ = ("_connection", "_held", "_offer", "_request", "_socket", "_sockets", "_transport", "intake")

    def __init__(
        self, connection: Upgradable, transport: asyncio.Transport, request: Request, offer: Offer, sockets: Sockets
    ) -> None:
        self._connection: Upgradable | None = connection
        self._transport = transport
        self._request = request
        self._offer = offer
        self._sockets = sockets
        self._held = b""
        self._socket: WebSocket | None = None
        self.intake: SocketIntake | None = None

    @property
    def offered(self) -> tuple[str, ...]:
        return self._offer.subprotocols

    def accept(self, sink: SocketSink, subprotocol: str | None = None, headers: Lines = b"") -> WebSocket | None:
        lines = accept_lines(self._offer, subprotocol)
        connection = self._over()
        if connection is None:
            return None
        self._request.detach()
        self._transport.write(b"%b%b%b%b\r\n" % (STATUS_LINE[101], connection.default_lines, headers, lines))
        lost = connection.connection_lost
        socket = WebSocket(self._sockets, self._transport, sink, subprotocol, client=False, lost=lost)
        self._socket = socket
        held, self._held = self._held, b""
        connection.opened(socket)
        socket.begin(held)
        return socket

    def refuse(self, status: int, headers: Lines, body: bytes) -> None:
        connection = self._over()
        if connection is None:
            return
        connection.read_on()
        self._request.whole(status, headers, body)
        held, self._held = self._held, b""
        if held:
            connection.data_received(held)

    def _over(self) -> Upgradable | None:
        connection, self._connection = self._connection, None
        self.intake = None
        return connection

    def end(self, why: Outcome) -> None:
        """Nobody is left to be answered."""
        intake = self.intake
        self._over()
        if intake is not None:
            intake.client_left(why)

    def feed_data(self, data: bytes | memoryview) -> None:
        """In the parser's place: keep what comes. The connection counts it."""
        if self._socket is not None:
            self._socket.data_received(bytes(data))
        else:
            self._held += data


class OpeningIntake:
    """What the connection sees of an opening: the `Intake` of its request, which has no body."""

    __slots__ = ("_opening",)

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    def start(self) -> None:
        """The app was told by then."""

    def on_body(self, data: bytes, end: bool) -> None:
        """There is none."""

    def refuse(self, problem: Problem) -> None:
        """Nothing is wrong with a body that is none."""

    def client_left(self, why: Outcome) -> None:
        """The client is gone, or was sent away."""
        self._opening.end(why)

    def pause(self) -> None:
        """Nothing is written."""

    def resume(self) -> None:
        """Nothing is written."""
