"""Several targets behind one name: fallback, keys, retries, circuits, and the head that waits for all of that."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from support.client import chat
from support.gateway import Gateway, gateway, until
from switchboard.net.script import (
    Again,
    Request,
    Reset,
    Script,
    ScriptServer,
    Step,
    Wait,
    answer,
    chunk,
    stream_head,
)

pytestmark = pytest.mark.anyio

OK = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "good"}}]}).encode()
GOOD: Script = [Request(), answer(OK), Again()]
MESSAGE = json.dumps(
    {"type": "message", "content": [{"type": "text", "text": "good"}], "stop_reason": "end_turn", "usage": {}}
).encode()
ANTHROPIC: Script = [Request(), answer(MESSAGE), Again()]
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"good"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
STREAM: Script = [Request(), stream_head(), chunk(EVENT), chunk(b""), Again()]


def failing(status: int, **headers: str) -> Script:
    lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
    body = b'{"error": {"message": "no", "type": "t"}}'
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{lines}content-length: {len(body)}\r\n\r\n"
    return [Request(), head.encode() + body, Again()]


def asked(server: ScriptServer) -> int:
    """How many requests a server has heard."""
    return sum(len(c.requests) for c in server.connections)


def two(first: ScriptServer, second: ScriptServer, **more: Any) -> dict[str, Any]:
    """Settings with a route ``fast`` over two providers."""
    return {
        "providers": {
            "one": {"base_url": first.base_url, "timeouts": {"first_event": 0.3}},
            "two": {"base_url": second.base_url},
        },
        "routes": {"fast": ["one/m1", "two/m2"]},
        "chat": {"provider": "one", "model": "fast"},
        "retry": {"attempts": 1},
    } | more


FAULTS: dict[str, Script] = {
    "500": failing(500),
    "429": failing(429, retry_after="7"),
    "401": failing(401),
    "404": failing(404),
    "reset": [Request(), Reset()],
    "garbage": [Request(), answer(b"<html>"), Again()],
    "error event": [Request(), stream_head(), chunk(b'data: {"error": {"message": "x", "code": 503}}\n\n'), chunk(b"")],
    "empty": [Request(), stream_head(), chunk(b""), Again()],
    "silence": [Request(), stream_head()],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("streamed", [True, False])
async def test_the_next_target_answers(shell: str, fault: str, streamed: bool) -> None:
    async with (
        ScriptServer(FAULTS[fault]) as first,
        ScriptServer(STREAM if streamed else GOOD) as second,
        gateway(shell, **two(first, second)) as g,
    ):
        a = await g.ask("/v1/chat/completions", chat("hi", model="fast", stream=streamed))
        assert (a.status, a.whole) == (200, True)
        assert a.headers["x-switchboard-model"] == "m2"
        assert b"good" in a.body
        r = await g.record()
        assert (r.provider, r.model, r.outcome, r.attempts) == ("two", "m2", "complete", 2)


async def test_a_refused_request_is_nobody_else_s(shell: str) -> None:
    async with (
        ScriptServer(failing(400)) as first,
        ScriptServer(GOOD) as second,
        gateway(shell, **two(first, second)) as g,
    ):
        assert (await g.ask("/v1/chat/completions", chat("hi", model="fast"))).status == 400
        assert asked(second) == 0


async def test_never_another_target_after_content(shell: str) -> None:
    begun = b'data: {"choices":[{"index":0,"delta":{"content":"be"}}]}\n\n'
    async with (
        ScriptServer([Request(), stream_head(), chunk(begun), Reset()]) as first,
        ScriptServer(STREAM) as second,
        gateway(shell, **two(first, second, retry={"attempts": 3})) as g,
    ):
        a = await g.ask("/v1/chat/completions", chat("hi", model="fast", stream=True))
        assert (a.status, a.whole) == (200, False)
        assert a.events[-1]["error"]["code"] == "provider_cut"
        assert asked(second) == 0


async def test_all_fail(shell: str) -> None:
    async with (
        ScriptServer(failing(500)) as first,
        ScriptServer(failing(429, retry_after="7")) as second,
        gateway(shell, **two(first, second)) as g,
    ):
        a = await g.ask("/v1/chat/completions", chat("hi", model="fast"))
        assert (a.status, a.headers["retry-after"]) == (429, "7")


async def test_another_dialect_behind_the_same_name(shell: str) -> None:
    async with ScriptServer(failing(503)) as first, ScriptServer(ANTHROPIC) as second:
        settings = two(first, second)
        settings["providers"]["two"] |= {"type": "anthropic", "api_key": "sk-ant-routes-1"}
        async with gateway(shell, **settings) as g:
            a = await g.ask("/v1/chat/completions", chat("hi", model="fast", seed=1))
            assert a.json["choices"][0]["message"]["content"] == "good"
            assert a.headers["x-switchboard-dropped"] == "seed"


async def test_the_second_key_after_a_401_and_from_then_on(shell: str) -> None:
    async with ScriptServer(_first_refused) as up:
        row = {"type": "openai", "base_url": up.base_url, "api_key": ["sk-first-key", "sk-second-key"]}
        async with gateway(shell, providers={"up": row}, chat={"provider": "up", "model": "m"}) as g:
            for _ in range(3):
                a = await g.ask("/v1/chat/completions", chat("hi", model="m"))
                assert a.status == 200
            requests = [r for c in up.connections for r in c.requests]
            assert [b"sk-second-key" in r for r in requests] == [False, True, True, True]
            assert "sk-first" not in await g.log()


def _first_refused(n: int) -> Script:
    refusal = b"HTTP/1.1 401 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    return [Request(), refusal] if n == 0 else GOOD


async def test_every_key_refused(shell: str) -> None:
    async with ScriptServer(failing(401)) as up:
        row = {"type": "openai", "base_url": up.base_url, "api_key": ["sk-first-key", "sk-second-key"]}
        async with gateway(shell, providers={"up": row}, chat={"provider": "up", "model": "m"}) as g:
            a = await g.ask("/v1/chat/completions", chat("hi", model="m"))
            assert (a.status, a.json["error"]["code"]) == (502, "provider_auth")
            assert asked(up) == 2


async def test_it_is_tried_again(shell: str) -> None:
    async with ScriptServer([Request(), *list(failing(500))[1:2], Request(), answer(OK), Again()]) as up:
        settings: dict[str, Any] = {"providers": {"up": {"base_url": up.base_url}}, "chat": {"provider": "up"}}
        async with gateway(shell, **settings, retry={"wait": 0.1}) as g:
            a = await g.ask("/v1/chat/completions", chat("hi", model="m"))
            assert (a.status, asked(up), (await g.record()).attempts) == (200, 2, 2)


async def test_a_retry_after_is_waited_for(shell: str) -> None:
    async with ScriptServer([Request(), list(failing(429, retry_after="1"))[1], Request(), answer(OK), Again()]) as up:
        settings: dict[str, Any] = {"providers": {"up": {"base_url": up.base_url}}, "chat": {"provider": "up"}}
        async with gateway(shell, **settings, retry={"wait": 0.05}) as g:
            assert (await g.ask("/v1/chat/completions", chat("hi", model="m"))).status == 200
            assert (await g.record()).duration >= 1
        async with gateway(shell, **settings, retry={"longest": 0.5}) as g:
            assert (await g.ask("/v1/chat/completions", chat("hi", model="m"))).status == 429


async def test_who_leaves_while_a_retry_is_waited_for_is_not_asked_for(shell: str) -> None:
    async with ScriptServer(failing(500)) as up:
        settings: dict[str, Any] = {"providers": {"up": {"base_url": up.base_url}}, "chat": {"provider": "up"}}
        async with gateway(shell, **settings, retry={"wait": 1.0, "attempts": 5}) as g:
            c = await g.connect()
            body = json.dumps(chat("hi", model="m")).encode()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            await c.send(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
            await until(lambda: asked(up) == 1)
            c.writer.close()
            assert (await g.record()).outcome == "client_left"
            assert (asked(up), len(g.app.registry.open)) == (1, 0)


async def _open_circuits(g: Gateway) -> list[str]:
    text = (await g.ask("/metrics", method="GET")).text
    return [line for line in text.splitlines() if line.startswith("switchboard_target_open{")]


async def test_a_target_that_fails_five_times_is_left_alone_and_tried_again(
    shell: str, caplog: pytest.LogCaptureFixture
) -> None:
    healthy: list[bool] = []

    def script(n: int) -> Script:
        return GOOD if healthy else [Request(), list(failing(500))[1]]

    async with (
        ScriptServer(script) as first,
        ScriptServer(GOOD) as second,
        gateway(shell, **two(first, second, circuit={"failures": 5, "rest": 0.4})) as g,
    ):
        for _ in range(8):
            a = await g.ask("/v1/chat/completions", chat("hi", model="fast"))
            assert a.headers["x-switchboard-model"] == "m2"
        assert asked(first) == 5  # and not 8
        assert await _open_circuits(g) == ['switchboard_target_open{model="m1",provider="one"} 1.0']
        assert "failed 5 times in a row" in caplog.text
        healthy.append(True)

        async def recovered() -> str:
            a = await g.ask("/v1/chat/completions", chat("hi", model="fast"))
            return a.headers["x-switchboard-model"]

        seen = []
        while "m1" not in seen:
            seen.append(await recovered())
            assert len(seen) < 2000
        assert asked(first) == 6
        assert await _open_circuits(g) == []
        text = (await g.ask("/metrics", method="GET")).text
        assert 'switchboard_attempts_total{model="m1",provider="one",result="status_500"} 5.0' in text
        assert 'switchboard_attempts_total{model="m1",provider="one",result="ok"} 1.0' in text


async def test_the_only_target_is_asked_whatever_it_did(shell: str) -> None:
    async with ScriptServer([*([Request(), list(failing(500))[1]] * 6), Request(), answer(OK), Again()]) as up:
        settings: dict[str, Any] = {"providers": {"up": {"base_url": up.base_url}}, "chat": {"provider": "up"}}
        async with gateway(shell, **settings, retry={"attempts": 1}) as g:
            statuses = [(await g.ask("/v1/chat/completions", chat("hi", model="m"))).status for _ in range(7)]
            assert statuses == [503] * 6 + [200]


async def test_by_capability(shell: str) -> None:
    async with ScriptServer(GOOD) as first, ScriptServer(GOOD) as second:
        settings = two(first, second)
        settings["routes"] = {"fast": [{"target": "one/m1", "lacks": ["images"]}, "two/m2"]}
        settings["providers"]["two"]["lacks"] = ["tools"]
        picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
        tools = [{"type": "function", "function": {"name": "f"}}]
        async with gateway(shell, **settings) as g:
            a = await g.ask("/v1/chat/completions", chat("hi", model="fast"))
            assert a.headers["x-switchboard-model"] == "m1"
            body = {"model": "fast", "messages": [{"role": "user", "content": [picture]}]}
            a = await g.ask("/v1/chat/completions", body)
            assert a.headers["x-switchboard-model"] == "m2"
            a = await g.ask("/v1/chat/completions", body | {"tools": tools})
            assert (a.status, a.json["error"]["message"]) == (
                400,
                "The model 'fast' takes no request with images and tools.",
            )


async def test_by_weight(shell: str) -> None:
    async with ScriptServer(GOOD) as first, ScriptServer(GOOD) as second:
        settings = two(first, second)
        settings["routes"] = {
            "fast": [{"target": "one/m1", "weight": 1}, {"target": "two/m2", "weight": 3}, "one/spare"]
        }
        async with gateway(shell, **settings) as g:
            seen = [
                (await g.ask("/v1/chat/completions", chat("hi", model="fast"))).headers["x-switchboard-model"]
                for _ in range(80)
            ]
            assert set(seen) == {"m1", "m2"}
            assert seen.count("m2") > seen.count("m1")


async def test_strict_refuses_what_a_model_does_not_take(shell: str) -> None:
    async with ScriptServer(ANTHROPIC) as first, ScriptServer(GOOD) as second:
        settings = two(first, second)
        settings["providers"]["one"] |= {"type": "anthropic", "api_key": "sk-ant-routes-1"}
        settings["chat"]["strict"] = True
        async with gateway(shell, **settings) as g:
            a = await g.ask("/v1/chat/completions", chat("hi", model="one/m1", seed=3))
            assert (a.status, a.json["error"]["param"], asked(first)) == (400, "seed", 0)
            a = await g.ask("/v1/chat/completions", chat("hi", model="fast", seed=3))
            assert (a.status, a.headers["x-switchboard-model"]) == (200, "m2")


async def test_a_retired_model_is_answered_by_its_successor(shell: str, caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptServer(GOOD) as up:
        row = {"type": "openai", "base_url": up.base_url, "api_key": "sk-retired-1"}
        settings: dict[str, Any] = {"providers": {"up": row}, "chat": {"provider": "up", "model": "old-house-model"}}
        async with gateway(shell, **settings, retired_models={"old-house-model": "gpt-new"}) as g:
            for asked_for in ("old-house-model", "gpt-4o-realtime-preview-2024-12-17"):
                for _ in range(2):
                    a = await g.ask("/v1/chat/completions", chat("hi", model=asked_for))
                    assert a.status == 200
            assert a.headers["x-switchboard-model"] == "gpt-realtime-2.1"
            models = [json.loads(r.partition(b"\r\n\r\n")[2])["model"] for r in up.connections[0].requests]
            assert models == ["gpt-new", "gpt-new", "gpt-realtime-2.1", "gpt-realtime-2.1"]
            assert caplog.text.count("is retired") == 2


async def test_the_models_are_listed_with_the_routes(shell: str) -> None:
    async with ScriptServer(GOOD) as first, ScriptServer(GOOD) as second:
        settings = two(first, second)
        settings["providers"]["one"]["models"] = ["m1"]
        settings["providers"]["two"]["models"] = ["m2"]
        async with gateway(shell, **settings) as g:
            names = [m["id"] for m in (await g.ask("/v1/models", method="GET")).json["data"]]
            assert names[0] == "fast"
            assert {"m1", "m2"} <= set(names)


BEGUN = chunk(b'data: {"choices":[{"index":0,"delta":{"content":"be"}}]}\n\n')


@pytest.mark.parametrize(("rest", "answered_by"), [([Reset()], "two"), ([BEGUN, Reset()], "one")])
async def test_a_head_with_only_comments_behind_it_bars_no_other_target(
    shell: str, rest: list[Step], answered_by: str
) -> None:
    slow: Script = [Request(), stream_head(), Wait(0.8), *rest]
    settings = {"stream": {"head_after": 0.1, "quiet": 0.1}}
    async with ScriptServer(slow) as first, ScriptServer(STREAM) as second:
        tree = two(first, second, **settings)
        tree["providers"]["one"]["timeouts"] = {"first_event": 5}
        async with gateway(shell, **tree) as g:
            a = await g.ask("/v1/chat/completions", chat("hi", model="fast", stream=True))
            assert a.body.startswith(b": keep-alive\n\n")
            r = await g.record()
            assert (a.whole, r.provider, asked(second)) == (
                (True, "two", 1) if answered_by == "two" else (False, "one", 0)
            )
            assert r.first_byte is not None and r.first_byte > 0.7


async def test_a_key_that_is_refused_again_and_again_opens_the_circuit(shell: str) -> None:
    async with (
        ScriptServer(failing(401)) as first,
        ScriptServer(GOOD) as second,
        gateway(shell, **two(first, second, circuit={"failures": 3, "rest": 60})) as g,
    ):
        for _ in range(5):
            assert (await g.ask("/v1/chat/completions", chat("hi", model="fast"))).status == 200
        assert (asked(first), asked(second)) == (3, 5)


async def test_a_provider_that_refuses_a_request_is_alive(shell: str) -> None:
    async def twice(status: int) -> None:
        for _ in range(2):
            assert (await g.ask("/v1/chat/completions", chat("hi", model="one/m1"))).status == status

    closing: Script = [Request(), b"HTTP/1.1 500 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"]
    refusing: Script = [Request(), b"HTTP/1.1 400 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"]
    async with (
        ScriptServer(lambda n: refusing if n == 2 else closing) as first,
        ScriptServer(GOOD) as second,
        gateway(shell, **two(first, second, circuit={"failures": 3, "rest": 60})) as g,
    ):
        await twice(503)
        assert (await g.ask("/v1/chat/completions", chat("hi", model="one/m1"))).status == 400
        await twice(503)
        assert await _open_circuits(g) == ['switchboard_target_open{model="m1",provider="one"} 0.0']


async def test_who_leaves_after_content_was_answered(shell: str) -> None:
    begun = b'data: {"choices":[{"index":0,"delta":{"content":"be"}}]}\n\n'

    def script(n: int) -> Script:
        return [Request(), stream_head(), chunk(begun), Wait(30)] if n == 1 else [Request(), list(failing(500))[1]]

    async with (
        ScriptServer(script) as first,
        ScriptServer(GOOD) as second,
        gateway(shell, **two(first, second, circuit={"failures": 2, "rest": 60})) as g,
    ):
        assert (await g.ask("/v1/chat/completions", chat("hi", model="one/m1"))).status == 503
        assert await _open_circuits(g) == ['switchboard_target_open{model="m1",provider="one"} 0.0']
        c = await g.connect()
        body = json.dumps(chat("hi", model="one/m1", stream=True)).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        await c.send(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        await c.reader.readuntil(b'"be"')
        c.writer.close()
        await until(lambda: len(g.app.registry.open) == 0)
        assert await _open_circuits(g) == []


async def test_a_retry_that_cannot_be_built_ends_the_request(shell: str, caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptServer(failing(500)) as up:
        settings: dict[str, Any] = {"providers": {"up": {"base_url": up.base_url}}, "chat": {"provider": "up"}}
        async with gateway(shell, **settings, retry={"wait": 0.1}) as g:
            provider = g.app.runtime.providers["up"]
            asking = asyncio.create_task(g.ask("/v1/chat/completions", chat("hi", model="m")))
            await until(lambda: asked(up) == 1)
            provider.dialect = None  # type: ignore[assignment, method-assign]  # as a bug of ours would
            assert (await asking).status == 500
            assert (await g.record()).outcome == "internal_error"
            assert len(g.app.registry.open) == 0
