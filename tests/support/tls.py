"""A door with TLS before a server that has none, as a proxy is in production: there are clients that know no other."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import trustme

_PIECE = 64 * 1024


@contextmanager
def behind_tls(address: str, directory: Path) -> Iterator[tuple[str, Path]]:
    """Where the server at `address` is reached over TLS (``https://localhost:…``), and the file of the authority that says so,
    which is put into `directory`."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    file = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    host, port = urlsplit(address).hostname, urlsplit(address).port

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection(host, port)
            await asyncio.gather(_pass(reader, back), _pass(there, writer))

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        starting = asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        server = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}", file
        loop.call_soon_threadsafe(server.close)
    finally:
        asyncio.run_coroutine_threadsafe(_end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What comes from one side goes to the other, its end too."""
    with suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError):
        writer.close()


async def _end() -> None:
    """End what still runs in this loop."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
