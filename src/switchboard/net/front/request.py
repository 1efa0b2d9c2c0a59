"""One request of a client's connection, and the writing of its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from switchboard.core.errors import Problem
from switchboard.core.types import Lines, Outcome, RequestHead

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LARGE: Final = 8 * 1024  # bytes of a piece that is worth two more pieces to write
_DRAIN: Final = 64 * 1024  # bytes of a body that nobody wants and that are read all the same


class Intake(Protocol):
    """The hot way of one request: takes its body and hears of its client."""

    def start(self) -> None:
        """The head is in; what is wrong with it may be answered at once."""

    def on_body(self, data: bytes, end: bool) -> None:
        """Some of the body; `end` with the last of it."""

    def refuse(self, problem: Problem) -> None:
        """Something is wrong with the body: answer with `problem`."""

    def client_left(self, why: Outcome) -> None:
        """The client is gone."""

    def pause(self) -> None:
        """The client reads more slowly than is written."""

    def resume(self) -> None:
        """The client has caught up."""


class Connection(Protocol):
    """What a request asks of its connection."""

    @property
    def default_lines(self) -> Lines:
        """Header lines of every answer."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Sends bytes."""

    @property
    def write_pieces(self) -> Callable[[Sequence[bytes]], None]:
        """Sends bytes that lie apart."""

    def finished(self, request: Request) -> None:
        """The answer to `request` is written."""

    def close_soon(self) -> None:
        """Flush, and close a moment later, whatever was promised."""


class Request:
    """One request of a connection, and what writes its answer: a `core.ports.Downstream`, deaf once that is over."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_head",
        "answered",
        "body",
        "complete",
        "cycle",
        "expects",
        "held",
        "intake",
        "keep_alive",
        "length",
        "request_head",
        "size",
        "url",
        "version",
    )

    def __init__(self, connection: Connection, head: RequestHead, url: bytes, version: str, keep_alive: bool) -> None:
        self._connection: Connection | None = connection
        self._head = b""
        self._chunked = False
        self.request_head = head
        self.url = url
        self.version = version
        self.keep_alive = keep_alive
        headers = head.headers
        length = headers.get(b"content-length")
        self.length = None if length is None else int(length)
        self.expects = b"expect" in headers and headers[b"expect"].lower() == b"100-continue"
        self.body = b""  # what came before the request had its turn
        self.size = 0
        self.held = 0  # bytes that count as sent ahead until its turn
        self.complete = False
        self.answered = False
        self.intake: Intake | None = None
        self.cycle: RequestResponseCycle | None = None

    @property
    def drains(self) -> bool:
        """Whether an answer before the end of the body may leave the connection open: what is left is little."""
        return self.complete or (self.length is not None and self.length <= _DRAIN and not self.expects)

    # ---- core.ports.Downstream

    def whole(self, status: int, headers: Lines, body: bytes) -> None:
        """All of an answer at once."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        close = b"" if self._stays_open() else b"connection: close\r\n"
        connection.write(
            b"%b%b%bcontent-length: %d\r\n%b\r\n%b"
            % (STATUS_LINE[status], connection.default_lines, headers, len(body), close, body)
        )
        connection.finished(self)

    def head(self, status: int, headers: Lines) -> None:
        """Status and headers; they go out with the first bytes of the body."""
        if self._connection is None:
            return
        if self.version == "1.0":
            self.keep_alive = False
            framing = b""
        else:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        if not self._stays_open():
            framing += b"connection: close\r\n"
        self._head = b"%b%b%b%b\r\n" % (STATUS_LINE[status], self._connection.default_lines, headers, framing)

    def _stays_open(self) -> bool:
        if not self.keep_alive or not (self.complete or self.drains):
            self.keep_alive = False
        return self.keep_alive

    def write(self, data: bytes) -> None:
        """Some of the body."""
        if self._connection is None:
            return
        if self._chunked and data and not self._head:  # what most pieces of a stream are
            if len(data) < _LARGE:
                self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))
            else:  # sound: not copied once more
                self._connection.write_pieces([b"%x\r\n" % len(data), data, b"\r\n"])
        elif data or self._head:
            self._connection.write(self._framed(data))

    def _framed(self, data: bytes) -> bytes:
        head = self._head
        if head:
            self._head = b""
            return b"%b%x\r\n%b\r\n" % (head, len(data), data) if self._chunked and data else head + data
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data

    def end(self, data: bytes = b"") -> None:
        """The body is whole with `data`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            framed = self._framed(data)
            if self._chunked:
                framed += b"0\r\n\r\n"
            if framed:
                connection.write(framed)
            connection.finished(self)

    def fail(self, last: bytes) -> None:
        """Send `last` and close without the last chunk."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if last or self._head:
                connection.write(self._framed(last))
            connection.close_soon()

    def continue_(self) -> None:
        """Say ``100 Continue`` to a client that waits for it."""
        if self.expects and self.version == "1.1" and not self.complete and self._connection is not None:
            self._connection.write(_CONTINUE)

    def detach(self) -> None:
        """Nobody is left to hear the answer."""
        self._connection = None
