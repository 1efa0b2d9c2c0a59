"""The composition root: settings become an immutable `Runtime`, and the `Application` that serves it.

What lives as long as the process (registry, ledger, log, metrics, connections to providers) is in `Application`; what a
reload replaces (providers, policies, routes) is in `Runtime`. An exchange keeps the runtime that it began with.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from msgspec import Struct
from starlette.exceptions import HTTPException

from switchboard import __version__
from switchboard.config.check import provider_type
from switchboard.config.tree import ProviderSettings, Settings
from switchboard.core.errors import Problem
from switchboard.core.ports import Provider, Surface
from switchboard.core.types import Timeouts, header
from switchboard.engine.catalog import Catalog
from switchboard.engine.exchange import Kit, Limits
from switchboard.engine.gate import Gate
from switchboard.engine.registry import Registry
from switchboard.net.address import Networks, is_loopback, split_host
from switchboard.net.dial import TcpDialer
from switchboard.net.front import FrontLimits
from switchboard.net.http import UpstreamPool
from switchboard.policy.authenticate import AccessKeys
from switchboard.policy.profile import Profile
from switchboard.policy.ratelimit import RequestRate
from switchboard.policy.routing import Routing
from switchboard.providers.compatible import CompatibleProvider
from switchboard.providers.offline import OfflineProvider
from switchboard.providers.openai import OpenAIProvider
from switchboard.shell.asgi import AsgiShell, header_pairs, problem_of_status
from switchboard.shell.splice import SpliceDoor
from switchboard.shell.switch import Routes, Switch
from switchboard.surface import operations, pages
from switchboard.surface import problem as shapes
from switchboard.surface.envelope import Envelopes, EnvelopeSettings
from switchboard.surface.openai_v1 import ChatCompletions
from switchboard.surface.web_chat import WebChat
from switchboard.telemetry.logs import Log
from switchboard.telemetry.metrics import Metrics
from switchboard.telemetry.records import Ledger

OPENAI_URL = "https://api.openai.com/v1"
_DEFAULT_MODEL = "gpt-4o"
_log = logging.getLogger("switchboard.app")


def default_provider(settings: Settings) -> str:
    """The name of the provider that answers: as set, else the first that has what it needs, else offline; but offline
    only while nobody else can reach this server, so that a deployment that lost its key never answers with echoes."""
    if settings.chat.provider is not None:
        return settings.chat.provider
    for name, p in settings.providers.items():
        kind = provider_type(name, p.type)
        if kind == "compatible" or (kind == "openai" and p.api_key):
            return name
    asked_for = "offline" in settings.providers and len(settings.providers) == 1
    return "offline" if asked_for or is_loopback(settings.host) else "openai"


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Every secret of the settings; none of them may show anywhere."""
    found = [k.get_secret_value() for k in settings.auth.access_key]
    for p in settings.providers.values():
        found += [k.get_secret_value() for k in p.api_key]
        found += [v.get_secret_value() for v in p.headers.values()]
    return tuple(found)


class Runtime(Struct, frozen=True):
    """What one reading of the settings makes."""

    settings: Settings
    providers: dict[str, Provider]
    profile: Profile
    catalog: Catalog
    routes: Routes
    chat_paths: list[str]


