"""``providers test``: whether a provider is there, takes its key, and answers."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from switchboard.config.names import KNOWN
from switchboard.net.script import Request, ScriptServer, Step, answer

pytestmark = pytest.mark.anyio

Run = Callable[..., subprocess.CompletedProcess[str]]
CANARY = "Canary7Kq9zHidden"
MODELS = answer(b'{"object":"list","data":[]}', headers="connection: close\r\n")


@pytest.fixture
def tried(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``switchboard providers test`` to its end."""
    for name in [*KNOWN, "HTTPS_PROXY", "https_proxy"]:
        monkeypatch.delenv(name, raising=False)

    def go(*arguments: str, settings: Any = None, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "switchboard.yaml").write_text(json.dumps(settings or {}))
        environment = {"SWITCHBOARD_DATA_DIR": str(tmp_path / "data"), "SWITCHBOARD_RETRY__WAIT": "0.05"} | environment
        done = run("providers", "test", *arguments, **environment)
        assert "Traceback" not in done.stderr, done.stderr
        assert CANARY not in done.stdout + done.stderr
        return done

    return go


def provider(chat: bytes, models: bytes = MODELS) -> ScriptServer:
    """One that is asked for its models first, and for a chat then."""

    def script(n: int) -> list[Step]:
        return [Request(), models if n == 0 else chat]

    return ScriptServer(script)


def whole(text: str) -> bytes:
    """A streamed answer."""
    events: list[Any] = [
        {"choices": [{"index": 0, "delta": {"content": text}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}},
    ]
    lines = [f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk'} | e)}\n\n" for e in events]
    return answer(
        "".join([*lines, "data: [DONE]\n\n"]).encode(), kind="text/event-stream", headers="connection: close\r\n"
    )


async def test_offline(tried: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    done = await asyncio.to_thread(tried, "offline")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(
        r"(?m)^ok +a chat: 'Say hello in one word\.', first byte after [\d.]+ s, whole after [\d.]+ s, ", done.stdout
    )
    assert "tokens in" in done.stdout
    done = await asyncio.to_thread(tried, "offline", "--model", "error-500")
    assert done.returncode == 1
    assert re.search(r"(?m)^failed +a chat: .", done.stdout)


async def test_one_that_answers(tried: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    async with provider(whole("Hello!")) as server:
        rows = {"up": {"base_url": server.base_url, "api_key": CANARY}, "other": {"base_url": "http://127.0.0.1:1/v1"}}
        # neither what the chats are held to nor who else there is counts
        settings = {"providers": rows, "chat": {"model": "theirs", "models": ["theirs"], "locked": ["model"]}}
        done = await asyncio.to_thread(tried, "up", "--model", "big", settings=settings)
        asked = [c.requests[0] for c in server.connections]
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"ok +reachable, and accepts the key", first)
    assert re.fullmatch(r"ok +a chat: 'Hello!', first byte after .*, 12 tokens in, 3 out", second)
    assert [a.split(b" HTTP")[0] for a in asked] == [b"GET /v1/models", b"POST /v1/chat/completions"]
    assert all(f"Bearer {CANARY}\r\n".encode() in a for a in asked)
    body = json.loads(asked[1].partition(b"\r\n\r\n")[2])
    assert (body["model"], body["stream"]) == ("big", True)
    assert body["max_tokens"] <= 64


async def test_one_that_takes_the_key_and_refuses_the_chat(
    tried: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    said = json.dumps({"error": {"message": "You have no credit left.", "type": "billing", "code": "credit"}}).encode()
    async with provider(answer(said, status=400, headers="connection: close\r\n")) as server:
        settings = {"providers": {"up": {"base_url": server.base_url, "api_key": CANARY}}}
        done = await asyncio.to_thread(tried, "up", "--model", "m", settings=settings)
    assert done.returncode == 1
    assert re.search(r"(?m)^failed +a chat: You have no credit left\.", done.stdout)


async def test_a_wrong_key(tried: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    said = json.dumps({"error": {"message": f"Incorrect API key provided: {CANARY}."}}).encode()
    async with provider(b"", answer(said, status=401)) as server:
        settings = {"providers": {"openai": {"base_url": server.base_url}}}
        done = await asyncio.to_thread(tried, "openai", settings=settings, OPENAI_API_KEY=CANARY)
        assert len(server.connections) == 1
    assert done.returncode == 1
    assert re.search(r"(?m)^failed +it does not accept the key \(401\) → check OPENAI_API_KEY$", done.stdout)


async def test_no_key(tried: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    async with provider(whole("Hello!")) as server:
        done = await asyncio.to_thread(
            tried, "openai", settings={"providers": {"openai": {"base_url": server.base_url}}}
        )
        # nobody is asked without one
        assert server.connections == []
    assert done.returncode == 1
    assert "no key" in done.stdout


async def test_one_that_cannot_be_reached(tried: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    async with ScriptServer([]) as server:
        settings = {"providers": {"up": {"base_url": server.base_url}}}
    done = await asyncio.to_thread(tried, "up", settings=settings)
    assert done.returncode == 1
    assert "cannot be reached" in done.stdout and "providers.up.base_url" in done.stdout


async def test_one_that_does_not_chat(tried: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    async with provider(b"", answer(b"[]", headers="connection: close\r\n")) as server:
        settings = {"providers": {"azure_speech": {"base_url": server.base_url, "api_key": CANARY}}}
        done = await asyncio.to_thread(tried, "azure_speech", settings=settings)
        assert server.connections[0].heard.startswith(b"GET /v1/cognitiveservices/voices/list HTTP/1.1\r\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "accepts the key" in done.stdout and "skipped  a chat" in done.stdout


def test_names_that_nobody_has(tried: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = tried("opnai", settings={"providers": {"up": {"base_url": "http://h/v1"}}})
    assert (done.returncode, done.stdout) == (1, "")
    assert "'opnai'" in done.stderr and "up, " in done.stderr and "openai" in done.stderr


@pytest.mark.parametrize("name", ["azure"])
def test_kinds_that_are_nowhere_without_settings(
    tried: Callable[..., subprocess.CompletedProcess[str]], name: str
) -> None:
    done = tried(name)
    assert done.returncode in (1, 2)
    assert "base_url" in done.stdout + done.stderr


def test_settings_that_cannot_be_used(tried: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = tried("offline", settings={"hsot": CANARY})
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean host?" in done.stderr
