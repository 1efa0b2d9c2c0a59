"""How an error looks on each surface, and that every one that may be retried says when."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.client import chat
from support.gateway import gateway
from switchboard.core.errors import CODES, Fault, Problem, UpstreamError
from switchboard.surface import problem as shapes

SHAPES = {"openai": shapes.openai, "common": shapes.common, "deep_chat": shapes.deep_chat}


def header_lines(lines: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines.decode().split("\r\n") if line)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_code_on_every_surface(code: str, shape: str) -> None:
    p = Problem(code, detail="/srv/secret.py line 3: Canary7Kq9z")
    status, lines, body = SHAPES[shape](p, "r-1")
    row = CODES[code]
    assert status == row.status
    headers = header_lines(lines)
    assert headers["content-type"] == "application/json"
    assert ("retry-after" in headers) == (status in (429, 503))
    value = json.loads(body)
    assert value["request_id"] == "r-1"
    assert b"Canary" not in body and b"detail" not in body
    if shape == "openai":
        assert value["error"] == {"message": row.meaning, "type": row.type, "param": None, "code": code.lower()}
    elif shape == "common":
        assert value["error"] == {"message": row.meaning, "code": code}
    else:
        assert (value["error"], value["code"]) == (row.meaning, code)


def test_names_of_codes_are_in_upper_snake_and_have_a_sentence() -> None:
    for code, row in CODES.items():
        assert code == code.upper() and code.replace("_", "").isalpha()
        assert row.meaning.endswith(".")
        assert 300 <= row.status < 600


def test_a_missing_key_is_not_worth_a_second_try() -> None:
    _, lines, _ = shapes.openai(Problem("API_KEY_NOT_CONFIGURED"), "r")
    assert header_lines(lines)["x-should-retry"] == "false"
    _, lines, _ = shapes.openai(Problem("INTERNAL_ERROR"), "r")
    assert "x-should-retry" not in header_lines(lines)


def test_the_named_wait_is_told() -> None:
    _, lines, _ = shapes.common(Problem("RATE_LIMITED", retry_after="17"), "r")
    assert header_lines(lines)["retry-after"] == "17"


def rejected(message: str) -> Problem:
    upstream = UpstreamError(Fault.STATUS, message, status=422, type="invalid_request_error", param="n", code="bad_n")
    return Problem("PROVIDER_REJECTED", upstream=upstream, detail=message)


def test_a_provider_s_refusal_is_passed_on_by_v1_only() -> None:
    p = rejected("n is too large")
    status, _, body = shapes.openai(p, "r")
    assert status == 422
    assert json.loads(body)["error"] == {
        "message": "n is too large",
        "type": "invalid_request_error",
        "param": "n",
        "code": "bad_n",
    }
    for shape in (shapes.common, shapes.deep_chat):
        status, _, body = shape(p, "r")
        assert status == 400
        assert b"too large" not in body and b"bad_n" not in body


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        ("key Canary7Kq9z is wrong", "Canary7Kq9z"),
        ("key sk-proj-abcdef123456 is wrong", "abcdef"),
        ("see https://internal.example/v1/x", "internal"),
        ("at llm-7.internal:8443 now", "llm-7"),
        ("at 10.1.2.3:8000 now", "10.1.2.3"),
        ("Authorization: Bearer abcdef123456", "abcdef"),
    ],
)
def test_but_without_secrets_and_hosts(said: str, hidden: str) -> None:
    _, _, body = shapes.openai(rejected(said), "r", ("Canary7Kq9z",))
    message = json.loads(body)["error"]["message"]
    assert hidden not in message
    assert message != ""


@pytest.mark.parametrize("shape", ["openai", "anthropic"])
@pytest.mark.parametrize("field", ["message", "type", "param", "code"])
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Canary7Kq9z", "***"),
        ("sk-proj-abcdef123456", "***"),
        ("https://internal.example/v1/Canary7Kq9z", "[hidden]"),
        ("llm-7.internal:8443", "[hidden]"),
        ("10.1.2.3:8000", "[hidden]"),
        ("messages[0].content", "messages[0].content"),
        ("invalid_value", "invalid_value"),
    ],
)
def test_no_word_of_it_has_secrets_or_hosts(shape: str, field: str, said: str, shown: str) -> None:
    words: dict[str, Any] = {"message": "no", "type": "t", "param": "p", "code": "c"} | {field: said}
    p = Problem("PROVIDER_REJECTED", upstream=UpstreamError(Fault.STATUS, status=422, **words))
    _, _, body = getattr(shapes, shape)(p, "r", ("Canary7Kq9z",))
    error = json.loads(body)["error"]
    if shape == "openai" or field in ("message", "type"):
        assert error[field] == shown
        assert [error[n] for n in words if n != field and n in error] == [
            words[n] for n in words if n != field and n in error
        ]
    assert said == shown or said not in body.decode()


@pytest.mark.parametrize(
    ("path", "openai"),
    [("/v1", True), ("/v1/", True), ("/v1/x", True), ("/v10", False), ("/", False), ("/api/v1/x", False), ("?", False)],
)
def test_the_surface_of_a_path(path: str, openai: bool) -> None:
    value = json.loads(shapes.for_path(path, Problem("NOT_FOUND"), "r")[2])
    assert ("type" in value["error"]) is openai


# ---- through a gateway


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/api/chat", 405, "METHOD_NOT_ALLOWED"),
        ("PUT", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/models/nonesuch", 404, "model_not_found"),
    ],
)
async def test_ordinary_endpoints_have_the_same_shapes(
    shell: str, method: str, path: str, status: int, code: str
) -> None:
    async with gateway(shell) as g:
        a = await g.ask(path, None, {"x-request-id": "mine"}, method=method)
        assert (a.status, a.json["error"]["code"], a.json["request_id"]) == (status, code, "mine")
        assert "detail" not in a.json
        if status == 405:
            assert a.headers["allow"]


@pytest.mark.anyio
async def test_every_429_and_503_says_when_to_come_again(shell: str) -> None:
    async with gateway(shell, limits={"requests_per_minute": 4}) as g:
        for model, status, wait in (("error-429", 429, "7"), ("error-500", 503, "5"), ("error-529", 503, "5")):
            a = await g.ask("/v1/chat/completions", chat(model=model))
            assert (a.status, a.headers["retry-after"]) == (status, wait)
        await g.ask("/api/chat", chat("x"))
        limited = await g.ask("/api/chat", chat("x"))
        assert limited.status == 429 and int(limited.headers["retry-after"]) >= 1
        g.app.state.stopping = True
        ready = await g.ask("/health/ready")
        assert (ready.status, ready.headers["retry-after"]) == (503, "5")


@pytest.mark.anyio
async def test_a_locked_stream_is_not_the_client_s_to_choose(shell: str) -> None:
    async with gateway(shell, chat={"locked": ["stream"]}) as g:
        a = await g.ask("/api/chat", chat("x", stream=False))
        assert a.headers["content-type"] == "text/event-stream"
        assert a.headers["x-switchboard-dropped"] == "stream"
        b = await g.ask("/v1/chat/completions", chat("x", model="echo", stream=True))
        assert b.headers["content-type"] == "application/json"
        assert b.headers["x-switchboard-dropped"] == "stream"


@pytest.mark.anyio
async def test_a_model_that_nobody_serves(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/api/chat", chat("x", model="gpt-4o", stream=False))
        assert (a.status, a.headers["x-switchboard-model"]) == (200, "echo")
        assert "model" in a.headers["x-switchboard-dropped"]
        b = await g.ask("/v1/chat/completions", chat("x", model="gpt-4o"))
        assert (b.status, b.json["error"]["code"], b.json["error"]["param"]) == (404, "model_not_found", "model")
        c = await g.ask("/v1/chat/completions", chat("x", model="echo"))
        assert "x-switchboard-model" not in c.headers
        for path in ("/api/chat", "/v1/chat/completions"):
            d = await g.ask(path, chat("x", model="no such name"))
            assert d.status == 400


@pytest.mark.anyio
async def test_a_model_of_the_settings_that_offline_does_not_have(shell: str) -> None:
    """AI_MODEL is set and no key is: the offline provider answers all the same, so that every path can be tried."""
    async with gateway(shell, chat={"model": "gpt-4o"}) as g:
        for body in (chat("Hello there", stream=False), chat("Hello there", stream=False, model="gpt-4o")):
            a = await g.ask("/api/chat?format=simple", body)
            assert (a.status, a.json) == (200, {"content": "Hello there", "done": True})


@pytest.mark.anyio
async def test_a_deployment_that_lost_its_key_never_answers_with_echoes(shell: str) -> None:
    # a row for the offline provider stands beside OpenAI's; nobody asked for it to answer
    rows: dict[str, Any] = {"openai": {}, "offline": {"pace": 0}}
    settings: dict[str, Any] = {"host": "0.0.0.0", "auth": {"access_key": "k"}, "providers": rows}
    async with gateway(shell, **settings) as g:
        a = await g.ask("/api/chat", chat("x"), {"authorization": "Bearer k"})
        assert (a.status, a.json["error"]["code"]) == (500, "API_KEY_NOT_CONFIGURED")
        assert a.json["error"]["message"] == "OpenAI API key not configured"


@pytest.mark.anyio
async def test_offline_asked_for_by_name_beyond_loopback(shell: str) -> None:
    settings: dict[str, Any] = {"host": "0.0.0.0", "auth": {"access_key": "k"}, "chat": {"provider": "offline"}}
    async with gateway(shell, **settings) as g:
        a = await g.ask("/api/chat", chat("x", stream=False), {"authorization": "Bearer k"})
        assert a.json == {"content": "x", "done": True}


@pytest.mark.parametrize("path", ["/api/voice/connect", "/api/v1/voice/sessions/s/end", "/p/shop/api/voice/realtime"])
def test_clients_of_voice_sessions_read_a_text(path: str) -> None:
    status, _, body = shapes.for_path(path, Problem("FORBIDDEN", "Unauthorized"), "r")
    assert (status, body) == (403, b'{"error":"Unauthorized","code":"FORBIDDEN","request_id":"r"}')
