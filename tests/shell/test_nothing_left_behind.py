"""A request that is over leaves no cycle of references behind: under load, looking for them costs a fifth of everything."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.gateway import gateway, until

pytestmark = pytest.mark.anyio

TEXT = {"model": "echo", "messages": [{"role": "user", "content": "a b c"}]}
STREAM = {**TEXT, "stream": True}
REQUESTS: dict[str, tuple[str, Any]] = {
    "whole": ("/v1/chat/completions", TEXT),
    "passed on": ("/v1/chat/completions", STREAM),
    "translated": ("/api/chat?format=simple", STREAM),
    "refused": ("/v1/chat/completions", {"model": "echo"}),
    "failed": ("/v1/chat/completions", {**TEXT, "model": "error-500"}),
    "embeddings": ("/v1/embeddings", {"model": "hashed-words", "input": "a b"}),
}


@contextmanager
def kept_garbage() -> Iterator[list[str]]:
    """What of this program only the garbage collector has found, by its type."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += sorted(t.__qualname__ for t in map(type, gc.garbage) if t.__module__.startswith("switchboard."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("name", REQUESTS)
async def test_nothing_is_left_behind(name: str) -> None:
    path, body = REQUESTS[name]
    async with gateway(retry={"attempts": 1}, limits={"requests_per_minute": 1000}) as g:
        await g.ask(path, body)  # whatever is made once
        with kept_garbage() as found:
            for _ in range(5):
                assert (await g.ask(path, body)).status in (200, 400, 503)
            await until(lambda: not g.app.registry.open)
        assert found == []
