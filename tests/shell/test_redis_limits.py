"""Two servers that count together in Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from support.client import chat, request
from support.gateway import Gateway, gateway, until
from support.redis_server import RedisServer, redis_server
from switchboard.net.script import Again, Request, ScriptServer, Wait, answer
from switchboard.store.counters.redis import RedisCounters

pytestmark = pytest.mark.anyio

KEY = {"authorization": "Bearer key-number-one-1"}
V1 = "/v1/chat/completions"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


async def two(stack: AsyncExitStack, redis: RedisServer, **settings: Any) -> list[Gateway]:
    """Two servers with the same settings."""
    made = []
    for name in ("one", "two"):
        counters = RedisCounters(redis.url, process=name, retry=0.3)
        tree: dict[str, Any] = {"auth": {"access_key": "key-number-one-1"}, **settings}
        made.append(await stack.enter_async_context(gateway(counters=counters, **tree)))
    return made


async def test_exactly_the_limit_is_admitted(redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        a, b = await two(stack, redis, limits={"requests_per_minute": 60})
        found = await asyncio.gather(*[(a if n % 2 else b).ask("/api/chat", chat("Hi"), KEY) for n in range(200)])
        assert sorted(x.status for x in found) == [200] * 60 + [429] * 140


async def test_a_budget_is_over_by_no_more_than_one_request(redis: RedisServer) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 90, "total_tokens": 100}
    body = {"choices": [{"index": 0, "message": {"content": "Fine."}, "finish_reason": "stop"}], "usage": usage}
    script: list[Any] = [Request(), Wait(0.02), answer(json.dumps(body).encode()), Again()]
    async with ScriptServer(script) as up, AsyncExitStack() as stack:
        providers = {"up": {"base_url": up.base_url, "models": ["m"]}}
        a, b = await two(stack, redis, providers=providers, chat={"provider": "up"}, limits={"tokens_per_day": 1000})
        asked = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
        for _ in range(3):
            found = await asyncio.gather(*[(a if n % 2 else b).ask(V1, asked, KEY) for n in range(50)])
            assert {x.status for x in found} <= {200, 429}
        used = [r.tokens_in + r.tokens_out for g in (a, b) for r in g.records if r.status == 200]
        assert 900 <= sum(used) <= 1100


async def test_open_streams_at_a_time(redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        counters = RedisCounters(redis.url, process="one")
        tree: dict[str, Any] = {"auth": {"access_key": "key-number-one-1"}, "limits": {"streams": 1}}
        g = await stack.enter_async_context(gateway(counters=counters, **tree))
        c = await g.connect()
        await c.send(request(V1, {**chat("Hi", model="silent"), "stream": True}, KEY))
        await until(lambda: len(g.app.registry.open) == 1)
        again = await g.ask(V1, {**chat("Hi"), "stream": True}, KEY)
        assert again.status == 429
        c.close()
        await until(lambda: not g.app.registry.open)
        assert (await g.ask(V1, {**chat("Hi"), "stream": True}, KEY)).status == 200


async def test_redis_goes_and_comes_back(redis: RedisServer) -> None:
    """Each server goes on with its share; it is told, and ends."""
    async with AsyncExitStack() as stack:
        a, b = await two(stack, redis, limits={"requests_per_minute": 40})
        for g in (a, b, a):  # the first one hears of the second with its second answer
            assert (await g.ask("/api/chat", chat("Hi"), KEY)).status == 200
        redis.kill()
        found = await asyncio.gather(*[(a if n % 2 else b).ask("/api/chat", chat("Hi"), KEY) for n in range(120)])
        admitted = sum(x.status == 200 for x in found)
        assert {x.status for x in found} <= {200, 429} and 30 <= admitted <= 40
        health = (await a.ask("/health")).json
        assert "Redis" in health["checks"]["limits"]
        assert (await a.ask("/health/ready")).status == 200  # it serves all the same
        redis.start()
        async with asyncio.timeout(10):
            while (await a.ask("/health")).json["checks"]["limits"] != "ok":
                await asyncio.sleep(0.05)
