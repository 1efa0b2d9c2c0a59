"""Voice sessions whose time is up while they are open, and what nobody may see of any of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection

from support.client import Answer
from support.faulty_realtime import ASK, KEY, SESSION, Fate, Faulty, answer, answer_one, fate, faulty, listen, say
from support.gateway import Gateway, gateway, until
from support.issuer import IssuerServer
from support.sockets import frame
from switchboard.engine.voice import carrying

pytestmark = pytest.mark.anyio

HOUSE = "canary-access-key-of-the-house-1"
SESSIONS = "/api/voice/sessions"


@asynccontextmanager
async def keeping(folder: Path, up: Faulty, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway that keeps voice sessions in `folder`, before `up`."""
    providers = {"openai": {"api_key": KEY, "realtime_url": up.url}}
    limits = {"voice_connects_per_minute": 1000, "voice_sessions": 50}
    tree: dict[str, Any] = {"providers": providers, "limits": limits}
    async with gateway(data=folder, **(tree | settings)) as g:
        yield g


def expire(folder: Path, seconds: float) -> None:
    """Have all sessions end in so many seconds."""
    with contextlib.closing(sqlite3.connect(folder / "switchboard.db", timeout=5)) as db, db:
        db.execute("UPDATE voice_sessions SET expires = ?", (int((time.time() + seconds) * 1000),))


async def begin(g: Gateway, name: str = "s") -> str:
    """Where the conversation of a new session is."""
    a = await g.ask("/api/voice/connect", {"sessionId": name, "userId": "u"})
    assert a.status == 200, a.text
    return str(a.json["wsUrl"])


async def row(g: Gateway) -> tuple[str, str | None]:
    """Status and end of the only session."""
    (said,) = (await g.ask(f"{SESSIONS}?userId=u")).json
    return said["status"], said.get("endReason")


async def has_expired(g: Gateway) -> None:
    async with asyncio.timeout(2):
        while await row(g) != ("ended", "expired"):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("when", ["known when it opens", "found while it is open"])
