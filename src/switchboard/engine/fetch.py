"""One small call to a provider whose answer is wanted whole: a list of models, say."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Provider, Transport
from switchboard.core.types import Call, Headers


class _Collect:
    """An upstream sink that fills a future."""

    def __init__(self, done: asyncio.Future[tuple[int, Headers, bytes]], limit: int) -> None:
        self._done = done
        self._limit = limit
        self._status = 0
        self._headers: Headers = {}
        self._body = bytearray()

    def on_head(self, status: int, headers: Headers) -> None:
        self._status = status
        self._headers = headers

    def on_data(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._limit:
            self.on_error(UpstreamError(Fault.TOO_LARGE, f"an answer of more than {self._limit} bytes"))

    def on_end(self) -> None:
        if not self._done.done():
            self._done.set_result((self._status, self._headers, bytes(self._body)))

    def on_error(self, error: UpstreamError) -> None:
        if not self._done.done():
            self._done.set_exception(error)


async def fetch(
    transport: Transport, call: Call, *, timeout: float, limit: int = 4 * 1024 * 1024
) -> tuple[int, Headers, bytes]:
    """Status, headers and body of the answer to `call`, within `timeout` seconds and `limit` bytes.

    Raises `UpstreamError`.
    """
    done: asyncio.Future[tuple[int, Headers, bytes]] = asyncio.get_running_loop().create_future()
    flow = transport.send(call, _Collect(done, limit))
    try:
        async with asyncio.timeout(timeout):
            return await done
    except TimeoutError:
        raise UpstreamError(Fault.TIMEOUT, f"no answer within {timeout:g} s") from None
    finally:
        if not done.done() or done.cancelled() or done.exception() is not None:
            flow.abort()


async def fetch_by_any_key(
    provider: Provider, make: Callable[[], Call], *, timeout: float, limit: int
) -> tuple[int, Headers, bytes]:
    """The same for the call to `provider` that `make` gives; where its key is refused (401), the next one is tried.

    Raises `UpstreamError`.
    """
    for tried in itertools.count(1):
        call = make()
        found = await fetch(provider.transport, call, timeout=timeout, limit=limit)
        if found[0] != 401 or not provider.another_key(call, tried):
            break
    return found
