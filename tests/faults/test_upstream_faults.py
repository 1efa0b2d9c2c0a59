"""Whatever a provider does: the status, the body, and the line in the log."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from msgspec import Struct

from support.client import chat
from support.gateway import gateway
from switchboard.net.script import Hang, Request, Reset, Script, ScriptServer, Wait, answer, chunk, stream_head

pytestmark = pytest.mark.anyio

CONTENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hello "},"finish_reason":null}]}\n\n'
ERROR = b'{"error":{"message":"Key sk-abcdef123456 at https://api.provider.example/v1 failed","type":"server_error","code":null}}'
SECRET = "sk-canary-0123456789abcdef"


class Fault(Struct):
    """What the provider does, and what has to come of it. `cut`: the stream was under way, and ends with an error."""

    script: Script
    status: int
    code: str
    outcome: str
    cut: bool = False
    streamed_only: bool = False
    headers: dict[str, str] = {}


def failing(status: int, headers: str = "") -> Script:
    return [Request(), answer(ERROR, status=status, headers=headers)]


FAULTS = {
    "reset before an answer": Fault([Request(), Reset()], 502, "PROVIDER_UNREACHABLE", "upstream_error"),
    "closed before an answer": Fault([Request()], 502, "PROVIDER_UNREACHABLE", "upstream_error"),
    "401": Fault(failing(401), 502, "PROVIDER_AUTH", "upstream_error"),
    "403": Fault(failing(403), 502, "PROVIDER_AUTH", "upstream_error"),
    "429 with retry-after": Fault(
        failing(429, "retry-after: 17\r\n"),
        429,
        "PROVIDER_RATE_LIMITED",
        "upstream_error",
        headers={"retry-after": "17"},
    ),
    "429 without": Fault(failing(429), 429, "PROVIDER_RATE_LIMITED", "upstream_error", headers={"retry-after": "5"}),
    "500": Fault(failing(500), 503, "PROVIDER_UNAVAILABLE", "upstream_error", headers={"retry-after": "5"}),
    "502": Fault(failing(502), 503, "PROVIDER_UNAVAILABLE", "upstream_error"),
    "529": Fault(failing(529), 503, "PROVIDER_UNAVAILABLE", "upstream_error"),
    "301": Fault(failing(301, "location: http://elsewhere/\r\n"), 502, "PROVIDER_PROTOCOL", "upstream_error"),
    "hang before the head": Fault([Request(), Hang()], 504, "PROVIDER_TIMEOUT", "upstream_error"),
    "not HTTP": Fault([Request(), b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], 502, "PROVIDER_PROTOCOL", "upstream_error"),
    "a page of HTML": Fault(
        [Request(), answer(b"<html>welcome</html>", kind="text/html")], 502, "PROVIDER_PROTOCOL", "upstream_error"
    ),
    "truncated JSON": Fault([Request(), answer(b'{"choices": [{"ind')], 502, "PROVIDER_PROTOCOL", "upstream_error"),
    "200 with an error": Fault([Request(), answer(ERROR)], 503, "PROVIDER_UNAVAILABLE", "upstream_error"),
    "a coding nobody asked for": Fault(
        [Request(), answer(b"\x1b\x03", headers="content-encoding: br\r\n")], 502, "PROVIDER_PROTOCOL", "upstream_error"
    ),
    "an error as first event": Fault(
        [Request(), stream_head(), chunk(b"data: " + ERROR + b"\n\n"), Hang()],
        503,
        "PROVIDER_UNAVAILABLE",
        "upstream_error",
        streamed_only=True,
    ),
    "an error as first event after comments": Fault(
        [Request(), stream_head(), chunk(b": hello\n\n"), chunk(b"event: error\ndata: " + ERROR + b"\n\n"), Hang()],
        503,
        "PROVIDER_UNAVAILABLE",
        "upstream_error",
        streamed_only=True,
    ),
    "a refusal as first event": Fault(
        [
            Request(),
            stream_head(),
            chunk(b'data: {"error":{"message":"no","type":"invalid_request_error"}}\n\n'),
            Hang(),
        ],
        400,
        "PROVIDER_REJECTED",
        "upstream_error",
        streamed_only=True,
    ),
    "a clean end before anything": Fault(
        [Request(), stream_head(), chunk(b"")], 502, "PROVIDER_CUT", "upstream_error", streamed_only=True
    ),
    "hang in the middle": Fault(
        [Request(), stream_head(), chunk(CONTENT), Hang()],
        200,
        "PROVIDER_TIMEOUT",
        "upstream_cut",
        cut=True,
        streamed_only=True,
    ),
    "reset in the middle": Fault(
        [Request(), stream_head(), chunk(CONTENT), Wait(0.05), Reset()],
        200,
        "PROVIDER_CUT",
        "upstream_cut",
        cut=True,
        streamed_only=True,
    ),
    "closed in the middle": Fault(
        [Request(), stream_head(), chunk(CONTENT)], 200, "PROVIDER_CUT", "upstream_cut", cut=True, streamed_only=True
    ),
    "a clean end without a terminator": Fault(
        [Request(), stream_head(), chunk(CONTENT), chunk(b"")],
        200,
        "PROVIDER_CUT",
        "upstream_cut",
        cut=True,
        streamed_only=True,
    ),
    "garbage in the middle": Fault(
        [Request(), stream_head(), chunk(CONTENT), chunk(b"data: {{{\xff\n\n"), Hang()],
        200,
        "PROVIDER_PROTOCOL",
        "upstream_cut",
        cut=True,
        streamed_only=True,
    ),
    "an error in the middle": Fault(
        [Request(), stream_head(), chunk(CONTENT), chunk(b"data: " + ERROR + b"\n\n"), Hang()],
        200,
        "PROVIDER_UNAVAILABLE",
        "upstream_cut",
        cut=True,
        streamed_only=True,
    ),
    "an event over the limit": Fault(
        [Request(), stream_head(), chunk(CONTENT), *[chunk(b"x" * 10_000)] * 4, Hang()],
        200,
        "PROVIDER_PROTOCOL",
        "upstream_cut",
        cut=True,
        streamed_only=True,
    ),
    "an HTTP chunk that is none": Fault(
        [Request(), stream_head(), chunk(CONTENT), b"zz\r\nwhat\r\n", Hang()],
        200,
        "PROVIDER_PROTOCOL",
        "upstream_cut",
        cut=True,
        streamed_only=True,
    ),
}


def settings_for(base_url: str, **more: Any) -> dict[str, Any]:
    """A gateway in front of `base_url`, with short times."""
    times = {"connect": 1, "first_event": 0.4, "idle": 0.4, "total": 0.8}
    return {
        "providers": {"up": {"base_url": base_url, "api_key": SECRET, "models": ["m"]} | more},
        "timeouts": times,
        "limits": {"event": 20_000},
    }


def check_nothing_leaks(text: str) -> None:
    for word in ("sk-abcdef123456", "provider.example", SECRET, "Traceback", "127.0.0.1"):
        assert word not in text


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("surface", ["simple", "openai", "v1", "v1-whole"])
async def test_fault(shell: str, name: str, surface: str) -> None:
    fault = FAULTS[name]
    whole = surface == "v1-whole"
    if whole and fault.streamed_only:
        whole, surface = False, "v1"
    path = "/v1/chat/completions" if surface.startswith("v1") else f"/api/chat?format={surface}"
    async with ScriptServer(fault.script) as up, gateway(shell, **settings_for(up.base_url)) as g:
        a = await g.ask(path, chat(model="m", stream=not whole))
        check_nothing_leaks(a.text)
        assert a.status == fault.status, a.text
        for header, value in fault.headers.items():
            assert a.headers[header] == value
        if fault.cut:
            last = a.events[-1]
            assert a.events[0]["content"] == "Hello " if surface == "simple" else "choices" in a.events[0]
            assert last["error"]["code"] == (fault.code if surface == "simple" else fault.code.lower())
            assert last.get("done", False) is False
            assert "[DONE]" not in a.text
            assert not a.whole
        else:
            code = a.json["error"]["code"]
            assert a.whole
            if surface.startswith("v1"):
                assert a.json["error"]["type"]
                assert code == fault.code.lower() or fault.code == "PROVIDER_REJECTED"
            else:
                assert code == fault.code
        r = await g.record()
        # an answer that is not streamed may take all of the whole time, and no less
        outcome = "timeout" if whole and fault.code == "PROVIDER_TIMEOUT" else fault.outcome
        assert (r.status, r.outcome, r.error, r.provider, r.model) == (fault.status, outcome, fault.code, "up", "m")
        log = await g.log()
        assert outcome in log
        assert SECRET not in log
        assert len(g.records) == 1
        assert not g.app.registry.open


async def test_refused(shell: str) -> None:
    async with ScriptServer([]) as closed:
        url = closed.base_url
    async with gateway(shell, **settings_for(url)) as g:
        a = await g.ask("/api/chat", chat())
        assert (a.status, a.json["error"]["code"]) == (502, "PROVIDER_UNREACHABLE")
        assert (await g.record()).detail.startswith("up: refused")


async def test_dns_failure(shell: str) -> None:
    async with gateway(shell, **settings_for("http://does-not-exist.invalid/v1")) as g:
        a = await g.ask("/v1/chat/completions", chat(model="m"))
        assert (a.status, a.json["error"]["code"]) == (502, "provider_unreachable")
        assert "invalid" not in a.json["error"]["message"]
        assert "dns" in (await g.record()).detail


def tls_server(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


async def test_tls_failure(shell: str) -> None:
    async with (
        ScriptServer([Request()], tls=tls_server(trustme.CA())) as up,
        gateway(shell, **settings_for(up.base_url)) as g,
    ):
        a = await g.ask("/api/chat", chat())
        assert (a.status, a.json["error"]["code"]) == (502, "PROVIDER_UNREACHABLE")
        assert "tls" in (await g.record()).detail
        assert up.connections == [] or up.connections[0].heard == b""


async def test_tls_with_a_trusted_authority(shell: str, tmp_path: Any) -> None:
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"safe"},"finish_reason":"stop"}]}'
    async with (
        ScriptServer([Request(), answer(body)], tls=tls_server(authority)) as up,
        gateway(shell, **settings_for(up.base_url, ca_file=str(file))) as g,
    ):
        a = await g.ask("/api/chat", chat(stream=False))
        assert a.json == {"content": "safe", "done": True}


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refused_request_is_passed_on_without_secrets(shell: str, status: int) -> None:
    body = (
        b'{"error":{"message":"Bad tool at https://api.x.com/v1 with sk-canary-0123456789abcdef","type":"invalid_request_error",'
        b'"param":"tools[0]","code":"bad_tool"}}'
    )
    script: Script = [Request(), answer(body, status=status)]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up.base_url)) as g:
        v1 = await g.ask("/v1/chat/completions", chat(model="m"))
        assert v1.status == status
        assert v1.json["error"] == {
            "message": "Bad tool at [hidden] with ***",
            "type": "invalid_request_error",
            "param": "tools[0]",
            "code": "bad_tool",
        }
        other = await g.ask("/api/chat", chat())
        assert (other.status, other.json["error"]["code"]) == (400, "PROVIDER_REJECTED")
        assert "tool" not in other.text


async def test_without_done_but_finished_is_complete(shell: str) -> None:
    last = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    script: Script = [Request(), stream_head(), chunk(CONTENT), chunk(last), chunk(b"")]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up.base_url)) as g:
        v1 = await g.ask("/v1/chat/completions", chat(model="m", stream=True))
        assert (v1.whole, v1.events[-1]) == (True, "[DONE]")
        simple = await g.ask("/api/chat", chat())
        assert (simple.whole, simple.events[-1]) == (True, {"content": "", "done": True})
        assert [r.outcome for r in g.records] == ["complete", "complete"]


async def test_a_slow_first_event_gets_a_head_and_comments(shell: str) -> None:

    script: Script = [Request(), Wait(1.2), stream_head(), chunk(CONTENT), chunk(b"data: [DONE]\n\n"), chunk(b"")]
    async with ScriptServer(script) as up:
        settings = settings_for(up.base_url) | {
            "timeouts": {"first_event": 5},
            "stream": {"head_after": 0.3, "quiet": 0.3},
        }
        async with gateway(shell, **settings) as g:
            a = await g.ask("/api/chat", chat())
            assert a.text.startswith(": keep-alive\n\n")
            assert a.events == [{"content": "Hello ", "done": False}, {"content": "", "done": True}]
            assert a.whole


async def test_a_stale_connection_is_replaced(shell: str) -> None:
    """The provider closes each connection while it is idle; nobody notices."""
    body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}'
    scripts: list[Callable[[], Script]] = [lambda: [Request(), answer(body), Request(), Reset()]]
    async with ScriptServer(lambda n: scripts[0]()) as up, gateway(shell, **settings_for(up.base_url)) as g:
        for _ in range(6):
            assert (await g.ask("/api/chat", chat(stream=False))).status == 200
        # every second request met a connection that broke before it said anything, and went out again
        assert len(up.connections) > 1
        assert all(r.outcome == "complete" for r in g.records)
