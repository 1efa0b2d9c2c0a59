"""The connection as uvicorn sees it: asyncio's callbacks, deadlines, and the server's end."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import httptools

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.types import Outcome
from switchboard.net.front.parsing import Parsing
from switchboard.net.front.state import ANSWERING, IDLE, IN_BODY, IN_HEAD, LINGERING

#: In place of a connection's own, which would hold on to it until the garbage collector came.
_NO_PARSER: Final = httptools.HttpRequestParser(object())
_LINGER: Final = 2.0  # seconds that a client has to read the last answer before the connection is broken off


class FrontProtocol(Parsing):
    """One client connection. Made by uvicorn; `door`, and `sockets` where WebSockets are let in, come by
    `functools.partial`."""

    __slots__ = ()

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
        self._parser = _NO_PARSER

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
        if self._state == IDLE:
            self._since = now()
            self._state = IN_HEAD
        elif self._state == ANSWERING:
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

    # ---- the server

    def shutdown(self) -> None:
        """The server stops: idle connections close now, others after their answer. WebSockets are left alone: it is the app that
        closes them (`Sockets.close_all`)."""
        self._stopping = True
        if self._socket is not None:
            return  # the app closes them
        if self._current is None:
            self._transport.close()
        else:
            self._current.keep_alive = False
            if self._current.cycle is not None:
                self._current.cycle.keep_alive = False

    def tick(self, at: float) -> None:
        """Hold the deadlines; `at` is on the monotonic clock (seconds)."""
        if self._socket is not None:
            self._socket.tick(at)
            return
        limits = self._limits
        waited = at - self._since
        if self._stalled:
            self._check_stall(at)
        elif self.is_closing():
            unsent = self._transport.get_write_buffer_size()
            if self._state != LINGERING:
                self._state = LINGERING
                self._since = at
            elif waited > (limits.write_time if unsent else _LINGER):
                self._transport.abort()
        elif self._state == IN_HEAD:
            if waited > limits.head_time:
                if self._head_size:
                    self._give_up(Problem("REQUEST_TIMEOUT", "The headers took too long to arrive."))
                else:
                    self._transport.close()
        elif self._state == IN_BODY:
            request = self._receiving
            if (
                request is not None
                and waited > limits.body_grace
                and request.size < limits.body_rate * (waited - limits.body_grace)
            ):
                self._fail(Problem("REQUEST_TIMEOUT", "The body took too long to arrive."))
        elif self._state == IDLE and waited > limits.idle_time:
            self._transport.close()
        elif self._opening is not None and waited > limits.opening_time:
            self._give_up_opening()

    def _check_stall(self, at: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._stalled = at
        elif at - self._stalled > self._limits.write_time:
            self._gone(Outcome.CLIENT_STALLED)
            self._transport.abort()
        self._unsent = unsent
