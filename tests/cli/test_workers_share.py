"""What the workers of one host do as one: limits, budgets, conversations, answers that are picked up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from support.client import Connection, ask, chat, request
from support.process import Program

pytestmark = pytest.mark.anyio

Run = Callable[..., subprocess.CompletedProcess[str]]
Serving = Callable[..., AbstractContextManager[tuple[Program, int]]]
V1 = "/v1/chat/completions"


def write(tmp_path: Path, **settings: Any) -> None:
    tree = {"port": 0, "workers": 2, "data_dir": str(tmp_path / "data"), "providers": {"offline": {"pace": 0.05}}}
    (tmp_path / "switchboard.yaml").write_text(json.dumps(tree | settings))


def children(pid: int) -> list[int]:
    """The processes that `pid` has forked."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def ready(port: int) -> None:
    async with asyncio.timeout(15):
        while (await ask(port, "/health/ready")).status != 200:
            await asyncio.sleep(0.05)


async def test_200_requests_against_a_limit_of_60(serving: Serving, tmp_path: Path) -> None:
    write(tmp_path, limits={"requests_per_minute": 60}, providers={"offline": {"pace": 0}})
    with serving() as (_, port):
        await ready(port)
        found = await asyncio.gather(*[ask(port, V1, chat("Hi")) for _ in range(200)])
        assert sorted(a.status for a in found) == [200] * 60 + [429] * 140


async def test_streams_that_a_dead_worker_held_are_free(serving: Serving, tmp_path: Path) -> None:
    write(tmp_path, limits={"streams": 4})
    long = {**chat("word " * 300), "stream": True}
    with serving() as (p, port):
        await ready(port)
        held = [await Connection.open(port) for _ in range(4)]
        for c in held:
            await c.send(request(V1, long))
            assert (await c.head())[0] == 200
        assert (await ask(port, V1, long)).status == 429
        for pid in children(p.process.pid):
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while True:
                try:
                    c = await Connection.open(port)
                    await c.send(request(V1, long))
                    if (await c.head())[0] == 200:
                        break
                except (OSError, EOFError):
                    await asyncio.sleep(0.05)
        c.close()


async def test_an_answer_is_picked_up_from_any_worker(serving: Serving, tmp_path: Path) -> None:
    text = " ".join(f"word{n}" for n in range(30))
    body = {"messages": [{"role": "user", "content": text}], "conversation_id": "t", "stream": True}
    write(tmp_path, chat={"format": "simple", "resumable": True})
    with serving() as (_, port):
        await ready(port)
        c = await Connection.open(port)
        await c.send(request("/api/chat", body))
        assert (await c.head())[0] == 200
        seen = b""
        while seen.count(b"data: ") < 3:
            seen += await c.chunk() or b""
        c.close()
        last = [x for x in seen.split(b"\n") if x.startswith(b"id: ")][-1][4:].decode()
        # connections are spread over the workers: some of these reach the one, some the other
        rest = await asyncio.gather(
            *[ask(port, "/api/chat/t/stream", headers={"last-event-id": last}) for _ in range(12)]
        )
        for a in rest:
            assert (a.status, a.whole) == (200, True)
            said = [json.loads(x[6:]) for x in (seen.decode() + a.text).splitlines() if x.startswith("data: ")]
            assert "".join(x["content"] for x in said) == text
        held = (await ask(port, "/api/conversations/t")).json
        assert "messages" in held, [x for x in _.said if "chat/t" in x or "kept" in x or "api/chat" in x]
        assert held["messages"][-1]["content"] == text
        assert {(await ask(port, "/api/chat/t/stream")).status for _ in range(6)} == {204}


async def test_an_answer_is_stopped_from_any_worker(serving: Serving, tmp_path: Path) -> None:
    write(tmp_path, chat={"format": "simple", "resumable": True})
    with serving() as (_, port):
        await ready(port)
        for n in range(6):
            body = {"messages": [{"role": "user", "content": "word " * 200}], "conversation_id": f"t{n}"}
            c = await Connection.open(port)
            await c.send(request("/api/chat", body))
            assert (await c.head())[0] == 200
            assert (await ask(port, f"/api/chat/t{n}/stream", method="DELETE")).status == 200
            assert (await ask(port, f"/api/chat/t{n}/stream", method="DELETE")).status == 404
            c.close()


async def test_a_conversation_is_deleted_during_an_answer_from_any_worker(serving: Serving, tmp_path: Path) -> None:
    write(tmp_path, chat={"format": "simple"})
    with serving() as (_, port):
        await ready(port)
        for n in range(6):
            body = {"messages": [{"role": "user", "content": "word " * 10}], "conversation_id": f"t{n}"}
            c = await Connection.open(port)
            await c.send(request("/api/chat", body))
            assert (await c.head())[0] == 200
            assert (await ask(port, f"/api/conversations/t{n}", method="DELETE")).status == 200
            while await c.chunk():
                pass
            c.close()
            assert (await ask(port, f"/api/conversations/t{n}")).status == 404
