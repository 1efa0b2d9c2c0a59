"""Bytes become messages: frames, fragments, and what the rules say of them."""

from __future__ import annotations

import logging
from typing import Final

from switchboard.core.clock import now
from switchboard.core.sockets import BAD_TEXT, INTERNAL, POLICY, PROTOCOL_ERROR, TOO_BIG
from switchboard.net.websocket.frames import BINARY, CLOSE, CONTROL, FIN, PING, PONG, TEXT, Violation, read_close
from switchboard.net.websocket.masking import mask
from switchboard.net.websocket.state import OPEN, OVER, SocketState

_WHOLE_TEXT: Final = FIN | TEXT
_WHOLE_BINARY: Final = FIN | BINARY
_WHOLE: Final = (_WHOLE_BINARY, _WHOLE_TEXT)


class FrameReading(SocketState):
    """The part of a `WebSocket` that reads."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        if self._state or self._paused or self._buffer or self._unread or self._message is not None:
            self._add(data)
            return
        # most of what comes is one whole message of 126 to 65,535 bytes, which needs little looking at
        size = len(data)
        first = data[0]
        if not 134 <= size < 65536 or (first != _WHOLE_BINARY and first != _WHOLE_TEXT) or self._sink is None:
            self._read(data, 0)
            return
        payload_size = data[2] << 8 | data[3]
        if payload_size > self._most or payload_size < 126:
            self._read(data, 0)
            return
        if self._theirs:
            if data[1] != 0xFE or payload_size + 8 != size:
                self._read(data, 0)
                return
            payload = mask(memoryview(data)[8:], data[4:8])
        else:
            if data[1] != 0x7E or payload_size + 4 != size:
                self._read(data, 0)
                return
            payload = data[4:]
        try:
            if first == _WHOLE_BINARY:
                self._sink.on_binary(payload)
            else:
                self._text(payload)
        except Exception as e:
            self._failed(e)

    def _add(self, data: bytes) -> None:
        """Take `data` where something came before it, or where little is to be done with it."""
        if self._buffer:
            buffer = self._buffer
            buffer += data
            if len(buffer) < self._need:
                return
            data = bytes(buffer)
            self._buffer = bytearray()
        if self._unread or self._paused:
            self._unread = self._unread[self._at :] + data
            self._at = 0
        elif self._state != OVER:
            self._read(data, 0)

    def _read(self, data: bytes, at: int) -> None:
        """Take the frames of `data` from `at` on; what is left of it is kept."""
        self._parsing = True
        turn = self._turn
        outer, turn.on = turn.on, True
        try:
            self._read_frames(data, at)
        except Exception as e:
            self._failed(e)
        finally:
            self._parsing = False
            if not outer:
                turn.end()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, Violation):
            self._fail(error.code, error.reason)
        else:
            logging.getLogger(__name__).error("a WebSocket's message could not be handled", exc_info=error)
            self._fail(INTERNAL, "an internal error")

    def _read_frames(self, data: bytes, at: int) -> None:
        end = len(data)
        self._need = 2
        while end - at >= 2:
            first = data[at]
            size = data[at + 1] & 0x7F
            if data[at + 1] & 0x80 != self._theirs:
                raise Violation(PROTOCOL_ERROR, "a frame with a mask" if self.client else "a frame without a mask")
            body = at + 2
            if size > 125:
                body += 2 if size == 126 else 8
                if end < body:
                    self._need = body - at
                    break
                size = self._long_size(size, data[at + 2 : body])
            if self._theirs:
                body += 4
            stop = body + size
            # what is wrong is known before the payload is there
            if first in _WHOLE:
                if self._message is not None:
                    raise Violation(PROTOCOL_ERROR, "a message in the middle of another")
                if size > self._most:
                    raise Violation(TOO_BIG, f"a message of more than {self._most} bytes")
            else:
                self._check(first, size)
            if stop > end:
                self._need = stop - at
                break
            self._take(
                first, mask(memoryview(data)[body:stop], data[body - 4 : body]) if self._theirs else data[body:stop]
            )
            at = stop
            if self._state == OVER:
                return
            if self._paused and at < end:
                self._unread = data
                self._at = at
                return
        if at < end:
            self._buffer = bytearray(memoryview(data)[at:])

    @staticmethod
    def _long_size(size: int, more: bytes) -> int:
        least = 126 if size == 126 else 65536
        size = int.from_bytes(more, "big")
        if size < least or size >> 63:
            raise Violation(PROTOCOL_ERROR, "a length that is not written as it should be")
        return size

    def _check(self, first: int, size: int) -> None:
        """Whether a frame may come that is neither of the two that make a whole message. Raises `Violation`."""
        kind = first & 0x0F
        if first & 0x70 or 2 < kind < 8 or kind > 10:
            raise Violation(PROTOCOL_ERROR, "a kind of frame that is not known")
        if kind >= CLOSE:
            if size > CONTROL or not first & FIN:
                raise Violation(PROTOCOL_ERROR, "a control frame that is too large, or in fragments")
            return
        held = self._message
        if self._state == OPEN and (held is None) != (kind != 0):
            raise Violation(PROTOCOL_ERROR, "fragments out of order")
        if size + (len(held) if held is not None else 0) > self._most:
            raise Violation(TOO_BIG, f"a message of more than {self._most} bytes")

    def _take(self, first: int, payload: bytes) -> None:
        if first & 0x0F >= CLOSE:
            self._control(first & 0x0F, payload)
        elif self._state != OPEN:
            pass  # nothing is delivered after a close
        elif first == _WHOLE_BINARY:
            assert self._sink is not None
            self._sink.on_binary(payload)
        elif first == _WHOLE_TEXT:
            self._text(payload)
        else:
            self._fragment(first, payload)

    def _text(self, payload: bytes) -> None:
        if not payload.isascii():
            try:
                payload.decode()
            except UnicodeDecodeError:
                raise Violation(BAD_TEXT, "text that is not UTF-8") from None
        assert self._sink is not None
        self._sink.on_text(payload)

    def _fragment(self, first: int, payload: bytes) -> None:
        message = self._message
        if message is None:
            self._message = bytearray(payload)
            self._message_first = first & 0x0F
        else:
            message += payload
        if not payload and not first & FIN:
            self._count()
        if first & FIN and message is not None:
            self._message = None
            if self._message_first == TEXT:
                self._text(bytes(message))
            else:
                assert self._sink is not None
                self._sink.on_binary(bytes(message))

    def _count(self) -> None:
        """One more of the frames that cost their sender nothing. Raises `Violation` where they are too many."""
        at = now()
        if at - self._controls_since >= 1.0:
            self._controls_since = at
            self._controls = 0
        self._controls += 1
        if self._controls > self._limits.controls:
            raise Violation(POLICY, f"more than {self._limits.controls} control frames in a second")

    def _control(self, kind: int, payload: bytes) -> None:
        if kind == CLOSE:
            self._closed(*read_close(payload))
            return
        self._count()
        if self._state != OPEN:
            return
        if kind == PING:
            self._send(FIN | PONG, payload)
        elif self._ping_sent and payload == self._pings.to_bytes(4, "big"):
            self._ping_sent = 0.0
            self._ping_at = now() + self._limits.ping_time
            assert self._sink is not None
            self._sink.on_pong()
