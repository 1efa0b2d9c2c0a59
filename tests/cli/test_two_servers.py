"""Two servers, each a process of its own, with one PostgreSQL and one Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import QUICK, Run
from support.client import ask, chat
from support.postgres import PostgresServer, postgres_server
from support.process import BIN, Program, program
from support.redis_server import RedisServer, redis_server

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("two-servers")]

SECRET = "a-long-random-text-of-the-operator"
CONFIG = """
auth: {api_keys: true}
limits: {requests_per_minute: 60}
profiles: {shop: {system_prompt: Sell., limits: {tokens_per_day: 40}}}
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


Start = Callable[[str], AbstractContextManager[Program]]


class Pair:
    """Two servers and what they share."""

    def __init__(self, folder: Path, environment: dict[str, str], run: Run) -> None:
        self.folder = folder
        self.environment = environment
        self._run = run
        self.programs: list[Program] = []
        self.ports: list[int] = []

    def key(self, name: str, *flags: str) -> dict[str, str]:
        """A new API key, as a header."""
        done = self._run("keys", "create", name, *flags, **self.environment)
        assert done.returncode == 0, done.stderr
        return {"authorization": f"Bearer {done.stdout.strip()}"}

    async def ready(self, port: int, *, within: float = 10.0) -> float:
        """Wait until a server is ready; the seconds it took."""
        began = time.monotonic()
        while (await ask(port, "/health/ready")).status != 200:
            assert time.monotonic() - began < within
            await asyncio.sleep(0.05)
        return time.monotonic() - began


@pytest.fixture
def pair(tmp_path: Path, run: Run, postgres: PostgresServer, redis: RedisServer) -> Iterator[Pair]:
    (tmp_path / "switchboard.yaml").write_text(CONFIG)
    url = postgres.create()
    shared = {
        "SWITCHBOARD_DATABASE__URL": url,
        "SWITCHBOARD_REDIS__URL": redis.url,
        "SWITCHBOARD_AUTH__SECRET": SECRET,
    }
    two = Pair(tmp_path, shared, run)
    with ExitStack() as stack:
        for n in range(2):
            environment = QUICK | shared | {"SWITCHBOARD_DATA_DIR": str(tmp_path / f"data{n}")}
            command = (BIN / "switchboard", "serve", "--port", "0")
            p = stack.enter_context(program(*command, environment=environment, cwd=tmp_path))
            two.programs.append(p)
            two.ports.append(int(p.wait_for(r"page +http://127\.0\.0\.1:(\d+)")[1]))
        yield two
    postgres.drop(url)


def talk(text: str, name: str = "t") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "conversation_id": name, "stream": False}


async def test_keys_limits_and_conversations_are_shared(pair: Pair) -> None:
    for port in pair.ports:
        await pair.ready(port)
    one, other = pair.ports
    statuses: list[int] = []
    for n in range(3):  # on a machine that is busy Redis may take too long once: then each server goes by its share
        key = await asyncio.to_thread(pair.key, f"app{n}")
        found = await asyncio.gather(*[ask(pair.ports[n % 2], "/api/chat", chat("Hi"), key) for n in range(200)])
        statuses = sorted(a.status for a in found)
        if statuses == [200] * 60 + [429] * 140:
            break
    assert statuses == [200] * 60 + [429] * 140
    mine = await asyncio.to_thread(pair.key, "talker")
    for n in range(4):
        assert (await ask(pair.ports[n % 2], "/api/chat", talk(f"q{n}"), mine)).status == 200
    for port in pair.ports:
        held = (await ask(port, "/api/conversations/t", headers=mine)).json
        assert [m["content"] for m in held["messages"] if m["role"] == "user"] == ["q0", "q1", "q2", "q3"]
        assert (await ask(port, "/api/conversations/t", headers=key)).status == 404
    assert (await ask(one, "/api/conversations/t", headers=mine, method="DELETE")).status == 200
    assert (await ask(other, "/api/conversations/t", headers=mine)).status == 404


