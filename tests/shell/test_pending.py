"""What is set aside and what is waited for, while an upload comes in and clients leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from support.client import request
from support.gateway import gateway, until
from switchboard.core.clock import now
from switchboard.core.counting import Take, Taken
from switchboard.net.script import Again, Hang, Request, Script, ScriptServer, Wait, answer
from switchboard.store.counters.local import LocalCounters

pytestmark = pytest.mark.anyio

BOUND = b"x-bound-x"
#: An answer before all of the request is there.
EARLY: Script = [Wait(0.05), b"HTTP/1.1 500 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"]
REFUSED: Script = [Request(), answer(b'{"error": {"message": "no"}}', status=400), Again()]
PATH = "/v1/audio/transcriptions"


class Slow(LocalCounters):
    """Counters that answer once they are let; what is taken counts from the moment it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.asked = 0

    def take(self, takes: Sequence[Take]) -> Taken | Awaitable[Taken]:  # type: ignore[override]
        taken = super().take(takes)
        if not any("/tokens" in t.key or "/streams" in t.key for t in takes):
            return taken
        self.asked += 1

        async def later() -> Taken:
            await self.open.wait()
            return taken

        return asyncio.ensure_future(later())

    @property
    def set_aside(self) -> int:
        """All that is counted."""
        sums = [s.amount for each in (self._days, self._months) for s in each.values()]
        return sum(sums) + sum(self._held.values())


def part(name: str, value: bytes, filename: str = "") -> bytes:
    more = f'; filename="{filename}"\r\ncontent-type: audio/wav' if filename else ""
    head = b'--%b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n'
    return head % (BOUND, name.encode(), more.encode()) + value


def head(length: int) -> bytes:
    lines = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n".encode()
    return lines + b"content-type: multipart/form-data; boundary=" + BOUND + b"\r\n\r\n"


FIRST = part("model", b"pick\r\n") + part("stream", b"true\r\n") + part("file", b"S" * 200_000, "a.wav")
END = b"\r\n--%b--\r\n" % BOUND


def settings(one: ScriptServer, two: ScriptServer) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "openai", "api_key": "sk-up-1"}
    return {
        "providers": {
            "one": row | {"base_url": one.base_url},
            "two": row | {"base_url": two.base_url, "chunked_uploads": False},
        },
        "routes": {"pick": ["one/whisper-1", "two/whisper-1"]},
        "chat": {"provider": "one"},
        "retry": {"attempts": 1},
        "limits": {"streams": 5, "tokens_per_day": 100_000},
    }


async def test_an_upload_whose_next_target_takes_no_growing_file_sets_aside_once(shell: str) -> None:
    """The first target fails in the middle of the upload; the second has to wait for its end."""
    counters = Slow()
    counters.open.set()
    async with (
        ScriptServer(EARLY) as one,
        ScriptServer(REFUSED) as two,
        gateway(shell, counters=counters, **settings(one, two)) as g,
    ):
        c = await g.connect()
        await c.send(head(len(FIRST + END)) + FIRST[:150_000])
        await until(lambda: len(one.connections) == 1)
        await asyncio.sleep(0.3)
        await c.send(FIRST[150_000:] + END)
        assert (await c.answer()).status == 400 and len(two.connections) == 1
        await until(lambda: not g.app.registry.open)
        await asyncio.sleep(0.05)
        assert counters.set_aside == 0


async def test_who_leaves_while_an_upload_is_asked_anew_is_asked_for_no_more(shell: str) -> None:
    """A field behind the file changes what is asked: what was waited for before must not be taken for what is waited for now."""
    counters = Slow()
    rest = b"\r\n" + part("language", b"de") + END
    async with (
        ScriptServer([Request(), Hang()]) as one,
        ScriptServer(REFUSED) as two,
        gateway(shell, counters=counters, **settings(one, two)) as g,
    ):
        c = await g.connect()
        await c.send(head(len(FIRST + rest)) + FIRST)
        await until(lambda: counters.asked == 1)
        await c.send(rest)
        await until(lambda: counters.asked == 2 or g.records)
        await asyncio.sleep(0.05)
        c.reset()
        await until(lambda: not g.app.registry.open)
        counters.open.set()
        await asyncio.sleep(0.1)
        assert one.connections == [] and len(g.records) == 1
        assert counters.set_aside == 0


