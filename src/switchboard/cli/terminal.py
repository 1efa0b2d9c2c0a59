"""Asking for a chat from a command: of a running server, or straight of the providers in this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec

from switchboard.app import Application
from switchboard.config.tree import Settings
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import Event, Failed
from switchboard.core.ports import Context, Flow, UpstreamSink
from switchboard.core.types import Call, Headers, Lines, RequestHead, header_pairs
from switchboard.dialects.openai_chat import OpenAIDecoder
from switchboard.engine.exchange import Exchange
from switchboard.net.dial import TcpDialer
from switchboard.net.http import UpstreamPool
from switchboard.providers.base import endpoint
from switchboard.telemetry.logs import Log
from switchboard.telemetry.output import Output

PATH = "/v1/chat/completions"


class AskError(Exception):
    """The chat failed; the text says why."""


class Line(Protocol):
    """A way to whoever answers."""

    def send(self, body: bytes, sink: UpstreamSink) -> Flow:
        """Ask."""


class Answering:
    """One answer: `status` and `headers` once they are there, and its events as they come."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | UpstreamError | None] = asyncio.Queue(1024)
        self.status = 0
        self.headers: Headers = {}

    def on_head(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers

    def on_data(self, data: bytes) -> None:
        self._queue.put_nowait(data)

    def on_end(self) -> None:
        self._queue.put_nowait(None)

    def on_error(self, error: UpstreamError) -> None:
        self._queue.put_nowait(error)

    async def events(self) -> AsyncIterator[Event]:
        """The answer's events. Raises `AskError` where it is an error, or broke off."""
        decoder = OpenAIDecoder(Context("", "", 0))
        refused = bytearray()
        while True:
            piece = await self._queue.get()
            if isinstance(piece, UpstreamError):
                raise AskError(
                    f"{'the answer broke off' if self.status else 'nobody answers'}: {piece.message or piece}"
                )
            if self.status != 200:
                if piece is None:
                    raise AskError(_reason(bytes(refused), self.status))
                refused += piece
                continue
            for e in decoder.eof() if piece is None else decoder.feed(piece):
                if isinstance(e, Failed):
                    raise AskError(e.error.message or str(e.error))
                yield e
            if piece is None:
                return


def _reason(body: bytes, status: int) -> str:
    try:
        return str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the server answers {status}"


class _Server:
    """A running server, over HTTP."""

    def __init__(self, base: str, key: str | None, profile: str | None) -> None:
        self._place = endpoint(base)
        self._pool = UpstreamPool(TcpDialer({}))
        self._target = f"{self._place.path}{f'/p/{profile}' if profile else ''}{PATH}".encode()
        lines = {"host": self._place.host, "content-type": "application/json"}
        if key is not None:
            lines["authorization"] = f"Bearer {key}"
        self._head = b"".join(f"{n}: {v}\r\n".encode("latin-1") for n, v in lines.items())

    def send(self, body: bytes, sink: UpstreamSink) -> Flow:
        return self._pool.send(Call(self._place.origin, b"POST", self._target, self._head, body), sink)

    def close(self) -> None:
        self._pool.close()


class _Inside:
    """This process's own exchanges; a `core.ports.Downstream` that tells an upstream sink."""

    def __init__(self, sink: UpstreamSink) -> None:
        self._sink = sink
        self.exchange: Exchange | None = None

    def head(self, status: int, headers: Lines) -> None:
        self._sink.on_head(status, dict(header_pairs(headers)))

    def whole(self, status: int, headers: Lines, body: bytes) -> None:
        self.head(status, headers)
        self.end(body)

    def write(self, data: bytes) -> None:
        self._sink.on_data(data)

    def end(self, data: bytes = b"") -> None:
        if data:
            self._sink.on_data(data)
        self._sink.on_end()

    def fail(self, last: bytes) -> None:
        if last:
            self._sink.on_data(last)
        self._sink.on_error(UpstreamError(Fault.CUT, "it ended early"))

    def continue_(self) -> None:
        """The body is there already."""

    def pause(self) -> None:
        """A terminal keeps up."""

    def resume(self) -> None:
        """See `pause`."""

    def abort(self) -> None:
        if self.exchange is not None:
            self.exchange.client_left()


class Direct:
    """The providers themselves, asked by this process."""

    def __init__(self, app: Application, key: str | None, profile: str | None) -> None:
        self.app = app
        self._path = f"/p/{profile}{PATH}" if profile else PATH
        self._headers: Headers = {b"host": b"localhost", b"content-type": b"application/json"}
        if key is not None:
            self._headers[b"authorization"] = f"Bearer {key}".encode()

    def send(self, body: bytes, sink: UpstreamSink) -> Flow:
        down = _Inside(sink)
        head = RequestHead("POST", self._path, b"", self._headers, "127.0.0.1")
        exchange = self.app.switch.exchange(head, down)
        if exchange is None:
            raise AskError("there is no such profile")
        down.exchange = exchange
        exchange.start()
        exchange.on_body(body, True)
        return down


@asynccontextmanager
async def server(base: str, key: str | None, profile: str | None) -> AsyncIterator[Line]:
    """A running server at `base`."""
    line = _Server(base, key, profile)
    try:
        yield line
    finally:
        line.close()


@asynccontextmanager
async def direct(settings: Settings, profile: str | None, key: str | None = None) -> AsyncIterator[Direct]:
    """The providers of `settings`, without a server."""
    output = Output(os.open(os.devnull, os.O_WRONLY))
    app = Application(settings, Log(output, level="ERROR", style="human"))
    app.start(0)
    try:
        yield Direct(app, key or key_of(settings, profile), profile)
    finally:
        await app.close()
        output.close()


def key_of(settings: Settings, profile: str | None) -> str | None:
    """A key of the settings that opens `profile`."""
    own = settings.profiles.get(profile or "")
    keys = [*settings.auth.access_key, *(own.access_key if own is not None else ())]
    return keys[0].get_secret_value() if keys else None


def body_of(messages: list[dict[str, Any]], model: str | None, **params: Any) -> bytes:
    """A streamed chat request."""
    asked: dict[str, Any] = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}} | params
    return msgspec.json.encode(asked | {"model": model} if model else asked)
