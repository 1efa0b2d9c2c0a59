"""A network of scripted bytes, for trying what a provider could do: a real server on loopback that says what its script
says and notes what it hears.

    async with ScriptServer([Request(), b"HTTP/1.1 200 OK\\r\\n…", Wait(0.1), Reset()]) as upstream:
        ...  # calls to upstream.base_url
        assert upstream.connections[0].heard.startswith(b"POST /v1/chat/completions")

Each connection plays the script from its beginning; a script that comes to its end closes the connection. A function in
place of a script is called with the connection's number (0, 1, …) and gives that connection's script.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

from switchboard.core.clock import now

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.I)


_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"


class Request(Struct):
    """Wait until a whole request has come."""


class Wait(Struct):
    """Do nothing for a while."""

    seconds: float


class Hang(Struct):
    """Do nothing until the other side closes."""


class Reset(Struct):
    """Break the connection with RST."""


class Again(Struct):
    """Begin the script anew."""


Step = bytes | Request | Wait | Hang | Reset | Again
Script = Iterable[Step]


class Connection:
    """One connection that was made: what it `heard`, and when (monotonic seconds) the other side `left`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.heard = b""
        self.requests: list[bytes] = []
        self.left: float | None = None
        self.over = asyncio.Event()


class ScriptServer:
    """The server; an asynchronous context manager. `tls` makes it speak TLS."""

    def __init__(self, script: Script | Callable[[int], Script], *, tls: ssl.SSLContext | None = None) -> None:
        self._script = script if callable(script) else (lambda _, steps=list(script): steps)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: list[Connection] = []
        self.port = 0

    @property
    def base_url(self) -> str:
        """Where it is, as a provider's ``base_url``."""
        scheme = "https" if self._tls is not None else "http"
        host = "localhost" if self._tls is not None else "127.0.0.1"
        return f"{scheme}://{host}:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, limit=1 << 26)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = Connection(len(self.connections))
        self.connections.append(connection)
        listener = asyncio.create_task(self._listen(connection, reader))
        try:
            await self._play(connection, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            listener.cancel()
            writer.close()

    async def _listen(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                connection.heard += data
                connection.over.set()
        connection.left = now()
        connection.over.set()

    async def _play(self, connection: Connection, writer: asyncio.StreamWriter) -> None:
        used = 0
        steps = iter(self._script(connection.number))
        while (step := next(steps, None)) is not None:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, Request):
                used = await self._request(connection, used)
            elif isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Again):
                steps = iter(self._script(connection.number))
            elif isinstance(step, Hang):
                while connection.left is None:
                    await self._more(connection)
            else:
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    async def _request(self, connection: Connection, used: int) -> int:
        """Wait for the request that begins at byte `used`; gives where it ends."""
        while True:
            head, end, body = connection.heard[used:].partition(b"\r\n\r\n")
            if end:
                length = _LENGTH.search(head + b"\r\n")
                size = int(length[1]) if length else 0
                if b"transfer-encoding: chunked" in head.lower():
                    last = (b"\r\n" + body).find(_LAST_CHUNK)
                    size = len(body) + 1 if last < 0 else last + len(_LAST_CHUNK) - 2
                if len(body) >= size:
                    request = head + end + body[:size]
                    connection.requests.append(request)
                    return used + len(request)
            await self._more(connection)

    async def _more(self, connection: Connection) -> None:
        if connection.left is not None:
            raise ConnectionResetError("the other side has left")
        connection.over.clear()
        await connection.over.wait()


def answer(body: bytes, *, status: int = 200, kind: str = "application/json", headers: str = "") -> bytes:
    """A whole HTTP answer. `headers` are further lines, each ended by CRLF."""
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def stream_head(headers: str = "") -> bytes:
    """The head of a chunked event stream."""
    return f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n{headers}\r\n".encode()


def chunk(data: bytes) -> bytes:
    """`data` as one HTTP chunk; b"" makes the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)
