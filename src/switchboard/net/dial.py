"""Opening a connection: plain, TLS, and through an HTTP proxy with CONNECT.

Raises `UpstreamError` with `Fault.DNS`, `TLS` or `PROXY`; other `OSError` and `TimeoutError` are the caller's.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

from switchboard.core.errors import Fault, UpstreamError

Origin = tuple[str, str, int]


class Dialer(Protocol):
    """Connects a protocol to an origin; `net.script.ScriptDialer` is the one without a network."""

    async def connect(self, origin: Origin, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        """Connect; when this returns, ``connection_made`` was called."""


class TcpDialer:
    """The real network. `verify` adds a file of trusted certificates to the system's; nothing relaxes TLS.

    `environment` is where ``HTTPS_PROXY`` and ``NO_PROXY`` are looked up.
    """

    def __init__(self, environment: Mapping[str, str], verify: str | None = None) -> None:
        self._proxy = environment.get("HTTPS_PROXY") or environment.get("https_proxy") or ""
        no_proxy = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
        self._direct = tuple(h.strip().lower().lstrip(".") for h in no_proxy.split(",") if h.strip())
        self._verify = verify
        self._tls: ssl.SSLContext | None = None

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            if self._verify:
                self._tls.load_verify_locations(self._verify)
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _proxied(self, scheme: str, host: str) -> bool:
        if not self._proxy or scheme != "https":
            return False
        name = host.lower()
        return not any(d == "*" or name == d or name.endswith("." + d) for d in self._direct)

    async def connect(self, origin: Origin, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        """Connect to `origin`; see `Dialer`."""
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        try:
            if self._proxied(scheme, host):
                await self._through_proxy(host, port, protocol_factory)
                return
            tls: dict[str, Any] = {"ssl": self._context(), "server_hostname": host} if scheme == "https" else {}
            transport, _ = await loop.create_connection(protocol_factory, host, port, **tls)
        except socket.gaierror as e:
            raise UpstreamError(Fault.DNS, e.strerror or str(e)) from e
        except ssl.SSLError as e:
            raise UpstreamError(Fault.TLS, str(e)) from e
        _no_delay(transport)

    async def _through_proxy(self, host: str, port: int, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        proxy = urlsplit(self._proxy if "://" in self._proxy else f"http://{self._proxy}")
        try:
            port_of_proxy = proxy.port or 3128
        except ValueError:
            port_of_proxy = 0
        if not proxy.hostname or proxy.scheme != "http" or not port_of_proxy:
            raise UpstreamError(Fault.PROXY, "HTTPS_PROXY is not of the form http://host:port")
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        name = f"[{host}]" if ":" in host else host
        lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
        if proxy.username:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            lines.append("Proxy-Authorization: Basic " + base64.b64encode(pair.encode()).decode())
        hello = ("\r\n".join(lines) + "\r\n\r\n").encode()
        try:
            transport, _ = await loop.create_connection(lambda: _Connect(opened, hello), proxy.hostname, port_of_proxy)
        except OSError as e:
            raise UpstreamError(Fault.PROXY, f"the proxy cannot be reached: {e.strerror or e}") from e
        try:
            await opened
            _no_delay(transport)
            protocol = protocol_factory()
            secure = await loop.start_tls(transport, protocol, self._context(), server_hostname=host)
        except BaseException:
            transport.abort()
            raise
        assert secure is not None
        protocol.connection_made(secure)


class _Connect(asyncio.Protocol):
    """Asks a proxy for a tunnel and waits for its 2xx."""

    def __init__(self, opened: asyncio.Future[None], hello: bytes) -> None:
        self._opened = opened
        self._hello = hello
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._hello)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._opened.done():
            return
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if end:
            status = head.split(b" ", 2)[1:2]
            if status and status[0].startswith(b"2") and not rest:
                self._opened.set_result(None)
            else:
                line = head.split(b"\r\n", 1)[0].decode("latin-1")
                self._opened.set_exception(UpstreamError(Fault.PROXY, f"the proxy answered {line!r}"))
        elif len(self._answer) > 16384:
            self._opened.set_exception(UpstreamError(Fault.PROXY, "the proxy's answer is not HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(UpstreamError(Fault.PROXY, "the proxy closed the connection"))


def _no_delay(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
