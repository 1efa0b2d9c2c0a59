"""What an open WebSocket knows of itself, how it sends, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from switchboard.core.clock import now
from switchboard.core.sockets import VANISHED, SocketSink
from switchboard.net.websocket.frames import CLOSE, FIN, close_payload, head
from switchboard.net.websocket.limits import SocketLimits
from switchboard.net.websocket.masking import Keys, mask
from switchboard.net.websocket.turn import Turn

# where a socket stands
OPEN: Final = 0
CLOSING: Final = 1  # our close frame is out, theirs has not come
OVER: Final = 2  # nothing is sent, told or read any more; the connection is about to end

_LARGE: Final = 8 * 1024  # bytes of a message that is worth a second piece to write


class Owner(Protocol):
    """Who keeps open sockets (`net.websocket.Sockets`)."""

    @property
    def limits(self) -> SocketLimits:
        """What the other side is held to."""

    @property
    def keys(self) -> Keys:
        """Where masking keys come from."""

    @property
    def turn(self) -> Turn:
        """The turn of reading that what is sent belongs to."""

    def add(self, socket: Any) -> None:
        """`socket` is open."""

    def discard(self, socket: Any) -> None:
        """`socket` is gone."""


class SocketState(asyncio.Protocol):
    """The part of a `WebSocket` that sends and ends."""

    __slots__ = (
        "_at",
        "_buffer",
        "_controls",
        "_controls_since",
        "_full",
        "_gathered",
        "_keys",
        "_limits",
        "_lost",
        "_message",
        "_message_first",
        "_most",
        "_need",
        "_owner",
        "_parsing",
        "_paused",
        "_ping_at",
        "_ping_sent",
        "_pings",
        "_seen",
        "_since",
        "_sink",
        "_state",
        "_subprotocol",
        "_theirs",
        "_transport",
        "_turn",
        "_unread",
        "_write",
        "client",
    )

    def __init__(
        self,
        owner: Owner,
        transport: asyncio.Transport,
        sink: SocketSink,
        subprotocol: str | None,
        *,
        client: bool,
        max_message: int | None = None,
        lost: Callable[[Exception | None], None] | None = None,
    ) -> None:
        self._owner = owner
        self._transport = transport
        self._write = transport.write
        self._sink: SocketSink | None = sink
        self._subprotocol = subprotocol
        self._lost = lost
        self.client = client
        limits = self._limits = owner.limits
        self._most = limits.message if max_message is None else max_message
        self._keys = owner.keys
        self._turn = owner.turn
        self._gathered: list[bytes] = []
        self._theirs = 0 if client else 0x80  # the mask bit of frames that come
        self._state = OPEN
        self._buffer = bytearray()  # a frame that is not whole yet
        self._need = 2  # its bytes, as far as they are known
        self._unread = b""  # what came while the sink wanted no more, from `_at` on
        self._at = 0
        self._parsing = False
        self._paused = False
        self._message: bytearray | None = None  # the fragments of one so far
        self._message_first = 0
        self._full = False
        self._controls = 0
        self._controls_since = 0.0
        self._pings = 0
        self._ping_sent = 0.0
        self._seen = 0  # bytes of the unfinished frame when it was last looked at
        self._since = now()
        self._ping_at = self._since + limits.ping_time
        transport.set_write_buffer_limits(limits.full, limits.drained)
        transport.set_protocol(self)
        owner.add(self)

    def __repr__(self) -> str:
        return f"<WebSocket {('open', 'closing', 'over')[self._state]} {'client' if self.client else 'server'}>"

    # ---- frames out

    def _send(self, first: int, data: bytes) -> None:
        size = len(data)
        frame = b""  # of a large one, neither is copied
        if self.client:
            key = self._keys.next()
            frame = head(first, size, 0x80) + key + mask(data, key)
        elif size < _LARGE:
            frame = head(first, size) + data
        if self._turn.on and frame and not first & CLOSE:  # the bit that all control frames have
            if not self._gathered:
                self._turn.wait(self)
            self._gathered.append(frame)
            return
        if self._gathered:
            self.flush()
        if frame:
            self._write(frame)
        else:
            self._transport.writelines([head(first, size), data])
        if self._full:
            self._bound()

    def flush(self) -> None:
        """Send what was gathered in a turn of reading."""
        gathered, self._gathered = self._gathered, []
        if gathered and self._state != OVER:
            self._transport.writelines(gathered)
            if self._full:
                self._bound()

    def _bound(self) -> None:
        """Give up a socket that too much waits for."""
        if self._transport.get_write_buffer_size() > self._limits.unsent:
            self._tell_close(VANISHED, "the other side does not read", False)
            self._end()
            self._transport.abort()

    # ---- the end

    def _closed(self, code: int, reason: str) -> None:
        """The other side's close frame has come."""
        if self._state == OPEN:
            self._send(FIN | CLOSE, close_payload(code, ""))
        self._end()
        if self.client:
            self._linger()  # the server closes the connection
        else:
            self._transport.close()
        self._tell_close(code, reason, True)

    def _fail(self, code: int, reason: str) -> None:
        """The other side, or a sink, did what ends the socket."""
        if self._state == OVER:
            return
        if self._state == OPEN:
            self._send(FIN | CLOSE, close_payload(code, reason))
        self._end()
        self._linger()
        self._tell_close(code, reason, False)

    def _linger(self) -> None:
        """End our half; the other one is read until it ends too, so that what was written is not lost to a reset."""
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _end(self) -> None:
        self._state = OVER
        self._since = now()
        self._buffer = bytearray()
        self._need = 0
        self._unread = b""
        self._message = None
        if self._paused and not self._transport.is_closing():
            self._transport.resume_reading()
        self._paused = False

    def _tell_close(self, code: int, reason: str, clean: bool) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        self._state = OVER
        try:
            sink.on_close(code, reason, clean)
        except Exception:
            logging.getLogger(__name__).exception("the end of a WebSocket could not be handled")
