"""One connection to Redis, the script that is run over it, and how long one waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final

import msgspec
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

#: How asking can fail.
FAILURES: Final = (RedisError, OSError, EOFError, msgspec.MsgspecError)
#: Seconds that a loop which stood still is given to read what has come meanwhile.
_GRACE: Final = 0.01

#: Arguments of redis-py that are ours, over those in the URL: nothing is tried again behind our back.
_OURS: Final[dict[str, Any]] = {
    "decode_responses": False,
    "max_connections": 1,
    "protocol": 2,
    "socket_timeout": None,
}


def script() -> bytes:
    """The script that counts."""
    return files("switchboard.store.counters").joinpath("redis.lua").read_bytes()


class Link:
    """A connection to the Redis at `url`. What it raises are `FAILURES`; after one it is of no more use.
    Raises ValueError for a URL that is none."""

    def __init__(self, url: str, script: bytes) -> None:
        pool: Any = ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **_OURS)
        self._connection: Any = pool.make_connection()
        self._script = script
        self._name = sha1(script, usedforsecurity=False).hexdigest()

    async def connect(self) -> None:
        """Connect, and prove who we are."""
        await self._connection.connect()

    async def ask(self, argument: bytes) -> bytes:
        """What the script answers to `argument`."""
        try:
            return await self._ask("EVALSHA", self._name, argument)
        except NoScriptError:
            return await self._ask("EVAL", self._script, argument)

    async def _ask(self, command: str, script: str | bytes, argument: bytes) -> bytes:
        await self._connection.send_command(command, script, 0, argument)
        return bytes(await self._connection.read_response(disable_decoding=True))

    async def close(self) -> None:
        """Close the connection, without a word."""
        await self._connection.disconnect(nowait=True)


class Patience:
    """Calls `lost` when something that began has not ended after so many seconds."""

    def __init__(self, seconds: float, lost: Callable[[], None]) -> None:
        self._seconds = seconds
        self._lost = lost
        self._timer: asyncio.TimerHandle | None = None
        self.over = False  # what began last took too long

    def begin(self, *, anew: bool = False) -> None:
        """Something begins, unless something has begun already; `anew` has that one forgotten."""
        if self._timer is None or anew:
            self.end()
            self.over = False
            loop = asyncio.get_running_loop()
            due = loop.time() + self._seconds
            self._timer = loop.call_at(due, self._up, due)

    def end(self) -> None:
        """It has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _up(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - due > _GRACE:  # the loop stood still, the answer may be there
            due = loop.time() + _GRACE
            self._timer = loop.call_at(due, self._up, due)
            return
        self._timer = None
        self.over = True
        self._lost()


def reason(error: Exception) -> str:
    """How Redis failed, without anything of its URL."""
    if isinstance(error, ResponseError):
        return f"refuses what it is asked ({str(error)[:200]})"
    return f"cannot be reached ({type(error).__name__})"
