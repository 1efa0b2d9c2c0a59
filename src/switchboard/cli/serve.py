"""``switchboard serve``: one process that serves until it is told to end, or (`cli.supervisor`) several."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import resource
import signal
import socket
import sys
import uuid
from collections.abc import Generator, Mapping
from types import FrameType
from typing import Any, Final, cast

import uvicorn
import uvloop

from switchboard import __version__
from switchboard.app import Application, secrets_of
from switchboard.app.counting import make_counters
from switchboard.app.storage import Storage, migrate
from switchboard.cli.live import LiveSettings
from switchboard.cli.run_file import RunFile, data_folder
from switchboard.cli.settings import read
from switchboard.config.load import Sources
from switchboard.config.tree import Settings
from switchboard.core.clock import now
from switchboard.engine.registry import TICK
from switchboard.net.front import FrontProtocol
from switchboard.telemetry import logs
from switchboard.telemetry.handler import attach
from switchboard.telemetry.output import Output
from switchboard.telemetry.stalls import StallWatch

#: Connections that may wait to be accepted.
BACKLOG: Final = 4096


def run(flags: Mapping[tuple[str, ...], Any], config: str | None, *, alone: bool = False) -> None:
    """Serve until a signal comes; with `alone` in this very process, whatever the settings say of workers. Exits with status
    2 for bad settings, 1 when the port cannot be had."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are settings to be read anew
    settings, sources = read(flags, config)
    _raise_open_files()
    if settings.workers > 1 and not alone:
        from switchboard.cli.supervisor import supervise

        raise SystemExit(supervise(settings, sources, flags, config))
    listener = listen(settings)
    style = logs.style_for(settings.log.format)
    output = Output(sys.stderr.fileno())
    log = logs.Log(output, level=settings.log.level, style=style, secrets=secrets_of(settings))
    attach(log, settings.log.level)
    if settings.workers > 1:
        log.say("INFO", f"with --reload one process serves, not {settings.workers}")
    migrate(settings)
    try:
        code = uvloop.run(_serve(settings, log, flags, config, sources, listener))
    finally:
        output.close()
    raise SystemExit(code)


def _raise_open_files() -> None:
    """As many open files as the system lets us have: each connection is one, and so is its upstream leg."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 20) if hard > 0 else 1 << 20, hard))


def listen(settings: Settings, *, at_once: bool = False) -> socket.socket:
    """The socket to listen on: bound, and with `at_once` listened on. Exits with status 1 and a word on what to do if it cannot
    be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        if at_once:
            listener.listen(BACKLOG)
    except OSError as e:
        reason = e.strerror or str(e)
        if e.errno == errno.EADDRINUSE:
            reason = "another program has it; choose another port with --port or PORT"
        elif isinstance(e, socket.gaierror):
            reason = "there is no such address; choose another with --host"
        print(f"switchboard: cannot listen on {settings.host}, port {settings.port}: {reason}", file=sys.stderr)
        raise SystemExit(1) from None
    return listener


async def _serve(
    settings: Settings,
    log: logs.Log,
    flags: Mapping[tuple[str, ...], Any],
    config: str | None,
    sources: Sources,
    listener: socket.socket,
) -> int:
    counters = make_counters(settings, boot=uuid.uuid4().hex)
    app = Application(settings, log, storage=Storage(settings), counters=counters)
    live = LiveSettings(app, flags, config, sources)
    server = Server(server_config(app, settings), app, settings, lambda: _ready(app, live, sources))
    try:
        await server.serve([listener])
    finally:
        live.close()
        await app.close()
    return 0


def _ready(app: Application, live: LiveSettings, sources: Sources) -> None:
    """The server answers: tell people and other commands."""
    settings = app.runtime.settings
    live.listen()
    app.log.output.write(banner(settings, app, sources.file))
    run_file = make_run_file(settings, app.port, app.log)
    if run_file is not None:
        live.tell(run_file)
    app.registry.every_tick(live.tick)


