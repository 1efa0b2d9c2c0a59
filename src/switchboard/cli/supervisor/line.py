"""What the supervisor and a worker say to each other: frames of `net.line`, over a socket that both have from the start.

==== ============== ==============================================================================
kind from           payload
==== ============== ==============================================================================
R    the worker     its banner; it answers requests
G    the worker     nothing; somebody has told it to end, and soon it accepts no more
X    the worker     why it cannot start, as text; it ends
O    the worker     new settings hold; the names of those that hold after a restart only, as JSON
F    the worker     why new settings cannot be used, as text; the old ones hold
S    the supervisor new settings, pickled (both ends are one program, and nobody else holds this socket)
C    the supervisor how often the settings were read anew, by result, as JSON
A    the supervisor the number of a worker that is dead or leaves: accept from its socket too
L    the supervisor the number of a worker that is there again: leave its socket to it
E    the supervisor `DRAIN`, `QUICK` or `NOW`: end
==== ============== ==============================================================================

The end of the socket is the end of the other side. Each setting of S is answered by O or F, in order.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from switchboard.net.control import ControlError, Frames
from switchboard.net.line import MOST, frame

#: Accept for a while, then let open answers end.
DRAIN: Final = b"drain"
#: Accept no more, let open answers end.
QUICK: Final = b"quick"
#: Cut open answers.
NOW: Final = b"now"


class Line:
    """One side's end of it, which never blocks. `most` bytes may wait to be sent: who reads so little is lost."""

    def __init__(self, sock: socket.socket, most: int = MOST) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._frames = Frames(MOST)
        self._out = bytearray()
        self._most = most
        self.ended = False

    def fileno(self) -> int:
        """For selectors."""
        return self.socket.fileno()

    @property
    def waiting(self) -> bool:
        """Whether something is still to be sent, by `send_on` as soon as the socket takes it."""
        return bool(self._out)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send one frame, as much of it at once as the socket takes."""
        if self.ended:
            return
        self._out += frame(kind, payload)
        self.send_on()
        if len(self._out) > self._most:
            self.ended = True

    def send_on(self) -> None:
        """Send what waits."""
        with contextlib.suppress(BlockingIOError, InterruptedError):
            try:
                while self._out:
                    del self._out[: self.socket.send(self._out)]
            except (BrokenPipeError, ConnectionError):
                self._out.clear()  # what it still said can be read; then comes the end

    def receive(self) -> list[tuple[bytes, bytes]]:
        """The frames that have come whole. `ended` tells afterwards whether no more will come."""
        out: list[tuple[bytes, bytes]] = []
        while not self.ended:
            try:
                data = self.socket.recv(65536)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            self.ended = not data
            try:
                out += self._frames.feed(data)
            except ControlError:
                self.ended = True
        return out

    def close(self) -> None:
        """Hang up."""
        self.ended = True
        self.socket.close()
