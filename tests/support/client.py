"""An HTTP client that sees every byte: whether an answer ended as it should, what came in which piece, and when."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from msgspec import Struct


class Answer(Struct):
    """An answer. `whole`: it ended with its length or its last chunk, not with the connection."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def events(self) -> list[Any]:
        """The data of its events: JSON where it is JSON, else text."""
        out: list[Any] = []
        for event in self.text.split("\n\n"):
            if event.startswith("data: "):
                data = event.removeprefix("data: ")
                try:
                    out.append(json.loads(data))
                except ValueError:
                    out.append(data)
        return out


class Connection:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *, limit: int = 1 << 26) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=limit))

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionError, RuntimeError):  # uvloop raises the latter on a transport that is closed
            self.writer.write(data)
            await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer; 100 Continue is passed over."""
        while True:
            raw = await self.reader.readuntil(b"\r\n\r\n")
            line, *rest = raw.decode("latin-1").strip().split("\r\n")
            status = int(line.split(" ")[1])
            if status != 100:
                return status, {k.lower(): v for k, v in (h.split(": ", 1) for h in rest)}

    async def answer(self) -> Answer:
        """The next answer, all of it."""
        status, headers = await self.head()
        body, whole = b"", True
        if status not in (204, 304):
            if "content-length" in headers:
                try:
                    body = await self.reader.readexactly(int(headers["content-length"]))
                except asyncio.IncompleteReadError as e:
                    body, whole = e.partial, False
            elif headers.get("transfer-encoding") == "chunked":
                body, whole = await self._chunks()
            else:
                body, whole = await self.reader.read(), False
        return Answer(status, headers, body, whole)

    async def chunk(self) -> bytes | None:
        """One HTTP chunk; b"" is the last one, None a connection that was cut."""
        try:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size + 2)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return data[:-2]

    async def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            data = await self.chunk()
            if not data:
                return body, data is not None
            body += data

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


def request(path: str, body: Any = None, headers: dict[str, str] | None = None, *, method: str = "POST") -> bytes:
    """The bytes of a request; `body` is bytes, or what becomes JSON."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"host": "127.0.0.1"}
    if body is not None:
        lines |= {"content-type": "application/json", "content-length": str(len(data))}
    lines |= headers or {}
    head = "".join(f"{k}: {v}\r\n" for k, v in lines.items() if v)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data


async def ask(
    port: int, path: str, body: Any = None, headers: dict[str, str] | None = None, *, method: str | None = None
) -> Answer:
    """One request on a connection of its own."""
    connection = await Connection.open(port)
    try:
        await connection.send(request(path, body, headers, method=method or ("GET" if body is None else "POST")))
        async with asyncio.timeout(20):
            return await connection.answer()
    finally:
        connection.close()


def chat(content: str = "Hello there", **more: Any) -> dict[str, Any]:
    """A chat request's body."""
    return {"messages": [{"role": "user", "content": content}], **more}
