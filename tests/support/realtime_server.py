"""Realtime servers for tests, of either shape: in the test's own event loop, or beside it in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from support.realtime_conversation import Conversation, Notes

KEY: Final = "sk-of-the-realtime-server-123456"
PATH: Final = "/v1/realtime"
_MESSAGE: Final = 16 << 20  # bytes


class RealtimeServer(Notes):
    """A running server: it is at `url`, and wants `KEY`."""

    def __init__(self) -> None:
        super().__init__()
        self.port = 0

    @property
    def url(self) -> str:
        """Where it converses."""
        return f"ws://127.0.0.1:{self.port}{PATH}"


@asynccontextmanager
async def serving_realtime(kind: type[Conversation]) -> AsyncIterator[RealtimeServer]:
    """A server of the shape `kind`, in this event loop."""
    server = RealtimeServer()

    def admitted(connection: ServerConnection, head: Request) -> Response | None:
        server.heads.append(head)
        url = urlsplit(head.path)
        if url.path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "Not found\n")
        if head.headers.get("authorization") != f"Bearer {KEY}":
            return connection.respond(HTTPStatus.UNAUTHORIZED, "Incorrect API key provided\n")
        if not parse_qs(url.query).keys() & {"model", "call_id"}:
            return connection.respond(HTTPStatus.BAD_REQUEST, "You must provide a model parameter\n")
        return None

    async def converse(ws: ServerConnection) -> None:
        assert ws.request is not None
        model = parse_qs(urlsplit(ws.request.path).query).get("model", ["that of the call"])[0]
        conversation = kind(ws, server, model)
        refused = kind.refused(ws.request)
        if refused is not None:
            code, message, close = refused
            error = {"type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": None}
            await conversation.say("error", error=error)
            await ws.close(close, f"invalid_request_error.{code}")
            return
        await conversation.run()
        server.closed.append((ws.close_code, ws.close_reason))

    async with serve(converse, "127.0.0.1", 0, process_request=admitted, max_size=_MESSAGE, compression=None) as served:
        server.port = next(iter(served.sockets)).getsockname()[1]
        yield server


@contextmanager
def realtime_server(kind: type[Conversation]) -> Iterator[RealtimeServer]:
    """A server of the shape `kind`, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    context = serving_realtime(kind)
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(15)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
