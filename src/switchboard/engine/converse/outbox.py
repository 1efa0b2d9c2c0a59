"""What is to be sent to a client that reads slowly: events wait, sound that is stale is dropped."""

from __future__ import annotations

from collections import deque
from typing import Final

from switchboard.core.sockets import Socket

#: About a minute: models speak faster than one listens, so that what waits is not late yet.
SOUND_BYTES: Final = 4 << 20
OTHER_BYTES: Final = 4 << 20


class Outbox:
    """Sends frames to `socket`, in order. Its sink passes `on_full` and `on_drain` on; in between, frames wait here.

    Of sound at most `sound_bytes` bytes wait: the oldest make room. Events are never dropped: where more than `other_bytes` bytes of them wait,
    it is `over`, and who feeds it has to stop. `dropped` counts the frames of sound that were dropped.
    """

    __slots__ = (
        "_draining",
        "_events",
        "_events_size",
        "_full",
        "_next",
        "_other_bytes",
        "_socket",
        "_sound_bytes",
        "_sounds",
        "_sounds_size",
        "_waits",
        "dropped",
    )

    def __init__(self, socket: Socket, *, sound_bytes: int = SOUND_BYTES, other_bytes: int = OTHER_BYTES) -> None:
        self.dropped = 0
        self._socket = socket
        self._other_bytes = other_bytes
        self._sound_bytes = sound_bytes
        self._full = self._draining = False
        self._waits = False  # full, or frames wait yet
        self._next = 0  # the number of the next frame that waits
        self._sounds: deque[tuple[int, bytes, bool]] = deque()
        self._sounds_size = 0
        self._events: deque[tuple[int, bytes]] = deque()
        self._events_size = 0

    @property
    def over(self) -> bool:
        """Whether more events wait than should."""
        return self._events_size > self._other_bytes

    def sound(self, frame: bytes, *, binary: bool = False) -> None:
        """Send a frame of sound, as a binary message or as text. One that has to wait may be dropped."""
        if not self._waits:
            self._send(frame, binary)
            return
        self._sounds.append((self._next, frame, binary))
        self._next += 1
        self._sounds_size += len(frame)
        while self._sounds_size > self._sound_bytes:
            self._sounds_size -= len(self._sounds.popleft()[1])
            self.dropped += 1

    def event(self, frame: bytes) -> None:
        """Send any other frame, as text."""
        if not self._waits:
            self._socket.send_text(frame)
            return
        self._events.append((self._next, frame))
        self._next += 1
        self._events_size += len(frame)

    def on_full(self) -> None:
        """The socket takes no more for now."""
        self._full = self._waits = True

    def on_drain(self) -> None:
        """The socket takes more: what waits goes out, until it is full again."""
        self._full = False
        if self._draining:  # sending did it: the loop below goes on
            return
        self._draining = True
        try:
            while not self._full and (self._sounds or self._events):
                self._send_next()
        finally:
            self._draining = False
        self._waits = self._full

    def stale(self) -> None:
        """The sound that waits is not wanted any more."""
        self.dropped += len(self._sounds)
        self._sounds.clear()
        self._sounds_size = 0

    def last(self) -> None:
        """The socket is about to be closed: the events that wait go out whether it is full or not, sound does not."""
        self._sounds.clear()
        self._sounds_size = 0
        while self._events:  # which a send that drains the socket takes from, too
            self._send_next()

    def _send_next(self) -> None:
        """Send the frame that waits longest."""
        if self._sounds and not (self._events and self._events[0][0] < self._sounds[0][0]):
            _, frame, binary = self._sounds.popleft()
            self._sounds_size -= len(frame)
            self._send(frame, binary)
        else:
            _, frame = self._events.popleft()
            self._events_size -= len(frame)
            self._socket.send_text(frame)

    def _send(self, frame: bytes, binary: bool) -> None:
        if binary:
            self._socket.send_binary(frame)
        else:
            self._socket.send_text(frame)
