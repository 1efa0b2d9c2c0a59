"""Bytes become requests: what the front door reads with httptools, and what it does not take for HTTP."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import unquote

import httptools

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.sockets import INTERNAL
from switchboard.core.types import Headers, Outcome, RequestHead
from switchboard.net.front.opening import Opening, OpeningIntake, SocketDoor
from switchboard.net.front.request import Request
from switchboard.net.front.state import ANSWERING, IDLE, IN_HEAD
from switchboard.net.front.turns import Turns
from switchboard.net.websocket import WebSocket
from switchboard.net.websocket.handshake import read_offer


def _size(headers: Headers) -> int:
    return sum([len(name) + len(value) + 4 for name, value in headers.items()])


class Parsing(Turns):
    """The part of a connection that parses."""

    __slots__ = ()

    def _feed(self, data: bytes) -> None:
        rest: memoryview | bytes = data
        while rest:
            self._fed = len(rest)
            rest = self._feed_some(rest)

    def _feed_some(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse; gives what is left behind an upgrade that is passed over."""
        upgraded = -1
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as e:
            upgraded = e.args[0] if e.args else len(data)
        except httptools.HttpParserError as e:
            cause = e.__context__
            problem = cause if isinstance(cause, Problem) else None
            if cause is not None and problem is None and isinstance(e, httptools.HttpParserCallbackError):
                logging.getLogger(__name__).error("reading a request failed", exc_info=cause)
                problem = Problem("INTERNAL_ERROR")
            self._fail(problem or Problem("BAD_REQUEST", f"This is not HTTP as it should be: {e}"))
        else:
            if self._begun:
                self._head_size = max(self._head_size, len(self._url) + _size(self._headers) + 1)
                if self._state == IDLE:
                    self._state = IN_HEAD
                    self._since = now()
            if self._receiving is None and self._state == IN_HEAD and self._head_size > self._limits.head:
                self._fail(self._too_large(b""))
        if upgraded >= 0 and self._upgrade():
            return memoryview(data)[upgraded:]
        return b""

    def _upgrade(self) -> bool:
        """Begin a WebSocket's handshake, or read a request that offers another upgrade again without the offer, as RFC 9110
        lets a server do (some clients offer h2c with every request). False: nothing further is read."""
        request, self._upgrading, self._receiving = self._upgrading, None, None
        if request is None or not self._reads():
            return False
        if self._socket_door is not None:
            try:
                if self._open(request, self._socket_door):
                    return not self._broken
            except Exception as e:
                logging.getLogger(__name__).error("a WebSocket's handshake could not be handled", exc_info=e)
                self._opening_failed(request)
                return False
        headers = request.request_head.headers
        lines = [b"%b %b HTTP/%b\r\n" % (request.request_head.method.encode(), request.url, request.version.encode())]
        for name, value in headers.items():
            if name not in (b"upgrade", b"http2-settings", b"connection"):
                lines.append(b"%b: %b\r\n" % (name, value))
        if not request.keep_alive:
            lines.append(b"connection: close\r\n")
        self._parser = httptools.HttpRequestParser(self)
        self._feed_some(b"".join(lines) + b"\r\n")
        return self._reads()

    def _reads(self) -> bool:
        """Whether further requests are read."""
        return not self._broken and self._failing is None

    def _open(self, request: Request, door: SocketDoor) -> bool:
        """Whether the app decides about a WebSocket now. One that was asked for ahead of earlier answers is not opened."""
        if self._current is not None or self._stopping or request.version != "1.1":
            return False
        offer = read_offer(request.request_head)
        if offer is None:
            return False
        opening = Opening(self, self._transport, request, offer, door.sockets)
        intake = door.enter_socket(request.request_head, opening)
        if intake is None:
            return False
        opening.intake = intake
        self._opening = self._parser = opening
        self._current = request
        self._state = ANSWERING
        self._since = now()
        request.complete = True
        request.intake = OpeningIntake(opening)
        intake.start()
        return True

    def opened(self, socket: WebSocket) -> None:
        """The connection is `socket`'s from now on; what the front door had for HTTP is let go."""
        self._server_state.total_requests += 1
        self._socket = socket
        self._opening = self._current = None
        self._headers = {}
        self._url = b""

    def read_on(self) -> None:
        """A handshake is refused: read HTTP again."""
        self._opening = None
        self._head_size = 0
        self._parser = httptools.HttpRequestParser(self)

    def _opening_failed(self, request: Request) -> None:
        if self._socket is not None:
            self._socket.close(INTERNAL)
        elif not request.answered:
            self._opening = self._current = None
            request.detach()
            self._receiving = request  # whose head the answer is to
            self._give_up(Problem("INTERNAL_ERROR"))

    def _give_up_opening(self) -> None:
        request, self._opening = self._current, None
        if request is not None:
            self._drop(request, Outcome.TIMEOUT)
            self._receiving = request  # whose head the answer is to
            self._give_up(Problem("PROVIDER_TIMEOUT", "The WebSocket could not be opened in time."))

    # ---- httptools

    def on_message_begin(self) -> None:
        if self._broken:
            raise Problem("BAD_REQUEST", "The connection is about to close.")
        self._url = b""
        self._headers = {}
        self._count = 0
        self._begun = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.url:
            raise Problem("URI_TOO_LONG", f"The URL is longer than {self._limits.url} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receiving is not None:
            return  # a trailer
        self._count += 1
        if self._count > self._limits.headers:
            raise Problem("HEADERS_TOO_LARGE", f"There are more than {self._limits.headers} headers.")
        name = name.lower()
        headers = self._headers
        known = headers.get(name)
        if known is None:
            headers[name] = value
        elif name == b"host" or name == b"content-length":
            raise Problem("BAD_REQUEST", f"There are two {name.decode()} headers.")
        else:
            headers[name] = known + (b"; " if name == b"cookie" else b", ") + value
            if len(headers[name]) > self._limits.head:
                raise self._too_large(name)

    def on_headers_complete(self) -> None:
        headers = self._headers
        parser: Any = self._parser
        version = parser.get_http_version()
        self._begun = False
        if version != "1.1" and version != "1.0":
            raise Problem("BAD_REQUEST", "The versions of HTTP spoken here are 1.1 and 1.0.")
        if parser.get_method() == b"CONNECT":
            raise Problem("BAD_REQUEST", "This server is no proxy.")
        coding = headers.get(b"transfer-encoding")
        if coding is not None:
            if b"content-length" in headers:
                raise Problem("BAD_REQUEST", "A request has content-length or transfer-encoding, not both.")
            if coding.strip().lower() != b"chunked" or version != "1.1":
                raise Problem("BAD_REQUEST", "The only transfer-encoding read here is chunked.")
        if b"host" not in headers and version == "1.1":
            raise Problem("BAD_REQUEST", "The host header is missing.")
        if max(self._head_size, self._fed) > self._limits.head and _size(headers) + len(self._url) > self._limits.head:
            raise self._too_large(b"")
        raw_path, _, query = self._url.partition(b"?")
        path = raw_path.decode("latin-1")
        if path[:1] != "/":
            path = self._absolute(path)
        if "%" in path:
            path = unquote(path)
        head = RequestHead(parser.get_method().decode("ascii"), path, query, headers, self._peer, self._scheme)
        request = Request(self, head, self._url, version, version != "1.0" and parser.should_keep_alive())
        self._receiving = request
        self._head_size = 0
        if b"upgrade" in headers and parser.should_upgrade():
            self._upgrading = request  # `_upgrade` reads it again without
            return
        if self._current is None:
            self._begin(request)
        else:
            self._queue.append(request)

    def on_body(self, data: bytes) -> None:
        request = self._receiving
        if request is None:
            return
        request.size += len(data)
        if request is not self._current:
            request.body += data
        elif request.intake is not None:
            if request.size == request.length:
                request.complete = True
                self._state = ANSWERING
            request.intake.on_body(data, request.complete)
        elif request.cycle is not None:
            self._cold_body(request, data)

    def on_message_complete(self) -> None:
        if self._upgrading is not None:
            return
        request, self._receiving = self._receiving, None
        if request is None or request.complete:
            return  # its last byte told
        request.complete = True
        if request is not self._current:
            request.held = self._ahead - self._held
            self._held = self._ahead
            return
        self._state = ANSWERING
        if request.answered:
            self._next(request)
        else:
            self._whole(request)

    def _absolute(self, target: str) -> str:
        """The path of a request target that is not one: absolute form, or "*"."""
        if target.startswith(("http://", "https://")):
            return "/" + target.split("://", 1)[1].partition("/")[2]
        return target

    def _too_large(self, name: bytes) -> Problem:
        what = f"The header {name.decode('latin-1')} is" if name else "The headers are"
        if not self._headers and len(self._url) > self._limits.url:
            return Problem("URI_TOO_LONG", f"The URL is longer than {self._limits.url} bytes.")
        return Problem("HEADERS_TOO_LARGE", f"{what} larger than {self._limits.head} bytes.")
