"""What operators and load balancers ask: health, status, metrics; and ``/v1/models``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from switchboard import __version__
from switchboard.core.clock import now, wall_iso
from switchboard.core.errors import Problem
from switchboard.core.types import Caller
from switchboard.engine.catalog import Catalog
from switchboard.engine.gate import Gate
from switchboard.policy.profile import Profile
from switchboard.telemetry.gathered import Gathered
from switchboard.telemetry.metrics import CONTENT_TYPE


class Health(BaseModel):
    """``GET /health``."""

    status: str = Field(description='"ok", or "stopping" while the server ends.', examples=["ok"])
    uptime: float = Field(description="Seconds since the server began.", examples=[12.5])
    connections: int = Field(description="Open WebSockets.", examples=[0])
    requests: int = Field(description="Requests under way.", examples=[1])
    version: str = Field(examples=["0.1.0"])
    checks: dict[str, str] = Field(
        description='"ok", or what is wrong at the moment, by part.', examples=[{"database": "ok", "limits": "ok"}]
    )


class Live(BaseModel):
    """``GET /health/live``."""

    status: str = Field(examples=["ok"])


class Ready(BaseModel):
    """``GET /health/ready``."""

    status: str = Field(description='"ready", "not ready" or "stopping".', examples=["ready"])
    checks: dict[str, str] = Field(examples=[{"server": "ok"}])


class Status(BaseModel):
    """``GET /api/status``."""

    status: str = Field(examples=["ok"])
    version: str = Field(examples=["0.1.0"])
    endpoints: list[str] = Field(examples=[["POST /api/chat"]])
    connections: int = Field(description="Open WebSockets.", examples=[0])


class Model(BaseModel):
    """OpenAI's model object."""

    id: str = Field(examples=["echo"])
    object: str = "model"
    created: int = Field(examples=[1750000000])
    owned_by: str = Field(examples=["offline"])
    shutdown_date: str | None = Field(
        None, description="The day on which the provider switches it off, if it is known."
    )


class ModelList(BaseModel):
    """OpenAI's list of models."""

    object: str = "list"
    data: list[Model]


class AnthropicModel(BaseModel):
    """Anthropic's model object."""

    id: str = Field(examples=["echo"])
    type: str = "model"
    display_name: str
    created_at: str = Field(examples=["2025-06-15T15:06:40.000Z"])


class AnthropicModelList(BaseModel):
    """Anthropic's list of models; it has one page."""

    data: list[AnthropicModel]
    has_more: bool = False
    first_id: str | None
    last_id: str | None


def _as_anthropic(models: list[Model]) -> AnthropicModelList:
    data = [AnthropicModel(id=m.id, display_name=m.id, created_at=wall_iso(float(m.created))) for m in models]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    return AnthropicModelList(data=data, first_id=ends[0], last_id=ends[1])


class State:
    """What the endpoints tell of the process: `requests` under way, and by part what is in `trouble` ("": nothing), of which the
    database has to be there for traffic. `stopping` is set when the server begins to end."""

    def __init__(self, requests: Callable[[], int], trouble: Callable[[], dict[str, str]]) -> None:
        self.began = now()
        self.requests = requests
        self.trouble = trouble
        self.stopping = False

    @property
    def checks(self) -> dict[str, str]:
        """Each part with "ok" or what is wrong."""
        return {name: trouble or "ok" for name, trouble in self.trouble().items()}


