"""What a client's connection knows of itself, and how it ends."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.types import Headers, Lines, Outcome
from switchboard.net.front.limits import Door
from switchboard.net.front.opening import Opening, SocketDoor
from switchboard.net.front.request import Request
from switchboard.net.websocket import WebSocket

_MOMENT: Final = 0.5  # seconds that a client has to read the end of an answer that failed

# where a connection stands
IDLE: Final = 0  # between two requests
IN_HEAD: Final = 1
IN_BODY: Final = 2
ANSWERING: Final = 3
LINGERING: Final = 4  # the last answer is out; the client has a moment to read it


class ClientConnection(ABC):
    """One client's connection: its state, what is wrong with it, and its end. `FrontProtocol` is the whole of it.

    That is an `asyncio.Protocol`, and does not derive from it: what is compiled (pyproject.toml) derives from nothing that is not.
    """

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
        "_opening",
        "_parser",
        "_peer",
        "_queue",
        "_receiving",
        "_scheme",
        "_server_state",
        "_since",
        "_socket",
        "_socket_door",
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

    write: Callable[[bytes], None]
    write_pieces: Callable[[Sequence[bytes]], None]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door,
        sockets: SocketDoor | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._door = door
        self._limits = door.limits
        self._socket_door = sockets
        self._opening: Opening | None = None  # a handshake that is being decided about
        self._socket: WebSocket | None = None  # what the connection has become
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._flow: FlowControl | None = None
        self._defaults: list[tuple[bytes, bytes]] | None = None
        self._default_lines: Lines = b""
        self._scheme = "http"
        self._parser: httptools.HttpRequestParser | Opening = httptools.HttpRequestParser(self)
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
        self._state = IN_HEAD
        self._head_size = 0
        self._url = b""
        self._headers: Headers = {}

    # ---- asyncio.Protocol, see `FrontProtocol`

    @abstractmethod
    def data_received(self, data: bytes) -> None:
        """The client sends."""

    @abstractmethod
    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""

    # ---- the end

    def is_closing(self) -> bool:
        return self._broken or self._transport.is_closing()

    def hang_up(self) -> None:
        """Close so that what was written still reaches a client that is in the middle of sending."""
        if self._broken:
            return
        self._broken = True
        if self._receiving is not None and self._transport.can_write_eof():
            self._state = LINGERING
            self._since = now()
            self._transport.write_eof()
        else:
            self._transport.close()

    def close_soon(self) -> None:
        """Flush, and close a moment later: a browser that sees an answer break forgets what it has not read yet."""
        self._broken = True
        self._current = None
        self._loop.call_later(_MOMENT, self._transport.close)

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
        self._state = LINGERING
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

    # ---- what a `Request` asks

    @property
    def default_lines(self) -> Lines:
        """The ``date`` header, kept up to date by uvicorn."""
        headers = self._server_state.default_headers
        if headers is not self._defaults:
            self._defaults = headers
            self._default_lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        return self._default_lines
