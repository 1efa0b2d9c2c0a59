"""The log: one line a request, nobody can add another, and no secret is in any of them."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.client import chat, request
from support.gateway import gateway
from switchboard.core.types import Usage
from switchboard.net.script import Request, ScriptServer, answer
from switchboard.telemetry.handler import Handler
from switchboard.telemetry.logs import Log, style_for
from switchboard.telemetry.output import Output
from switchboard.telemetry.records import Record

CANARY = "Canary7Kq9zHidden"
FIELDS = {
    "request_id",
    "profile",
    "caller",
    "dialect",
    "provider",
    "model",
    "status",
    "ttfb_ms",
    "duration_ms",
    "tokens_in",
    "tokens_out",
    "outcome",
}
STYLES = pytest.mark.parametrize("style", ["json", "human"])


def written(
    act: Callable[[Log], None], *, style: str = "json", level: str = "INFO", secrets: Iterable[str] = ()
) -> str:
    """What `act` makes a log write."""
    reading, writing = os.pipe()
    got: list[bytes] = []

    def read() -> None:
        while data := os.read(reading, 1 << 16):
            got.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    output = Output(writing)
    try:
        act(Log(output, level=level, style=style, secrets=secrets))
    finally:
        output.close()
        os.close(writing)
        reader.join(5)
        os.close(reading)
    return b"".join(got).decode()


def record(**more: Any) -> Record:
    values: dict[str, Any] = {
        "at": 0.0,
        "request_id": "r1",
        "method": "POST",
        "path": "/",
        "status": 200,
        "outcome": "complete",
        "duration": 0.5,
    }
    return Record(**(values | more))


def one_line(text: str) -> str:
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "\r" not in text
    return text


# ---- requests


def test_a_request_s_line() -> None:
    text = written(
        lambda log: log.records(
            [
                record(
                    first_byte=0.0123,
                    profile="default",
                    caller="key:1",
                    dialect="simple_chat",
                    provider="up",
                    model="m",
                    usage=Usage(3, 4),
                )
            ]
        )
    )
    line = json.loads(one_line(text))
    assert set(line) >= FIELDS
    assert (line["event"], line["level"], line["ts"]) == ("request", "info", "1970-01-01T00:00:00.000Z")
    assert (line["ttfb_ms"], line["duration_ms"]) == (12.3, 500.0)
    assert (line["tokens_in"], line["tokens_out"], line["tokens_estimated"]) == (3, 4, False)


@pytest.mark.parametrize(("status", "error", "level"), [(200, "", "info"), (404, "X", "warning"), (503, "X", "error")])
def test_levels_of_lines(status: int, error: str, level: str) -> None:
    text = written(lambda log: log.records([record(status=status, error=error)]))
    assert json.loads(text)["level"] == level


@pytest.mark.parametrize(("level", "lines"), [("DEBUG", 3), ("INFO", 3), ("WARNING", 1), ("ERROR", 1)])
def test_which_requests_a_level_shows(level: str, lines: int) -> None:
    batch = [record(status=s) for s in (200, 404, 500)]
    assert written(lambda log: log.records(batch), level=level).count("\n") == lines


HOSTILE = [
    'x\n{"event":"request","status":200}',
    "x\r\nforged",
    "x\x1b[2Jforged",
    "x\x00y",
    "x\u2028forged",
    "x\x85forged",
    'x"},{"a":"',
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["path", "detail", "error", "model", "caller", "request_id", "method"])
def test_no_field_makes_a_second_line(field: str, text: str) -> None:
    said = one_line(written(lambda log: log.records([record(**{field: text})])))
    assert json.loads(said)[field] == text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["path", "detail"])  # the others are made here, or were checked when they came
def test_no_field_makes_a_second_line_for_people(field: str, text: str) -> None:
    said = one_line(written(lambda log: log.records([record(**{field: text})]), style="human"))
    assert not {"\x00", "\u2028", "\x85"} & set(said)
    assert "\x1b[2J" not in said  # nor does it do anything to a terminal


@given(st.text())
def test_any_path_is_one_line(path: str) -> None:
    # what a URL decodes to never holds halves of surrogate pairs
    path = path.encode("utf-8", "replace").decode()
    for style in ("json", "human"):
        one_line(written(lambda log: log.records([record(path=path)]), style=style))


# ---- messages


@STYLES
def test_messages_below_the_level_are_not_said(style: str) -> None:
    def act(log: Log) -> None:
        for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
            log.say(level, f"at {level}")

    text = written(act, style=style, level="WARNING")
    assert "at WARNING" in text and "at ERROR" in text and "at INFO" not in text and "at DEBUG" not in text


def test_python_s_logging_arrives(caplog: pytest.LogCaptureFixture) -> None:
    def act(log: Log) -> None:
        logger = logging.Logger("switchboard.x")
        logger.addHandler(Handler(log))
        try:
            raise ValueError(f"key {CANARY}")
        except ValueError:
            logger.exception("it failed for %s", CANARY)

    line = json.loads(one_line(written(act, secrets=[CANARY])))
    assert (line["level"], line["logger"]) == ("error", "switchboard.x")
    assert "it failed for ***" in line["message"] and "Traceback" in line["message"]
    assert CANARY not in json.dumps(line)


@STYLES
@pytest.mark.parametrize(
    "body", [b'{\n"a": 1}', b"x\n12:00:00.000 \x1b[32m200\x1b[0m POST /forged", b"\r\n", b"\xff\0"]
)
def test_a_body_at_debug_is_one_line(style: str, body: bytes) -> None:
    """A body is a client's: it must not be able to write lines of the log."""
    text = one_line(written(lambda log: log.body("request", "r1", body), style=style, level="DEBUG"))
    assert "\x1b[32m200" not in text


