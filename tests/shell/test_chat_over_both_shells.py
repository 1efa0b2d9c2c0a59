"""What every shell has to do alike: one suite, run over both."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.client import chat
from support.gateway import gateway

pytestmark = pytest.mark.anyio


async def test_simple_stream(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/api/chat", chat("Hello there!"))
        assert (a.status, a.whole) == (200, True)
        assert a.headers["content-type"] == "text/event-stream"
        assert a.headers["cache-control"] == "no-cache"
        assert a.headers["x-accel-buffering"] == "no"
        assert a.events == [
            {"content": "Hello ", "done": False},
            {"content": "there!", "done": False},
            {"content": "", "done": True},
        ]
        r = await g.record()
        assert (r.status, r.outcome, r.dialect, r.provider, r.model) == (
            200,
            "complete",
            "simple_chat",
            "offline",
            "echo",
        )
        assert (r.tokens_in, r.tokens_out, r.tokens_estimated) == (2, 2, False)


async def test_simple_whole(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/api/v1/chat", chat("Hello there!", stream=False))
        assert (a.status, a.json) == (200, {"content": "Hello there!", "done": True})


async def test_openai_stream_and_usage(shell: str) -> None:
    async with gateway(shell) as g:
        body = chat("one two", model="echo", stream=True)
        plain = await g.ask("/v1/chat/completions", body)
        assert plain.events[-1] == "[DONE]"
        assert all("usage" not in e for e in plain.events[:-1])
        assert "".join(e["choices"][0]["delta"].get("content", "") for e in plain.events[:-1]) == "one two"
        asked = await g.ask("/v1/chat/completions", body | {"stream_options": {"include_usage": True}})
        assert asked.events[-2]["usage"]["total_tokens"] == 4
        assert asked.events[-2]["choices"] == []
        assert len(g.records) == 2


async def test_openai_whole(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/v1/chat/completions", chat("hi", model="echo"))
        assert a.json["object"] == "chat.completion"
        assert a.json["choices"][0]["message"]["content"] == "hi"
        assert a.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "first"),
    [
        (chat(model="gpt-4o", max_tokens=1000), "choices"),
        (chat(), "content"),
        (
            {
                "id": "c",
                "trigger": "submit-message",
                "messages": [{"role": "user", "parts": [{"type": "text", "text": "a b"}]}],
            },
            "type",
        ),
    ],
)
async def test_auto_goes_by_the_body(shell: str, body: dict[str, Any], first: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/api/chat", body)
        assert a.status == 200
        assert first in a.events[0]


async def test_deep_chat(shell: str) -> None:
    async with gateway(shell) as g:
        body = {"messages": [{"role": "user", "text": "Hello there"}]}
        whole = await g.ask("/api/chat", body)
        assert whole.json == {"text": "Hello there"}
        streamed = await g.ask("/api/chat", body, {"accept": "text/event-stream"})
        assert streamed.events == [{"text": "Hello "}, {"text": "there"}]
        failed = await g.ask("/api/chat", body | {"messages": [{"role": "robot", "text": "x"}]})
        assert failed.status == 400


async def test_text(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/api/chat?format=text", chat("Hello there"))
        assert (a.headers["content-type"], a.text) == ("text/plain; charset=utf-8", "Hello there")


async def test_ui_message_stream(shell: str) -> None:
    async with gateway(shell) as g:
        body = {"id": "c1", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "a b"}]}]}
        a = await g.ask("/api/chat", body)
        assert a.headers["x-vercel-ai-ui-message-stream"] == "v1"
        kinds = [e["type"] if isinstance(e, dict) else e for e in a.events]
        assert kinds == [
            "start",
            "start-step",
            "text-start",
            "text-delta",
            "text-delta",
            "text-end",
            "finish-step",
            "finish",
            "[DONE]",
        ]


async def test_echo_test_of_a_message(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/api/chat", {"message": "Hello there"})
        assert a.json == {"content": "Hello there", "done": True}


async def test_tool_calls_in_simple(shell: str) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("one", "two")]
    async with gateway(shell, chat={"model": "tool-call"}) as g:
        a = await g.ask("/api/chat", chat('{"x": 1}', tools=tools))
        calls = [e["tool_call"] for e in a.events if "tool_call" in e]
        assert [(c["name"], c["arguments"]) for c in calls] == [("one", '{"x": 1}'), ("two", '{"x": 1}')]
        assert a.events[-1] == {"content": "", "done": True}


async def test_keep_alive_serves_many_requests(shell: str) -> None:
    async with gateway(shell) as g:
        c = await g.connect()
        from support.client import request

        for n in range(5):
            await c.send(request("/api/chat", chat(f"number {n}", stream=False)))
            a = await c.answer()
            assert a.json["content"] == f"number {n}"
        await c.send(request("/health", method="GET"))
        assert (await c.answer()).json["status"] == "ok"
        c.close()


async def test_many_at_once(shell: str) -> None:
    async with gateway(shell) as g:
        answers = await asyncio.gather(*[g.ask("/api/chat", chat(f"a {n} b")) for n in range(100)])
        texts = ["".join(e["content"] for e in a.events) for a in answers]
        assert texts == [f"a {n} b" for n in range(100)]
        assert len(g.records) == 100


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/v1/chat/completions", {"message", "type", "param", "code"}), ("/api/chat", {"message", "code"})],
)
async def test_errors_have_the_surface_s_shape(shell: str, path: str, shape: set[str]) -> None:
    async with gateway(shell) as g:
        a = await g.ask(path, {"messages": []}, {"x-request-id": "mine-1"})
        assert a.status == 400
        assert set(a.json["error"]) == shape
        assert a.json["request_id"] == a.headers["x-request-id"] == "mine-1"


async def test_no_key_is_said(shell: str) -> None:
    async with gateway(shell, chat={"provider": "openai"}) as g:
        a = await g.ask("/api/chat", chat())
        assert a.status == 500
        assert a.json["error"] == {"message": "OpenAI API key not configured", "code": "API_KEY_NOT_CONFIGURED"}
        v1 = await g.ask("/v1/chat/completions", chat(model="gpt-4o"))
        assert v1.status == 500
        assert v1.headers["x-should-retry"] == "false"
        stream = await g.ask("/api/chat?format=simple", chat(stream=True))
        assert stream.status == 500


async def test_access_key(shell: str) -> None:
    async with gateway(shell, auth={"access_key": "correct-horse"}) as g:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic correct-horse"}):
            a = await g.ask("/api/chat", chat(), headers)
            assert a.status == 401
            assert a.headers["www-authenticate"].startswith("Bearer")
        for headers in ({"authorization": "Bearer correct-horse"}, {"x-api-key": "correct-horse"}):
            assert (await g.ask("/api/chat", chat(), headers)).status == 200
        for path in ("/metrics", "/docs", "/v1/models", "/openapi.json"):
            assert (await g.ask(path)).status == 401
        for path in ("/", "/health", "/health/live", "/health/ready", "/api/status"):
            assert (await g.ask(path)).status == 200


async def test_who_calls_is_decided_before_the_body(shell: str) -> None:
    async with gateway(shell, auth={"access_key": "k1"}) as g:
        c = await g.connect()
        await c.send(
            b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n{"
        )
        status, _ = await c.head()
        assert status == 401
        c.close()


async def test_rate_limit(shell: str) -> None:
    async with gateway(shell, limits={"requests_per_minute": 60}) as g:
        answers = await asyncio.gather(*[g.ask("/api/chat", chat("x", stream=False)) for _ in range(200)])
        assert sum(a.status == 200 for a in answers) == 60
        refused = next(a for a in answers if a.status == 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 62
        assert refused.headers["x-ratelimit-limit-requests"] == "60"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.json["error"]["code"] == "RATE_LIMITED"


async def test_cors(shell: str) -> None:
    async with gateway(shell) as g:
        origin = {"origin": "http://localhost:5173"}
        for path, body in (("/api/chat", chat("x")), ("/api/chat", {}), ("/health", None), ("/nothing", None)):
            a = await g.ask(path, body, origin)
            assert a.headers["access-control-allow-origin"] == "http://localhost:5173"
            assert a.headers["access-control-allow-credentials"] == "true"
            assert "x-request-id" in a.headers["access-control-expose-headers"]
        wanted = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-stainless-os, authorization",
        }
        pre = await g.ask("/v1/chat/completions", None, origin | wanted, method="OPTIONS")
        assert pre.status == 204
        assert pre.headers["access-control-allow-headers"] == "x-stainless-os, authorization"
        evil = await g.ask("/api/chat", chat("x"), {"origin": "https://evil.example"})
        assert evil.status == 403
        assert "access-control-allow-origin" not in evil.headers
        seen = await g.ask("/health", None, {"origin": "https://evil.example"})
        assert (seen.status, "access-control-allow-origin" in seen.headers) == (200, False)
        own = await g.ask(
            "/api/chat", chat("x"), {"origin": f"http://127.0.0.1:{g.port}", "host": f"127.0.0.1:{g.port}"}
        )
        assert own.status == 200


async def test_unknown_host(shell: str) -> None:
    async with gateway(shell) as g:
        bad = {"host": "rebound.example"}
        assert (await g.ask("/api/chat", chat(), bad)).status == 400
        assert (await g.ask("/v1/models", None, bad)).json["error"]["code"] == "unknown_host"
        assert (await g.ask("/health", None, bad)).status == 200


async def test_content_types(shell: str) -> None:
    async with gateway(shell) as g:
        assert (await g.ask("/api/chat", chat(), {"content-type": "text/plain"})).status == 415
        assert (await g.ask("/api/chat", chat(), {"content-type": ""})).status == 200
        assert (await g.ask("/api/chat", chat(), {"content-type": "Application/JSON; charset=utf-8"})).status == 200
        empty = await g.ask("/api/chat", b"", {"content-type": "text/plain"})
        assert (empty.status, empty.json["error"]["code"]) == (400, "INVALID_JSON")


async def test_body_over_the_limit(shell: str) -> None:
    async with gateway(shell, limits={"json_body": 1000}) as g:
        by_length = await g.ask("/api/chat", chat("x" * 2000))
        assert by_length.status == 413
        c = await g.connect()
        await c.send(
            b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n800\r\n" + b"x" * 0x800
        )
        assert (await c.head())[0] == 413
        c.close()


async def test_server_prompt_and_parameters(shell: str) -> None:
    from switchboard.net.script import Request, ScriptServer, answer

    whole = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}'
    async with ScriptServer([Request(), answer(whole)]) as up:
        settings: dict[str, Any] = {
            "providers": {"up": {"base_url": up.base_url}},
            "chat": {
                "model": "m1",
                "system_prompt": "Be brief.",
                "temperature": 0.5,
                "max_tokens_cap": 10,
                "locked": ["top_p"],
            },
        }
        async with gateway(shell, **settings) as g:
            body = chat("hi", stream=False, max_tokens=50, top_p=0.1, stop=["x"])
            body["messages"].insert(0, {"role": "system", "content": "Be rude."})
            a = await g.ask("/api/chat", body)
            assert a.status == 200, a.text
            assert set(a.headers["x-switchboard-dropped"].split(", ")) == {"top_p", "max_tokens", "system"}
        import json

        sent = json.loads(up.connections[0].requests[0].partition(b"\r\n\r\n")[2])
        assert sent == {
            "model": "m1",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
            "temperature": 0.5,
            "max_tokens": 10,
            "stop": ["x"],
        }
