"""The connection: parsing, turns, deadlines, and what is wrong."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.types import Headers, Lines, Outcome, RequestHead
from switchboard.net.front.cold import ColdTransport, Cycle
from switchboard.net.front.limits import Door
from switchboard.net.front.request import Request

_MOMENT: Final = 0.5  # seconds that a client has to read the end of an answer that failed
_LINGER: Final = 2.0  # seconds that a client has to read the last answer before the connection is broken off

# where a connection stands
_IDLE: Final = 0  # between two requests
_IN_HEAD: Final = 1
_IN_BODY: Final = 2
_ANSWERING: Final = 3
_LINGERING: Final = 4  # the last answer is out; the client has a moment to read it


def _size(headers: Headers) -> int:
    return sum([len(name) + len(value) + 4 for name, value in headers.items()])


class FrontProtocol(asyncio.Protocol):
    """One client connection. Made by uvicorn; `door` comes by `functools.partial`."""

    __slots__ = (
        "_ahead",
        "_app_state",
        "_begun",
        "_broken",
        "_config",
        "_count",
        "_current",
        "_default_lines",
        "_defaults",
        "_door",
        "_failing",
        "_fed",
        "_flow",
        "_head_size",
        "_headers",
        "_held",
        "_limits",
        "_loop",
        "_parser",
        "_peer",
        "_queue",
        "_receiving",
        "_scheme",
        "_server_state",
        "_since",
        "_stalled",
        "_state",
        "_stopping",
        "_transport",
        "_turning",
        "_unsent",
        "_upgrading",
        "_url",
        "write",
        "write_pieces",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._door = door
        self._limits = door.limits
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._flow: FlowControl | None = None
        self._defaults: list[tuple[bytes, bytes]] | None = None
        self._default_lines: Lines = b""
        self._scheme = "http"
        self._parser = httptools.HttpRequestParser(self)
        self._peer = ""
        self._current: Request | None = None  # being answered
        self._receiving: Request | None = None  # its body is still coming
        self._queue: deque[Request] = deque()
        self._ahead = 0
        self._held = 0
        self._turning = False
        self._begun = False  # a message has, and its head is not whole
        self._upgrading: Request | None = None
        self._count = 0
        self._fed = 0
        self._failing: Problem | None = None  # why no further request is read
        self._broken = False  # the connection is over: whatever comes is thrown away
        self._stopping = False
        self._stalled = 0.0
        self._unsent = 0
        self._since = now()
        self._state = _IN_HEAD
        self._head_size = 0
        self._url = b""
        self._headers: Headers = {}

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # called for every piece of a stream: nothing stands in between
        self.write = self._transport.write
        self.write_pieces = self._transport.writelines
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        if transport.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        connections = cast("set[Any]", self._server_state.connections)
        connections.add(self)
        if len(connections) > self._limits.connections:
            self._give_up(Problem("OVERLOADED", "The server has as many connections as it can hold."))

    def connection_lost(self, exc: Exception | None) -> None:
        cast("set[Any]", self._server_state.connections).discard(self)
        self._gone(Outcome.CLIENT_LEFT)

    def eof_received(self) -> bool:
        return False  # a client that closed its half counts as gone

    def pause_writing(self) -> None:
        self._stalled = now()
        if self._flow is not None:
            self._flow.pause_writing()
        if self._current is not None and self._current.intake is not None:
            self._current.intake.pause()

    def resume_writing(self) -> None:
        self._stalled = 0.0
        if self._flow is not None:
            self._flow.resume_writing()
        if self._current is not None and self._current.intake is not None:
            self._current.intake.resume()

    def data_received(self, data: bytes) -> None:
        if self._broken or self._failing is not None:
            return
        if self._state == _IDLE:
            self._since = now()
            self._state = _IN_HEAD
        elif self._state == _ANSWERING:
            self._ahead += len(data)
            if self._ahead > self._limits.pipeline:
                self._gone(Outcome.CLIENT_LEFT)
                self._transport.abort()
                return
        receiving = self._receiving
        if receiving is None:
            self._head_size += len(data)
            self._feed(data)
            return
        size = receiving.size
        self._feed(data)
        if self._receiving is receiving and receiving.size == size:  # trailers, or chunks' extensions
            self._head_size += len(data)
            if self._head_size > self._limits.head and not self._broken:
                self._fail(self._too_large(b""))

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
                if self._state == _IDLE:
                    self._state = _IN_HEAD
                    self._since = now()
            if self._receiving is None and self._state == _IN_HEAD and self._head_size > self._limits.head:
                self._fail(self._too_large(b""))
        if upgraded >= 0 and self._upgrade():
            return memoryview(data)[upgraded:]
        return b""

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
        parser = self._parser
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
                self._state = _ANSWERING
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
        self._state = _ANSWERING
        if request.answered:
            self._next(request)
        else:
            self._whole(request)

    # ---- one request after the other

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

    def _begin(self, request: Request) -> None:
        """It is `request`'s turn."""
        self._current = request
        self._state = _ANSWERING if request.complete else _IN_BODY
        self._since = now()
        request.intake = self._door.enter(request.request_head, request)
        if request.intake is not None:
            if self._stalled:
                request.intake.pause()
            request.intake.start()
            if request.answered or self._current is not request:
                return  # on its head alone
        if request.intake is None:
            self._begin_cold(request)
        if request.body and self._current is request:
            body, request.body = request.body, b""
            if request.intake is not None:
                request.intake.on_body(body, False)
            else:
                self._cold_body(request, body)
        if request.complete and self._current is request:
            self._whole(request)

    def _whole(self, request: Request) -> None:
        """All of the request's body has come."""
        if request.intake is not None:
            request.intake.on_body(b"", True)
        elif request.cycle is not None:
            request.cycle.more_body = False
            request.cycle.message_event.set()

    def _begin_cold(self, request: Request) -> None:
        head = request.request_head
        if request.length is not None and request.length > self._limits.body:
            self._fail(Problem("PAYLOAD_TOO_LARGE", f"The body is larger than {self._limits.body} bytes."))
            return
        if self._flow is None:
            self._flow = FlowControl(self._transport)
            if self._stalled:
                self._flow.pause_writing()
        sockname = self._transport.get_extra_info("sockname")
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.version,
            "method": head.method,
            "scheme": head.scheme,
            "path": head.path,
            "raw_path": request.url.partition(b"?")[0],
            "query_string": head.query,
            "root_path": "",
            "headers": list(head.headers.items()),
            "client": (self._peer, 0),
            "server": sockname[:2] if isinstance(sockname, tuple) else None,
            "state": self._app_state.copy(),
        }
        request.cycle = cycle = Cycle(
            scope=scope,
            transport=cast("asyncio.Transport", ColdTransport(self)),
            flow=self._flow,
            logger=logging.getLogger("uvicorn.error"),
            access_logger=logging.getLogger("uvicorn.access"),
            access_log=False,
            default_headers=self._server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=request.expects,
            keep_alive=request.keep_alive,
            on_response=lambda: self.finished(request),
        )
        cycle.request = request
        task = self._loop.create_task(request.cycle.run_asgi(self._config.loaded_app))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _cold_body(self, request: Request, data: bytes) -> None:
        cycle = request.cycle
        if cycle is None or cycle.response_complete:
            return
        if request.size > self._limits.body:
            self._fail(Problem("PAYLOAD_TOO_LARGE", f"The body is larger than {self._limits.body} bytes."))
            return
        cycle.body += data
        cycle.message_event.set()

    def finished(self, request: Request) -> None:
        """The answer to `request` is written: the next one's turn, or the end."""
        if self._current is not request:
            return
        self._server_state.total_requests += 1
        request.answered = True
        if request.cycle is not None and not request.cycle.keep_alive:
            request.keep_alive = False
        request.intake = request.cycle = None
        if not request.keep_alive or self._stopping or not request.drains:
            self._current = None
            self.hang_up()
        elif request.complete:
            self._next(request)
        # else the rest of its body is read and thrown away

    def _next(self, request: Request) -> None:
        self._current = None
        if self._turning:
            return  # the loop below goes on
        self._turning = True
        try:
            while self._queue and self._current is None and not self._broken:
                turn = self._queue.popleft()
                if self._failing is not None and not turn.complete:
                    break
                self._ahead -= turn.held
                self._held -= turn.held
                self._begin(turn)
        finally:
            self._turning = False
        if self._current is not None or self._broken:
            return
        if self._failing is not None:
            self._give_up(self._failing)
        elif self._stopping:
            self.hang_up()
        else:
            self._ahead = self._held = 0
            self._since = now()
            self._state = _IN_HEAD if self._head_size else _IDLE

    def is_closing(self) -> bool:
        return self._broken or self._transport.is_closing()

    def hang_up(self) -> None:
        """Close so that what was written still reaches a client that is in the middle of sending."""
        if self._broken:
            return
        self._broken = True
        if self._receiving is not None and self._transport.can_write_eof():
            self._state = _LINGERING
            self._since = now()
            self._transport.write_eof()
        else:
            self._transport.close()

    def _upgrade(self) -> bool:
        """Read a request that offers an upgrade again without the offer, as RFC 9110 lets a server do (some clients
        offer h2c with every request)."""
        request, self._upgrading, self._receiving = self._upgrading, None, None
        if request is None or self._broken or self._failing is not None:
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
        return not self._broken and self._failing is None

    # ---- faults

    def _fail(self, problem: Problem) -> None:
        """Something is wrong with what the client sends: answer it when the answers before it are out, and close."""
        self._failing = problem
        current = self._current
        if current is None:
            self._give_up(problem)
        elif not current.complete:  # its own body is what is wrong
            current.keep_alive = False
            if current.answered:
                self._current = None
                self.hang_up()
            elif current.intake is not None:
                current.intake.refuse(problem)
            else:
                self._drop(current, Outcome.REFUSED)
                self._give_up(problem)

    def _give_up(self, problem: Problem) -> None:
        """Answer with `problem` and hang up."""
        if self._broken:
            return
        head = self._receiving.request_head if self._receiving is not None else None
        status, headers, body = self._door.reject(problem, head)
        framing = b"content-length: %d\r\nconnection: close\r\n" % len(body)
        self._transport.write(b"%b%b%b%b\r\n%b" % (STATUS_LINE[status], self.default_lines, headers, framing, body))
        self._broken = True
        self._current = None
        self._state = _LINGERING
        self._since = now()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _drop(self, request: Request, why: Outcome) -> None:
        """Nobody is left to hear the answer to `request`."""
        request.detach()
        if request.intake is not None:
            request.intake.client_left(why)
            request.intake = None
        if request.cycle is not None:
            request.cycle.disconnected = True
            request.cycle.message_event.set()
            if self._flow is not None:
                self._flow.resume_writing()

    def _gone(self, why: Outcome) -> None:
        """The client is gone, or as good as gone."""
        self._broken = True
        self._queue.clear()
        request, self._current = self._current, None
        if request is not None:
            self._drop(request, why)

    # ---- what a `Request` and the server ask

    @property
    def default_lines(self) -> Lines:
        """The ``date`` header, kept up to date by uvicorn."""
        headers = self._server_state.default_headers
        if headers is not self._defaults:
            self._defaults = headers
            self._default_lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        return self._default_lines

    def close_soon(self) -> None:
        """Flush, and close a moment later: a browser that sees an answer break forgets what it has not read yet."""
        self._broken = True
        self._current = None
        self._loop.call_later(_MOMENT, self._transport.close)

    def shutdown(self) -> None:
        """The server stops: idle connections close now, others after their answer."""
        self._stopping = True
        if self._current is None:
            self._transport.close()
        else:
            self._current.keep_alive = False
            if self._current.cycle is not None:
                self._current.cycle.keep_alive = False

    def tick(self, at: float) -> None:
        """Hold the deadlines; `at` is on the monotonic clock (seconds)."""
        limits = self._limits
        waited = at - self._since
        if self._stalled:
            self._check_stall(at)
        elif self.is_closing():
            unsent = self._transport.get_write_buffer_size()
            if self._state != _LINGERING:
                self._state = _LINGERING
                self._since = at
            elif waited > (limits.write_time if unsent else _LINGER):
                self._transport.abort()
        elif self._state == _IN_HEAD:
            if waited > limits.head_time:
                if self._head_size:
                    self._give_up(Problem("REQUEST_TIMEOUT", "The headers took too long to arrive."))
                else:
                    self._transport.close()
        elif self._state == _IN_BODY:
            request = self._receiving
            if (
                request is not None
                and waited > limits.body_grace
                and request.size < limits.body_rate * (waited - limits.body_grace)
            ):
                self._fail(Problem("REQUEST_TIMEOUT", "The body took too long to arrive."))
        elif self._state == _IDLE and waited > limits.idle_time:
            self._transport.close()

    def _check_stall(self, at: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._stalled = at
        elif at - self._stalled > self._limits.write_time:
            self._gone(Outcome.CLIENT_STALLED)
            self._transport.abort()
        self._unsent = unsent