def test_bodies_are_logged_at_debug_only() -> None:
    assert written(lambda log: log.body("request", "r1", b"hello"), level="INFO") == ""
    line = json.loads(written(lambda log: log.body("request", "r1", b"hello"), level="DEBUG"))
    assert (line["message"], line["request_id"], line["bytes"]) == ("request: hello", "r1", 5)


# ---- secrets


@STYLES
def test_secrets_are_masked_wherever_they_are_said(style: str) -> None:
    def act(log: Log) -> None:
        log.say("INFO", f"the key is {CANARY}!", note=f"or {CANARY}")
        log.body("request", "r1", f'{{"content": "my key is {CANARY}"}}'.encode())
        log.records([record(detail=f"up: 401: bad key {CANARY}", error="X", status=502)])

    text = written(act, style=style, level="DEBUG", secrets=[CANARY])
    assert CANARY not in text
    assert text.count("***") == 4


@STYLES
@pytest.mark.parametrize("field", ["path", "model"])
def test_a_secret_in_what_a_client_names_is_masked(style: str, field: str) -> None:
    values = {"dialect": "simple_chat", "provider": "up", field: f"/x/{CANARY}"}
    assert CANARY not in written(lambda log: log.records([record(**values)]), style=style, secrets=[CANARY])


@pytest.mark.parametrize("shown", [1, 8, len(CANARY) - 1, len(CANARY)])
def test_a_secret_at_the_edge_of_what_is_shown_of_a_body(shown: int) -> None:
    """A body is logged to its 4096th byte; a secret that stands across it must not show its beginning."""
    body = b" " * (4096 - shown) + CANARY.encode() + b" and more"
    text = written(lambda log: log.body("request", "r1", body), level="DEBUG", secrets=[CANARY])
    assert CANARY[:8] not in text


@pytest.mark.parametrize("order", [1, -1])
def test_a_secret_that_begins_like_another(order: int) -> None:
    """As two keys do while one is being replaced."""
    secrets = [CANARY, f"{CANARY}-second"][::order]
    text = written(lambda log: log.say("INFO", f"{CANARY}-second"), secrets=secrets)
    assert CANARY not in text and "second" not in text


@pytest.mark.parametrize("secret", ['Canary"7Kq9z', "Canary\\7Kq9z", "Canary/7Kq9z"])
def test_a_secret_that_json_writes_differently(secret: str) -> None:
    body = json.dumps(chat(f"my key is {secret}")).encode()
    for data in (body, body.replace(b"/", b"\\/")):
        text = written(
            partial(Log.body, direction="request", request_id="r1", data=data), level="DEBUG", secrets=[secret]
        )
        assert "7Kq9z" not in text


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcdef123456",
        "Authorization: Bearer abcdef123456",
        "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
        "hf_abcdefgh12",
    ],
)
def test_what_looks_like_a_key_is_masked_though_nobody_knows_it(text: str) -> None:
    said = written(lambda log: log.say("INFO", text))
    assert "***" in said and "abcdef" not in said and "c2lnbmF0dXJl" not in said


# ---- the output


def test_the_output_never_blocks_and_counts_what_it_throws_away() -> None:
    reading, writing = os.pipe()  # nobody reads: the pipe fills up
    output = Output(writing)
    line = b"x" * 1023 + b"\n"
    for _ in range(20_000):
        output.write(line)
    assert 0 < output.lost < 20_000
    os.close(reading)  # what is left cannot be written: no harm
    output.close()
    os.close(writing)


