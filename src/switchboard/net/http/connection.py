"""One connection to a provider, and the call that it carries."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, cast

import httptools

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import UpstreamSink
from switchboard.core.types import Call, Headers

#: In place of a connection's own, which would hold on to it until the garbage collector came.
_NO_PARSER: Final = httptools.HttpResponseParser(object())
_MAX_HEAD: Final = 64 * 1024
_LARGE: Final = 8 * 1024  # bytes of a piece that costs more to join to others than to hand on by itself
_UPLOAD_TURN: Final = 16  # pieces of an upload that are sent in one go
_INFLATE_STEP: Final = 256 * 1024
_INFLATE_MOST: Final = 64 * 1024 * 1024  # bytes that one piece from the network may become


class Pool(Protocol):
    """What a connection asks of its pool."""

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send a request at the end of this turn of the event loop."""

    def later(self, function: Callable[[], None]) -> None:
        """Call `function` after what is to be sent in this turn."""

    def dial(self, request: UpstreamRequest) -> None:
        """Open a connection for `request`."""

    def keep(self, origin: tuple[str, str, int], connection: UpstreamConnection) -> None:
        """`connection` is free for the next call."""

    def forget(self, origin: tuple[str, str, int], connection: UpstreamConnection) -> None:
        """`connection` is gone."""


class UpstreamRequest:
    """A call under way: what `UpstreamPool.send` returns. It outlives its connection when that one was stale."""

    __slots__ = ("aborted", "call", "connection", "dial", "paused", "pool", "retried", "sink")

    def __init__(self, pool: Pool, call: Call, sink: UpstreamSink) -> None:
        self.pool = pool
        self.call = call
        self.sink = sink
        self.connection: UpstreamConnection | None = None
        self.dial: asyncio.Task[None] | None = None
        self.retried = False
        self.paused = False
        self.aborted = False

    def pause(self) -> None:
        self.paused = True
        if self.connection is not None:
            self.connection.pause_reading()

    def resume(self) -> None:
        self.paused = False
        if self.connection is not None:
            self.connection.resume_reading()

    def abort(self) -> None:
        self.aborted = True
        if self.dial is not None:
            self.dial.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.request = None
            connection.close()

    def failed(self, error: UpstreamError) -> None:
        """Tell the sink, unless it has turned away."""
        if not self.aborted:
            self.aborted = True
            self.sink.on_error(error)


