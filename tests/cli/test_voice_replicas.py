"""Voice sessions of two servers with one PostgreSQL and one Redis: whichever is asked, it holds for both."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from cli.conftest import QUICK
from support.postgres import PostgresServer, postgres_server
from support.process import BIN, program
from support.redis_server import redis_server
from support.voice_processes import Place, conversing, ends_and_deletions, limits, taken_up, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("voice-processes")]

#: Seconds until a session is found lost, with one for the looking.
LOST = 16.0
SECRET = "a-long-random-text-of-the-operator"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def shared(tmp_path: Path, postgres: PostgresServer) -> Iterator[dict[str, str]]:
    """What both servers are told."""
    url = postgres.create()
    with redis_server(tmp_path) as redis:
        yield {
            "SWITCHBOARD_DATABASE__URL": url,
            "SWITCHBOARD_REDIS__URL": redis.url,
            "SWITCHBOARD_AUTH__SECRET": SECRET,
        }
    postgres.drop(url)


async def test_two_replicas(shared: dict[str, str], tmp_path: Path) -> None:
    most = {"voice_connects_per_minute": 10_000, "voice_sessions": 3}
    async with conversing(tmp_path, limits=most):
        with ExitStack() as stack:
            programs = []
            for n in range(2):
                environment = QUICK | shared | {"SWITCHBOARD_DATA_DIR": str(tmp_path / f"data{n}")}
                command = (BIN / "switchboard", "serve", "--port", "0")
                programs.append(stack.enter_context(program(*command, environment=environment, cwd=tmp_path)))
            places = [Place(int(p.wait_for(r"page +http://127\.0\.0\.1:(\d+)")[1])) for p in programs]
            for place in places:
                await place.ready()
            for n, (here, there) in enumerate([places, places[::-1]]):
                await ends_and_deletions(here, there, n)
                await tickets(here, there, n)
                await taken_up(here, there, n)
                await limits(here, there, n, 3)
            # a replica that dies: its session is taken up at the other at once, and the rest is found lost
            here, there = places
            await here.open("left"), await here.open("gone")
            os.kill(programs[0].process.pid, signal.SIGKILL)
            killed = time.monotonic()
            begun = await there.begin("left")
            assert begun.status == 200
            while (row := (await there.listed())["gone"]).get("endReason") != "lost":
                assert time.monotonic() - killed < LOST, row
                await anyio.sleep(0.1)
            talker = await there.dial(begun)
            await talker.text("milk")
            assert await talker.answer() == "You said: milk."
            await talker.ws.close()
            said = "".join(line for p in programs for line in p.said)
            assert "Traceback" not in said and SECRET not in said