def router(
    state: State, gathered: Gathered, catalog: Callable[[], Catalog], endpoints: Callable[[], list[str]]
) -> APIRouter:
    """The endpoints. `gathered` tells of all workers; `catalog` gives the current runtime's; `endpoints` the list that ``/api/status`` shows."""
    r = APIRouter()

    @r.get("/health", tags=["operations"], summary="Is it up?")
    async def health() -> Health:
        there = await gathered.status()
        return Health(
            status="stopping" if state.stopping else "ok",
            uptime=round(there.uptime, 3),
            connections=there.connections,
            requests=there.requests,
            version=__version__,
            checks=state.checks,
        )

    @r.get("/health/live", tags=["operations"], summary="Is the process alive?")
    async def live() -> Live:
        return Live(status="ok")

    @r.get(
        "/health/ready",
        tags=["operations"],
        summary="May traffic be sent here?",
        responses={503: {"model": Ready, "description": "Not now."}},
    )
    async def ready(response: Response) -> Ready:
        if state.stopping:
            response.status_code = 503
            response.headers["retry-after"] = "5"
            return Ready(status="stopping", checks={"server": "stopping"})
        checks = {"server": "ok", **state.checks}
        if state.trouble().get("database"):
            response.status_code = 503
            response.headers["retry-after"] = "1"
            return Ready(status="not ready", checks=checks)
        return Ready(status="ready", checks=checks)

    @r.get("/api/status", tags=["operations"], summary="What is served here?")
    @r.get("/api/v1/status", include_in_schema=False)
    async def status() -> Status:
        there = await gathered.status()
        return Status(status="ok", version=__version__, endpoints=endpoints(), connections=there.connections)

    @r.get(
        "/metrics",
        tags=["operations"],
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, 403: {"description": "Not for this caller."}},
    )
    async def prometheus(request: Request) -> Response:
        _operator(request)
        return Response(await gathered.metrics(), headers={"content-type": CONTENT_TYPE})

    _models_listed(r, catalog)
    return r


def _models_listed(r: APIRouter, catalog: Callable[[], Catalog]) -> None:
    """``/models`` and ``/v1/models``."""

    @r.get("/models", tags=["access key"], summary="List models", response_model_exclude_none=True)
    @r.get("/v1/models", tags=["models"], summary="List models", response_model_exclude_none=True)
    async def models(request: Request) -> ModelList | AnthropicModelList:
        """OpenAI's list; Anthropic's for a client that sends `anthropic-version`."""
        found = [Model(**m) for m in await _models(request, catalog())]
        return _as_anthropic(found) if "anthropic-version" in request.headers else ModelList(data=found)

    @r.get(
        "/v1/models/{model:path}",
        tags=["models"],
        summary="One model",
        responses={404: {"description": "No such."}},
        response_model_exclude_none=True,
    )
    async def model(model: str, request: Request) -> Model | AnthropicModel:
        for m in await _models(request, catalog()):
            if m["id"] == model:
                one = Model(**m)
                return _as_anthropic([one]).data[0] if "anthropic-version" in request.headers else one
        shown = model[:256].encode("ascii", "replace").decode()
        raise Problem("MODEL_NOT_FOUND", f"The model '{shown}' does not exist here.", param="model")


async def _models(request: Request, catalog: Catalog) -> list[dict[str, Any]]:
    """Those that the caller may use."""
    caller: Caller = request.scope["switchboard"]["caller"]
    found = await catalog.models(_profile(request))
    return found if caller.models is None else [m for m in found if m["id"] in caller.models]


def _operator(request: Request) -> None:
    """Metrics tell of all apps: they are for who has an access key, or an API key for them. Raises `Problem` (403)."""
    caller: Caller = request.scope["switchboard"]["caller"]
    named = caller.surfaces is not None and "operations" in caller.surfaces
    if caller.kind not in ("open", "access_key") and not named:
        text = "Metrics are for access keys, and API keys that were made with --surfaces operations."
        raise Problem("FORBIDDEN", text)


def _profile(request: Request) -> Profile:
    """The profile that the request has chosen."""
    gate: Gate = request.scope["switchboard"]["gate"]
    return gate.profile


def error_schema(openai: bool) -> dict[str, Any]:
    """The JSON schema of an error, for the OpenAPI document."""
    members: dict[str, Any] = {"message": {"type": "string"}, "code": {"type": ["string", "null"]}}
    if openai:
        members |= {"type": {"type": "string"}, "param": {"type": ["string", "null"]}}
    error = {"type": "object", "properties": members, "required": ["message", "code"]}
    return {
        "type": "object",
        "properties": {"error": error, "request_id": {"type": "string"}},
        "required": ["error", "request_id"],
    }
