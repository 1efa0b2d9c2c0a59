"""Conversations by voice, whatever a provider does: what the client sees, what the log says, and that nothing is left."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import pytest
import trustme
from msgspec import Struct
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection

from support.faulty_realtime import (
    ASK,
    KEY,
    SESSION,
    Does,
    Fate,
    answer,
    answer_one,
    at,
    before,
    fate,
    faulty,
    listen,
    say,
    whole,
)
from support.gateway import Gateway, until
from support.sockets import frame
from switchboard.app import application
from switchboard.net.script import Hang, Request, Reset, Script, ScriptServer
from switchboard.net.script import answer as http
from switchboard.net.websocket.dialer import SocketTimeouts

pytestmark = pytest.mark.anyio

ERROR = b'{"error":{"message":"Key %s at https://api.provider.example/v1 failed","type":"server_error"}}' % KEY.encode()
PATHS = ("/api/realtime", "/v1/realtime")


def key(code: str, path: str) -> str:
    return code.lower() if path.startswith("/v1") else code


def check_nothing_leaks(seen: Fate) -> None:
    for word in (KEY, "provider.example", "Traceback"):
        assert word not in seen.text


# ---- before the provider has opened


class Refusal(Struct):
    """What a provider does in place of a handshake, and what has to come of it. `detail` is in the log."""

    script: Script
    status: int
    code: str
    detail: str
    headers: dict[str, str] = {}


def saying(status: int, headers: str = "") -> Script:
    return [Request(), http(ERROR, status=status, headers=headers)]


REFUSALS = {
    "401": Refusal(saying(401), 502, "PROVIDER_AUTH", "status 401"),
    "403": Refusal(saying(403), 502, "PROVIDER_AUTH", "status 403"),
    "400": Refusal(saying(400), 400, "PROVIDER_REJECTED", "status 400"),
    "429": Refusal(saying(429), 429, "PROVIDER_RATE_LIMITED", "status 429", {"retry-after": "5"}),
    "429 with retry-after": Refusal(
        saying(429, "retry-after: 17\r\n"), 429, "PROVIDER_RATE_LIMITED", "status 429", {"retry-after": "17"}
    ),
    "500": Refusal(saying(500), 503, "PROVIDER_UNAVAILABLE", "status 500", {"retry-after": "5"}),
    "503": Refusal(saying(503, "retry-after: 3\r\n"), 503, "PROVIDER_UNAVAILABLE", "status 503", {"retry-after": "3"}),
    "no WebSocket": Refusal(saying(200), 502, "PROVIDER_PROTOCOL", "status 200"),
    "elsewhere": Refusal(saying(302, "location: ws://127.0.0.1:9/\r\n"), 502, "PROVIDER_PROTOCOL", "status 302"),
    "reset": Refusal([Request(), Reset()], 502, "PROVIDER_UNREACHABLE", "reset"),
    "closed": Refusal([Request()], 502, "PROVIDER_UNREACHABLE", "reset"),
    "no HTTP": Refusal([Request(), b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Hang()], 502, "PROVIDER_PROTOCOL", "protocol"),
    "an answer to another": Refusal(
        [
            Request(),
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            Hang(),
        ],
        502,
        "PROVIDER_PROTOCOL",
        "protocol",
    ),
}


async def refused(g: Gateway, path: str, status: int, code: str, detail: str) -> Fate:
    """What a client is told that is refused for what the provider did."""
    seen = await fate(at(g, path))
    check_nothing_leaks(seen)
    told = json.loads(seen.body)["error"]["code"] or "provider_rejected"  # the provider's own code, which is none
    assert (seen.status, told) == (status, key(code, path)), seen
    r = await whole(g)
    assert (r.status, r.outcome, r.error, r.provider) == (status, "upstream_error", code, "openai")
    assert detail in await g.log()
    return seen


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", REFUSALS)
async def test_a_provider_that_does_not_open(name: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    f = REFUSALS[name]
    async with ScriptServer(f.script) as up, before(f"ws://127.0.0.1:{up.port}/v1/realtime") as g:
        seen = await refused(g, path, f.status, f.code, f.detail)
        for header, value in f.headers.items():
            assert seen.headers[header] == value
    assert KEY not in caplog.text
    assert ("openai refuses this server's key" in caplog.text) == (f.code == "PROVIDER_AUTH")


async def test_a_provider_that_does_not_listen() -> None:
    async with ScriptServer([]) as closed:
        port = closed.port
    async with before(f"ws://127.0.0.1:{port}/v1/realtime") as g:
        await refused(g, "/api/realtime", 502, "PROVIDER_UNREACHABLE", "openai: refused")


async def test_a_provider_without_an_address() -> None:
    async with before("ws://does-not-exist.invalid/v1/realtime") as g:
        seen = await refused(g, "/v1/realtime", 502, "PROVIDER_UNREACHABLE", "dns")
        assert "invalid" not in json.loads(seen.body)["error"]["message"]


async def test_a_provider_whose_certificate_nobody_trusts() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    async with ScriptServer([Request()], tls=context) as up, before(f"wss://localhost:{up.port}/v1/realtime") as g:
        await refused(g, "/v1/realtime", 502, "PROVIDER_UNREACHABLE", "tls")
        assert all(not c.heard for c in up.connections)


async def test_a_provider_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "SocketTimeouts", lambda connect: SocketTimeouts(connect, 0.2))
    async with ScriptServer([Hang()]) as up, before(f"ws://127.0.0.1:{up.port}/v1/realtime") as g:
        await refused(g, "/api/realtime", 504, "PROVIDER_TIMEOUT", "timeout")
        await until(lambda: up.connections[0].left is not None, 1)


async def test_a_key_that_is_good_no_more() -> None:
    """The next one is tried, and used from then on; that it was refused is no fault of the client's."""
    keys = ["sk-the-first-one-0123456789", "sk-the-second-one-0123456789", KEY]
    async with faulty(answer) as up:
        up.wanted = KEY
        provider = {"openai": {"api_key": keys, "realtime_url": up.url}}
        async with before(up.url, providers=provider) as g:
            for _ in range(2):
                async with connect(at(g)) as ws:
                    seen = Fate()
                    listening = asyncio.create_task(listen(ws, seen, ASK))
                    await until(lambda seen=seen: "response.done" in seen.kinds)
                await listening
            assert [leg.authorization for leg in up.legs] == [f"Bearer {k}" for k in [*keys, KEY]]
            up.wanted = "none of them"
            assert (await fate(at(g))).status == 502
            assert len(up.legs) == 4 + len(keys)
            log = await g.log()
            assert not any(k in log for k in keys)


