"""WebSockets for tests: the front door by itself with a `SocketDoor`, sinks that note what they hear, raw frames."""

from __future__ import annotations

import asyncio
import functools
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from uvicorn import Config
from uvicorn.server import ServerState

from switchboard.core.clock import now
from switchboard.core.errors import Problem, UpstreamError
from switchboard.core.sockets import Handshake, Socket, SocketIntake
from switchboard.core.types import Lines, Outcome, RequestHead
from switchboard.net.front import FrontLimits, FrontProtocol, Request
from switchboard.net.websocket import SocketLimits, Sockets

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HELLO = (
    b"GET /ws HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: keep-alive, Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: " + KEY + b"\r\n\r\n"
)


class Heard:
    """A sink that notes what it hears, and answers with `then(heard, message)` where that is given."""

    def __init__(self, then: Callable[[Heard, str, bytes], None] | None = None) -> None:
        self._then = then
        self.socket: Socket | None = None
        self.opened = 0
        self.messages: list[tuple[str, bytes]] = []
        self.pongs = 0
        self.closed: list[tuple[int, str, bool]] = []
        self.errors: list[UpstreamError] = []
        self.flow: list[str] = []

    @property
    def open(self) -> Socket:
        """The socket; it has to be open by now."""
        assert self.socket is not None
        return self.socket

    def on_open(self, socket: Socket) -> None:
        assert not self.opened and not self.closed
        self.socket = socket
        self.opened += 1

    def _message(self, kind: str, data: bytes) -> None:
        assert self.opened and not self.closed and type(data) is bytes
        self.messages.append((kind, data))
        if self._then is not None:
            self._then(self, kind, data)

    def on_text(self, data: bytes) -> None:
        data.decode()
        self._message("text", data)

    def on_binary(self, data: bytes) -> None:
        self._message("binary", data)

    def on_pong(self) -> None:
        assert not self.closed
        self.pongs += 1

    def on_close(self, code: int, reason: str, clean: bool) -> None:
        assert not self.closed
        self.closed.append((code, reason, clean))

    def on_error(self, error: UpstreamError) -> None:
        assert not self.errors and not self.opened
        self.errors.append(error)

    def on_full(self) -> None:
        self.flow.append("full")

    def on_drain(self) -> None:
        self.flow.append("drain")


def echo(heard: Heard, kind: str, data: bytes) -> None:
    """Send every message back, and keep none."""
    heard.messages.clear()
    if kind == "text":
        heard.open.send_text(data)
    else:
        heard.open.send_binary(data)


class Accepting:
    """A `SocketIntake` that accepts at once."""

    def __init__(self, door: EchoDoor, handshake: Handshake, head: RequestHead) -> None:
        self.door = door
        self.handshake = handshake
        self.head = head
        self.left: list[Outcome] = []

    def start(self) -> None:
        self.accept()

    def accept(self, subprotocol: str | None = None, headers: Lines = b"") -> Heard:
        heard = Heard(self.door.then)
        self.door.heard.append(heard)
        self.handshake.accept(heard, subprotocol, headers)
        return heard

    def client_left(self, why: Outcome) -> None:
        self.left.append(why)


class Waiting(Accepting):
    """One that waits until the test decides."""

    def start(self) -> None:
        pass


class Failing(Accepting):
    """One that fails when it has accepted."""

    def start(self) -> None:
        self.accept()
        raise LookupError("a bug")


class EchoDoor:
    """The app behind the front door: WebSockets on /ws (at once) and /wait; anything else is 404, or 200 on /plain."""

    def __init__(self, limits: SocketLimits | None, front: FrontLimits | None, then: Any) -> None:
        self.sockets = Sockets(limits)
        self.limits = front or FrontLimits()
        self.then = then
        self.heard: list[Heard] = []
        self.intakes: list[Accepting] = []

    def enter_socket(self, head: RequestHead, handshake: Handshake) -> SocketIntake | None:
        if head.path == "/broken":
            raise LookupError("a bug")
        kind = {"/ws": Accepting, "/wait": Waiting, "/late": Failing}.get(head.path)
        if kind is None:
            return None
        intake = kind(self, handshake, head)
        self.intakes.append(intake)
        return intake

    def enter(self, head: RequestHead, down: Request) -> Any:
        return _Plain(head, down)

    def reject(self, problem: Problem, head: RequestHead | None) -> tuple[int, Lines, bytes]:
        return problem.status, b"x-code: %b\r\n" % problem.code.encode(), b""