class Application:
    """One process's server. Made inside its event loop; `start` begins to tick, `close` ends everything.

    `environment` is where proxies are looked up.
    """

    def __init__(self, settings: Settings, log: Log, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self.log = log
        self.registry = Registry()
        self.ledger = Ledger()
        self.metrics = Metrics(self.ledger)
        self.ledger.read_by(log.records)
        self.ledger.read_by(self.metrics.records)
        self.state = operations.State(lambda: len(self.registry.open))
        self._port: int | None = None
        self._pools: dict[str | None, UpstreamPool] = {}
        self.runtime = self._build(settings)
        self.switch = Switch(self.runtime.routes)
        self.ordinary = self._ordinary()
        self.asgi = AsgiShell(self.switch, self.ordinary)
        self.door = SpliceDoor(self.switch, _front_limits(settings))
        self.metrics.watch("switchboard_requests_open", "Requests under way.", lambda: len(self.registry.open))
        self.metrics.watch(
            "switchboard_upstream_connections",
            "Connections to providers, idle ones included.",
            lambda: sum(p.open for p in self._pools.values()),
        )
        self.registry.every_tick(self._tick)

    def start(self, port: int) -> None:
        """Begin to tick; `port` is where the server listens."""
        self._port = port
        self.registry.start()

    @property
    def address(self) -> str:
        """The address by which this server is reached."""
        return public_address(self.runtime.settings, self._port)

    def _tick(self, at: float) -> None:
        self.ledger.flush()
        for pool in self._pools.values():
            pool.tick(at)

    def close(self) -> None:
        """End what is open, write what is to be written."""
        self.registry.stop_all()
        self.registry.close()
        for pool in self._pools.values():
            pool.close()
        self.ledger.flush()

    # ---- the runtime

    def _pool(self, ca_file: str | None) -> UpstreamPool:
        if ca_file not in self._pools:
            self._pools[ca_file] = UpstreamPool(TcpDialer(self._environment, ca_file))
        return self._pools[ca_file]

    def _build(self, settings: Settings) -> Runtime:
        chosen = default_provider(settings)
        rows = dict(settings.providers)
        rows.setdefault(chosen, ProviderSettings())
        providers = {name: self._provider(name, row, settings) for name, row in rows.items()}
        profile = _profile(settings, chosen, providers[chosen])
        keys = AccessKeys([k.get_secret_value() for k in settings.auth.access_key])
        rate = settings.limits.requests_per_minute
        gate = Gate(keys, RequestRate(rate) if rate is not None else None, profile, Routing(providers))
        limits = Limits(
            settings.limits.json_body,
            settings.limits.event,
            settings.limits.answer,
            settings.stream.head_after,
            settings.stream.quiet,
        )
        kit = Kit(gate, limits, self.registry, self.ledger, self.log)
        nesting = settings.limits.nesting
        chat = WebChat(format=settings.chat.format, nesting=nesting)
        chat_paths = ["/api/chat", "/api/v1/chat", *settings.chat.paths]
        hot: dict[str, Surface] = dict.fromkeys(chat_paths, chat)
        hot["/v1/chat/completions"] = ChatCompletions(nesting=nesting, secrets=secrets_of(settings))
        routes = Routes(hot, kit, Envelopes(_envelope_settings(settings)))
        return Runtime(settings, providers, profile, Catalog(providers.values(), profile), routes, chat_paths)

    def _provider(self, name: str, row: ProviderSettings, settings: Settings) -> Provider:
        timeouts = _timeouts(settings, row)
        kind = provider_type(name, row.type)
        if kind == "offline":
            return OfflineProvider(name, pace=row.pace, timeouts=timeouts)
        make = OpenAIProvider if kind == "openai" else CompatibleProvider
        return make(
            name,
            self._pool(row.ca_file),
            base_url=row.base_url or OPENAI_URL,
            keys=tuple(k.get_secret_value() for k in row.api_key),
            title=row.title or ("OpenAI" if kind == "openai" else name),
            models=tuple(row.models),
            headers={k: v.get_secret_value() for k, v in row.headers.items()},
            timeouts=timeouts,
        )

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
        app.include_router(operations.router(self.state, self.metrics, lambda: self.runtime.catalog, self._endpoints))
        app.include_router(pages.router(self._document, lambda: self.address, self._answering))
        for kind in (Problem, HTTPException, RequestValidationError, Exception):
            app.add_exception_handler(kind, _explain)
        return app

    def _answering(self) -> tuple[str, str]:
        profile = self.runtime.profile
        return self.runtime.providers[profile.provider].title, profile.model

    def _endpoints(self) -> list[str]:
        out = []
        for path, item in self._document()["paths"].items():
            out += [f"{method.upper()} {path}" for method in item]
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


def _profile(settings: Settings, provider: str, answering: Provider) -> Profile:
    chat = settings.chat
    model = chat.model or ""
    if not model or not (answering.capabilities.any_model or model in answering.models):
        # the offline provider stands in for one whose key is not there yet, and AI_MODEL may be set already
        model = answering.models[0] if answering.models else ""
    if not model and provider_type(provider, _type_of(settings, provider)) == "openai":
        model = _DEFAULT_MODEL
    return Profile(
        format=chat.format,
        provider=provider,
        model=model,
        models=tuple(chat.models),
        temperature=chat.temperature,
        top_p=chat.top_p,
        max_tokens=chat.max_tokens,
        max_tokens_cap=chat.max_tokens_cap,
        system_prompt=chat.system_prompt,
        max_conversation_length=chat.max_conversation_length,
        trim_v1=chat.trim_v1,
        locked=frozenset(chat.locked),
    )


def _type_of(settings: Settings, provider: str) -> str | None:
    row = settings.providers.get(provider)
    return row.type if row is not None else None


def _timeouts(settings: Settings, row: ProviderSettings) -> Timeouts:
    common, own = settings.timeouts, row.timeouts
    values = {
        k: getattr(own, k) if getattr(own, k) is not None else getattr(common, k) for k in Timeouts.__struct_fields__
    }
    return Timeouts(**values)


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


def _envelope_settings(settings: Settings) -> EnvelopeSettings:
    hosts = {h.lower() for h in settings.hosts}
    own = set()
    if settings.public_url is not None:
        scheme, _, rest = settings.public_url.partition("://")
        authority = rest.split("/")[0].lower()
        hosts.add(split_host(authority)[0])
        own.add(f"{scheme}://{authority}")
    return EnvelopeSettings(
        hosts=frozenset(hosts),
        loopback=is_loopback(settings.host),
        origins=frozenset(settings.cors.origins),
        own=frozenset(own),
        proxies=Networks(settings.trusted_proxies),
        https=settings.https == "require",
        public_url=settings.public_url or "",
    )
