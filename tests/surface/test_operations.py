"""What operators and load balancers ask."""

from __future__ import annotations

import pytest

from support.client import chat, request
from support.gateway import gateway, until
from switchboard import __version__

pytestmark = pytest.mark.anyio


async def test_health(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/health")
        assert a.status == 200
        assert (a.json["status"], a.json["connections"], a.json["requests"], a.json["version"]) == (
            "ok",
            0,
            0,
            __version__,
        )
        assert 0 <= a.json["uptime"] < 60
        assert (await g.ask("/health")).json["uptime"] >= a.json["uptime"]
        assert (await g.ask("/health/live")).json == {"status": "ok"}
        assert (await g.ask("/health/ready")).json == {"status": "ready", "checks": {"server": "ok", "limits": "ok"}}


async def test_requests_under_way_are_counted(shell: str) -> None:
    async with gateway(shell) as g:
        c = await g.connect()
        await c.send(request("/api/chat", chat(model="silent")))
        await until(lambda: len(g.app.registry.open) == 1)
        assert (await g.ask("/health")).json["requests"] == 1
        c.close()
        await until(lambda: not g.app.registry.open)
        assert (await g.ask("/health")).json["requests"] == 0


async def test_not_ready_while_it_stops(shell: str) -> None:
    async with gateway(shell) as g:
        g.app.state.stopping = True
        a = await g.ask("/health/ready")
        assert (a.status, a.json["status"]) == (503, "stopping")
        # it is alive all the same, and answers what still comes
        assert (await g.ask("/health/live")).status == 200
        assert (await g.ask("/health")).json["status"] == "stopping"
        assert (await g.ask("/api/chat", chat("x", stream=False))).status == 200


async def test_status_lists_the_endpoints(shell: str) -> None:
    async with gateway(shell, chat={"paths": ["/bot"]}) as g:
        a = await g.ask("/api/status")
        assert a.json == (await g.ask("/api/v1/status")).json
        assert (a.json["status"], a.json["version"], a.json["connections"]) == ("ok", __version__, 0)
        listed = set(a.json["endpoints"])
        assert listed >= {
            "POST /api/chat",
            "POST /bot",
            "POST /v1/chat/completions",
            "GET /v1/models",
            "GET /health",
            "GET /health/ready",
            "GET /api/status",
            "GET /metrics",
        }
        for line in listed:  # what is listed is there
            method, path = line.split(" ")
            a = await g.ask(path.replace("{model}", "echo"), {} if method == "POST" else None, method=method)
            assert a.status not in (404, 405), line


async def test_a_further_path_answers_as_api_chat_does(shell: str) -> None:
    async with gateway(shell, chat={"paths": ["/bot", "/api/v2/talk"]}) as g:
        for path in ("/bot", "/api/v2/talk"):
            assert (await g.ask(path, chat("x", stream=False))).json == {"content": "x", "done": True}


async def test_models(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/v1/models")
        assert (a.status, a.json["object"], a.json["data"][0]["id"]) == (200, "list", "echo")
        one = await g.ask("/v1/models/slow")
        assert one.json | {"created": 0} == {"id": "slow", "object": "model", "created": 0, "owned_by": "offline"}
        none = await g.ask("/v1/models/a/b%20c")
        assert (none.status, none.json["error"]["code"]) == (404, "model_not_found")


async def test_who_may_ask_once_there_is_a_key(shell: str) -> None:
    async with gateway(shell, auth={"access_key": "k"}) as g:
        for path in ("/", "/health", "/health/live", "/health/ready", "/api/status", "/api/v1/status"):
            assert (await g.ask(path)).status == 200, path
        for path in (
            "/metrics",
            "/docs",
            "/docs/swagger-ui.css",
            "/openapi.json",
            "/v1/models",
            "/v1/models/echo",
            "/nothing",
        ):
            a = await g.ask(path)
            assert a.status == 401, path
            assert a.headers["www-authenticate"].startswith("Bearer")
            assert (await g.ask(path, None, {"authorization": "Bearer k"})).status in (200, 404)


async def test_an_authorization_of_another_kind_never_becomes_a_key(shell: str) -> None:
    async with gateway(shell, auth={"access_key": "k"}) as g:
        basic = {"authorization": "Basic dXNlcjpwYXNz"}
        assert (await g.ask("/v1/models", None, basic | {"x-api-key": "k"})).status == 200
        assert (await g.ask("/v1/models", None, basic)).status == 401
        assert (await g.ask("/api/chat", chat("x"), basic)).status == 401


async def test_models_as_anthropic_s_clients_read_them(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/v1/models", None, {"anthropic-version": "2023-06-01"}, method="GET")
        first, *_, last = a.json["data"]
        assert (first["id"], first["type"]) == ("echo", "model")
        assert (a.json["has_more"], a.json["first_id"], a.json["last_id"]) == (False, "echo", last["id"])
        assert first["created_at"].endswith("Z")
