"""A gateway in this process, with real sockets, in either shell."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import uvicorn

from support.client import Answer, Connection, ask
from switchboard.app import Application, secrets_of
from switchboard.app.storage import Storage
from switchboard.cli.serve import Server
from switchboard.config.tree import Settings
from switchboard.core.clock import now
from switchboard.core.counting import Counters
from switchboard.net.front import FrontProtocol
from switchboard.store.schema import upgrade
from switchboard.telemetry.logs import Log
from switchboard.telemetry.output import Output
from switchboard.telemetry.records import Record

SHELLS = ("splice", "asgi")


@functools.cache
def _empty_database() -> Path:
    """A database with its tables and nothing in them: making one takes most of a second."""
    path = Path(tempfile.mkdtemp()) / "switchboard.db"
    upgrade(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


class _Quiet(Server):
    """The server, without touching the signals of the test's process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        """As uvicorn's, but its end is seen at once: thousands of tests wait for it."""
        await self.on_tick(0)
        while not self.should_exit:
            await asyncio.sleep(0.003)


class Gateway:
    """A running gateway: its `port`, the `records` of the requests that are over, and its log."""

    def __init__(self, app: Application, server: Server, log_file: Any) -> None:
        self.app = app
        self.server = server
        self.port = 0
        self._records: list[Record] = []
        self._log_file = log_file
        app.ledger.read_by(self._records.extend)

    @property
    def kept(self) -> Storage:
        """What it keeps, where it keeps anything."""
        assert self.app.storage is not None
        return self.app.storage

    @property
    def records(self) -> list[Record]:
        self.app.ledger.flush()
        return self._records

    async def record(self, n: int = 1) -> Record:
        """The `n`th record, once it is there."""
        async with asyncio.timeout(5):
            while len(self.records) < n:
                await asyncio.sleep(0.005)
        return self.records[n - 1]

    async def log(self) -> str:
        """What was logged so far."""
        self.app.ledger.flush()
        said = ""
        async with asyncio.timeout(5):
            while True:  # it is written by a thread
                await asyncio.sleep(0.05)
                self._log_file.seek(0)
                before, said = said, str(self._log_file.read())
                if said and said == before:
                    return said

    async def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        return await ask(self.port, path, body, headers, **more)

    async def connect(self) -> Connection:
        return await Connection.open(self.port)


@asynccontextmanager
async def gateway(
    shell: str = "splice",
    environment: dict[str, str] | None = None,
    data: Path | None = None,
    counters: Counters | None = None,
    wait: bool = True,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """A gateway with `settings` (a tree as in the settings file), on a free port of loopback. It keeps what it has to keep in
    the folder `data`, or nothing, and is waited for until it can (`wait`); `counters` are its own but where they are given."""
    tree: dict[str, Any] = {
        "port": 0,
        "shutdown": {"accept": 0, "streams": 0.2},
        "log": {"level": "INFO", "format": "json"},
    } | settings
    tree.setdefault("providers", {}).setdefault("offline", {"pace": 0})
    if data is not None:
        tree["data_dir"] = str(data)
    parsed = Settings.model_validate(tree)
    log_file = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed below
    output = Output(os.dup(log_file.fileno()))
    log = Log(output, level=parsed.log.level, style=parsed.log.format, secrets=secrets_of(parsed))
    storage = None
    if data is not None:
        if "database" not in tree and not (data / "switchboard.db").exists():
            shutil.copy(_empty_database(), data / "switchboard.db")
        storage = Storage(parsed)
    app = Application(parsed, log, environment or {}, storage=storage, counters=counters)
    config = uvicorn.Config(
        cast("Any", app.asgi),
        host="127.0.0.1",
        port=0,
        http=cast("Any", functools.partial(FrontProtocol, door=app.door, sockets=app.door))
        if shell == "splice"
        else "httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        backlog=2048,
    )
    ready: list[bool] = []
    server = _Quiet(config, app, parsed, lambda: ready.append(True))
    running = asyncio.create_task(server.serve())
    g = Gateway(app, server, log_file)
    try:
        while not ready:
            assert not running.done()
            await asyncio.sleep(0.002)
        g.port = server.servers[0].sockets[0].getsockname()[1]
        if storage is not None and wait:
            await until(lambda: not storage.trouble, 20)
        yield g
    finally:
        server.should_exit = True
        async with asyncio.timeout(10):
            await running
        await app.close()
        output.close()
        log_file.close()


async def until(condition: Any, within: float = 5.0) -> float:
    """Wait for `condition()`; gives the seconds it took."""
    start = now()
    while not condition():
        if now() - start > within:
            raise AssertionError(f"not within {within} s")
        await asyncio.sleep(0.002)
    return now() - start
