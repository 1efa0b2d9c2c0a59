"""Answers that go on without their client, and can be picked up where they were left.

A `Journal` stands between an Exchange and its client's connection. It numbers the events of the stream (``id:``), keeps the
newest of them, and hands them to whoever reads it, from any event on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Final, Protocol

from switchboard.core.clock import now
from switchboard.core.ports import Downstream
from switchboard.core.types import Lines

#: Seconds for which an answer goes on after its client left, and for which it can be read after its end.
LEFT: Final = 60.0
#: Bytes of a stream that are kept, and of all of them together.
KEPT: Final = 4 * 1024 * 1024
ROOM: Final = 256 * 1024 * 1024

_KIND: Final = (b"content-type: ", b"x-vercel-ai-")

Key = tuple[str, str, str]  # profile, owner, conversation


class Running(Protocol):
    """What makes the answer."""

    def client_left(self) -> None:
        """Nobody wants it any more."""

    def resume(self) -> None:
        """Nobody holds it up any more."""


class Room:
    """What several journals may keep together: `left` bytes more."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class Journal:
    """A `core.ports.Downstream` that keeps what goes through it to `down`, the client's own connection; at most `kept` bytes, and
    no more than there is `room` for."""

    def __init__(self, running: Running, down: Downstream, kept: int = KEPT, room: Room | None = None) -> None:
        self._most = kept
        self._room = room or Room(kept)
        self._running = running
        self._down: Downstream | None = down
        self._events: deque[bytes] = deque()
        self.oldest = 1  # the number of the first event that is kept
        self._size = 0
        self._changed = asyncio.Event()
        self._stopped = False
        self._readers = 0
        self.kind: Lines = b""  # header lines that say what the stream is
        self.over: float | None = None  # when it ended, monotonic
        self.cut = False
        self.left: float | None = None  # when its client left

    # ---- from the Exchange

    def announce(self, headers: Lines) -> None:
        """What the stream will be: whoever picks it up before it has begun is told that already."""
        self.kind = b"".join([line + b"\r\n" for line in headers.split(b"\r\n") if line.startswith(_KIND)])

    def head(self, status: int, headers: Lines) -> None:
        self.announce(headers)
        if self._down is not None:
            self._down.head(status, headers)

    def whole(self, status: int, headers: Lines, body: bytes) -> None:
        self._end(cut=True)  # there is no stream
        if self._down is not None:
            self._down.whole(status, headers, body)

    def write(self, data: bytes) -> None:
        data = self._note(data)
        if self._down is not None:
            self._down.write(data)

    def end(self, data: bytes = b"") -> None:
        data = self._note(data)
        self._end(cut=False)
        if self._down is not None:
            self._down.end(data)

    def fail(self, last: bytes) -> None:
        last = self._note(last)
        self._end(cut=True)
        if self._down is not None:
            self._down.fail(last)

    def continue_(self) -> None:
        if self._down is not None:
            self._down.continue_()

    def goes_on(self) -> bool:
        """The client left (a shell may say so more than once): whether the answer goes on."""
        if self._stopped or self.over is not None:
            return False
        if self.left is None:
            self.left = now()
            self._down = None
            self._running.resume()
        return True

    def expired(self, at: float) -> bool:
        """Whether nobody has come back in time; `at` is on the monotonic clock."""
        return self.left is not None and self.over is None and not self._readers and at - self.left > LEFT

    def _note(self, data: bytes) -> bytes:
        """Keep `data`, which are whole events; gives them with their numbers."""
        if not data:
            return data
        out = []
        for event in data.split(b"\n\n"):
            if not event:
                continue
            if not event.startswith(b":"):  # a comment is for this moment only
                event = b"id: %d\n%b" % (self.oldest + len(self._events), event)
                self._events.append(event)
                self._grow(len(event))
            out.append(event)
        while self._events and (self._size > self._most or self._room.left < 0):
            self._grow(-len(self._events.popleft()))
            self.oldest += 1
        self._wake()
        return b"".join([e + b"\n\n" for e in out])

    def _grow(self, size: int) -> None:
        self._size += size
        self._room.left -= size

    def leave(self) -> None:
        """Nobody finds it any more: it is no part of the room that others share."""
        self._room.left += self._size
        self._room = Room(self._most - self._size)

    def _end(self, *, cut: bool) -> None:
        self.over = now()
        self.cut = cut
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ---- for readers

    def since(self, last: int) -> tuple[bytes, int] | None:
        """The events behind number `last`, and the number of the last of them; None where some of them are gone."""
        self._wanted()
        if last + 1 < self.oldest:
            return None
        newest = self.newest
        events = list(islice(reversed(self._events), max(0, newest - last)))
        return b"".join([e + b"\n\n" for e in reversed(events)]), max(last, newest)

    @property
    def newest(self) -> int:
        """The number of the last event, 0 where there is none yet. A client that names a higher one has it from an earlier
        answer."""
        return self.oldest + len(self._events) - 1

    def _wanted(self) -> None:
        """Somebody has come back: the time that the answer goes on without anybody begins anew."""
        if self.left is not None:
            self.left = now()

    async def read(self, last: int) -> AsyncIterator[bytes]:
        """The events behind number `last`, as they come, to the end. Raises `EOFError` where the answer was cut."""
        self._readers += 1
        last = 0 if last > self.newest else last
        try:
            while (found := self.since(last)) is not None:
                changed, over = self._changed, self.over is not None
                data, last = found
                if data:
                    yield data
                elif over:
                    break
                if self.over is None and self.since(last) == (b"", last):
                    await changed.wait()
            if self.cut or found is None:
                raise EOFError
        finally:
            self._readers -= 1
            self._wanted()

    def stop(self) -> None:
        """End the answer."""
        self._stopped = True
        if self.over is None:
            self._running.client_left()
            self._end(cut=True)


class Journals:
    """The journals of the conversations in which an answer is under way, or was a moment ago; at most `most`, and `room` bytes in
    all: where that is used up, whoever writes loses the oldest of its own."""

    def __init__(self, most: int = 10_000, room: int = ROOM, *, clock: Callable[[], float] = now) -> None:
        self._most = most
        self._room = Room(room)
        self._clock = clock
        self._kept: dict[Key, Journal] = {}

    def begin(self, key: Key, running: Running, down: Downstream) -> Journal:
        """The journal of a new answer; one before it in the same conversation is forgotten."""
        self._sweep()
        if key in self._kept:
            self._forget(key)
        elif len(self._kept) >= self._most:
            self._forget(next(iter(self._kept)))
        journal = self._kept[key] = Journal(running, down, room=self._room)
        return journal

    def find(self, key: Key) -> Journal | None:
        """The journal of a conversation."""
        self._sweep()
        return self._kept.get(key)

    def _sweep(self) -> None:
        at = self._clock()
        for key, journal in list(self._kept.items()):
            if journal.over is not None and at - journal.over > LEFT:
                self._forget(key)

    def _forget(self, key: Key) -> None:
        self._kept.pop(key).leave()