class UpstreamConnection:
    """One connection to an origin; carries one request at a time.

    It is an `asyncio.Protocol`, and does not derive from it: what is compiled (pyproject.toml) derives from nothing that is not.
    """

    __slots__ = (
        "_blocked",
        "_bytes_in",
        "_done",
        "_framed",
        "_headers",
        "_inflate",
        "_parser",
        "_pieces",
        "_pool",
        "_reading",
        "_reusable",
        "_status",
        "_transport",
        "_unsent",
        "counted",
        "idle_since",
        "on_body",
        "origin",
        "request",
        "reused",
    )

    def __init__(self, pool: Pool, origin: tuple[str, str, int]) -> None:
        self._pool = pool
        self.origin = origin
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._unsent: Iterator[bytes] | None = None  # of an upload
        self._blocked = False
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # called by the parser for every piece: nothing stands in between
        self._parser = httptools.HttpResponseParser(self)
        self.request: UpstreamRequest | None = None
        self.reused = False
        self.counted = True  # in the pool's count, until it is gone
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._bytes_in = 0
        self._done = False
        self._status = 0
        self._headers: Headers = {}
        self._framed = False
        self._reusable = False
        self._inflate: Any = None

    @property
    def usable(self) -> bool:
        """Whether it was made and is not gone yet."""
        return self._transport is not None

    # -- towards the provider

    def carry(self, request: UpstreamRequest) -> None:
        """Send `request` on this connection."""
        assert self._transport is not None
        self.request = request
        request.connection = self
        call, body = request.call, request.call.body
        if isinstance(body, bytes):
            self._pool.write(
                self._transport,
                b"%b %b HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b"
                % (call.method, call.target, call.head, len(body), body),
            )
        else:
            length = b"transfer-encoding: chunked" if body.growing else b"content-length: %d" % body.size
            head = b"%b %b HTTP/1.1\r\n%b%b\r\n\r\n" % (call.method, call.target, call.head, length)
            self._pool.write(self._transport, head)
            self._unsent = _chunked(body.chunks()) if body.growing else body.chunks()
            body.on_more = self._send_more
            self._blocked = True  # what comes in this very turn waits as well
            self._pool.later(self.resume_writing)  # behind the head
        if request.paused:
            self.pause_reading()

    def _send_more(self) -> None:
        """Send what there is of an upload, as fast as it is taken; others get their turn every megabyte."""
        for _ in range(_UPLOAD_TURN):
            if self._unsent is None or self._blocked or self._transport is None or self._transport.is_closing():
                return
            try:
                chunk = next(self._unsent, None)
            except ValueError:  # the request is over, and its file with it
                self.close()
                return
            if chunk is None:
                self._unsent = None
                return
            if not chunk:
                return  # until there is more
            self._transport.write(chunk)
        self._pool.later(self._send_more)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._send_more()

    def pause_reading(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()

    def close(self) -> None:
        """Break the connection off."""
        self._unsent = None
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        request = self.request
        if request is None:
            self.close()  # an idle connection has nothing to say
            return
        self._bytes_in += len(data)
        error: UpstreamError | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            error = UpstreamError(Fault.PROTOCOL, "an upgrade that nobody asked for")
        except httptools.HttpParserError as e:
            cause = e.__context__
            error = cause if isinstance(cause, UpstreamError) else UpstreamError(Fault.PROTOCOL, f"not HTTP: {e}")
        if error is None and not self._status and self._bytes_in > _MAX_HEAD:
            error = UpstreamError(Fault.PROTOCOL, "the answer's headers are too large")
        # what came in one piece goes on in one piece
        if self._pieces:
            if len(data) > _LARGE * len(self._pieces) and self._inflate is None:
                self._hand_on(request)
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            if self._inflate is not None:
                body, unsound = self._inflated(body)
                if unsound is not None:
                    error, self._done = unsound, False
            if body and self.request is request:
                request.sink.on_data(body)
        if self._done:
            self._reusable = self._reusable and error is None  # the answer is whole, whatever stands behind it
            self._whole(request)
        elif error is not None:
            self._broken(error)

    def _hand_on(self, request: UpstreamRequest) -> None:
        """Hand on all pieces but the last one by one: they are large, and joining them would cost more."""
        *pieces, last = self._pieces
        for piece in pieces:
            if self.request is request:
                request.sink.on_data(piece)
        self._pieces[:] = [last]

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self.origin, self)
        self._transport = None
        self._parser = _NO_PARSER
        request, self.request = self.request, None
        if request is None:
            return
        request.connection = None
        if self._status and not self._framed and exc is None:
            if self._inflate is not None and not self._inflate.eof:
                request.failed(UpstreamError(Fault.CUT, "its gzip ended early"))
                return
            request.aborted = True
            request.sink.on_end()  # a body without a length ends with its connection
        elif self.reused and self._bytes_in == 0 and not request.retried and not request.aborted:
            request.retried = True
            self._pool.dial(request)
        elif self._status:
            request.failed(
                UpstreamError(Fault.CUT, str(exc or "the connection was closed in the middle of the answer"))
            )
        else:
            request.failed(UpstreamError(Fault.RESET, str(exc or "the connection was closed without an answer")))

    def _broken(self, error: UpstreamError) -> None:
        request, self.request = self.request, None
        self.close()
        if request is not None:
            request.connection = None
            request.failed(error)

    def _whole(self, request: UpstreamRequest) -> None:
        """The answer is whole, and nothing came behind it: the connection is free."""
        inflate, current = self._inflate, self.request
        self.request = None
        unsent, self._unsent = self._unsent is not None, None
        if not self._reusable or unsent or (self._transport is not None and self._transport.get_write_buffer_size()):
            if self._transport is not None:  # an answer before the end of its request leaves nothing to go on with
                self._transport.abort()
        elif current is request:
            self.resume_reading()
            self.reused = True
            self._begin()
            self._pool.keep(self.origin, self)
        if current is not request:
            return  # it was aborted by what it was told last
        request.connection = None
        request.aborted = True
        if inflate is not None and not inflate.eof:
            request.sink.on_error(UpstreamError(Fault.CUT, "its gzip ended early"))
        else:
            request.sink.on_end()

    def _inflated(self, data: bytes) -> tuple[bytes, UpstreamError | None]:
        """What `data` is without its gzip, as far as it is sound, and what is wrong with it."""
        pieces: list[bytes] = []
        size = 0
        try:
            while data:
                if self._inflate.eof:  # a further member
                    self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
                out = self._inflate.decompress(data, _INFLATE_STEP)
                data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
                pieces.append(out)
                size += len(out)
                if size > _INFLATE_MOST:
                    return b"", UpstreamError(Fault.TOO_LARGE, "its gzip swells beyond measure")
        except zlib.error as e:
            return b"".join(pieces), UpstreamError(Fault.PROTOCOL, f"its gzip is broken: {e}")
        return b"".join(pieces), None

    # -- httptools

    def on_message_begin(self) -> None:
        if self._done:
            raise UpstreamError(Fault.PROTOCOL, "an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # a trailer
        name = name.lower()
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        request = self.request
        if request is None:
            return
        headers = self._headers
        self._framed = b"content-length" in headers or b"chunked" in headers.get(b"transfer-encoding", b"").lower()
        if status in (204, 304):
            self._framed = True
        coding = headers.get(b"content-encoding", b"identity").strip().lower()
        if coding in (b"gzip", b"x-gzip", b"deflate"):
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        elif coding not in (b"identity", b""):
            raise UpstreamError(Fault.PROTOCOL, f"content-encoding {coding.decode('latin-1')!r} was not asked for")
        self._status = status
        request.sink.on_head(status, headers)

    def on_message_complete(self) -> None:
        if self._status:
            self._done = True
            self._reusable = self._framed and self._parser.should_keep_alive()  # the parser forgets it after this
        else:  # 100 Continue, 103 Early Hints: the answer is still to come
            self._headers = {}


def _chunked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """`chunks` as HTTP frames them where their sum is not known; b"" stays."""
    for chunk in chunks:
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
    yield b"0\r\n\r\n"