async def test_who_leaves_before_a_provider_was_asked_has_used_nothing(shell: str) -> None:
    counters = Slow()
    body = {"model": "m", "messages": [{"role": "user", "content": "word " * 1000}]}
    limits = {"tokens_per_day": 100_000}
    async with (
        ScriptServer(REFUSED) as up,
        gateway(
            shell,
            counters=counters,
            providers={"up": {"base_url": up.base_url, "models": ["m"]}},
            chat={"provider": "up"},
            limits=limits,
        ) as g,
    ):
        c = await g.connect()
        await c.send(request("/v1/chat/completions", body))
        await until(lambda: counters.asked == 1)
        c.reset()
        r = await g.record()
        counters.open.set()
        assert up.connections == []
        assert (r.tokens_in, r.tokens_out) == (0, 0)


async def test_a_length_that_nobody_can_have_does_not_lock_everyone_out(shell: str) -> None:
    """One caller names a huge limit: others are served meanwhile."""
    keys = ["key-number-one-1", "key-number-two-2"]
    mine, other = ({"authorization": f"Bearer {k}"} for k in keys)

    def body(**more: Any) -> dict[str, Any]:
        return {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": False, **more}

    def script(n: int) -> Script:
        return [Request(), Hang()] if n == 0 else REFUSED

    async with (
        ScriptServer(script) as up,
        gateway(
            shell,
            providers={"up": {"base_url": up.base_url, "models": ["m"]}},
            chat={"provider": "up"},
            auth={"access_key": keys},
            limits={"everyone": {"tokens_per_day": 1_000_000}},
        ) as g,
    ):
        c = await g.connect()
        await c.send(request("/v1/chat/completions", body(max_tokens=999_999_999), mine))
        await until(lambda: len(up.connections) == 1)
        a = await g.ask("/v1/chat/completions", body(max_tokens=10), other)
        c.reset()
        assert a.status == 400, a.text  # as the provider says


class SlowAtTheDoor(LocalCounters):
    """Counters that take their time to let a request in."""

    def take(self, takes: Sequence[Take]) -> Taken | Awaitable[Taken]:  # type: ignore[override]
        taken = super().take(takes)

        async def later() -> Taken:
            await asyncio.sleep(0.5)
            return taken

        return asyncio.ensure_future(later())


async def test_a_body_in_many_small_pieces_costs_no_more_while_it_waits(shell: str) -> None:
    """What comes before it is known who asks is anybody's: it must not keep the server from the others."""
    text = b'{"messages":[{"role":"user","content":"' + b"x" * 30_000 + b'"}],"stream":false}'
    body = b"".join([b"1\r\n%c\r\n" % b for b in text]) + b"0\r\n\r\n"
    lines = b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    limits = {"requests_per_minute": 1000}
    async with gateway(shell, counters=SlowAtTheDoor(), limits=limits, providers={"offline": {"pace": 0}}) as g:
        c = await g.connect()
        began = now()
        await c.send(lines + b"transfer-encoding: chunked\r\n\r\n" + body)
        assert (await c.answer()).status == 200
        assert now() - began < 2.5


async def test_a_body_that_is_too_large_is_told_so_while_it_waits(shell: str) -> None:
    """Not 503, which asks for another try."""
    limits = {"requests_per_minute": 1000, "json_body": 1000}
    async with gateway(shell, counters=SlowAtTheDoor(), limits=limits) as g:
        c = await g.connect()
        lines = b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        await c.send(lines + b"transfer-encoding: chunked\r\n\r\n800\r\n" + b"x" * 0x800 + b"\r\n")
        assert (await c.answer()).status == 413
