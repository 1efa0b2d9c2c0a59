"""Whatever a client does: the upstream call ends within 100 ms of its leaving, and every request is settled once."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from support.client import Connection, chat, request
from support.gateway import Gateway, gateway, until
from switchboard.core.clock import now
from switchboard.net.script import Again, Hang, Request, Script, ScriptServer, Wait, chunk, stream_head

pytestmark = pytest.mark.anyio

CONTENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hello "},"finish_reason":null}]}\n\n'
BIG = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"' + b"x" * 60_000 + b'"},"finish_reason":null}]}\n\n'
ROUNDS = 200
#: The promise. Nothing in it depends on the machine's load but the scheduling of two processes' worth of work.
WITHIN = 0.1

BEFORE: Script = [Request(), Hang()]
MIDSTREAM: Script = [Request(), stream_head(), chunk(CONTENT), Hang()]
#: More than all buffers on the way hold, so that writes to a client that does not read are blocked.
BLOCKED: Script = [Request(), stream_head(), *[chunk(BIG)] * 2000, Hang()]


def settings_for(up: ScriptServer) -> dict[str, Any]:
    return {"providers": {"up": {"base_url": up.base_url, "models": ["m"]}}}


async def leave(g: Gateway, up: ScriptServer, n: int, when: str, how: str) -> float:
    """One client that leaves; gives the seconds until the upstream saw the end of its call."""
    client = await Connection.open(g.port, limit=4096)
    path = "/v1/chat/completions" if n % 2 else "/api/chat"
    await client.send(request(path, chat(model="m", stream=when != "whole")))
    await until(lambda: len(up.connections) > n and up.connections[n].requests)
    if when == "midstream":
        await client.head()
        assert await client.chunk()
    elif when == "blocked":
        await client.head()
        exchange = next(iter(g.app.registry.open))
        await until(lambda: exchange._paused)  # type: ignore[attr-defined]
    left = now()
    if how == "reset":
        client.reset()
    else:
        client.close()
    connection = up.connections[n]
    await until(lambda: connection.left is not None)
    assert connection.left is not None
    return connection.left - left


def check(late: list[float]) -> None:
    """Nothing is late, but what a busy machine holds up once."""
    assert len(late) <= ROUNDS // 100 and max(late, default=0.0) < 5 * WITHIN, late


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("when", ["before", "whole", "midstream"])
async def test_leaving_ends_the_upstream_call(shell: str, when: str, how: str) -> None:
    script = MIDSTREAM if when == "midstream" else BEFORE
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        late = [t for n in range(ROUNDS) if (t := await leave(g, up, n, when, how)) > WITHIN]
        check(late)
        await g.record(ROUNDS)
        assert [r.outcome for r in g.records] == ["client_left"] * ROUNDS
        assert not g.app.registry.open
        assert all(len(c.requests) == 1 for c in up.connections)


async def test_leaving_while_a_write_blocks(shell: str) -> None:
    async with ScriptServer(BLOCKED) as up, gateway(shell, **settings_for(up)) as g:
        late = [t for n in range(ROUNDS) if (t := await leave(g, up, n, "blocked", "reset")) > WITHIN]
        check(late)
        await g.record(ROUNDS)
        assert {r.outcome for r in g.records} == {"client_left"}


async def test_what_was_produced_is_metered(shell: str) -> None:
    async with ScriptServer(MIDSTREAM) as up, gateway(shell, **settings_for(up)) as g:
        await leave(g, up, 0, "midstream", "close")
        r = await g.record()
        assert (r.tokens_out, r.tokens_estimated) == (2, True)


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


async def test_a_slow_reader_costs_no_memory(shell: str) -> None:
    """Of 50 MB that the provider has ready, a client takes 1 KB at a time."""
    megabyte = chunk(BIG) * 17
    script: Script = [Request(), stream_head(), *[megabyte] * 50, Hang()]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        await g.ask("/health")
        gc.collect()
        before = resident()
        client = await Connection.open(g.port, limit=1024)
        await client.send(request("/v1/chat/completions", chat(model="m", stream=True)))
        await client.head()
        exchange = next(iter(g.app.registry.open))
        await until(lambda: exchange._paused)  # type: ignore[attr-defined]
        end = now() + 3
        taken = 0
        while now() < end:
            taken += len(await client.reader.read(1024))
            await asyncio.sleep(0.01)
        assert taken > 0
        assert resident() - before < 5_000_000
        client.reset()


async def test_one_connection_after_the_other_is_reused_after_a_clean_end(shell: str) -> None:
    body = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    script: Script = [Request(), stream_head(), chunk(body), Wait(0.01), chunk(b""), Again()]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        for _ in range(10):
            a = await g.ask("/api/chat", chat())
            assert a.whole
            await until(lambda: not g.app.registry.open)
        assert len(up.connections) == 1
