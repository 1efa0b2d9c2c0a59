"""The application: what lives as long as the process, around the runtime of the moment."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from switchboard import __version__
from switchboard.app import voice
from switchboard.app.metrics import tell_conversations, tell_process, tell_storage
from switchboard.app.runtime import Parts, Runtime, build, secrets_of
from switchboard.app.storage import Storage
from switchboard.config.check import provider_type
from switchboard.config.fixed import changed, pinned
from switchboard.config.tree import Settings
from switchboard.core.clock import now
from switchboard.core.counting import Counters
from switchboard.core.errors import Problem
from switchboard.core.masking import mask_all
from switchboard.core.ports import Flow
from switchboard.core.process import Process
from switchboard.core.sockets import ClientSink
from switchboard.core.types import Operation, SocketCall, header, header_pairs
from switchboard.engine.conversations import Conversations
from switchboard.engine.converse import Hub, Stats
from switchboard.engine.identity import Doors
from switchboard.engine.journals_of_all import JournalsOfAll
from switchboard.engine.jwks import KeySets, through
from switchboard.engine.prices import PriceBook
from switchboard.engine.registry import Registry
from switchboard.engine.targets import Targets
from switchboard.engine.turns_of_all import TurnsOfAll
from switchboard.net.control import Control, Siblings
from switchboard.net.dial import TcpDialer
from switchboard.net.front import FrontLimits
from switchboard.net.http import UpstreamPool
from switchboard.net.websocket import Sockets, Turn
from switchboard.net.websocket.dialer import SocketDialer, SocketTimeouts
from switchboard.net.worker import WorkerPool, WorkerTransport
from switchboard.policy.authenticate import AccessKeys
from switchboard.policy.circuit import CircuitPolicy
from switchboard.policy.failures import Failures
from switchboard.policy.retry import RetryPolicy
from switchboard.providers.offline.studio import jobs
from switchboard.shell.asgi import AsgiShell, problem_of_status
from switchboard.shell.splice import SpliceDoor
from switchboard.shell.switch import Switch
from switchboard.store.counters.local import LocalCounters
from switchboard.surface import access_key_service, conversations, operations, pages, realtime, realtime_calls, usage
from switchboard.surface import problem as shapes
from switchboard.surface.access_key_service import Doorkeeper
from switchboard.telemetry.gathered import Gathered, Open
from switchboard.telemetry.ledger import Ledger
from switchboard.telemetry.logs import Log
from switchboard.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from switchboard.telemetry.traces import Traces

_log = logging.getLogger("switchboard.app")
_PREWARM_AFTER = 1.5  # seconds
_LEAVING = 1.0  # seconds in which what is held is given back


class Application:
    """One process's server. Made inside its event loop; `start` begins to tick, `close` ends everything.

    `environment` is where proxies are looked up. `process` says which of the server's processes this is, by default the only one. `storage` is what it keeps, None where nothing is kept; `counters` are what it counts callers' uses in.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        environment: Mapping[str, str] | None = None,
        *,
        storage: Storage | None = None,
        counters: Counters | None = None,
        process: Process | None = None,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self.process = process or Process()
        self.control = Control(self.process)  # heard by the other workers once `control.open` was awaited
        self.siblings = Siblings(self.process, self.control)
        self.log = log
        self.registry = Registry()
        self.ledger = Ledger()
        self.metrics = Metrics(self.ledger)
        self.ledger.read_by(log.records)
        self.ledger.read_by(self.metrics.records)
        self.traces = self._make_traces(settings)
        self.state = operations.State(lambda: len(self.registry.open), self._trouble)
        self.gathered = Gathered(self.siblings, self.control, self.metrics, self._open)
        self.prices = PriceBook()
        self.targets = Targets(self.prices)
        self.ledger.priced_by(self.prices.price)
        self._configure_targets(settings)
        self._port: int | None = None
        self.counters: Counters = counters or LocalCounters()
        self.storage = storage
        if storage is not None:
            self.ledger.read_by(storage.records)
        self.workers = WorkerPool(jobs.MODULE)
        self._prewarming: asyncio.TimerHandle | None = None
        self._studio = WorkerTransport(self.workers)
        self._pools: dict[str | None, UpstreamPool] = {}
        turn = Turn()  # what comes together on one side goes out together on the other
        self._upstream_sockets = Sockets(turn=turn)
        self._socket_dialer = SocketDialer(TcpDialer(self._environment, None), self._upstream_sockets)
        self.doors = self._make_doors(settings)
        self.reloads = {"ok": 0, "failed": 0}
        self.runtime = self._build(settings)
        self.talks = Stats()
        self._hub = Hub(self._connect, self.talks)
        self.switch = Switch(self.runtime.routes, self._hub)
        self.ordinary = self._ordinary()
        self.asgi = AsgiShell(self.switch, self.ordinary)
        self.door = SpliceDoor(self.switch, _front_limits(settings), Sockets(turn=turn))
        tell_process(self.metrics, self.registry, self._pools, self.targets, self.reloads)
        tell_conversations(self.metrics, self.talks)
        if storage is not None:
            tell_storage(self.metrics, storage)
        self.registry.every_tick(self._tick)

    def _make_doors(self, settings: Settings) -> Doors:
        storage = self.storage
        doors = Doors(Failures(settings.auth.failures_per_minute))
        doors.keysets = KeySets(through(self._pool(None)), doors.keys_changed)
        if storage is not None:
            doors.keyring, doors.sessions = storage.keyring, storage.page_sessions
        return doors

    def _make_traces(self, settings: Settings) -> Traces | None:
        if settings.traces.endpoint is None:
            return None
        from switchboard.telemetry.traces import Traces

        headers = {k: v.get_secret_value() for k, v in settings.traces.headers.items()}
        traces = Traces(
            settings.traces.endpoint, service=settings.traces.service, headers=headers, kind_of=self._kind_of
        )
        self.ledger.read_by(traces.records)
        return traces

    def _kind_of(self, provider: str) -> str:
        """The kind of a provider of the settings."""
        row = self.runtime.settings.providers.get(provider)
        return provider_type(provider, row.type if row is not None else None)

    def start(self, port: int) -> None:
        """Begin to tick; `port` is where the server listens."""
        self._port = port
        self.registry.start()
        if self.storage is not None:
            self.storage.start(self.counters)
        if self.runtime.profile.default(Operation.SPEAK).provider == "offline":
            # so that the first sentence does not wait for a process; nor does the server's start
            self._prewarming = asyncio.get_running_loop().call_later(_PREWARM_AFTER, self.workers.prewarm)

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._port or self.runtime.settings.port

    @property
    def address(self) -> str:
        """The address by which this server is reached."""
        return public_address(self.runtime.settings, self._port)

    def _trouble(self) -> dict[str, str]:
        """What is wrong at the moment, by part."""
        parts = {"limits": self.counters.trouble}
        if self.storage is not None:
            parts["database"] = self.storage.trouble
        failing = {} if self.doors.keysets is None else self.doors.keysets.trouble()
        if failing:
            parts["issuers"] = f"the keys of {len(failing)} of them could not be fetched"
        # anybody may ask for it: hosts and addresses are for the log
        return {name: mask_all(text) for name, text in parts.items()}

    def _tick(self, at: float) -> None:
        self.ledger.flush()
        self.counters.tick(at)
        if self.storage is not None:
            self.storage.tick(at)
        for pool in self._pools.values():
            pool.tick(at)
        self._upstream_sockets.tick(at)

    def _connect(self, call: SocketCall, sink: ClientSink) -> Flow:
        """Open a WebSocket to a provider."""
        times = SocketTimeouts(call.connect_timeout)
        return self._socket_dialer.connect(call.url, call.head, sink, timeouts=times)

    def _open(self) -> Open:
        """What this process has open."""
        return Open(len(self.door.sockets), self.state.requests(), now() - self.state.began)

    async def close(self) -> None:
        """End what is open, write what is to be written."""
        self.control.close()
        self.registry.stop_all()
        self.registry.close()
        self._socket_dialer.close()
        for pool in self._pools.values():
            pool.close()
        if self._prewarming is not None:
            self._prewarming.cancel()
        self.workers.close()
        self.ledger.flush(last=True)
        assert self.doors.keysets is not None
        await self.doors.keysets.close()
        if self.storage is not None:
            await self.storage.close()
        self.counters.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING):
                await self.counters.wait_closed()
        self.prices.close()
        if self.traces is not None:
            self.traces.close()

    # ---- the runtime

    def _pool(self, ca_file: str | None) -> UpstreamPool:
        if ca_file not in self._pools:
            self._pools[ca_file] = UpstreamPool(TcpDialer(self._environment, ca_file))
        return self._pools[ca_file]

    def _build(self, settings: Settings) -> Runtime:
        parts = Parts(
            self.registry,
            self.ledger,
            self.log,
            self.targets,
            self._pool,
            self._studio,
            self.counters,
            self.prices,
            self.doors,
            self.storage,
        )
        return build(settings, parts)

    def reload(self, settings: Settings) -> list[str]:
        """Serve by `settings` from the next request on; open ones go on by those that they began with.

        Gives the names of settings that were changed and hold only after a restart: until then those of the start do. Raises what
        `settings` make fail; then nothing has changed.
        """
        before = self.runtime.settings
        restart = changed(before, settings)
        settings = pinned(settings, before, restart)
        runtime = self._build(settings)
        self.log.configure(level=settings.log.level, secrets={*secrets_of(before), *secrets_of(settings)})
        self._configure_targets(settings)
        if self.storage is not None:
            self.storage.settings_changed(settings)
        self.doors.failures.allow(settings.auth.failures_per_minute)
        self.door.limits = _front_limits(settings)
        self.ordinary.openapi_schema = None
        self.runtime = runtime
        self.switch.routes = runtime.routes
        return restart

    def _configure_targets(self, settings: Settings) -> None:
        retry, circuit = settings.retry, settings.circuit
        self.targets.retry = RetryPolicy(retry.attempts, retry.wait, retry.longest)
        self.targets.circuits.policy = CircuitPolicy(circuit.failures, circuit.rest)

    # ---- ordinary endpoints

    def _ordinary(self) -> FastAPI:
        app = FastAPI(
            title="Switchboard",
            version=__version__,
            description="The backend between your apps and the AI providers.",
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            redirect_slashes=False,  # a redirect would be built from the host header
        )
        app.include_router(operations.router(self.state, self.gathered, lambda: self.runtime.catalog, self._endpoints))
        app.include_router(realtime_calls.router(self._hub))
        app.include_router(access_key_service.router(Doorkeeper(self._keys, self._lifetimes, self.doors.sessions)))
        if self.storage is not None:
            journals = JournalsOfAll(self.storage.journals, self.siblings, self.control)
            turns = TurnsOfAll(self.storage.keeping, self.siblings, self.control)
            app.include_router(conversations.router(self._conversations, journals, turns))
            app.include_router(usage.router(self.storage.usage))
            for more in voice.routers(self.storage.voice, lambda: self.runtime, lambda: self.address):
                app.include_router(more)
        app.include_router(pages.router(self._document, lambda: self.address, self._answering))
        for kind in (Problem, HTTPException, RequestValidationError, Exception):
            app.add_exception_handler(kind, _explain)
        return app

    def _conversations(self) -> Conversations:
        held = self.runtime.conversations
        assert held is not None  # else its endpoints are not there
        return held

    def _keys(self) -> list[AccessKeys]:
        routes = self.runtime.routes
        if not routes.kit.gate.identity.closed:
            return []
        return [r.kit.gate.identity.access for r in (routes, *routes.profiles.values())]

    def _lifetimes(self) -> tuple[int, int]:
        auth = self.runtime.settings.auth
        return auth.token_seconds, auth.session_seconds

    def _answering(self) -> tuple[str, str]:
        profile = self.runtime.profile
        return self.runtime.providers[profile.provider].title, profile.model

    def _endpoints(self) -> list[str]:
        out = []
        for path, item in self._document()["paths"].items():
            out += [f"{method.upper()} {path}" for method in item]
        out += [f"WS {path}" for path in realtime.PATHS]
        return sorted(out, key=lambda line: line.split(" ")[1])

    def _document(self) -> dict[str, Any]:
        if self.ordinary.openapi_schema is None:
            from switchboard.surface import openapi

            self.ordinary.openapi_schema = openapi.extend(self.ordinary.openapi(), self.runtime.chat_paths)
        return self.ordinary.openapi_schema


