"""Limits and budgets on the wire, over either shell."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.client import chat, request
from support.gateway import Gateway, gateway, until
from switchboard.core.types import Outcome
from switchboard.net.script import Again, Hang, Request, ScriptServer, Wait, answer, chunk, stream_head

pytestmark = pytest.mark.anyio

USAGE = {"prompt_tokens": 10, "completion_tokens": 90, "total_tokens": 100}


def whole(usage: dict[str, int] = USAGE, wait: float = 0.0) -> list[Any]:
    """A provider that counts `usage` for every answer."""
    message = {"role": "assistant", "content": "Fine."}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    return [Request(), Wait(wait), answer(json.dumps(body).encode()), Again()]


def delta(text: str) -> bytes:
    """One event of a stream, as an HTTP chunk."""
    return chunk(b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n")


def settings(up: ScriptServer, **limits: Any) -> dict[str, Any]:
    return {
        "providers": {"up": {"base_url": up.base_url, "models": ["m"]}},
        "chat": {"provider": "up"},
        "retry": {"attempts": 1},
        "limits": limits,
    }


def asks(*, stream: bool = False, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": stream, **more}


V1 = "/v1/chat/completions"


async def total(g: Gateway) -> int:
    """Tokens that were settled so far."""
    await until(lambda: not g.app.registry.open)
    return sum(r.tokens_in + r.tokens_out for r in g.records if r.status == 200)


async def test_exactly_the_limit_is_admitted(shell: str) -> None:
    async with gateway(shell, limits={"requests_per_minute": 60}) as g:
        answers = await asyncio.gather(*[g.ask("/api/chat", chat("Hello")) for _ in range(200)])
        assert sorted(a.status for a in answers) == [200] * 60 + [429] * 140
        refused = next(a for a in answers if a.status == 429)
        assert refused.json["error"]["code"] == "RATE_LIMITED"
        assert 1 <= int(refused.headers["retry-after"]) <= 62
        assert refused.headers["x-ratelimit-limit-requests"] == "60"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize("window", ["tokens_per_day", "tokens_per_month"])
async def test_a_budget_is_over_by_no_more_than_one_request(shell: str, window: str) -> None:
    async with ScriptServer(whole(wait=0.02)) as up, gateway(shell, **settings(up, **{window: 1000})) as g:
        for _ in range(3):
            answers = await asyncio.gather(*[g.ask(V1, asks(max_tokens=100)) for _ in range(100)])
            assert {a.status for a in answers} <= {200, 429}
            assert await total(g) <= 1000 + 100
        while (last := await g.ask(V1, asks(max_tokens=100))).status == 200:
            pass
        assert 1000 <= await total(g) <= 1100
        assert last.headers["x-should-retry"] == "false"
        assert (last.json["error"]["code"], last.json["error"]["type"]) == ("budget_exhausted", "insufficient_quota")
        assert int(last.headers["retry-after"]) >= 1
        doc = await g.ask("/api/chat", chat("Hello", max_tokens=5))
        assert (doc.status, doc.json["error"]["code"]) == (429, "BUDGET_EXHAUSTED")


async def test_what_failed_is_given_back(shell: str) -> None:
    error = answer(b'{"error": {"message": "no"}}', status=400)
    async with ScriptServer([Request(), error, Again()]) as up, gateway(shell, **settings(up, tokens_per_day=50)) as g:
        for _ in range(20):
            assert (await g.ask(V1, asks(max_tokens=40))).status == 400


async def test_a_stream_is_cut_when_its_budget_is_gone(shell: str) -> None:
    """An error event, no clean end, the upstream let go; and it is billed."""
    script: list[Any] = [Request(), stream_head(), *[delta("word " * 50) for _ in range(200)], Hang()]
    async with ScriptServer(script) as up, gateway(shell, **settings(up, tokens_per_day=2000)) as g:
        a = await g.ask(V1, asks(stream=True))
        assert (a.status, a.whole) == (200, False)
        assert a.events[-1]["error"]["code"] == "budget_exhausted" and "[DONE]" not in a.text
        r = await g.record()
        assert r.outcome == Outcome.BUDGET_EXHAUSTED
        assert 2000 <= r.tokens_out <= 2600
        await until(lambda: up.connections[0].left is not None, 1)
        assert (await g.ask(V1, asks(stream=True))).status == 429


async def test_a_client_that_left_pays_for_what_was_produced(shell: str) -> None:
    script: list[Any] = [Request(), stream_head(), delta("x" * 400), Hang()]
    async with ScriptServer(script) as up, gateway(shell, **settings(up, tokens_per_day=100)) as g:
        c = await g.connect()
        await c.send(request(V1, asks(stream=True)))
        await c.head()
        await c.reader.readuntil(b"xxx")
        c.close()
        assert (await g.record()).outcome == Outcome.CLIENT_LEFT
        assert (await g.ask(V1, asks())).status == 429


async def test_open_streams_at_a_time(shell: str) -> None:
    script: list[Any] = [Request(), stream_head(), delta("Once"), Hang()]
    async with ScriptServer(script) as up, gateway(shell, **settings(up, streams=2)) as g:
        streams = [await g.connect() for _ in range(2)]
        for c in streams:
            await c.send(request(V1, asks(stream=True)))
            assert (await c.head())[0] == 200
        third = await g.ask(V1, asks(stream=True))
        assert third.status == 429 and "at a time" in third.json["error"]["message"]
        streams[0].close()
        await g.record(2)
        again = await g.connect()
        await again.send(request(V1, asks(stream=True)))
        assert (await again.head())[0] == 200
        for c in (again, streams[1]):
            c.close()


async def test_tokens_of_a_minute(shell: str) -> None:
    async with ScriptServer(whole()) as up, gateway(shell, **settings(up, tokens_per_minute=150)) as g:
        a = await g.ask(V1, asks(max_tokens=10))
        assert a.status == 200
        assert a.headers["x-ratelimit-limit-tokens"] == "150"
        assert 100 <= int(a.headers["x-ratelimit-remaining-tokens"]) < 150
        assert (await g.ask(V1, asks(max_tokens=10))).status == 200
        last = await g.ask(V1, asks(max_tokens=10))
        assert (last.status, last.json["error"]["code"]) == (429, "rate_limited")
        assert int(last.headers["retry-after"]) <= 62


async def test_everyone_and_addresses(shell: str) -> None:
    keys: dict[str, Any] = {"auth": {"access_key": ["key-number-one-1", "key-number-two-2"]}}
    first, second = ({"authorization": f"Bearer {k}"} for k in keys["auth"]["access_key"])
    async with gateway(shell, **keys, limits={"everyone": {"requests_per_minute": 3}}) as g:
        codes = [(await g.ask("/api/chat", chat("Hi"), h)).status for h in (first, second, first, second)]
        assert codes == [200, 200, 200, 429]
    async with gateway(shell, **keys, limits={"address": {"requests_per_minute": 2}}) as g:
        codes = [(await g.ask("/api/chat", chat("Hi"), h)).status for h in (first, second, second)]
        assert codes == [200, 200, 429]


async def test_profiles_count_apart(shell: str) -> None:
    profiles = {"shop": {"limits": {"requests_per_minute": 1}}, "desk": {}}
    async with gateway(shell, profiles=profiles, limits={"requests_per_minute": 2}) as g:
        paths = ("/p/shop/api/chat", "/p/desk/api/chat", "/api/chat")
        codes = [[(await g.ask(p, chat("Hi"))).status for _ in range(3)] for p in paths]
        assert codes == [[200, 429, 429], [200, 200, 429], [200, 200, 429]]


async def test_a_budget_in_dollars(shell: str, tmp_path: Path) -> None:
    """By public prices: a million tokens out of gpt-4o cost some dollars."""
    usage = {"prompt_tokens": 10, "completion_tokens": 100_000, "total_tokens": 100_010}
    async with ScriptServer(whole(usage)) as up:
        tree: dict[str, Any] = {
            "providers": {"openai": {"base_url": up.base_url, "api_key": "sk-test-key-1234567"}},
            "limits": {"dollars_per_day": 1.5},
        }
        tree["retired_models"] = {"gpt-4o-2024-08-06": "gpt-4o-2024-08-06"}  # whatever day it is: that of the price
        body = {"model": "gpt-4o-2024-08-06", "messages": asks()["messages"], "max_tokens": 10}
        async with gateway(shell, data=tmp_path, **tree) as g:
            codes = [(await g.ask(V1, body)).status for _ in range(3)]
            assert codes == [200, 200, 429]
            await until(lambda: not g.records[-1].cost and not g.kept.writer.waiting)
        # it is remembered over a restart
        async with gateway(shell, data=tmp_path, **tree) as g:
            assert (await g.ask(V1, body)).status == 429


async def test_a_budget_outlives_the_server(shell: str, tmp_path: Path) -> None:
    async with ScriptServer(whole()) as up:
        for expected in ([200, 200], [200, 429]):
            async with gateway(shell, data=tmp_path, **settings(up, tokens_per_day=250)) as g:
                assert [(await g.ask(V1, asks(max_tokens=10))).status for _ in range(2)] == expected


async def test_images_are_set_aside_too(shell: str) -> None:
    """A budget is over by no more than one request, whatever it asks for."""
    body = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 0, "output_tokens": 100}}
    script: list[Any] = [Request(), Wait(0.1), answer(json.dumps(body).encode()), Again()]
    row: dict[str, Any] = {"type": "openai", "api_key": "sk-1"}
    async with (
        ScriptServer(script) as up,
        gateway(
            shell,
            providers={"up": {"base_url": up.base_url, **row}},
            chat={"provider": "up"},
            limits={"tokens_per_day": 1000},
        ) as g,
    ):
        draws = [g.ask("/v1/images/generations", {"model": "gpt-image-1", "prompt": "A"}) for _ in range(40)]
        answers = await asyncio.gather(*draws)
        assert {a.status for a in answers} <= {200, 429} and answers[0].status in (200, 429)
        assert await total(g) <= 1000 + 101
