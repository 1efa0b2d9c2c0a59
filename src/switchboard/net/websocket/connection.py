"""One open WebSocket, of either side, as the app, asyncio and the clock see it."""

from __future__ import annotations

import asyncio
from typing import Final

from switchboard.core.clock import now
from switchboard.core.sockets import INTERNAL, NORMAL, VANISHED
from switchboard.net.websocket.frames import BINARY, CLOSE, FIN, PING, TEXT, close_payload
from switchboard.net.websocket.reading import FrameReading
from switchboard.net.websocket.state import CLOSING, OPEN, OVER

_LINGER: Final = 2.0  # seconds that the other side has to read our last frame and close


class WebSocket(FrameReading):
    """A `core.sockets.Socket` over a transport, whose protocol it becomes. `client` is whether it was opened from here.
    `lost` is called when the connection is gone."""

    __slots__ = ()

    def begin(self, rest: bytes) -> None:
        """Tell the sink that it is open. `rest` is what came behind the handshake; it is read in the loop's next round."""
        sink = self._sink
        if sink is None:
            return
        if rest:
            self._unread = rest
            asyncio.get_running_loop().call_soon(self._read_unread)
        sink.on_open(self)

    # ---- core.sockets.Socket

    @property
    def waiting(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._gathered))

    @property
    def subprotocol(self) -> str | None:
        return self._subprotocol

    def send_text(self, data: bytes) -> None:
        if self._state == OPEN:
            self._send(FIN | TEXT, data)

    def send_binary(self, data: bytes) -> None:
        if self._state == OPEN:
            self._send(FIN | BINARY, data)

    def ping(self) -> None:
        if self._state == OPEN and not self._ping_sent:
            self._ping(now())

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        if self._state != OPEN:
            return
        self._send(FIN | CLOSE, close_payload(code, reason))
        if self._state == OPEN:  # not broken off for what waits already
            self._state = CLOSING
            self._since = now()
            self._message = None
            self.resume()  # what counts now is the other side's close

    def abort(self) -> None:
        self._sink = None
        self._end()
        self._transport.abort()

    def pause(self) -> None:
        if self._state == OPEN and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
            if self._unread and not self._parsing:
                asyncio.get_running_loop().call_soon(self._read_unread)

    def _read_unread(self) -> None:
        if self._unread and not self._paused and self._state != OVER:
            data, at, self._unread, self._at = self._unread, self._at, b"", 0
            self._read(data, at)

    # ---- asyncio.Protocol

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._tell_close(VANISHED, "the connection ended without a close", False)
        self._end()
        self._owner.discard(self)
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(exc)

    def pause_writing(self) -> None:
        self._full = True
        if self._state == OPEN and self._sink is not None:
            self._sink.on_full()

    def resume_writing(self) -> None:
        if self._full:
            self._full = False
            if self._state == OPEN and self._sink is not None:
                self._sink.on_drain()

    # ---- the clock

    def tick(self, at: float) -> None:
        """Hold the deadlines and send pings; `at` is on the monotonic clock (seconds). Called about every 0.25 s."""
        if self._state == OPEN:
            self._beat(at)
        elif self._state == CLOSING:
            if at - self._since > self._limits.close_time:
                self._tell_close(VANISHED, "the close was not answered in time", False)
                self._end()
                self._transport.abort()
        elif at - self._since > _LINGER:
            self._transport.abort()

    def _beat(self, at: float) -> None:
        if not self._ping_sent:
            if self._limits.ping_time and at >= self._ping_at:
                self._ping(at)
        elif self._paused or len(self._buffer) != self._seen:
            # a pong may stand behind what we do not read, or what is still coming
            self._ping_sent = at
            self._seen = len(self._buffer)
        elif at - self._ping_sent > self._limits.pong_time:
            self._fail(INTERNAL, "no answer to a ping")

    def _ping(self, at: float) -> None:
        self._pings = (self._pings + 1) & 0xFFFFFFFF
        self._ping_sent = at
        self._seen = len(self._buffer)
        self._send(FIN | PING, self._pings.to_bytes(4, "big"))