async def _explain(request: Request, error: Exception) -> Response:
    """Any error of an ordinary endpoint, in the shape of its surface."""
    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, RequestValidationError):
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return await _explain(request, Problem("INVALID_JSON"))
        field = ".".join(str(x) for x in first["loc"][1:])
        problem = Problem("INVALID_REQUEST", f"{field}: {first['msg']}.", param=field)
    elif isinstance(error, HTTPException):
        problem = problem_of_status(error.status_code)
        if error.headers and "allow" in {k.lower() for k in error.headers}:
            allow = next(v for k, v in error.headers.items() if k.lower() == "allow")
            problem.headers = header(b"allow", allow.encode("latin-1"))
    else:
        problem = Problem("INTERNAL_ERROR", detail=repr(error))
    told = request.scope.get("switchboard", {})
    told["problem"] = problem
    status, headers, body = shapes.for_path(request.url.path, problem, told.get("request_id", ""))
    response = Response(body, status)
    response.raw_headers = [*header_pairs(headers), (b"content-length", b"%d" % len(body))]
    return response


def public_address(settings: Settings, port: int | None = None) -> str:
    """The address by which this server is reached."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    scheme = "https" if settings.tls.certificate is not None else "http"
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104  compared, not bound
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}:{port or settings.port}"


def _front_limits(settings: Settings) -> FrontLimits:
    limits = settings.limits
    return FrontLimits(
        head=limits.header_bytes,
        headers=limits.header_count,
        url=limits.url_bytes,
        body=limits.json_body,
        head_time=limits.header_seconds,
        idle_time=limits.idle_seconds,
        write_time=limits.stall_seconds,
        body_grace=limits.body_seconds,
        body_rate=limits.body_rate,
        connections=limits.connections or _connections(),
    )


def _connections() -> int:
    """As many as files may be open, less what the process itself needs, and less one for each one's upstream leg."""
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, (files - 512) // 2)