class _Plain:
    def __init__(self, head: RequestHead, down: Request) -> None:
        self._head = head
        self._down = down

    def on_body(self, data: bytes, end: bool) -> None:
        if end:
            self._down.whole(200 if self._head.path == "/plain" else 404, b"", self._head.path.encode())

    def start(self) -> None: ...
    def refuse(self, problem: Problem) -> None: ...
    def client_left(self, why: Outcome) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Served:
    """A front door on a port."""

    def __init__(self, door: EchoDoor, state: ServerState) -> None:
        self.door = door
        self.state = state
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def heard(self) -> Heard:
        """The newest server-side sink."""
        return self.door.heard[-1]

    async def connect(self, hello: bytes = HELLO) -> Raw:
        """A raw client, behind a handshake that went well where `hello` is the usual one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 25)
        raw = Raw(reader, writer)
        if hello:
            writer.write(hello)
        if hello is HELLO:
            head = await raw.head()
            assert head.startswith(b"HTTP/1.1 101 ") and ACCEPT in head
        return raw

    def tick(self, later: float = 0.0) -> None:
        """It is `later` seconds after now."""
        for connection in list(self.state.connections):
            cast("FrontProtocol", connection).tick(now() + later)
        self.door.sockets.tick(now() + later)


@asynccontextmanager
async def served(
    limits: SocketLimits | None = None, front: FrontLimits | None = None, then: Any = echo, tls: Any = None
) -> AsyncIterator[Served]:
    """A front door that is open for WebSockets; ticks by itself."""
    door = EchoDoor(limits, front, then)
    state = ServerState()
    s = Served(door, state)
    config = Config(app=cast("Any", None), log_config=None)
    factory = functools.partial(FrontProtocol, config, state, {}, door=cast("Any", door), sockets=door)
    server = await asyncio.get_running_loop().create_server(cast("Any", factory), "127.0.0.1", 0, ssl=tls)
    s.port = server.sockets[0].getsockname()[1]

    async def ticking() -> None:
        while True:
            await asyncio.sleep(0.05)
            s.tick()

    ticks = asyncio.create_task(ticking())
    try:
        yield s
    finally:
        ticks.cancel()
        server.close()
        for c in list(state.connections):
            cast("Any", c)._transport.abort()
        await asyncio.sleep(0)


def frame(first: int, payload: bytes = b"", *, mask: bool = True, size: int | None = None) -> bytes:
    """A frame; `size` is what it says its length is."""
    n = len(payload) if size is None else size
    bit = 0x80 if mask else 0
    head = struct.pack("!BB", first, bit | n) if n < 126 else (
        struct.pack("!BBH", first, bit | 126, n) if n < 65536 else struct.pack("!BBQ", first, bit | 127, n)
    )  # fmt: skip
    if not mask:
        return head + payload
    key = b"\x37\xfa\x21\x3d"  # always the same: frames are names of tests, and those have to be
    return head + key + bytes(b ^ key[i & 3] for i, b in enumerate(payload))


def closing(code: int | None = None, reason: bytes = b"", *, mask: bool = True) -> bytes:
    """A close frame."""
    return frame(0x88, b"" if code is None else code.to_bytes(2, "big") + reason, mask=mask)


class Raw:
    """A client, or a server, that says bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        async with asyncio.timeout(3):
            return await self.reader.readuntil(b"\r\n\r\n")

    def send(self, *pieces: bytes) -> None:
        if not self.writer.is_closing():  # the other side may have closed in the middle
            self.writer.write(b"".join(pieces))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte, and its payload, unmasked."""
        async with asyncio.timeout(5):
            first, size = await self.reader.readexactly(2)
            masked, size = size & 0x80, size & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            key = await self.reader.readexactly(4) if masked else b""
            data = await self.reader.readexactly(size)
            return first, bytes(b ^ key[i & 3] for i, b in enumerate(data)) if key else data

    async def close_frame(self) -> tuple[int, str]:
        """The next frame, which is a close: code (0: none) and reason."""
        first, payload = await self.frame()
        assert first == 0x88, (first, payload)
        return (int.from_bytes(payload[:2], "big"), payload[2:].decode())

    async def ended(self) -> bool:
        """Whether the other side has closed, and said nothing more."""
        async with asyncio.timeout(4):
            with suppress(ConnectionError):
                return await self.reader.read(1) == b""
            return True

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        if sock is not None:  # else it is closed already
            sock.setsockopt(1, 13, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def until(what: Callable[[], Any], within: float = 3.0) -> None:
    """Wait until `what()` is true."""
    async with asyncio.timeout(within):
        while not what():
            await asyncio.sleep(0.005)
