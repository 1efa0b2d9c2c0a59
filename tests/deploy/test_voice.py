"""docs/production.md: conversations by voice through its nginx with TLS, as the page has it, with SQLite and without Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from support.ga_server import Ga
from support.gateway import until
from support.process import BIN, Program, program
from support.production import HOST, blocks, curl, free_port, nginx, port_of
from support.realtime_server import KEY, RealtimeServer, serving_realtime
from support.talkers import Talker

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("production")]


async def run(folder: Path, environment: dict[str, str], *words: str) -> str:
    """What a command of the program says."""
    done = await asyncio.to_thread(
        subprocess.run,
        [str(BIN / "switchboard"), *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


async def test_a_voice_session_through_nginx(tmp_path: Path) -> None:
    assert shutil.which("nginx"), "make test installs it"
    tree: dict[str, Any] = yaml.safe_load(blocks("yaml")[0])
    del tree["database"], tree["redis"]
    (tmp_path / "switchboard.yaml").write_text(yaml.safe_dump(tree | yaml.safe_load(blocks("yaml")[1])))
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "auth-secret").write_text("0123456789abcdef" * 4)
    (tmp_path / "secrets" / "openai-key").write_text(KEY)
    async with serving_realtime(Ga) as provider:
        environment = {"OPENAI_REALTIME_API_URL": provider.url, "SWITCHBOARD_DATA_DIR": str(tmp_path / "data")}
        await run(tmp_path, environment, "check")
        key = await run(tmp_path, environment, "keys", "create", "web-shop", "--profile", "shop")
        with program(BIN / "switchboard", "serve", "--port", "0", environment=environment, cwd=tmp_path) as p:
            p.wait_for(r"page +https://ai\.example\.com/")
            port = free_port()
            with nginx(tmp_path, port, await port_of(tmp_path / "data")) as trust:
                token = await _follow(port, trust, key, provider)
                await _other_paths(port, trust, key)
                await _token_is_in_no_log(token, p, tmp_path)
    assert provider.wrong == []


async def _follow(port: int, trust: ssl.SSLContext, key: str, provider: RealtimeServer) -> str:
    """Do what the page says; gives the token of the session."""
    begin, transcript = re.findall(r"^curl (?:.*\\\n)*.*$", next(b for b in blocks("sh") if "/connect" in b), re.M)
    status = 0
    begun: dict[str, str] = {}
    async with asyncio.timeout(20):
        while status != 200:
            try:
                status, begun = await curl(port, trust, begin, key)
            except (OSError, ValueError):
                await asyncio.sleep(0.1)
    url = urlsplit(begun["wsUrl"])
    assert (url.scheme, url.netloc, url.path) == ("wss", HOST, "/p/shop/api/voice/realtime")
    (token,) = parse_qs(url.query)["token"]
    at: dict[str, Any] = {"ssl": trust, "host": "127.0.0.1", "port": port}
    async with connect(begun["wsUrl"], **at) as ws:
        client = Talker(ws)
        created = await client.hear("session.created")
        assert created["session"]["input_audio_format"] == "pcm16"  # of the beta, as such clients expect it
        await client.hear("session.updated")
        await client.text("at length")
        assert len((await client.answer(10)).split()) == 200
        assert client.kinds().count("response.audio.delta") == 200 and "error" not in client.kinds()
    told = next(e["session"] for e in provider.heard if e["type"] == "session.update")
    assert told["instructions"].startswith("You help customers") and told["audio"]["output"]["voice"] == "marin"

    async with asyncio.timeout(5):
        said: list[Any] = []
        while len(said) < 2:
            status, found = await curl(port, trust, transcript, key)
            said = found["messages"]
            await asyncio.sleep(0.05)
    assert [(m["role"], m["content"].split()[0]) for m in said] == [("user", "at"), ("assistant", "blah")]

    with pytest.raises(InvalidStatus) as used:
        async with connect(begun["wsUrl"], **at):
            pass
    assert used.value.response.status_code == 401
    return token


async def _other_paths(port: int, trust: ssl.SSLContext, key: str) -> None:
    """Clients that have a key need no session."""
    for path in ("/v1/realtime", "/api/realtime"):
        at: dict[str, Any] = {"ssl": trust, "host": "127.0.0.1", "port": port}
        async with connect(f"wss://{HOST}{path}", additional_headers={"authorization": f"Bearer {key}"}, **at) as ws:
            client = Talker(ws)
            await client.text("bread")
            assert (await client.answer()).strip() == "You said: bread."


async def _token_is_in_no_log(token: str, p: Program, folder: Path) -> None:
    """Neither in this server's, nor in nginx's as the page has it."""
    log = folder / "nginx-ai.example.com.log"
    # 401 is the token's second use
    await until(lambda: re.search(r'"GET /p/shop/api/voice/realtime" 101 .*"GET \S+" 401 ', log.read_text(), re.S))

    def settled() -> list[Any]:
        lines = [json.loads(x) for x in p.said if x.startswith("{")]
        return [(x["path"], x["status"]) for x in lines if x.get("dialect") == "realtime" and x["status"] != 200]

    await until(lambda: len(settled()) == 4)
    session = "/p/shop/api/voice/realtime"
    assert sorted(settled()) == [("/api/realtime", 101), (session, 101), (session, 401), ("/v1/realtime", 101)]
    assert token not in log.read_text() and token not in "".join(p.said)
    assert KEY not in "".join(p.said)
