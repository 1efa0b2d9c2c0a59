"""A worker: a server of its own, at the end of a line to its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Generator
from typing import Any, cast

import uvloop

from switchboard.app import Application, secrets_of
from switchboard.app.counting import make_counters
from switchboard.app.storage import Storage
from switchboard.cli.serve import BACKLOG, Server, banner, server_config
from switchboard.cli.supervisor.line import NOW, QUICK, Line
from switchboard.cli.supervisor.shared import Shared
from switchboard.config.tree import Settings
from switchboard.core.process import Process
from switchboard.telemetry import logs
from switchboard.telemetry.handler import attach
from switchboard.telemetry.output import Output


def main(
    settings: Settings,
    file: str | None,
    process: Process,
    shared: Shared,
    line: Line,
    sockets: list[socket.socket],
) -> int:
    """Serve until the supervisor says to end, or is gone; gives the exit status. `file` is the settings file's name, `sockets`
    are those of all workers, by index."""
    style = logs.style_for(settings.log.format)
    output = Output(sys.stderr.fileno())
    log = logs.Log(output, level=settings.log.level, style=style, secrets=secrets_of(settings))
    attach(log, settings.log.level)
    try:
        uvloop.run(_serve(settings, file, process, shared, line, sockets, log))
    except Exception as e:
        line.send(b"X", (str(e) or repr(e)).encode()[:4096])
        log.say("ERROR", f"worker {process.worker}: {traceback.format_exc()}")
        return 1
    finally:
        output.close()
    return 0


async def _serve(
    settings: Settings,
    file: str | None,
    process: Process,
    shared: Shared,
    line: Line,
    sockets: list[socket.socket],
    log: logs.Log,
) -> None:
    boot = f"{process.boot}.{process.worker}"
    counters = make_counters(settings, boot=boot, worker=process.worker, table=shared.table)
    app = Application(settings, log, storage=Storage(settings), counters=counters, process=process)

    def ready() -> None:
        line.send(b"R", banner(settings, app, file))

    server = WorkerServer(server_config(app, settings), app, settings, ready)
    server.leaving = lambda: line.send(b"G")
    tether = Tether(app, server, line, process.worker, sockets)
    try:
        try:
            await app.control.open()
        except OSError as e:
            log.say("WARNING", f"worker {process.worker} cannot be asked by the others: {e}")
        await server.serve([sockets[process.worker]])
    finally:
        tether.close()
        await app.close()


class WorkerServer(Server):
    """A server that ends when its supervisor says so. A SIGTERM of its own has it end too, and be replaced: `leaving` is called."""

    leaving: Callable[[], None]

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGTERM, which often reaches supervisor and workers alike, only begins the end, however often it comes. What else a
        terminal sends to all of them is for the supervisor."""
        loop = asyncio.get_running_loop()

        def leave(*_: object) -> None:
            if not self.should_exit:
                self.end()
                loop.call_soon_threadsafe(self.leaving)

        old = signal.signal(signal.SIGTERM, leave)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, old)

    async def accept_from(self, listener: socket.socket) -> asyncio.Server:
        """Serve what comes in on a further socket."""
        config = self.config
        protocol = functools.partial(
            cast("Any", config.http_protocol_class),
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        loop = asyncio.get_running_loop()
        return await loop.create_server(protocol, sock=listener, ssl=config.ssl, backlog=BACKLOG)


class Tether:
    """Does what the supervisor says, and ends the server when there is no supervisor any more."""

    def __init__(
        self, app: Application, server: WorkerServer, line: Line, own: int, sockets: list[socket.socket]
    ) -> None:
        self._app = app
        self._server = server
        self._line = line
        self._own = own
        self._sockets = sockets
        self._kept: dict[int, asyncio.Server] = {}  # what is accepted for workers that are dead
        self._keep: set[int] = set()  # what should be
        self._keeping: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(line.fileno(), self._readable)

    def _readable(self) -> None:
        for kind, payload in self._line.receive():
            self._heed(kind, payload)
        if self._line.ended:
            self._loop.remove_reader(self._line.fileno())
            self._app.log.say("ERROR", f"worker {self._own} ends: its supervisor is gone")
            self._server.end(now=True)

    def _heed(self, kind: bytes, payload: bytes) -> None:
        if kind == b"S":
            self._take(pickle.loads(payload))  # noqa: S301  of our own parent, on a socket that nobody else has
        elif kind == b"C":
            self._app.reloads.update(json.loads(payload))
        elif kind == b"E":
            self._leave_others()
            self._server.end(quick=payload == QUICK, now=payload == NOW)
        elif kind in b"AL":
            (self._keep.add if kind == b"A" else self._keep.discard)(int(payload))
            if self._keeping is None or self._keeping.done():
                self._keeping = self._loop.create_task(self._settle())

    def _take(self, settings: Settings) -> None:
        try:
            fixed = self._app.reload(settings)
        except Exception as e:
            self._line.send(b"F", (str(e) or repr(e)).encode()[:4096])
        else:
            self._line.send(b"O", json.dumps(fixed).encode())

    async def _settle(self) -> None:
        """Accept for those for whom it should be."""
        while self._keep != self._kept.keys():
            for n in self._kept.keys() - self._keep:
                server = self._kept.pop(n)
                self._server.servers.remove(server)
                server.close()
            for n in self._keep - self._kept.keys():
                try:
                    server = await self._server.accept_from(self._sockets[n].dup())
                except OSError as e:
                    self._app.log.say("WARNING", f"worker {self._own} cannot accept for worker {n}: {e}")
                    self._keep.discard(n)
                else:
                    self._kept[n] = server
                    self._server.servers.append(server)

    def _leave_others(self) -> None:
        """The server ends: a socket on which nobody accepts must not stay open because of this process."""
        for n, sock in enumerate(self._sockets):
            if n != self._own:
                sock.close()

    def close(self) -> None:
        """Heed nothing more."""
        self._loop.remove_reader(self._line.fileno())
        if self._keeping is not None:
            self._keeping.cancel()
