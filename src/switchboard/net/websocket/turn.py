"""One turn of reading: what is sent while the frames of one piece are read goes out together when it is over.

A relay that is given many frames at once passes them on with one write, which costs about as much as one frame by itself.
"""

from __future__ import annotations

from typing import Protocol


class Gathering(Protocol):
    """A socket whose frames wait for the end of the turn."""

    def flush(self) -> None:
        """Send them."""


class Turn:
    """Shared by all sockets that may send in each other's turns. `on`: somebody reads."""

    __slots__ = ("_waiting", "on")

    def __init__(self) -> None:
        self.on = False
        self._waiting: list[Gathering] = []

    def wait(self, socket: Gathering) -> None:
        """`socket` has something to send at the end."""
        self._waiting.append(socket)

    def end(self) -> None:
        """It is over."""
        self.on = False
        waiting, self._waiting = self._waiting, []
        for socket in waiting:
            socket.flush()