async def test_a_budget_is_shared(pair: Pair) -> None:
    for port in pair.ports:
        await pair.ready(port)
    key = await asyncio.to_thread(pair.key, "buyer", "--profile", "shop")
    codes = [
        (await ask(pair.ports[n % 2], "/api/chat", chat("word " * 10, max_tokens=5), key)).status for n in range(8)
    ]
    assert codes[0] == 200 and codes[-1] == 429 and codes == sorted(codes)


async def test_the_database_goes_and_comes_back(pair: Pair, postgres: PostgresServer) -> None:
    for port in pair.ports:
        await pair.ready(port)
    one, _ = pair.ports
    key = await asyncio.to_thread(pair.key, "known")
    unknown = await asyncio.to_thread(pair.key, "not known yet")
    assert (await ask(one, "/api/chat", chat("Hi"), key)).status == 200
    postgres.kill()
    try:
        began = time.monotonic()
        while (await ask(one, "/health/ready")).status == 200:
            assert time.monotonic() - began < 5
            await asyncio.sleep(0.05)
        ready = (await ask(one, "/health/ready")).json
        assert ready["checks"]["database"] != "ok" and SECRET not in str(ready)
        await asyncio.sleep(2.1)  # what is known is looked up again from now on
        assert (await ask(one, "/api/chat", chat("Hi"), key)).status == 200
        a = await ask(one, "/api/chat", chat("Hi"), unknown)
        assert (a.status, a.json["error"]["code"]) == (503, "STORE_UNAVAILABLE")
        assert (await ask(one, "/api/chat", talk("q"), key)).status == 503
        assert (await ask(one, "/health/live")).status == 200
    finally:
        postgres.start()
    assert await pair.ready(one) < 6
    assert (await ask(one, "/api/chat", chat("Hi"), unknown)).status == 200
    # nothing of what was used meanwhile is lost
    async with asyncio.timeout(5):
        while (await ask(one, "/api/usage", headers=key)).json["total"]["requests"] < 2:
            await asyncio.sleep(0.1)


async def test_a_sigterm_loses_nothing_and_a_sigkill_a_second(pair: Pair) -> None:
    one, other = pair.ports
    for port in pair.ports:
        await pair.ready(port)
    key = await asyncio.to_thread(pair.key, "app")
    for _ in range(20):
        assert (await ask(one, "/api/chat", chat("Hi"), key)).status == 200
    pair.programs[0].process.terminate()
    await asyncio.to_thread(pair.programs[0].process.wait, 8)
    assert pair.programs[0].process.returncode == 0
    assert (await ask(other, "/api/usage", headers=key)).json["total"]["requests"] == 20
    for _ in range(10):
        await ask(other, "/api/chat", chat("Hi"), key)
    await asyncio.sleep(1.0)
    os.kill(pair.programs[1].process.pid, signal.SIGKILL)
    done = await asyncio.to_thread(pair._run, "usage", "--json", **pair.environment)
    assert '"requests": 30' in done.stdout, done.stdout


async def test_a_server_that_comes_before_its_database(tmp_path: Path, run: Run, postgres: PostgresServer) -> None:
    """It says so, tries again, and is ready once its tables are there."""
    url = postgres.create(migrated=False)
    environment = QUICK | {"SWITCHBOARD_DATABASE__URL": url, "SWITCHBOARD_DATA_DIR": str(tmp_path / "data")}
    with program(BIN / "switchboard", "serve", "--port", "0", environment=environment, cwd=tmp_path) as p:
        port = int(p.wait_for(r"page +http://127\.0\.0\.1:(\d+)")[1])
        async with asyncio.timeout(5):
            while "db upgrade" not in (a := await ask(port, "/health/ready")).json["checks"]["database"]:
                await asyncio.sleep(0.05)
        assert a.status == 503
        assert (await ask(port, "/api/chat", chat("Hi"))).status == 200
        done = await asyncio.to_thread(run, "db", "upgrade", **environment)
        assert done.returncode == 0, done.stderr
        async with asyncio.timeout(6):
            while (await ask(port, "/health/ready")).status != 200:
                await asyncio.sleep(0.05)
    postgres.drop(url)