def make_run_file(settings: Settings, port: int, log: logs.Log) -> RunFile | None:
    """The file by which other commands find this server; None, and a word in the log, where it cannot be written."""
    try:
        return RunFile(settings, port)
    except OSError as e:
        text = f"the data folder {data_folder(settings)} cannot be written ({e.strerror}): `switchboard reload` will not find this server"
        log.say("WARNING", text)
        return None


def server_config(app: Application, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves `app`."""
    return uvicorn.Config(
        cast("Any", app.asgi),
        http=cast("Any", functools.partial(FrontProtocol, door=app.door, sockets=app.door)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # whose X-Forwarded-* headers count is for `surface.envelope` to decide
        server_header=False,
        backlog=BACKLOG,
        ssl_certfile=settings.tls.certificate,
        ssl_keyfile=settings.tls.key,
    )


class Server(uvicorn.Server):
    """uvicorn's server, with an end that tells load balancers first and open streams last. `ready` is called once it answers."""

    def __init__(self, config: uvicorn.Config, app: Application, settings: Settings, ready: Any) -> None:
        super().__init__(config)
        self._app = app
        self._times = settings.shutdown
        self._ready = ready
        self._quick = False
        self._stalls: StallWatch | None = None

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        port = self.servers[0].sockets[0].getsockname()[1]
        self._app.start(port)
        self._app.registry.every_tick(self._tick)
        self._stalls = StallWatch(TICK, lambda text: self._app.log.say("WARNING", text))
        self._app.registry.every_tick(self._stalls.beat)
        # What was made at start lives as long as the process: no collection has to look at it again. Requests leave
        # few cycles behind, so that looking for them seldom is enough.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        self._ready()

    def _log_started_message(self, listeners: Any) -> None:
        """The banner says it."""

    def _tick(self, at: float) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, FrontProtocol):
                connection.tick(at)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's, but a signal that was obeyed is not raised again: the program ends with status 0."""
        old = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for s, handler in old.items():
                signal.signal(s, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.end(quick=sig == signal.SIGINT, now=self.should_exit)

    def end(self, *, quick: bool = False, now: bool = False) -> None:
        """Begin to end: `quick` without the while of further accepts, `now` without any waiting."""
        self.should_exit = True
        self._quick = self._quick or quick
        self.force_exit = self.force_exit or now
        self._app.state.stopping = True

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Not ready → a while of further accepts → no more accepts → open answers may end → what is left is told."""
        await self._wait(0.0 if self._quick else self._times.accept, lambda: False)
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._wait(self._times.streams, lambda: not self._app.registry.open and not self.server_state.tasks)
        self._app.registry.stop_all()
        await self._wait(1.0, lambda: not self.server_state.connections)
        for task in list(self.server_state.tasks):
            task.cancel()
        if self._stalls is not None:
            self._stalls.close()

    async def _wait(self, seconds: float, done: Any) -> None:
        end, pause = now() + seconds, 0.002
        while now() < end and not self.force_exit and not done():
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)


def banner(settings: Settings, app: Application, file: str | None) -> bytes:
    """What a server says when it is there; `file` is its settings file."""
    base = app.address
    profile = app.runtime.profile
    provider = app.runtime.providers[profile.provider]
    model = f", model {profile.model}" if profile.model else ""
    if not provider.configured:
        next_step = f"set the key of {provider.title} (OPENAI_API_KEY); until then chats answer 500"
    elif profile.provider == "offline":
        next_step = "set OPENAI_API_KEY to reach a real model"
    else:
        next_step = f"open {base}/docs"
    rows = [
        ("page", f"{base}/"),
        ("OpenAI base", f"{base}/v1"),
        ("provider", f"{profile.provider}{model}"),
        ("data", str(data_folder(settings))),
        ("settings", file or "defaults and environment"),
        ("next", next_step),
    ]
    text = f"\nSwitchboard {__version__}\n" + "".join(f"  {k:<12}{v}\n" for k, v in rows) + "\n"
    return text.encode()
