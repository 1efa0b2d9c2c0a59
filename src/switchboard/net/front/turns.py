"""One request after the other: each gets its turn, by the hot way or the ordinary one."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.net.front.cold import ColdTransport, Cycle
from switchboard.net.front.request import Request
from switchboard.net.front.state import ANSWERING, IDLE, IN_BODY, IN_HEAD, ClientConnection


class Turns(ClientConnection):
    """The part of a connection that answers its requests in order."""

    __slots__ = ()

    def _begin(self, request: Request) -> None:
        """It is `request`'s turn."""
        self._current = request
        self._state = ANSWERING if request.complete else IN_BODY
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

    def _free(self) -> bool:
        """Whether another request may have its turn."""
        return self._current is None and not self._broken

    def _next(self, request: Request) -> None:
        self._current = None
        if self._turning:
            return  # the loop below goes on
        self._turning = True
        try:
            while self._queue and self._free():
                turn = self._queue.popleft()
                if self._failing is not None and not turn.complete:
                    break
                self._ahead -= turn.held
                self._held -= turn.held
                self._begin(turn)
        finally:
            self._turning = False
        if not self._free():
            return
        if self._failing is not None:
            self._give_up(self._failing)
        elif self._stopping:
            self.hang_up()
        else:
            self._ahead = self._held = 0
            self._since = now()
            self._state = IN_HEAD if self._head_size else IDLE
