"""The client's side: opening a WebSocket to a provider, through the same `net.dial.Dialer` as every other connection.

What can go wrong is told as `core.errors.UpstreamError`: `Fault.REFUSED`, `DNS`, `TLS`, `PROXY`, `CONNECT_TIMEOUT` while
connecting; `TIMEOUT`, `RESET` and `PROTOCOL` in the handshake; `core.sockets.SocketRefused` where the answer is no WebSocket.
Redirects are such answers; they are not followed.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from typing import Final, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.sockets import ClientSink
from switchboard.core.types import Lines
from switchboard.net.dial import Dialer, Origin
from switchboard.net.websocket.answer import Answer
from switchboard.net.websocket.connection import WebSocket
from switchboard.net.websocket.handshake import is_token
from switchboard.net.websocket.sockets import Sockets

_PORTS: Final = {"ws": ("http", 80), "wss": ("https", 443)}


class SocketTimeouts(Struct, frozen=True, gc=False):
    """Seconds until there is a connection (TLS and proxies included), and from then on until the socket is open."""

    connect: float = 5.0
    handshake: float = 10.0


class Target(Struct, frozen=True, gc=False):
    """What a URL says: where to connect, what to ask there, and the ``host`` header."""

    origin: Origin
    path: bytes
    host: bytes


def read_url(url: str) -> Target:
    """`url` as a `Target`. Raises `ValueError`, which does not repeat it, for what is no ``ws://`` or ``wss://`` URL."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError("not a URL of the form wss://host/path")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        raise ValueError("a URL has neither blanks nor letters beyond ASCII")
    scheme, usual = _PORTS[parts.scheme]
    port = parts.port or usual
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = name if port == usual else f"{name}:{port}"
    return Target((scheme, parts.hostname, port), path.encode(), host.encode())


class _Calls(Protocol):
    def done(self, call: SocketCall) -> None: ...


class SocketCall:
    """A WebSocket that is being opened, and then the one that is open: a `core.ports.Flow`."""

    __slots__ = ("_aborted", "_calls", "_paused", "_socket", "_target", "_task", "sink")

    def __init__(self, calls: _Calls, target: Target, sink: ClientSink) -> None:
        self._calls = calls
        self._target = target
        self._task: asyncio.Task[None] | None = None
        self._socket: WebSocket | None = None
        self._aborted = False
        self._paused = False
        self.sink = sink

    def __repr__(self) -> str:
        # neither headers nor the query: both hold keys
        scheme, host, port = self._target.origin
        path = self._target.path.partition(b"?")[0].decode()
        return f"<SocketCall {'wss' if scheme == 'https' else 'ws'}://{host}:{port}{path}>"

    def pause(self) -> None:
        self._paused = True
        if self._socket is not None:
            self._socket.pause()

    def resume(self) -> None:
        self._paused = False
        if self._socket is not None:
            self._socket.resume()

    def abort(self) -> None:
        self._aborted = True
        if self._task is not None:
            self._task.cancel()
        if self._socket is not None:
            self._socket.abort()

    def run(self, task: asyncio.Task[None]) -> None:
        """`task` opens it."""
        self._task = task
        task.add_done_callback(self._over)

    def _over(self, _: asyncio.Task[None]) -> None:
        self._task = None
        self._calls.done(self)

    def failed(self, error: UpstreamError) -> None:
        """Tell the sink, unless its owner has turned away."""
        if not self._aborted:
            self._aborted = True
            self.sink.on_error(error)

    def opened(self, socket: WebSocket, rest: bytes) -> None:
        """`socket` is what it became; `rest` came behind the handshake."""
        if self._aborted:
            socket.abort()
            return
        self._socket = socket
        if self._paused:
            socket.pause()
        socket.begin(rest)


class SocketDialer:
    """Opens WebSockets through `dialer`, and puts them into `sockets`."""

    def __init__(self, dialer: Dialer, sockets: Sockets) -> None:
        self._dialer = dialer
        self._sockets = sockets
        self._open: set[SocketCall] = set()

    def connect(
        self,
        url: str,
        headers: Lines,
        sink: ClientSink,
        *,
        subprotocols: tuple[str, ...] = (),
        timeouts: SocketTimeouts | None = None,
        max_message: int | None = None,
    ) -> SocketCall:
        """Open a WebSocket to `url` (``ws://`` or ``wss://``); `headers` are further lines of the handshake. The sink hears
        `on_open` or `on_error`, never before this returns. `max_message` is in bytes, in place of that in the limits. Raises
        `ValueError` for a URL or a subprotocol that cannot be one."""
        target = read_url(url)
        if not all(map(is_token, subprotocols)) or len(set(subprotocols)) != len(subprotocols):
            raise ValueError("a subprotocol is a token, and named once")
        key = base64.b64encode(os.urandom(16))
        hello = b"GET %b HTTP/1.1\r\nhost: %b\r\nupgrade: websocket\r\nconnection: Upgrade\r\n" % (
            target.path,
            target.host,
        )
        hello += b"sec-websocket-version: 13\r\nsec-websocket-key: %b\r\n" % key
        if subprotocols:
            hello += b"sec-websocket-protocol: %b\r\n" % ", ".join(subprotocols).encode()
        answer = Answer(b"%b%b\r\n" % (hello, headers), key, subprotocols)
        call = SocketCall(self, target, sink)
        self._open.add(call)
        opening = self._run(call, target, answer, timeouts or SocketTimeouts(), max_message)
        call.run(asyncio.get_running_loop().create_task(opening))
        return call

    async def _run(
        self, call: SocketCall, target: Target, answer: Answer, timeouts: SocketTimeouts, max_message: int | None
    ) -> None:
        try:
            await self._connect(target.origin, answer, timeouts.connect)
            try:
                async with asyncio.timeout(timeouts.handshake):
                    subprotocol = await answer.wait()
            except TimeoutError:
                raise UpstreamError(
                    Fault.TIMEOUT, f"the WebSocket was not open within {timeouts.handshake:g} s"
                ) from None
        except UpstreamError as e:
            answer.close()
            call.failed(e)
        except asyncio.CancelledError:
            answer.close()
            raise
        else:
            transport = answer.transport
            if transport is None or transport.is_closing():
                call.failed(UpstreamError(Fault.RESET, "the connection was closed as soon as it was made"))
                return
            rest = answer.rest
            socket = WebSocket(self._sockets, transport, call.sink, subprotocol, client=True, max_message=max_message)
            transport.resume_reading()
            call.opened(socket, rest)

    async def _connect(self, origin: Origin, answer: Answer, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._dialer.connect(origin, lambda: answer)
        except UpstreamError:
            raise
        except TimeoutError:
            raise UpstreamError(Fault.CONNECT_TIMEOUT, f"no connection within {timeout:g} s") from None
        except ssl.SSLError as e:
            raise UpstreamError(Fault.TLS, str(e)) from e
        except OSError as e:
            reason = os.strerror(e.errno) if e.errno is not None and e.errno > 0 else str(e)  # not the loop's own words
            raise UpstreamError(Fault.REFUSED, reason) from e
        except Exception as e:  # a host's name that cannot be one, say
            raise UpstreamError(Fault.REFUSED, repr(e)) from e

    def done(self, call: SocketCall) -> None:
        """`call` is opened, or failed."""
        self._open.discard(call)

    def close(self) -> None:
        """Stop opening; those that are open are their owners' to close."""
        for call in list(self._open):
            call.abort()
