"""What a server answers to our handshake: the protocol of a connection until its WebSocket is open."""

from __future__ import annotations

import asyncio
from typing import Final, cast

import httptools

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.sockets import SocketRefused
from switchboard.core.types import Headers
from switchboard.net.websocket.handshake import flaw

_MAX_HEAD: Final = 64 * 1024
_MAX_BODY: Final = 64 * 1024  # bytes of a refusal's body that are kept


class Answer(asyncio.Protocol):
    """Sends `hello` when the connection is made, and reads the answer. When that is a WebSocket, `rest` is what came behind
    it, and reading is paused so that nothing is lost until the socket takes over."""

    def __init__(self, hello: bytes, key: bytes, offered: tuple[str, ...]) -> None:
        self._hello = hello
        self._key = key
        self._offered = offered
        self._outcome: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._size = 0
        self._status = 0
        self._headers: Headers = {}
        self._body = bytearray()
        self._whole = False
        self.transport: asyncio.Transport | None = None
        self.rest = b""

    def __repr__(self) -> str:
        return "<Answer to a WebSocket's handshake>"

    async def wait(self) -> str | None:
        """The subprotocol, when the socket is open. Raises `UpstreamError`."""
        return await self._outcome

    def close(self) -> None:
        """Break the connection off."""
        self._outcome.cancel()
        if self.transport is not None:
            self.transport.abort()

    def _fail(self, error: UpstreamError) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)
            self._outcome.exception()  # nobody may be waiting yet, or any more

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        hello, self._hello = self._hello, b""
        self.transport.write(hello)

    def data_received(self, data: bytes) -> None:
        if self._outcome.done():
            self.rest += data  # behind a 101, in the moment before the socket takes over
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as e:
            self._upgraded(data[e.args[0] if e.args else len(data) :])
            return
        except httptools.HttpParserError as e:
            cause = e.__context__
            self._fail(cause if isinstance(cause, UpstreamError) else UpstreamError(Fault.PROTOCOL, f"not HTTP: {e}"))
            return
        if self._whole or len(self._body) > _MAX_BODY:
            self._refused()
        elif not self._status and self._size > _MAX_HEAD:
            self._fail(UpstreamError(Fault.PROTOCOL, "the answer's headers are too large"))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._status:
            self._refused()  # a body without a length, or cut: what there is of it
        else:
            self._fail(UpstreamError(Fault.RESET, str(exc or "the connection was closed without an answer")))

    def _refused(self) -> None:
        self._fail(SocketRefused(self._status, self._headers, bytes(self._body[:_MAX_BODY])))

    def _upgraded(self, rest: bytes) -> None:
        if self._parser.get_status_code() != 101:
            self._fail(UpstreamError(Fault.PROTOCOL, "an upgrade without a 101"))
            return
        wrong = flaw(self._headers, self._key, self._offered)
        if wrong:
            self._fail(UpstreamError(Fault.PROTOCOL, wrong))
            return
        self.rest = rest
        if self.transport is not None:
            self.transport.pause_reading()
        if not self._outcome.done():
            protocol = self._headers.get(b"sec-websocket-protocol")
            self._outcome.set_result(None if protocol is None else protocol.decode("latin-1"))

    # -- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # a trailer
        name = name.lower()
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 101:
            if not self._parser.should_upgrade():
                raise UpstreamError(Fault.PROTOCOL, "a 101 that does not upgrade")
        elif status >= 200:
            self._status = status

    def on_body(self, data: bytes) -> None:
        self._body += data[: _MAX_BODY + 1 - len(self._body)]

    def on_message_complete(self) -> None:
        if self._status:
            self._whole = True
        elif self._parser.get_status_code() != 101:
            self._headers = {}  # 100, 103: the answer is still to come
