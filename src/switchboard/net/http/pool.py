"""The pool itself: which connections there are, and how more are made."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import cast

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Flow, UpstreamSink
from switchboard.core.types import Call
from switchboard.net.dial import Dialer
from switchboard.net.http.connection import UpstreamConnection, UpstreamRequest


class UpstreamPool:
    """Connections to providers. Made and used inside one event loop.

    `dialer` opens connections (`net.dial`), `limit` is the most connections to one origin at a time, `keep_idle` the
    seconds that one may wait for its next call.
    """

    def __init__(self, dialer: Dialer, *, limit: int = 4096, keep_idle: float = 60.0) -> None:
        self._dialer = dialer
        self._limit = limit
        self._keep_idle = keep_idle
        self._idle: dict[tuple[str, str, int], list[UpstreamConnection]] = {}
        self._count: dict[tuple[str, str, int], int] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._unsent: list[tuple[asyncio.Transport, bytes]] = []
        self._closed = False

    @property
    def open(self) -> int:
        """How many connections there are, idle ones included."""
        return sum(self._count.values())

    def send(self, call: Call, sink: UpstreamSink) -> Flow:
        """Begin `call`; see `core.ports.Transport`."""
        request = UpstreamRequest(self, call, sink)
        idle = self._idle.get(call.origin)
        if idle:
            idle.pop().carry(request)
        else:
            self.dial(request)
        return request

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send a request at the end of this turn of the event loop, with all others of the turn.

        Requests that came together go out one right after the other, and find the provider's process (or the network's
        queue) awake: under load that saves a tenth of a request's cost. An idle server's turn is over at once.
        """
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append((transport, data))

    def later(self, function: Callable[[], None]) -> None:
        """Call `function` after what is to be sent in this turn."""
        self._loop.call_soon(function)

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        for transport, data in unsent:
            if not transport.is_closing():  # its request may have been aborted since
                transport.write(data)

    def dial(self, request: UpstreamRequest) -> None:
        """Open a connection for `request`."""
        origin = request.call.origin
        count = self._count.get(origin, 0)
        if count >= self._limit:
            error = UpstreamError(Fault.FULL, f"all {self._limit} connections to the provider are busy")
            self._loop.call_soon(request.failed, error)
            return
        self._count[origin] = count + 1
        connection = UpstreamConnection(self, origin)
        task = self._loop.create_task(self._dial(request, connection))
        request.dial = task
        self._dials.add(task)
        task.add_done_callback(lambda t: self._dialled(t, connection))

    def _dialled(self, task: asyncio.Task[None], connection: UpstreamConnection) -> None:
        self._dials.discard(task)
        if task.cancelled():  # perhaps before it had begun
            connection.close()
            self.forget(connection.origin, connection)

    async def _dial(self, request: UpstreamRequest, connection: UpstreamConnection) -> None:
        call = request.call
        error: UpstreamError | None = None
        try:
            async with asyncio.timeout(call.connect_timeout):
                made = cast("Callable[[], asyncio.Protocol]", lambda: connection)
                await self._dialer.connect(call.origin, made)
        except UpstreamError as e:
            error = e
        except TimeoutError:
            error = UpstreamError(Fault.CONNECT_TIMEOUT, f"no connection within {call.connect_timeout:g} s")
        except ssl.SSLError as e:
            error = UpstreamError(Fault.TLS, str(e))
        except OSError as e:
            reason = os.strerror(e.errno) if e.errno is not None and e.errno > 0 else str(e)  # not the loop's own words
            error = UpstreamError(Fault.REFUSED, reason)
        except Exception as e:  # a host's name that cannot be one, say
            error = UpstreamError(Fault.REFUSED, repr(e))
        else:
            if not connection.usable:
                error = UpstreamError(Fault.RESET, "the connection was closed as soon as it was made")
        request.dial = None
        if error is not None:
            connection.close()
            self.forget(call.origin, connection)
            request.failed(error)
        elif request.aborted:
            connection.close()
        else:
            connection.carry(request)

    def keep(self, origin: tuple[str, str, int], connection: UpstreamConnection) -> None:
        """`connection` is free for the next call."""
        if self._closed:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.setdefault(origin, []).append(connection)

    def forget(self, origin: tuple[str, str, int], connection: UpstreamConnection) -> None:
        """`connection` is gone."""
        idle = self._idle.get(origin)
        if idle and connection in idle:
            idle.remove(connection)
        if connection.counted:
            connection.counted = False
            self._release(origin)

    def _release(self, origin: tuple[str, str, int]) -> None:
        left = self._count.get(origin, 0) - 1
        if left > 0:
            self._count[origin] = left
        else:
            self._count.pop(origin, None)

    def tick(self, now: float) -> None:
        """Close connections that were idle too long; `now` is the event loop's time."""
        for connections in self._idle.values():
            # the last ones in are the first ones out, so the oldest stand in front
            while connections and now - connections[0].idle_since > self._keep_idle:
                connections.pop(0).close()

    def close(self) -> None:
        """Close idle connections and stop dialling; calls under way are their owners' to abort."""
        self._closed = True
        for task in list(self._dials):
            task.cancel()
        for connections in self._idle.values():
            while connections:
                connections.pop().close()
