"""The line to the provider: its WebSocket, and the next one where a provider's session ends before the conversation does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from switchboard.core.clock import now
from switchboard.core.errors import UpstreamError
from switchboard.core.ports import Flow
from switchboard.core.sockets import (
    BAD_TEXT,
    GOING_AWAY,
    INTERNAL,
    POLICY,
    PROTOCOL_ERROR,
    RESTARTING,
    TOO_BIG,
    TRY_LATER,
    VANISHED,
    ClientSink,
    Socket,
)

#: Closes after which a conversation may go on with a new session: the provider's time is up, or something broke.
_MENDED: Final = frozenset({GOING_AWAY, VANISHED, INTERNAL, RESTARTING, TRY_LATER})
#: What it is closed with from here for breaking the rules.
_BROKEN: Final = frozenset({PROTOCOL_ERROR, BAD_TEXT, POLICY, TOO_BIG})
#: Seconds before each further attempt at a new session.
_WAITS: Final = (0.0, 0.25, 0.75)
#: Seconds until a renewal is tried again that there is no hurry with.
_PAUSE: Final = 30.0
#: Seconds within which so many new sessions in a row are too many.
_SPAN: Final = 60.0
_IN_SPAN: Final = 4
#: Bytes that wait for a new session: of sound, the newest, and of the rest.
_SOUND: Final = 384 * 1024
_EVENTS: Final = 1024 * 1024

Dial = Callable[[ClientSink], Flow]


class Closed(Struct, frozen=True):
    """How the provider closed; or (`broken`) how it was closed from here, since it broke the rules of WebSockets."""

    code: int
    reason: str
    broken: bool = False


class Listener(Protocol):
    """Who talks over a line."""

    @property
    def quiet(self) -> bool:
        """Whether nobody says anything, so that nothing is lost when another session takes over."""

    def line_open(self, *, again: bool) -> list[bytes]:
        """There is a provider; `again`: a further session, which knows nothing yet. Gives what it is told before anything else."""

    def line_text(self, data: bytes) -> None:
        """An event of the provider."""

    def line_dropped(self) -> None:
        """The session broke off, and a new one is being opened."""

    def line_closed(self, closed: Closed) -> None:
        """The provider closed; nothing follows."""

    def line_refused(self, error: UpstreamError) -> bool:
        """There is no provider; whether to dial once more, since what was wrong with it is mended."""

    def line_failed(self, error: UpstreamError) -> None:
        """There is no provider; nothing follows."""

    def line_full(self) -> None:
        """The provider reads too slowly."""

    def line_drain(self) -> None:
        """It has caught up."""


class Line:
    """Opens with `open`. `mended`: a session that breaks off is followed by a new one."""

    def __init__(self, dial: Dial, listener: Listener, *, mended: bool) -> None:
        self._dial = dial
        self._listener = listener
        self._mended = mended
        self._leg: _Leg | None = None  # that is talked over
        self._next: _Leg | None = None  # that is being opened, or is open and waits for its time
        self._closed: Closed | None = None  # how the one before ended
        self._again_at: float | None = None
        self._attempt = 0
        self._renewals: deque[float] = deque(maxlen=_IN_SPAN)
        self._not_before = 0.0  # a renewal
        self._number = 0  # of the next frame that is held
        self._sounds: deque[tuple[int, bytes]] = deque()
        self._events: deque[tuple[int, bytes]] = deque()
        self._held_sound = self._held_events = 0
        self._over = self._paused = False
        self.since = 0.0  # when the session began, monotonic
        self.dropped = 0  # frames of sound that were thrown away while there was no session

    @property
    def renewing(self) -> bool:
        """Whether a new session is under way."""
        return self._next is not None or self._again_at is not None

    def open(self) -> None:
        """Dial. Raises `ValueError`."""
        self._next = _Leg(self)
        self._next.dialling = self._dial(self._next)

    def renew(self) -> None:
        """Open a new session, and go on with it as soon as it is there."""
        if not self.renewing and not self._over and now() >= self._not_before:
            self._attempt = 0
            self.open()

    def send(self, frame: bytes, *, sound: bool = False) -> None:
        """Tell the provider; while there is none, this waits."""
        if self._leg is not None and self._leg.socket is not None:
            self._leg.socket.send_text(frame)
        elif not self._over:
            self._hold(frame, sound=sound)

    def _hold(self, frame: bytes, *, sound: bool) -> None:
        self._number += 1
        if not sound:
            self._events.append((self._number, frame))
            self._held_events += len(frame)
            if self._held_events > _EVENTS:
                self._end(self._closed or Closed(TRY_LATER, "The provider does not answer."))
            return
        self._sounds.append((self._number, frame))
        self._held_sound += len(frame)
        while self._held_sound > _SOUND:
            self._held_sound -= len(self._sounds.popleft()[1])
            self.dropped += 1

    def _release(self) -> list[bytes]:
        """What waited, in its order."""
        held = sorted([*self._sounds, *self._events])
        self._sounds.clear()
        self._events.clear()
        self._held_sound = self._held_events = 0
        return [frame for _, frame in held]

    def pause(self) -> None:
        """Take nothing from the provider for now."""
        self._paused = True
        if self._leg is not None and self._leg.socket is not None:
            self._leg.socket.pause()

    def resume(self) -> None:
        """Go on taking."""
        self._paused = False
        if self._leg is not None and self._leg.socket is not None:
            self._leg.socket.resume()

    def close(self, code: int = GOING_AWAY, reason: str = "") -> None:
        """The conversation is over; the listener hears nothing more."""
        self._over = True
        self._again_at = None
        self._release()
        for leg in (self._leg, self._next):
            if leg is not None:
                leg.let_go(code, reason)
        self._leg = self._next = None

    def tick(self, at: float) -> None:
        """It is `at` (seconds, monotonic)."""
        if self._again_at is not None and at >= self._again_at:
            self._again_at = None
            self.open()
        elif self._next is not None and self._next.socket is not None and self._listener.quiet:
            self._take(self._next)

    # ---- what legs tell

    def opened(self, leg: _Leg) -> None:
        """A session is there: from now on it is the one, as soon as nobody is in the middle of something."""
        if self._leg is None or self._listener.quiet:
            self._take(leg)

    def _take(self, leg: _Leg) -> None:
        again = self.since > 0
        before, self._leg, self._next = self._leg, leg, None
        if before is not None:
            before.let_go(GOING_AWAY, "")
        self.since = now()
        socket = leg.socket
        assert socket is not None
        if self._paused:
            socket.pause()
        for frame in [*self._listener.line_open(again=again), *self._release()]:
            socket.send_text(frame)
        if again:
            self._listener.line_drain()  # whatever the one before was too slow for

    def failed(self, leg: _Leg, error: UpstreamError) -> None:
        """There is no session."""
        if leg is not self._next:
            return
        self._next = None
        if self._listener.line_refused(error):
            self.open()
        elif self.since == 0:
            self._over = True
            self._listener.line_failed(error)
        elif self._leg is None:
            self._try_again()
        else:
            self._not_before = now() + _PAUSE

    def text(self, leg: _Leg, data: bytes) -> None:
        """An event of a provider."""
        if leg is self._leg:
            self._listener.line_text(data)

    def closed(self, leg: _Leg, closed: Closed) -> None:
        """A session is over."""
        if leg is self._next:
            self._next = None
        elif leg is not self._leg:
            return
        else:
            self._leg = None
            self._closed = closed
            if not self._may_mend(closed):
                self._end(closed)
                return
            self._attempt = 0
            self._listener.line_dropped()
        if self._over or self._leg is not None:
            return
        if self._next is None:
            self._try_again()
        elif self._next.socket is not None:
            self._take(self._next)

    def _may_mend(self, closed: Closed) -> bool:
        if not self._mended or closed.code not in _MENDED:
            return False
        at = now()
        if len(self._renewals) == _IN_SPAN and at - self._renewals[0] < _SPAN:
            return False
        self._renewals.append(at)
        return True

    def _try_again(self) -> None:
        if self._attempt == len(_WAITS):
            self._end(self._closed or Closed(INTERNAL, ""))
            return
        self._again_at = now() + _WAITS[self._attempt]
        self._attempt += 1
        if self._again_at <= now():
            self._again_at = None
            self.open()

    def _end(self, closed: Closed) -> None:
        self.close()
        self._listener.line_closed(closed)

    def full(self, leg: _Leg) -> None:
        """A provider reads too slowly."""
        if leg is self._leg:
            self._listener.line_full()

    def drain(self, leg: _Leg) -> None:
        """It has caught up."""
        if leg is self._leg:
            self._listener.line_drain()


class _Leg:
    """One WebSocket to a provider: a `core.sockets.ClientSink`."""

    __slots__ = ("_line", "dialling", "socket")

    def __init__(self, line: Line) -> None:
        self._line: Line | None = line
        self.socket: Socket | None = None
        self.dialling: Flow | None = None

    def on_open(self, socket: Socket) -> None:
        self.socket = socket
        if self._line is not None:
            self._line.opened(self)

    def on_text(self, data: bytes) -> None:
        if self._line is not None:
            self._line.text(self, data)

    def on_binary(self, data: bytes) -> None:
        """There is nothing that would say it so."""

    def on_pong(self) -> None:
        """It lives."""

    def on_close(self, code: int, reason: str, clean: bool) -> None:
        line, self._line, self.socket = self._line, None, None
        if line is not None:
            line.closed(self, Closed(code, reason, not clean and code in _BROKEN))

    def on_error(self, error: UpstreamError) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.failed(self, error)

    def on_full(self) -> None:
        if self._line is not None:
            self._line.full(self)

    def on_drain(self) -> None:
        if self._line is not None:
            self._line.drain(self)

    def let_go(self, code: int, reason: str) -> None:
        """Nobody listens any more."""
        self._line = None
        if self.socket is not None:
            self.socket.close(code, reason)
        elif self.dialling is not None:
            self.dialling.abort()
