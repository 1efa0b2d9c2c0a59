"""docs/production.md, as it stands there: the settings, the commands, nginx in front, PostgreSQL and Redis behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.postgres import postgres_server
from support.process import BIN, program
from support.production import PAGE, blocks, curl, free_port, nginx, port_of
from support.redis_server import redis_server
from switchboard.net.script import Again, Request, ScriptServer, answer

pytestmark = pytest.mark.anyio

WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello you."}, "finish_reason": "stop"}]}


def test_every_setting_of_the_page_is_right(tmp_path: Path) -> None:
    """All of the page's commands are there, too."""
    known = subprocess.run([BIN / "switchboard", "--help"], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"`?switchboard ([a-z]+)", PAGE):
        assert re.search(rf"^  {name} ", known, re.M), name
    assert yaml.safe_load(blocks("yaml")[0])["profiles"].keys() == {"shop", "desk"}


@pytest.mark.xdist_group("production")
async def test_the_page_as_it_stands(tmp_path: Path) -> None:
    assert shutil.which("nginx"), "make test installs it"
    script: list[Any] = [Request(), answer(json.dumps(WHOLE).encode()), Again()]
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "redis").mkdir()
    with postgres_server() as postgres, redis_server(tmp_path / "redis", password="a-password") as redis:
        secrets = {
            "auth-secret": "0123456789abcdef" * 4,
            "database-url": postgres.create(migrated=False),
            "redis-url": redis.url,
            "openai-key": "sk-of-the-operator-1234567",
        }
        assert set(re.findall(r"> secrets/([a-z-]+)", PAGE)) == set(secrets)
        for name, text in secrets.items():
            (tmp_path / "secrets" / name).write_text(text + "\n")
        (tmp_path / "switchboard.yaml").write_text(blocks("yaml")[0])
        async with ScriptServer(script) as up:
            environment = {"OPENAI_BASE_URL": up.base_url, "SWITCHBOARD_DATA_DIR": str(tmp_path / "data")}

            async def run(line: str) -> str:
                words = [str(BIN / "switchboard"), *shlex.split(line)[1:]]
                env = {**os.environ, **environment}
                done = await asyncio.to_thread(
                    subprocess.run, words, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=30
                )
                assert done.returncode == 0, done.stderr
                return str(done.stdout)

            await run("switchboard check")
            lines = [x for b in blocks("sh") for x in b.splitlines() if x.startswith("switchboard ")]
            await run(next(x for x in lines if "db upgrade" in x))
            keys = [(await run(x)).strip() for x in lines if "keys create" in x]
            assert len(keys) == 2 and "desk-app" in await run("switchboard keys list")
            assert "database" in await run("switchboard doctor")
            command = (BIN / "switchboard", "serve", "--port", "0")
            with program(*command, environment=environment, cwd=tmp_path) as p:
                p.wait_for(r"page +https://ai\.example\.com/")
                port = free_port()
                with nginx(tmp_path, port, await port_of(tmp_path / "data")) as trust:
                    await _follow(port, trust, keys, up)
                assert "shop" in await run("switchboard usage --by profile")


async def _follow(port: int, trust: ssl.SSLContext, keys: list[str], up: ScriptServer) -> None:
    curls = re.findall(r"^curl (?:.*\\\n)*.*$", next(b for b in blocks("sh") if "curl" in b), re.M)
    assert len(curls) == 4
    for _ in range(100):
        try:
            status, ready = await curl(port, trust, curls[0], "")
        except (OSError, ValueError):
            status = 0
        if status == 200:
            break
        await asyncio.sleep(0.1)
    assert (status, ready["checks"]["database"], ready["checks"]["limits"]) == (200, "ok", "ok")
    for key, prompt in zip(
        keys, ("You help customers of a shoe shop.", "You help the people at the help desk."), strict=True
    ):
        status, said = await curl(port, trust, curls[1], key)
        assert (status, said) == (200, {"content": "Hello you.", "done": True})
        asked = json.loads(up.connections[-1].requests[-1].partition(b"\r\n\r\n")[2])
        assert asked["messages"][0] == {"role": "system", "content": prompt}
        status, listed = await curl(port, trust, curls[2], key)
        assert status == 200 and [c["id"] for c in listed["items"]] == ["first"] and listed["items"][0]["messages"] == 2
        async with asyncio.timeout(5):
            while (await curl(port, trust, curls[3], key))[1]["total"]["requests"] != 1:
                await asyncio.sleep(0.1)
    assert (await curl(port, trust, curls[2], "sk-wrong"))[0] == 401