def test_all_is_written_before_it_closes(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as f:
        output = Output(f.fileno())
        for n in range(1000):
            output.write(b"%d\n" % n)
        output.close()
    assert (tmp_path / "log").read_bytes() == b"".join(b"%d\n" % n for n in range(1000))


@pytest.mark.parametrize(("setting", "style"), [("json", "json"), ("human", "human")])
def test_styles(setting: str, style: str) -> None:
    assert style_for(setting) == style


# ---- of a running gateway


@pytest.mark.anyio
async def test_every_request_leaves_one_line(shell: str) -> None:
    async with gateway(shell, auth={"access_key": "k1"}) as g:
        key = {"authorization": "Bearer k1"}
        ids = [f"line-{n}" for n in range(8)]
        asked: list[tuple[str, Any, dict[str, str]]] = [
            ("/api/chat", chat("one two"), key),
            ("/v1/chat/completions", chat("x", model="echo"), key),
            ("/v1/chat/completions", chat("x", model="nonesuch"), key),
            ("/api/chat", chat(), {}),
            ("/api/chat", b"{", key),
            ("/health", None, {}),
            ("/nothing", None, key),
            ("/v1/chat/completions", chat("x", model="error-500", stream=True), key),
        ]
        answers = [await g.ask(p, b, h | {"x-request-id": i}) for i, (p, b, h) in zip(ids, asked, strict=True)]
        lines = [json.loads(x) for x in (await g.log()).splitlines()]
        requests = [x for x in lines if x["event"] == "request"]
        assert [x["request_id"] for x in requests] == ids
        assert (
            [x["status"] for x in requests] == [a.status for a in answers] == [200, 200, 404, 401, 400, 200, 404, 503]
        )
        assert all(set(x) >= FIELDS for x in requests)
        assert all(x["duration_ms"] >= 0 for x in requests)
        first = requests[0]
        assert (first["profile"], first["dialect"], first["provider"], first["model"]) == (
            "default",
            "simple_chat",
            "offline",
            "echo",
        )
        assert (first["tokens_in"], first["tokens_out"], first["outcome"]) == (2, 2, "complete")
        assert 0 <= first["ttfb_ms"] <= first["duration_ms"]
        assert first["caller"].startswith("key:") and "k1" not in first["caller"]
        assert [x["error"] for x in requests[2:5]] == ["MODEL_NOT_FOUND", "UNAUTHORIZED", "INVALID_JSON"]


@pytest.mark.anyio
@STYLES
async def test_nothing_that_is_sent_makes_a_second_line(shell: str, style: str) -> None:
    async with gateway(shell, log={"level": "INFO", "format": style}) as g:
        evil = "%0a%0d%0a12:00:00%20200%20POST%20/forged%1b[2J%e2%80%a8%c2%85"
        sent = [
            request(f"/x{evil}", method="GET"),
            request(f"/health?x={evil}", method="GET"),
            request("/health", None, {"x-request-id": "a b", "x-forwarded-for": "1.1.1.1 forged"}, method="GET"),
            request("/health", None, {"traceparent": evil, "user-agent": evil}, method="GET"),
            request("/api/chat", chat("a\nb\x1b[2J", model="x\ny")),
            request("/api/chat", b'{"messages": [{"role": "x\\nforged", "content": "a"}]}'),
            request(f"/v1/models/{evil}", method="GET"),
        ]
        if shell == "splice":  # another server's own refusals are not in our log
            sent.append(request("/health", None, {"x-request-id": "a\x1b[2Jb"}, method="GET"))
            sent.append(b"GET /\x1b[2J HTTP/1.1\r\nhost: localhost\r\n\r\n")
        for raw in sent:
            c = await g.connect()
            await c.send(raw)
            await c.head()
            c.close()
        log = await g.log()
        assert log.count("\n") == len(sent)
        assert "\x1b[2J" not in log
        assert all(not line.startswith("12:00:00") for line in log.split("\n"))


@pytest.mark.anyio
async def test_a_key_in_a_request_s_body_is_not_in_the_debug_log(shell: str) -> None:
    whole = f'{{"choices":[{{"message":{{"content":"you said {CANARY}"}},"finish_reason":"stop"}}]}}'.encode()
    async with ScriptServer([Request(), answer(whole)]) as up:
        settings: dict[str, Any] = {
            "providers": {"up": {"base_url": up.base_url, "api_key": f"{CANARY}1", "headers": {"x-k": f"{CANARY}2"}}},
            "auth": {"access_key": f"{CANARY}3"},
            "chat": {"model": "m"},
            "log": {"level": "DEBUG", "format": "json"},
        }
        async with gateway(shell, **settings) as g:
            text = f"my keys are {CANARY}1, {CANARY}2 and {CANARY}3"
            a = await g.ask("/api/chat", chat(text, stream=False), {"authorization": f"Bearer {CANARY}3"})
            assert a.status == 200
            await g.ask("/api/chat", chat(text), {"authorization": f"Bearer {CANARY}4"})
            log = await g.log()
            assert "my keys are ***, *** and ***" in log
            assert not any(f"{CANARY}{n}" in log for n in (1, 2, 3))


@pytest.mark.anyio
async def test_a_key_in_the_path_is_not_logged(shell: str) -> None:
    async with gateway(shell, auth={"access_key": CANARY}) as g:
        await g.ask(f"/api/{CANARY}", None, {"authorization": f"Bearer {CANARY}"})
        await g.ask(f"/api/chat?key={CANARY}", chat(), {"authorization": f"Bearer {CANARY}"})
        assert CANARY not in await g.log()
