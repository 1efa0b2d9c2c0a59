"""The server's life: its banner, what it answers, and how it ends."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from support.client import chat, request
from support.process import Program

Serve = Callable[..., AbstractContextManager[Program]]
CANARY = "Canary7Kq9zHidden"


def port_of(p: Program) -> int:
    found = re.search(r"page +https?://[^ ]+:(\d+)/", "".join(p.said))
    assert found is not None
    return int(found[1])


def ask(
    port: int, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as c:
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
        kind = {"content-type": "application/json"} if body is not None else {}
        c.request("GET" if body is None else "POST", path, sent, kind | (headers or {}))
        r = c.getresponse()
        text = r.read().decode()
        value = json.loads(text) if r.headers.get_content_type() == "application/json" else text
        return r.status, value, {k.lower(): v for k, v in r.getheaders()}


def ended(p: Program, within: float = 10) -> tuple[int, str]:
    """Status and all that was said."""
    code = p.process.wait(within)
    p._reader.join(5)
    return code, "".join(p.said)


@pytest.fixture
def endless() -> Callable[[int, str], socket.socket]:
    """Opens a stream that never ends; gives its socket once the first bytes of it have come."""

    def go(port: int, path: str) -> socket.socket:
        s = socket.create_connection(("127.0.0.1", port), timeout=15)
        s.sendall(request(path, chat(model="endless", stream=True)))
        got = b""
        while b"again" not in got:
            data = s.recv(65536)
            assert data, got
            got += data
        assert got.startswith(b"HTTP/1.1 200 ")
        return s

    return go


def rest(s: socket.socket) -> bytes:
    """All that still comes, to the end of the connection."""
    got = b""
    with closing(s):
        while data := s.recv(65536):
            got += data
    return got


# ---- the start


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_the_banner(serve: Serve, tmp_path: Path, command: list[str]) -> None:
    with serve(*command, XDG_DATA_HOME=str(tmp_path / "data")) as p:
        port = port_of(p)
        banner = "".join(p.said)
        assert banner.count("Switchboard ") == 1
        assert f"http://127.0.0.1:{port}/\n" in banner
        assert f"http://127.0.0.1:{port}/v1\n" in banner
        assert "offline, model echo" in banner
        assert str(tmp_path / "data" / "switchboard") in banner
        assert re.search(r"next +set OPENAI_API_KEY", banner)
        # every address in it is true
        assert ask(port, "/")[0] == 200
        assert ask(port, "/v1/models")[0] == 200
        status, value, _ = ask(port, "/api/chat", chat("Hello there", stream=False))
        assert (status, value) == (200, {"content": "Hello there", "done": True})
        p.process.send_signal(signal.SIGTERM)
        code, said = ended(p)
    assert code == 0
    assert said.count("Switchboard ") == 1
    # one line a request, and nothing else
    lines = [json.loads(x) for x in said.splitlines() if x.startswith("{")]
    assert [x["path"] for x in lines] == ["/", "/v1/models", "/api/chat"]


def test_settings_from_a_file_and_what_wins(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "switchboard.yaml").write_text("port: 1\nchat: {model: slow}\ndata_dir: ./here\nlog: {format: human}\n")
    with serve(AI_MODEL="echo", PORT="2") as p:
        banner = "".join(p.said)
        assert port_of(p) > 2  # the flag
        assert "offline, model echo" in banner and "switchboard.yaml" in banner and "here" in banner
        assert ask(port_of(p), "/health")[1]["status"] == "ok"
        p.wait_for(r"200.*GET /health")


def test_beyond_loopback_with_a_key_and_no_provider_s(serve: Serve) -> None:
    with serve("serve", "--host", "0.0.0.0", ACCESS_KEY=CANARY) as p:
        port = port_of(p)
        assert ask(port, "/api/chat", chat())[0] == 401
        status, value, headers = ask(port, "/api/chat", chat(), {"authorization": f"Bearer {CANARY}"})
        # a deployment that lost its key never echoes
        assert (status, value["error"]["message"]) == (500, "OpenAI API key not configured")
        assert headers["x-request-id"] == value["request_id"]
        assert "OPENAI_API_KEY" in "".join(p.said)


def test_secrets_are_in_nothing_that_is_said(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{CANARY}-b\n")
    (tmp_path / "switchboard.yaml").write_text(
        f"providers: {{up: {{base_url: 'http://127.0.0.1:1/v1', api_key: {CANARY}-c, headers: {{x-k: {CANARY}-d}}}}}}\n"
    )
    environment = {
        "OPENAI_API_KEY": f"{CANARY}-a",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",  # nobody listens there
        "ACCESS_KEY_FILE": "key",
        "LOG_LEVEL": "DEBUG",
    }
    with serve(**environment) as p:
        port = port_of(p)
        key = {"authorization": f"Bearer {CANARY}-b"}
        text = f"keys {CANARY}-a {CANARY}-b {CANARY}-c {CANARY}-d"
        for path in ("/api/chat", "/v1/chat/completions"):
            for model in ("openai/x", "up/x"):
                status, value, _ = ask(port, path, chat(text, model=model), key)
                assert status == 502
                assert "127.0.0.1" not in json.dumps(value)
        assert ask(port, "/api/chat", f'{{"messages": "{text}"'.encode(), key)[0] == 400
        assert ask(port, "/api/chat", chat(text, temperature=text), key)[0] == 400
        assert ask(port, f"/api/chat?key={CANARY}-b", chat(text), {"x-api-key": f"{CANARY}-x"})[0] == 401
        assert ask(port, "/v1/models", None, key)[0] == 200
        p.process.send_signal(signal.SIGTERM)
        code, said = ended(p)
    assert code == 0
    assert "keys *** *** *** ***" in said  # the bodies were logged
    assert not [x for x in "abcd" if f"{CANARY}-{x}" in said]


# ---- the end


def until_ready(port: int) -> None:
    """Wait until the database is there."""
    began = time.monotonic()
    while ask(port, "/health/ready")[0] != 200:
        assert time.monotonic() - began < 10
        time.sleep(0.02)


def test_a_stream_that_does_not_end_is_told_and_cut(serve: Serve, endless: Callable[[int, str], socket.socket]) -> None:
    settings = {"SWITCHBOARD_SHUTDOWN__ACCEPT": "1.5", "SWITCHBOARD_SHUTDOWN__STREAMS": "0.5"}
    with serve(**settings) as p:
        port = port_of(p)
        until_ready(port)
        documents, v1 = endless(port, "/api/chat?format=simple"), endless(port, "/v1/chat/completions")
        began = time.monotonic()
        p.process.send_signal(signal.SIGTERM)
        while (ready := ask(port, "/health/ready"))[0] == 200:
            assert time.monotonic() - began < 1.4
        # load balancers are told, what still comes is served
        assert (ready[0], ready[1]["status"], ready[2]["retry-after"]) == (503, "stopping", "5")
        assert ask(port, "/api/chat", chat("late", stream=False))[0] == 200
        first, second = rest(documents), rest(v1)
        took = time.monotonic() - began
        code, said = ended(p)
    assert code == 0
    assert 1.9 < took < 8
    assert "Traceback" not in said
    for got in (first, second):
        assert not got.endswith(b"0\r\n\r\n")  # the cut is seen
        assert b"[DONE]" not in got and b'"done":true' not in got
    event = json.loads(first.split(b"data: ")[-1].partition(b"\n\n")[0])
    assert (event["content"], event["done"], event["error"]["code"]) == ("", False, "SERVER_RESTARTING")
    event = json.loads(second.split(b"data: ")[-1].partition(b"\n\n")[0])
    assert event["error"]["code"] == "server_restarting"
    outcomes = [json.loads(x)["outcome"] for x in said.splitlines() if '"endless"' in x]
    assert outcomes == ["server_stopping"] * 2


def test_a_stream_that_ends_in_time_ends_as_it_should(serve: Serve) -> None:
    settings = {"SWITCHBOARD_SHUTDOWN__ACCEPT": "0.1", "SWITCHBOARD_SHUTDOWN__STREAMS": "15"}
    with serve(**settings, SWITCHBOARD_PROVIDERS__OFFLINE__PACE="0.05") as p:
        text = " ".join(["word"] * 15)
        with closing(socket.create_connection(("127.0.0.1", port_of(p)), timeout=15)) as s:
            s.sendall(request("/api/chat", chat(text)))
            got = s.recv(65536)
            p.process.send_signal(signal.SIGTERM)
            while data := s.recv(65536):
                got += data
        code, _ = ended(p)
    assert code == 0
    assert got.endswith(b"0\r\n\r\n") and b'"done":true' in got
    assert got.count(b"word") == 15


def test_a_second_signal_ends_it_at_once(serve: Serve, endless: Callable[[int, str], socket.socket]) -> None:
    settings = {"SWITCHBOARD_SHUTDOWN__ACCEPT": "30", "SWITCHBOARD_SHUTDOWN__STREAMS": "30"}
    with serve(**settings) as p:
        port = port_of(p)
        stream = endless(port, "/api/chat")
        p.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while ask(port, "/health/ready")[1]["status"] != "stopping":
            assert time.monotonic() - began < 10
        began = time.monotonic()
        p.process.send_signal(signal.SIGTERM)
        got = rest(stream)
        code, said = ended(p)
        took = time.monotonic() - began
    assert code == 0
    assert took < 3
    assert not got.endswith(b"0\r\n\r\n")
    assert "Traceback" not in said


def test_an_interrupt_does_not_wait_for_load_balancers(serve: Serve) -> None:
    with (
        serve(SWITCHBOARD_SHUTDOWN__ACCEPT="30") as p,
        closing(socket.create_connection(("127.0.0.1", port_of(p)), timeout=15)) as idle,
    ):
        idle.sendall(request("/health", method="GET"))
        answer = b""
        while not answer.endswith(b"}"):  # head and body may come apart
            answer += idle.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        p.process.send_signal(signal.SIGINT)
        code, said = ended(p)
        assert idle.recv(65536) == b""
    assert code == 0
    assert "Traceback" not in said


def test_the_port_is_free_again_at_once(serve: Serve, tmp_path: Path) -> None:
    with serve() as p:
        port = port_of(p)
        assert ask(port, "/health")[0] == 200
        p.process.send_signal(signal.SIGTERM)
        assert ended(p)[0] == 0
    with closing(socket.socket()) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
