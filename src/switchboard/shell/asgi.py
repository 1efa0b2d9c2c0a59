"""The ordinary way: any ASGI server. Ordinary endpoints go to the FastAPI application in `app`; the hot routes, where
the server is not our own front door, to the same Exchange that the splice shell drives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from switchboard.core.clock import now
from switchboard.core.errors import CODES, Problem
from switchboard.core.types import Caller, Envelope, Headers, Lines, RequestHead, header_pairs
from switchboard.engine.exchange import Exchange
from switchboard.shell.switch import Switch
from switchboard.surface import problem as shapes
from switchboard.surface import realtime, realtime_calls
from switchboard.surface.realtime_calls import Way

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Bytes that may wait for a slow client before the upstream is asked to hold on.
_HIGH_WATER: Final = 64 * 1024
#: Paths that ask for no key, whatever identity is set.
_OPEN: Final = frozenset({"/", "/auth", "/auth/session", "/api/status", "/api/v1/status", "/favicon.ico"})
#: Paths that see themselves to who asks.
_OWN: Final = frozenset({realtime_calls.PATH})


class _Outbox:
    """What an Exchange writes, waiting for the server to take it; a `core.ports.Downstream`."""

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.start: Message | None = None
        self.waiting: list[bytes] = []
        self.size = 0
        self.ended = False
        self.failed = False
        self.changed = asyncio.Event()

    def head(self, status: int, headers: Lines) -> None:
        self.start = {"type": "http.response.start", "status": status, "headers": header_pairs(headers)}

    def whole(self, status: int, headers: Lines, body: bytes) -> None:
        self.head(status, headers + b"content-length: %d\r\n" % len(body))
        self.end(body)

    def write(self, data: bytes) -> None:
        self.waiting.append(data)
        self.size += len(data)
        if self.size > _HIGH_WATER and self.exchange is not None:
            self.exchange.pause()
        self.changed.set()

    def end(self, data: bytes = b"") -> None:
        self.waiting.append(data)
        self.ended = True
        self.changed.set()

    def fail(self, last: bytes) -> None:
        self.waiting.append(last)
        self.failed = True
        self.changed.set()

    def continue_(self) -> None:
        """ASGI servers say ``100 Continue`` by themselves when a body is asked for."""


class AsgiShell:
    """The ASGI application. `ordinary` answers what is not hot."""

    def __init__(self, switch: Switch, ordinary: Application) -> None:
        self._switch = switch
        self._ordinary = ordinary

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._ordinary(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = _head(scope)
        envelope = self._switch.choose(head)[0].envelopes.open(head)
        outbox = _Outbox()
        exchange = self._switch.exchange(head, outbox, envelope)
        if exchange is not None:
            await _run(exchange, outbox, receive, send)
            return
        await self._cold(head, envelope, scope, receive, send)

    async def _cold(self, head: RequestHead, envelope: Envelope, scope: Scope, receive: Receive, send: Send) -> None:
        began = now()
        problem: Problem | None = envelope.problem
        caller: Caller | None = None
        routes, path = self._switch.choose(head)
        preflight = routes.envelopes.preflight(head, envelope)
        if problem is None and preflight is not None:
            await _answer(send, 204, preflight, b"")
            self._switch.record(head, envelope, 204, None, began)
            return
        if problem is None and path in realtime.PATHS:
            lines = b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n"
            problem = Problem("UPGRADE_REQUIRED", headers=lines)
        if problem is None and path in routes.hot:
            problem = Problem("METHOD_NOT_ALLOWED", "This path answers POST only.", headers=b"allow: POST\r\n")
        if problem is None and not (path in _OPEN or path in _OWN or path.startswith(("/health", "/page/"))):
            try:
                found = routes.kit.gate.identify(head, envelope.peer)
                caller = found if isinstance(found, Caller) else await found
            except Problem as p:
                problem = p
        if problem is not None:
            status, headers, body = shapes.for_path(head.path, problem, envelope.request_id)
            await _answer(send, status, headers + envelope.headers, body)
            self._switch.record(head, envelope, status, problem, began)
            return
        scope = {**scope, "path": path, "raw_path": path.encode()}
        told: dict[str, Any] = {
            "request_id": envelope.request_id,
            "peer": envelope.peer,
            "gate": routes.kit.gate,
            "caller": caller,
            "way": Way(head, envelope, routes.kit, routes.session),
        }
        caller_id = "" if caller is None else caller.id
        await self._pass_on(head, envelope, {**scope, "switchboard": told}, receive, send, began, caller_id)

    async def _pass_on(
        self,
        head: RequestHead,
        envelope: Envelope,
        scope: Scope,
        receive: Receive,
        send: Send,
        began: float,
        caller: str,
    ) -> None:
        """An ordinary endpoint, with the envelope's headers on its answer and a line in the log."""
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *header_pairs(envelope.headers)]
            await send(message)

        told = scope["switchboard"]
        # a HEAD is a GET whose body the server leaves out; no endpoint has to know
        method = "GET" if head.method == "HEAD" else head.method
        try:
            await self._ordinary({**scope, "method": method}, receive, sending)
        finally:
            raised: Problem | None = told.get("problem")
            self._switch.record(head, envelope, status or 500, raised, began, caller)


def _head(scope: Scope) -> RequestHead:
    headers: Headers = {}
    for name, value in scope["headers"]:
        known = headers.get(name)
        joint = b"; " if name == b"cookie" else b", "
        headers[name] = value if known is None else known + joint + value
    client = scope.get("client")
    peer = client[0] if client else ""
    return RequestHead(
        scope["method"], scope["path"], scope.get("query_string", b""), headers, peer, scope.get("scheme", "http")
    )


async def _answer(send: Send, status: int, headers: Lines, body: bytes) -> None:
    length = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*header_pairs(headers), *length]})
    await send({"type": "http.response.body", "body": body})


async def _run(exchange: Exchange, outbox: _Outbox, receive: Receive, send: Send) -> None:
    """Drive an Exchange: one task listens to the client while this one sends."""
    outbox.exchange = exchange
    exchange.start()

    async def listen() -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                exchange.client_left()
                outbox.failed = True
                outbox.changed.set()
                return
            exchange.on_body(message.get("body", b""), not message.get("more_body", False))

    listening = asyncio.create_task(listen())
    try:
        await _drain(exchange, outbox, send)
    finally:
        if not outbox.ended:
            exchange.client_left()  # nothing happens if it is over
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _drain(exchange: Exchange, outbox: _Outbox, send: Send) -> None:
    started = False
    while True:
        await outbox.changed.wait()
        outbox.changed.clear()
        if not started and outbox.start is not None:
            started = True
            await send(outbox.start)
        data, size = b"".join(outbox.waiting), outbox.size
        outbox.waiting.clear()
        outbox.size = 0
        ended, failed = outbox.ended, outbox.failed
        if ended and not outbox.waiting:
            await send({"type": "http.response.body", "body": data})
            return
        if data:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        if failed:
            return  # without the last chunk: the server closes the connection, and the client sees the cut
        if size > _HIGH_WATER:
            exchange.resume()


def problem_of_status(status: int, message: str | None = None) -> Problem:
    """The `Problem` that stands for an HTTP status that a framework came up with."""
    for code, row in CODES.items():
        if row.status == status:
            return Problem(code, message)
    return Problem("INVALID_REQUEST" if 400 <= status < 500 else "INTERNAL_ERROR", message)
