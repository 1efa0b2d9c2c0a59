"""The open sockets of one side: what they share, their clock, and their common end."""

from __future__ import annotations

from switchboard.core.sockets import RESTARTING
from switchboard.net.websocket.connection import WebSocket
from switchboard.net.websocket.limits import SocketLimits
from switchboard.net.websocket.masking import Keys
from switchboard.net.websocket.turn import Turn


class Sockets:
    """Open WebSockets that are held to the same `limits` (which may be replaced, for those that are opened later). `turn` is shared with
    those that they pass messages on to."""

    def __init__(self, limits: SocketLimits | None = None, turn: Turn | None = None) -> None:
        self.limits = limits or SocketLimits()
        self.turn = turn or Turn()
        self._open: set[WebSocket] = set()
        self.keys = Keys()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, socket: WebSocket) -> None:
        """`socket` is open."""
        self._open.add(socket)

    def discard(self, socket: WebSocket) -> None:
        """`socket` is gone."""
        self._open.discard(socket)

    def tick(self, at: float) -> None:
        """Hold the deadlines of those that were opened from here; the front door's connections see to their own. `at` is on
        the monotonic clock (seconds). Called about every 0.25 s."""
        for socket in list(self._open):
            if socket.client:
                socket.tick(at)

    def close_all(self, code: int = RESTARTING, reason: str = "") -> None:
        """Begin to close them all."""
        for socket in list(self._open):
            socket.close(code, reason)
