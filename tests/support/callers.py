"""Who calls in tests: holders of API keys, the functions of checks of one's own, and providers that note what they are told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from support.gateway import Gateway
from switchboard.app.storage import secret_of
from switchboard.core.clock import now
from switchboard.core.counting import Allowance
from switchboard.engine.jwks import Fetch, KeySets, through
from switchboard.net.dial import TcpDialer
from switchboard.net.http import UpstreamPool
from switchboard.net.script import Again, Request, ScriptServer, answer
from switchboard.policy import api_keys
from switchboard.policy.own_check import Asked
from switchboard.store.keys import ApiKey


def bearer(key: str) -> dict[str, str]:
    """The header that shows `key`."""
    return {"authorization": f"Bearer {key}"}


async def api_key(
    g: Gateway,
    name: str = "app",
    profile: str = "default",
    *,
    models: list[str] | None = None,
    surfaces: list[str] | None = None,
    act_as: bool = False,
    lifetime: float | None = None,
    **allowance: Any,
) -> api_keys.ApiKey:
    """A key, made and kept as ``switchboard keys create`` does it; `lifetime` in seconds."""
    made = api_keys.make(profile)
    at = int(time.time() * 1000)
    row = ApiKey(
        id=made.id,
        hash=api_keys.hash_of(made.text, secret_of(g.app.runtime.settings)),
        name=name,
        profile=profile,
        created=at,
        expires=None if lifetime is None else at + int(lifetime * 1000),
        quota=msgspec.json.encode(Allowance(**allowance)).decode(),
        models=json.dumps(models or []),
        surfaces=json.dumps(surfaces or []),
        act_as="any" if act_as else "",
    )
    assert await g.kept.keys.add(row)
    return made


class Clock:
    """The clock, put forward by `ahead` seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return now() + self.ahead


@asynccontextmanager
async def key_sets(g: Gateway, clock: Clock, fetch: Fetch | None = None) -> AsyncIterator[KeySets]:
    """Have `g` fetch the keys of issuers by another `clock`, and by `fetch` where it is given."""
    pool, before = UpstreamPool(TcpDialer({})), g.app.doors.keysets
    sets = KeySets(fetch or through(pool), g.app.doors.keys_changed, clock=clock)
    g.app.doors.keysets = sets
    try:
        yield sets
    finally:
        await sets.close()
        g.app.doors.keysets = before
        pool.close()


def provider(text: str = "Fine.") -> ScriptServer:
    """One that says `text` to everything, whole."""
    said = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    return ScriptServer([Request(), answer(json.dumps(said).encode()), Again()])


def told(up: ScriptServer) -> list[list[str]]:
    """What each call to a provider was told: messages by role."""
    bodies = [json.loads(r.partition(b"\r\n\r\n")[2]) for c in up.connections for r in c.requests]
    return [[f"{m['role'][0]}:{m['content']}" for m in b["messages"]] for b in bodies]


# ---- checks of one's own; who asks says in a header what is to be answered


def check(asked: Asked) -> Any:
    """What the header ``x-me`` says, as JSON; without it, nobody. One that begins with "wait" takes that many seconds, and with
    "raise" nothing comes of it."""
    said = asked.headers.get("x-me")
    if said is None:
        return None
    verb, _, rest = said.partition(" ")
    if verb == "wait":
        time.sleep(float(rest))
        return "late"
    if verb == "raise":
        raise RuntimeError(f"canary-of-an-exception {rest}")
    return json.loads(said)


async def check_later(asked: Asked) -> Any:
    """As `check`, but asynchronous."""
    said = asked.headers.get("x-me", "")
    if said.startswith("wait "):
        await asyncio.sleep(float(said[5:]))
        return "late"
    await asyncio.sleep(0)
    return check(asked)


def other_check(asked: Asked) -> Any:
    """Of another app, with users of its own."""
    return check(asked)
