"""Which models there are: asked of the providers seldom, and never at the price of the others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from support.gateway import Gateway, gateway
from switchboard.core.clock import now
from switchboard.engine import catalog
from switchboard.net.script import Again, Hang, Request, Reset, Script, ScriptServer, answer

pytestmark = pytest.mark.anyio


def listing(*names: str, **more: Any) -> bytes:
    return answer(
        json.dumps({"object": "list", "data": [{"id": n, "object": "model", **more} for n in names]}).encode()
    )


def asked(up: ScriptServer) -> int:
    return sum(len(c.requests) for c in up.connections)


async def names(g: Gateway) -> list[str]:
    a = await g.ask("/v1/models")
    assert a.status == 200
    assert a.json["object"] == "list"
    assert all(m["object"] == "model" and isinstance(m["created"], int) and m["owned_by"] for m in a.json["data"])
    return [m["id"] for m in a.json["data"]]


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The catalog's clock is that far ahead."""
    monkeypatch.setattr(catalog, "now", lambda: now() + seconds)


async def test_a_provider_is_asked_at_most_every_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    script: Script = [Request(), listing("a", "b", created=17, owned_by="them"), Again()]
    async with ScriptServer(script) as up, gateway(providers={"up": {"base_url": up.base_url, "api_key": "k"}}) as g:
        assert asked(up) == 0  # nothing is asked before somebody wants to know
        answers = await asyncio.gather(*[g.ask("/v1/models") for _ in range(10)])
        assert len({a.body for a in answers}) == 1
        assert asked(up) == 1
        request = up.connections[0].requests[0]
        assert request.startswith(b"GET /v1/models HTTP/1.1\r\n")
        assert b"authorization: Bearer k\r\n" in request
        by_id = {m["id"]: m for m in answers[0].json["data"]}
        assert by_id["a"] == {"id": "a", "object": "model", "created": 17, "owned_by": "them"}
        assert (await g.ask("/v1/models/b")).json["id"] == "b"
        later(monkeypatch, 299)
        await names(g)
        assert asked(up) == 1
        later(monkeypatch, 301)
        await names(g)
        assert asked(up) == 2


async def test_what_the_settings_list_is_not_asked_for() -> None:
    async with ScriptServer([Request(), listing("z"), Again()]) as up:
        rows = {"up": {"base_url": up.base_url, "models": ["a", "b"]}}
        async with gateway(providers=rows, chat={"provider": "up", "model": "c"}) as g:
            found = await names(g)
            assert found[:3] == ["c", "a", "b"]
            assert "z" not in found
        assert asked(up) == 0


BROKEN: dict[str, Script] = {
    "an error": [Request(), answer(b'{"error":{"message":"Bad key Canary7Kq9z"}}', status=401), Again()],
    "no JSON": [Request(), answer(b"<html>"), Again()],
    "another shape": [Request(), answer(b'{"models": []}'), Again()],
    "a list of names": [Request(), answer(b'{"data": ["a"]}'), Again()],
    "a reset": [Request(), Reset()],
    "nothing": [Request(), Hang()],
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_provider_that_fails_is_left_out_and_logged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_TIMEOUT", 0.2)
    good: Script = [Request(), listing("fine"), Again()]
    async with ScriptServer(BROKEN[name]) as bad, ScriptServer(good) as up:
        rows = {"bad": {"base_url": bad.base_url, "api_key": "Canary7Kq9z"}, "up": {"base_url": up.base_url}}
        records: list[str] = []
        monkeypatch.setattr(catalog._log, "warning", lambda text, *args: records.append(text % args))
        async with gateway(providers=rows, chat={"provider": "offline"}) as g:
            found = await names(g)
            assert "up/fine" in found and "echo" in found
            assert len(records) == 1 and "bad" in records[0]
            # nor is one that fails asked again and again
            before = asked(bad)
            await names(g)
            assert asked(bad) == before
            assert len(records) == 1


async def test_a_provider_without_its_key_is_left_out() -> None:
    async with ScriptServer([Request(), listing("z"), Again()]) as up:
        async with gateway(providers={"openai": {"base_url": up.base_url}}, chat={"provider": "offline"}) as g:
            assert "echo" in await names(g)
        assert asked(up) == 0


async def test_each_name_once_and_the_settings_first() -> None:
    async with ScriptServer([Request(), listing("same", "other", owned_by="them"), Again()]) as up:
        rows = {"up": {"base_url": up.base_url}, "own": {"base_url": up.base_url, "models": ["same"]}}
        async with gateway(providers=rows) as g:
            data = (await g.ask("/v1/models")).json["data"]
            found = [m["id"] for m in data]
            assert len(found) == len(set(found))
            assert next(m for m in data if m["id"] == "same")["owned_by"] == "own"
            assert "other" in found


async def test_only_what_may_be_asked_for_is_listed() -> None:
    async with gateway(chat={"models": ["echo", "slow"], "model": "echo"}) as g:
        assert await names(g) == ["echo", "slow"]
        a = await g.ask("/v1/models/garbage")
        assert (a.status, a.json["error"]["code"]) == (404, "model_not_found")
