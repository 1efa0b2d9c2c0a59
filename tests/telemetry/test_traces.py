"""Spans, as a collector receives them."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.client import chat
from support.gateway import Gateway, gateway
from switchboard.net.script import Again, Request, Script, ScriptServer, answer

pytestmark = pytest.mark.anyio

OK: Script = [Request(), answer(b'{"choices":[{"index":0,"message":{"content":"good"}}]}'), Again()]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans(collector: ScriptServer) -> list[dict[str, Any]]:
    """What a collector was sent, each span with its attributes."""
    out = []
    for connection in collector.connections:
        for request in connection.requests:
            head, _, body = request.partition(b"\r\n\r\n")
            assert head.startswith(b"POST /v1/traces ")
            assert b"x-team: voice" in head.lower()
            if b"content-encoding: gzip" in head.lower():
                body = gzip.decompress(body)
            elif b"content-encoding: deflate" in head.lower():
                body = zlib.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                named = {a.key: a.value.string_value for a in resource.resource.attributes}
                assert named["service.name"] == "front-desk"
                for scope in resource.scope_spans:
                    out += [_plain(s) for s in scope.spans]
    return out


def _plain(span: Any) -> dict[str, Any]:
    told = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
    return told | {
        "name": span.name,
        "kind": span.kind,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        "status": span.status.code,
    }


async def sent_by(g: Gateway, n: int = 1) -> None:
    """Wait until the spans of `n` requests are at the collector."""
    await g.record(n)
    assert g.app.traces is not None
    assert await asyncio.to_thread(g.app.traces.flush)


@asynccontextmanager
async def collected() -> AsyncIterator[tuple[ScriptServer, dict[str, Any]]]:
    async with ScriptServer([Request(), answer(b""), Again()]) as collector:
        endpoint = f"http://127.0.0.1:{collector.port}"
        yield collector, {"traces": {"endpoint": endpoint, "service": "front-desk", "headers": {"x-team": "voice"}}}


async def test_a_request_and_the_call_inside_it(shell: str) -> None:
    async with collected() as (collector, settings), ScriptServer(OK) as up:
        provider = {"up": {"base_url": up.base_url}}
        async with gateway(shell, providers=provider, chat={"provider": "up", "model": "m"}, **settings) as g:
            headers = {"traceparent": PARENT, "tracestate": "x=1"}
            assert (await g.ask("/v1/chat/completions", chat("hi"), headers)).status == 200
            await sent_by(g)
        server, client = sorted(spans(collector), key=lambda s: s["kind"])
        assert (server["name"], server["kind"]) == ("POST /v1/chat/completions", 2)
        assert (client["name"], client["kind"]) == ("chat m", 3)
        assert server["trace"] == client["trace"] == "0af7651916cd43dd8448eb211c80319c"
        assert (server["parent"], client["parent"]) == ("b7ad6b7169203331", server["id"])
        sent = up.connections[0].requests[0].decode("latin-1")
        assert f"traceparent: 00-{client['trace']}-{client['id']}-01\r\n" in sent
        assert "tracestate: x=1\r\n" in sent
        assert (server["http.response.status_code"], server["switchboard.outcome"]) == (200, "complete")
        assert client["gen_ai.operation.name"] == "chat"
        assert (client["gen_ai.provider.name"], client["gen_ai.request.model"]) == ("openai", "m")
        assert (client["gen_ai.usage.input_tokens"], client["gen_ai.usage.output_tokens"]) == (1, 1)
        assert 0 < client["seconds"] <= server["seconds"] < 5
        assert server["status"] == client["status"] == 0


async def test_a_trace_of_its_own_and_errors(shell: str) -> None:
    refusal = b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n{}"
    async with collected() as (collector, settings), ScriptServer([Request(), refusal, Again()]) as up:
        provider = {"up": {"base_url": up.base_url}}
        chats = {"provider": "up", "model": "m"}
        async with gateway(shell, providers=provider, chat=chats, retry={"attempts": 1}, **settings) as g:
            assert (await g.ask("/v1/chat/completions", chat("hi"))).status == 503
            assert (await g.ask("/health/live", method="GET")).status == 200
            await sent_by(g, 2)
        found = spans(collector)
        server, client = next(s for s in found if s.get("switchboard.outcome") == "upstream_error"), found[1]
        assert len(server["trace"]) == 32 and server["parent"] == ""
        assert server["error.type"] == client["error.type"] == "PROVIDER_UNAVAILABLE"
        assert server["status"] == client["status"] == 2
        assert found[2]["name"] == "GET"
        assert found[2]["trace"] != server["trace"]


async def test_what_the_caller_does_not_sample_is_not_traced(shell: str) -> None:
    async with collected() as (collector, settings), ScriptServer(OK) as up:
        provider = {"up": {"base_url": up.base_url}}
        async with gateway(shell, providers=provider, chat={"provider": "up", "model": "m"}, **settings) as g:
            unsampled = PARENT[:-1] + "0"
            await g.ask("/v1/chat/completions", chat("hi"), {"traceparent": unsampled})
            await g.record()
            assert f"traceparent: {unsampled}\r\n".encode() in up.connections[0].requests[0]
            for nonsense in ("00-" + "0" * 32 + "-b7ad6b7169203331-01", "garbage"):
                await g.ask("/v1/chat/completions", chat("hi"), {"traceparent": nonsense})
            await sent_by(g, 3)
        assert len(spans(collector)) == 4  # two requests with traces of their own


async def test_a_collector_that_is_not_there_holds_nothing_up(shell: str) -> None:
    settings: dict[str, Any] = {"traces": {"endpoint": "http://127.0.0.1:9"}}
    async with asyncio.timeout(8), gateway(shell, **settings) as g:
        assert (await g.ask("/api/chat", chat("hi"))).status == 200
