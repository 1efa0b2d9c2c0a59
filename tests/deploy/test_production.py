"""docs/production.md, as it stands there: the settings, the commands, nginx in front, PostgreSQL and Redis behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from support.postgres import postgres_server
from support.process import BIN, ROOT, program
from support.redis_server import redis_server
from switchboard.net.script import Again, Request, ScriptServer, answer

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs" / "production.md").read_text()
HOST = "ai.example.com"
WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello you."}, "finish_reason": "stop"}]}


def blocks(language: str) -> list[str]:
    """The code of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def nginx(folder: Path, port: int, behind: int) -> Iterator[ssl.SSLContext]:
    """The page's nginx on `port`, before the server on the port `behind`."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "tls.pem", append=True)
    (site,) = blocks("nginx")
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/ai.example.com.pem": str(folder / "tls.pem"),
        "/etc/ssl/ai.example.com.key": str(folder / "tls.key"),
        "http://127.0.0.1:8000": f"http://127.0.0.1:{behind}",
    }
    for before, after in changes.items():
        assert before in site
        site = site.replace(before, after)
    temporary = "".join(f"{n}_temp_path {folder}/{n};\n" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    command = [
        "nginx",
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
        "-g",
        "user root;" if os.geteuid() == 0 else "",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    try:
        yield context
    finally:
        process.terminate()
        process.wait(5)


async def curl(port: int, trust: ssl.SSLContext, line: str, key: str) -> tuple[int, Any]:
    """Do what a line of the page says, with `key`; status and JSON."""
    words = shlex.split(line.replace("\\\n", " ").replace("$KEY", key))
    url = next(w for w in words if w.startswith("https://"))
    lines = [words[i + 1] for i, w in enumerate(words) if w == "-H"]
    body = words[words.index("-d") + 1].encode() if "-d" in words else b""
    head = f"{'POST' if body else 'GET'} {url.removeprefix(f'https://{HOST}')} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n"
    head += "".join(f"{x}\r\n" for x in lines) + (f"content-length: {len(body)}\r\n" if body else "")
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=HOST)
        writer.write(head.encode() + b"\r\n" + body)
        raw = await reader.read()
        writer.close()
    first, _, rest = raw.partition(b"\r\n\r\n")
    return int(first.split()[1]), json.loads(rest[rest.index(b"{") : rest.rindex(b"}") + 1])


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
                (running,) = (tmp_path / "data" / "run").glob("*.json")
                port = free_port()
                with nginx(tmp_path, port, json.loads(running.read_text())["port"]) as trust:
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