async def test_a_session_expires(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the relay's own clock, or since the database says so."""
    if when == "known when it opens":
        monkeypatch.setattr(carrying, "TEND", 30.0)  # nobody else looks meanwhile
    async with faulty(answer) as up, keeping(tmp_path, up) as g:
        address = await begin(g)
        if when == "known when it opens":
            expire(tmp_path, 0.5)
        async with connect(address) as ws:
            seen = Fate()
            listening = asyncio.create_task(listen(ws, seen, ASK))
            await until(lambda: "response.done" in seen.kinds)
            assert seen.errors == [] and await row(g) == ("active", None)
            if when != "known when it opens":
                expire(tmp_path, 0)
            await asyncio.wait_for(listening, 2)
        assert (seen.errors, seen.code, seen.reason) == (["request_timeout"], 1000, "The session has expired.")
        assert seen.events[-1]["error"]["message"] == "The session has expired."
        await until(lambda: not up.open, 1)
        await has_expired(g)
        (whole,) = [r for r in g.records if r.status == 101]
        assert (whole.outcome, whole.error) == ("timeout", "REQUEST_TIMEOUT")
        assert g.kept.voice.carried == 0
        # it may be taken up again
        async with connect(await begin(g)) as ws:
            assert json.loads(await ws.recv())["type"] == "session.created"
            assert await row(g) == ("active", None)


async def test_a_session_expires_while_the_provider_is_dialled(tmp_path: Path) -> None:
    async with faulty(answer) as up, keeping(tmp_path, up) as g:
        up.gate.clear()
        address = await begin(g)
        expire(tmp_path, 0.4)
        seen = await fate(address, within=3)
        assert (seen.status, json.loads(seen.body)["error"]) == (408, "The session has expired.")
        await until(lambda: not up.open, 1)
        await has_expired(g)
        up.gate.set()


async def test_a_session_expires_while_another_of_the_provider_is_dialled(tmp_path: Path) -> None:
    async def ends(ws: ServerConnection) -> None:
        await answer_one(ws, json.loads(await ws.recv()))
        up.gate.clear()
        await ws.close(1001, "an hour is over")

    async with faulty(ends, answer) as up, keeping(tmp_path, up) as g:
        address = await begin(g)
        expire(tmp_path, 0.5)
        seen = await fate(address, ASK, within=3)
        assert (seen.errors, seen.code) == (["request_timeout"], 1000)
        await until(lambda: not up.open, 1)
        await has_expired(g)
        up.gate.set()


async def test_a_session_that_expires_while_nobody_looks(tmp_path: Path) -> None:
    """Its server was away: the next one finds it."""
    async with faulty(answer) as up:
        async with keeping(tmp_path, up) as g:
            address = await begin(g)
        expire(tmp_path, 0)
        async with keeping(tmp_path, up) as g:
            await has_expired(g)
            with pytest.raises(websockets.InvalidStatus) as e:
                await connect(address.replace(address.split("/")[2], f"127.0.0.1:{g.port}"))
            assert e.value.response.status_code == 401
        assert not up.legs


# ---- canaries

WORDS = f"Incorrect API key provided: {KEY}. See https://api.provider.example/keys."
ERROR = {"type": f"invalid_request_error {KEY}", "code": f"bad {KEY}", "message": WORDS, "param": KEY, "event_id": None}
RESPONSE = {"id": "r", "object": "realtime.response", "output": []}


async def closes(ws: ServerConnection) -> None:
    """With the key as its reason."""
    await say(ws, "session.created", session=SESSION)
    await answer_one(ws, json.loads(await ws.recv()))
    await ws.close(4000, f"bad key {KEY} at api.provider.example")


async def errs(ws: ServerConnection) -> None:
    """In every event that says why something failed; then in what is no event, and in what is no text."""
    await say(ws, "session.created", session=SESSION)
    await ws.recv()
    await say(ws, "error", error=ERROR)
    await say(ws, "response.created", response=RESPONSE | {"status": "in_progress"})
    details = {"type": "failed", "error": ERROR}
    await say(ws, "response.done", response=RESPONSE | {"status": "failed", "status_details": details})
    name = "conversation.item.input_audio_transcription.failed"
    await say(ws, name, item_id="i", content_index=0, error=ERROR)
    await ws.send(f"{{{WORDS}")
    await ws.send(WORDS.encode())
    await asyncio.sleep(0.05)
    ws.transport.write(frame(0x81, b"\xff" + WORDS.encode(), mask=False))
    await ws.wait_closed()


async def refuses_ours(ws: ServerConnection) -> None:
    """What the server itself says of the session."""
    said = json.loads(await ws.recv())
    await say(ws, "error", error=ERROR | {"event_id": said["event_id"]})
    await ws.wait_closed()


async def breaks(ws: ServerConnection) -> None:
    await say(ws, "session.created", session=SESSION)
    await ws.recv()
    ws.transport.abort()


class Watch:
    """All that was seen from outside, but for the answers that give a ticket."""

    def __init__(self, g: Gateway) -> None:
        self._g = g
        self.seen: list[str] = []
        self.secrets: list[str] = []

    async def ask(self, path: str, body: Any = None, *headers: dict[str, str], method: str | None = None) -> Answer:
        a = await self._g.ask(path, body, headers[0] if headers else None, method=method)
        self.seen.append(f"{a.headers} {a.text}")
        return a

    async def ticket(self, path: str, body: Any, headers: dict[str, str]) -> Answer:
        """Something that gives a secret."""
        a = await self.ask(path, body, headers)
        assert a.status == 200, a.text
        secret = a.json["value"] if "value" in a.json else a.json["wsUrl"].partition("token=")[2]
        assert len(secret) > 20
        self.secrets.append(secret)
        self.seen[-1] = self.seen[-1].replace(secret, "")
        return a

    async def fate(self, *arguments: Any, **more: Any) -> Fate:
        seen = await fate(*arguments, **more)
        self.seen.append(seen.text)
        return seen


async def endpoints(w: Watch, name: str, mine: dict[str, str], other: dict[str, str]) -> None:
    """All of that interface, well and badly used."""
    one = f"{SESSIONS}/{name}"
    said = {"messages": [{"role": "user", "content": "Hello", "timestamp": "2024-01-01T12:00:00Z"}]}
    for headers, found in ((mine, 200), (other, 403), ({}, 401), ({"authorization": "Bearer nonsense"}, 401)):
        assert (await w.ask(f"{one}/transcript", said, headers)).status == found
        assert (await w.ask(f"{one}/transcript?source=relay", None, headers)).status == found
        assert (await w.ask(f"{one}/end", None, headers, method="POST")).status == found
        await w.ask(f"{SESSIONS}?limit=5", None, headers)
        await w.ask("/api/voice/connect", {"sessionId": "x" * 200, "userId": 7}, headers)
    for path, method in ((one, "DELETE"), (f"{SESSIONS}?userId=alice", "DELETE")):
        await w.ask(path, None, other, method=method)
        await w.ask(path, None, mine, method=method)


async def test_canaries(tmp_path: Path) -> None:
    """No key, token or ticket is in what clients see, in the log, in the metrics, or in any file."""
    said = {"instructions": "Be a pirate.", "renew": False}
    auth = {"access_key": HOUSE}
    async with IssuerServer() as issuer, faulty(errs, closes, refuses_ours, breaks, answer) as up:
        settings = {"realtime": said, "auth": auth | {"jwt": issuer.settings()}, "log": {"level": "DEBUG"}}
        async with keeping(tmp_path, up, **settings) as g:
            w = Watch(g)
            mine, other = issuer.bearer("alice"), issuer.bearer("mallory")
            house = {"authorization": f"Bearer {HOUSE}"}
            w.secrets += [HOUSE, *(h["authorization"].removeprefix("Bearer ") for h in (mine, other))]
            codes = []
            for n, headers in enumerate([mine, house, mine, house, mine]):
                a = await w.ticket("/api/voice/connect", {"sessionId": f"s{n}"}, headers)
                seen = await w.fate(a.json["wsUrl"], ASK) if n < 4 else None
                codes.append(seen.code if seen is not None else None)
                again = await w.fate(a.json["wsUrl"]) if seen is not None else None
                assert again is None or again.status == 401
                await endpoints(w, f"s{n}", headers, other)
            assert codes == [1014, 4000, 1011, 1014, None]
            a = await w.ticket("/v1/realtime/client_secrets", {"session": {"type": "realtime"}}, mine)
            up.wanted = "another key"
            url = f"ws://127.0.0.1:{g.port}/v1/realtime"
            for token in (a.json["value"], HOUSE):
                told = {"authorization": f"Bearer {token}"}
                assert (await w.fate(url, additional_headers=told)).status == 502
            offered = [websockets.Subprotocol("realtime"), websockets.Subprotocol(f"openai-insecure-api-key.{HOUSE}")]
            assert (await w.fate(url, subprotocols=offered)).status == 502
            await w.ask("/metrics", None, house)
            await w.ask("/api/status")
            await w.ask("/health/ready")
            await until(lambda: not g.app.registry.open, 2)
            log = await g.log()
            assert log.count('"PROVIDER_') >= 5
            assert "Incorrect API key provided: ***. See [hidden]" in "".join(w.seen)
            everything = {"the log": log, "a client": "\n".join(w.seen)} | _files(tmp_path)
        everything |= {f"{name}, later": text for name, text in _files(tmp_path).items()}
    for where, text in everything.items():
        for secret in [KEY, *w.secrets]:
            at = text.find(secret)
            assert at < 0, (where, secret, text[max(0, at - 200) : at + 100])
        assert "provider.example" not in text or where == "the log"
    assert "switchboard.db" in everything


def _files(folder: Path) -> dict[str, str]:
    """All files of a folder by their names."""
    return {p.name: p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file()}