async def test_a_voice_session_whose_provider_refuses(tmp_path: Path) -> None:
    """The caller is told in the words of that interface, and may connect again at once."""
    async with ScriptServer(saying(500)) as up:
        url = f"ws://127.0.0.1:{up.port}/v1/realtime"
        async with before(url, data=tmp_path, limits={"voice_sessions": 1}) as g:
            for _ in range(3):
                begun = await g.ask("/api/voice/connect", {"sessionId": "s", "userId": "u"})
                assert begun.status == 200, begun.text
                seen = await fate(begun.json["wsUrl"])
                check_nothing_leaks(seen)
                said = json.loads(seen.body)
                assert (seen.status, said["code"], type(said["error"])) == (503, "PROVIDER_UNAVAILABLE", str)
                await until(lambda: not g.kept.voice.carried, 1)


# ---- afterwards


def closing(code: int, reason: str, *, talks: bool) -> Does:
    """A provider that closes: at once, or when it has answered once."""

    async def does(ws: ServerConnection) -> None:
        if talks:
            await say(ws, "session.created", session=SESSION)
            await answer_one(ws, json.loads(await ws.recv()))
        await ws.close(code, reason)

    return does


CODES = (1001, 1008, 1011, 4000)


@pytest.mark.parametrize("talks", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("code", CODES)
async def test_a_provider_that_closes(code: int, talks: bool) -> None:
    """Nothing takes its place: the client is closed with what it said, and the log has it."""
    async with faulty(closing(code, "so it is", talks=talks)) as up, before(up.url, realtime={"renew": False}) as g:
        seen = await fate(at(g), ASK)
        assert (seen.status, seen.code, seen.reason) == (101, code, "so it is")
        assert seen.kinds.count("response.done") == talks
        assert len(up.legs) == 1
        r = await whole(g)
        if code == 1001:
            assert (r.status, r.outcome, r.error) == (101, "complete", "")
            return
        assert (r.status, r.outcome, r.error) == (101, "upstream_cut", "PROVIDER_CUT")
        assert f"{code}" in r.detail and "so it is" in r.detail


@pytest.mark.parametrize("talks", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("code", CODES)
async def test_a_provider_that_closes_and_may_be_replaced(code: int, talks: bool) -> None:
    async with faulty(closing(code, "so it is", talks=talks), answer) as up, before(up.url) as g:
        async with connect(at(g)) as ws:
            seen, listening = Fate(), None
            listening = asyncio.create_task(listen(ws, seen, ASK))
            if code in (1008, 4000):
                await listening
                assert (seen.code, seen.reason, len(up.legs)) == (code, "so it is", 1)
                return
            await until(lambda: len(up.legs) == 2 and "response.done" in seen.kinds)
            heard = seen.kinds.count("response.done")
            await ws.send(ASK)
            await until(lambda: seen.kinds.count("response.done") > heard)
            assert seen.errors == [] and g.app.talks.renewed == 1
        await listening
    assert up.legs[1].closed is not None and up.legs[1].closed[0] == 1000


async def test_a_provider_that_closes_again_and_again() -> None:
    """It is not asked for ever."""
    async with faulty(closing(1011, "broken", talks=False)) as up, before(up.url) as g:
        seen = await fate(at(g), ASK)
        assert (seen.code, seen.reason) == (1011, "broken")
        assert 2 <= len(up.legs) <= 6


async def test_a_provider_that_does_not_come_back() -> None:
    """A new session is asked for a few times; then the client is told how the old one ended."""

    async def does(ws: ServerConnection) -> None:
        await answer_one(ws, json.loads(await ws.recv()))
        up.gate.clear()
        up_gone.set()
        await ws.close(1001, "an hour is over")

    up_gone = asyncio.Event()
    async with faulty(does) as up, before(up.url) as g:
        async with connect(at(g)) as ws:
            seen = Fate()
            listening = asyncio.create_task(listen(ws, seen, ASK))
            await up_gone.wait()
            for n in range(2, 6):
                try:
                    await until(lambda n=n: len(up.legs) >= n or listening.done(), 3)
                except AssertionError:
                    break
                if listening.done():
                    break
                up.legs[-1].connection.transport.abort()
            await asyncio.wait_for(listening, 3)
            assert (seen.code, seen.reason) == (1001, "an hour is over")
            assert 3 <= len(up.legs) <= 5
        up.gate.set()


async def resets(ws: ServerConnection) -> None:
    await answer_one(ws, json.loads(await ws.recv()))
    ws.transport.abort()


async def test_a_provider_that_breaks_off() -> None:
    async with faulty(resets) as up, before(up.url, realtime={"renew": False}) as g:
        seen = await fate(at(g), ASK)
        assert (seen.code, seen.kinds.count("response.done")) == (1014, 1)
        r = await whole(g)
        assert (r.status, r.outcome, r.error) == (101, "upstream_cut", "PROVIDER_CUT")


async def test_a_provider_that_says_nothing() -> None:
    async def silent(ws: ServerConnection) -> None:
        await ws.wait_closed()

    async with faulty(silent) as up, before(up.url, realtime={"idle_seconds": 0.3}) as g:
        seen = await fate(at(g))
        assert (seen.errors, seen.code) == (["request_timeout"], 1000)
        await until(lambda: not up.open, 1)
        r = await whole(g)
        assert (r.outcome, r.error) == ("timeout", "REQUEST_TIMEOUT")


def sending(*pieces: bytes) -> Does:
    """A provider that answers once, then sends bytes that are no messages as they should be, then answers on."""

    async def does(ws: ServerConnection) -> None:
        await say(ws, "session.created", session=SESSION)
        await answer_one(ws, json.loads(await ws.recv()))
        for piece in pieces:
            ws.transport.write(piece)
        async for message in ws:
            await answer_one(ws, json.loads(message))

    return does


#: Whole messages, but no events: the client hears nothing of them, and the conversation goes on.
NO_EVENTS = {
    "garbage": b"{{{",
    "no JSON at all": b"\x00\x01\x02",
    "no object": b"[1, 2]",
    "no type": b'{"event_id": "e"}',
    "a type that is none": b'{"type": 7}',
    "half a character": b'{"type": "response.done", "response": {"id": "\\ud800"}}',
    "numbers that are none": b'{"type": "response.done", "response": {"usage": {"input_tokens": 1e999, "output_tokens": NaN}}}',
    "deep": b'{"type": "response.done", "response": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "members of another kind": b'{"type": "conversation.item.added", "item": 3, "session": [], "error": 4}',
    "an error of another kind": b'{"type": "error", "error": "broken"}',
    "a session of another kind": b'{"type": "session.created", "session": 5}',
    "a delta of another kind": b'{"type": "response.output_audio.delta", "item_id": [], "delta": {"a": 1}}',
}


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize("name", NO_EVENTS)
async def test_a_provider_that_says_what_is_no_event(name: str, dialect: str) -> None:
    piece = frame(0x81, NO_EVENTS[name], mask=False)
    async with faulty(sending(piece)) as up, before(up.url) as g:
        async with connect(at(g) + f"&dialect={dialect}") as ws:
            seen = Fate()
            listening = asyncio.create_task(listen(ws, seen, ASK))
            await until(lambda: "response.done" in seen.kinds)
            await asyncio.sleep(0.02)
            heard = seen.kinds.count("response.done")
            await ws.send(ASK)
            await until(lambda: seen.kinds.count("response.done") > heard)
        await listening
        assert len(up.legs) == 1
        await whole(g)
        assert "Traceback" not in await g.log()


async def test_a_provider_that_sends_bytes() -> None:
    """There is nothing that would say it so."""
    async with faulty(sending(frame(0x82, b"\x00" * 1000, mask=False))) as up, before(up.url) as g:
        async with connect(at(g)) as ws:
            seen = Fate()
            listening = asyncio.create_task(listen(ws, seen, ASK, ASK))
            await until(lambda: seen.kinds.count("response.done") == 2)
        await listening
        assert "bytes" not in seen.kinds


#: What is no message at all: the provider's socket is closed with that code, the client's with one that does not blame it.
VIOLATIONS = {
    "17 MB": (frame(0x81, b" " * (17 << 20), mask=False), 1009),
    "17 MB in pieces": (
        frame(0x01, b" " * (9 << 20), mask=False) + frame(0x80, b" " * (8 << 20), mask=False),
        1009,
    ),
    "bad UTF-8": (frame(0x81, b'{"type": "\xff\xfe"}', mask=False), 1007),
    "a mask": (frame(0x81, b"{}", mask=True), 1002),
    "a kind that is none": (frame(0x83, b"{}", mask=False), 1002),
    "fragments out of order": (frame(0x80, b"{}", mask=False), 1002),
    "no frames": (b"HTTP/1.1 400 Bad Request\r\n\r\n", 1002),
}


@pytest.mark.parametrize("renew", [False, True], ids=["alone", "renewed"])
@pytest.mark.parametrize("name", VIOLATIONS)
async def test_a_provider_that_breaks_the_rules(name: str, renew: bool) -> None:
    piece, code = VIOLATIONS[name]
    async with faulty(sending(piece)) as up, before(up.url, realtime={"renew": renew}) as g:
        seen = await fate(at(g), ASK)
        assert (seen.errors, seen.code) == (["provider_protocol"], 1014), seen
        await until(lambda: not up.open, 1)
        assert up.legs[0].closed is not None and up.legs[0].closed[0] == code
        r = await whole(g)
        assert (r.status, r.outcome, r.error) == (101, "upstream_cut", "PROVIDER_PROTOCOL")
        assert len(up.legs) == 1
