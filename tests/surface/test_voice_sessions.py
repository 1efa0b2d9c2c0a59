"""``/api/voice``: voice sessions, as those who own them and those who do not see them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.callers import Clock, api_key, bearer, key_sets, provider
from support.client import Answer, Connection
from support.gateway import Gateway, gateway
from support.issuer import IssuerServer
from support.tokens import document, jwk, token
from switchboard.core.types import Headers
from switchboard.engine.voice import EndReason
from switchboard.net.script import Again, Request, ScriptServer, answer

pytestmark = pytest.mark.anyio

ONE, OTHER = {"authorization": "Bearer key-number-one-1"}, {"authorization": "Bearer key-number-two-2"}
KEYS: dict[str, Any] = {"auth": {"access_key": ["key-number-one-1", "key-number-two-2"]}}
MANY: dict[str, Any] = {"limits": {"voice_connects_per_minute": 1000, "voice_sessions": 50}}
MESSAGES = [
    {"role": "user", "content": "Hello, I need help with my goals", "timestamp": "2024-01-01T12:00:00Z"},
    {"role": "assistant", "content": "I'd be happy to help you.", "timestamp": "2024-01-01T12:00:05Z"},
]
SESSIONS = "/api/voice/sessions"


def ids(a: Answer) -> list[str]:
    assert a.status == 200, a.body
    return [s["sessionId"] for s in a.json]


def error(a: Answer) -> tuple[int, str]:
    """Status and code of an error, which has the shape of this interface."""
    assert set(a.json) == {"error", "code", "request_id"} and isinstance(a.json["error"], str)
    assert a.json["request_id"] == a.headers["x-request-id"]
    return a.status, a.json["code"]


def unauthorized(a: Answer) -> None:
    """A session is not there, or somebody else's: always in the same bytes."""
    assert a.status == 403
    assert a.body.replace(a.headers["x-request-id"].encode(), b"ID") == (
        b'{"error":"Unauthorized","code":"FORBIDDEN","request_id":"ID"}'
    )


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


async def connect(g: Gateway, name: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    return await g.ask("/api/voice/connect", {"sessionId": name, **more}, headers)


async def redeem(g: Gateway, a: Answer) -> Any:
    """What the ticket of a connect is good for."""
    assert a.status == 200, a.body
    return await g.kept.voice.redeem(a.json["wsUrl"].partition("?token=")[2].encode(), "default")


async def test_a_session_from_beginning_to_end(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        a = await connect(g, "s1", ONE, userId="ann")
        assert list(a.json) == ["wsUrl", "sessionId", "expiresAt"]
        assert a.json["wsUrl"].startswith(f"ws://127.0.0.1:{g.port}/api/voice/realtime?token=vt_")
        assert a.json["sessionId"] == "s1"
        left = moment(a.json["expiresAt"]) - datetime.now(UTC)
        assert timedelta(minutes=29.9) < left < timedelta(minutes=30.1)
        (row,) = (await g.ask(SESSIONS, headers=ONE)).json
        assert list(row) == ["sessionId", "userId", "status", "createdAt"]
        assert (row["sessionId"], row["userId"], row["status"]) == ("s1", "ann", "active")
        for _ in range(2):
            assert (await g.ask(f"{SESSIONS}/s1/end", headers=ONE, method="POST")).json == {"success": True}
        (row,) = (await g.ask(SESSIONS, headers=ONE)).json
        assert (row["status"], row["endReason"]) == ("ended", "ended")
        assert moment(row["createdAt"]) <= moment(row["endedAt"]) <= datetime.now(UTC)


async def test_as_the_document_has_it(tmp_path: Path) -> None:
    """Its two lines for a terminal, on a server that asks nobody, with the token that they show."""
    async with gateway(data=tmp_path) as g:
        lines = b"authorization: Bearer YOUR_JWT_TOKEN\r\nhost: localhost:3000\r\nuser-agent: curl/8\r\naccept: */*\r\n"
        body = b'{"sessionId":"test-session","userId":"test-user"}'
        first = b"POST /api/voice/connect HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        c = await Connection.open(g.port)
        await c.send(first % len(body) + lines + b"\r\n" + body)
        begun = await c.answer()
        assert begun.status == 200 and begun.json["sessionId"] == "test-session"
        await c.send(b"POST /api/voice/sessions/test-session/end HTTP/1.1\r\n" + lines + b"\r\n")
        ended = await c.answer()
        assert (ended.status, ended.body) == (200, b'{"success":true}')
        c.close()
        posted = await g.ask(f"{SESSIONS}/test-session/transcript", {"messages": MESSAGES})
        assert posted.json == {"success": True}
        (row,) = (await g.ask(f"{SESSIONS}?userId=test-user")).json
        assert (row["userId"], row["endReason"]) == ("test-user", "ended")
        assert ids(await g.ask(f"{SESSIONS}?userId=another")) == []


@asynccontextmanager
async def firebase(shell: str, folder: Path, **settings: Any) -> AsyncIterator[tuple[Gateway, Any]]:
    """A server that lets in users of a Firebase project, and what makes the header that shows one's token."""

    async def fetch(url: str, *, limit: int, timeout: float) -> tuple[int, Headers, bytes]:
        return 200, {b"cache-control": b"public, max-age=20000"}, document(jwk(kid="g1"))

    def shown(user: str, **changes: Any) -> dict[str, str]:
        claims = IssuerServer().claims(iss="https://securetoken.google.com/demo-project", aud="demo-project", sub=user)
        claims |= {"auth_time": claims["iat"], "user_id": user}
        return bearer(token(claims | changes, kid="g1").decode())

    auth = {"firebase_project": "demo-project", "failures_per_minute": 1000}
    async with gateway(shell, data=folder, auth=auth, **settings) as g, key_sets(g, Clock(), fetch):
        yield g, shown


async def test_users_of_firebase(shell: str, tmp_path: Path) -> None:
    async with firebase(shell, tmp_path, **MANY) as (g, shown):
        ann, eve = shown("ann-uid"), shown("eve-uid")
        assert (await connect(g, "s1", ann, userId="ann-uid")).status == 200
        assert (await connect(g, "s2", ann)).status == 200  # the token says whose
        unauthorized(await connect(g, "s3", ann, userId="eve-uid"))
        unauthorized(await connect(g, "s1", eve, userId="eve-uid"))
        assert {s["userId"] for s in (await g.ask(SESSIONS, headers=ann)).json} == {"ann-uid"}
        assert ids(await g.ask(f"{SESSIONS}?userId=ann-uid&limit=10", headers=ann)) == ["s2", "s1"]
        assert ids(await g.ask(SESSIONS, headers=eve)) == []
        unauthorized(await g.ask(f"{SESSIONS}?userId=ann-uid", headers=eve))
        unauthorized(await g.ask(f"{SESSIONS}?userId=ann-uid", headers=eve, method="DELETE"))
        for path, body, method in (
            ("/s1/end", None, "POST"),
            ("/s1/transcript", {"messages": MESSAGES}, "POST"),
            ("/s1/transcript", None, "GET"),
            ("/s1", None, "DELETE"),
        ):
            theirs = await g.ask(SESSIONS + path, body, eve, method=method)
            none = await g.ask(SESSIONS + path.replace("s1", "nonesuch"), body, eve, method=method)
            unauthorized(theirs)
            unauthorized(none)
            assert (await g.ask(SESSIONS + path + "?userId=ann-uid", body, eve, method=method)).status == 403
        assert (await g.ask(f"{SESSIONS}/s1/end", headers=ann, method="POST")).json == {"success": True}
        late = await connect(g, "s1", shown("ann-uid", exp=time.time() - 600))
        assert error(late) == (401, "UNAUTHORIZED")
        assert (await g.ask(SESSIONS, headers=ann, method="DELETE")).json == {"success": True}
        assert ids(await g.ask(SESSIONS, headers=ann)) == []


async def test_nobody_is_let_in_without_a_key(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        for path, method in (
            ("/api/voice/connect", "POST"),
            (SESSIONS, "GET"),
            (SESSIONS, "DELETE"),
            (f"{SESSIONS}/s/end", "POST"),
            (f"{SESSIONS}/s/transcript", "POST"),
            (f"{SESSIONS}/s", "DELETE"),
            ("/api/v1/voice/sessions", "GET"),
        ):
            a = await g.ask(path, method=method)
            assert error(a) == (401, "UNAUTHORIZED") and "www-authenticate" in a.headers


async def test_to_connect_again(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        first = await connect(g, "s", ONE)
        await g.ask(f"{SESSIONS}/s/transcript", {"messages": MESSAGES}, ONE)
        await g.ask(f"{SESSIONS}/s/end", headers=ONE, method="POST")
        await asyncio.sleep(0.005)
        again = await connect(g, "s", ONE)
        assert again.json["wsUrl"] != first.json["wsUrl"]
        assert moment(again.json["expiresAt"]) > moment(first.json["expiresAt"])
        assert [s["status"] for s in (await g.ask(SESSIONS, headers=ONE)).json] == ["active"]
        assert (await g.ask(f"{SESSIONS}/s/transcript", headers=ONE)).json["messages"] == MESSAGES
        assert await redeem(g, first) is None
        ticket = await redeem(g, again)
        assert ticket is not None and ticket.session.id == "s" and ticket.caller.kind == "access_key"
        assert await redeem(g, again) is None  # it is good once
        unauthorized(await connect(g, "s", OTHER))


class Talk:
    """A conversation that carries a session."""

    def __init__(self) -> None:
        self.over: list[EndReason] = []
        self.said: list[dict[str, Any]] | None = [{"role": "user", "content": "heard", "timestamp": "x"}]

    def script(self) -> list[dict[str, Any]] | None:
        said, self.said = self.said, None
        return said

    def session_over(self, reason: EndReason) -> None:
        self.over.append(reason)


async def test_an_end_closes_what_is_open_and_what_was_heard_is_kept_apart(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        ticket, talk = await redeem(g, await connect(g, "s", ONE)), Talk()
        g.kept.voice.carry(ticket, talk)
        await g.ask(f"{SESSIONS}/s/end", headers=ONE, method="POST")
        assert talk.over == [EndReason.ENDED]
        path = f"{SESSIONS}/s/transcript"
        async with asyncio.timeout(2):
            while (heard := (await g.ask(path, headers=ONE)).json)["messages"] == []:
                assert "source" not in heard
        assert heard["source"] == "relay" and heard["messages"][0]["content"] == "heard"
        assert (await g.ask(f"{path}?source=posted", headers=ONE)).json == {"sessionId": "s", "messages": []}
        await g.ask(path, {"messages": MESSAGES[:1]}, ONE)
        posted = (await g.ask(path, headers=ONE)).json
        assert list(posted) == ["sessionId", "source", "updatedAt", "messages"]
        assert (posted["source"], posted["messages"]) == ("posted", MESSAGES[:1])
        assert (await g.ask(f"{path}?source=relay", headers=ONE)).json["messages"][0]["content"] == "heard"
        assert error(await g.ask(f"{path}?source=other", headers=ONE)) == (400, "INVALID_REQUEST")


async def test_the_last_transcript_counts_whole(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        await connect(g, "s", ONE)
        path = "/api/v1/voice/sessions/s/transcript"
        odd: list[dict[str, Any]] = [
            {"role": "system", "content": "\u0000'\n🙂", "more": 1},
            {"role": "user", "content": ""},
        ]
        every: list[list[dict[str, Any]]] = [MESSAGES, odd, []]
        for messages in every:
            assert (await g.ask(path, {"messages": messages}, ONE)).json == {"success": True}
            kept = [{k: v for k, v in m.items() if k != "more"} for m in messages]
            assert (await g.ask(path, headers=ONE)).json["messages"] == kept


@pytest.mark.parametrize(
    "messages",
    [
        None,
        "text",
        [1],
        [{"role": "user"}],
        [{"content": "x"}],
        [{"role": "tool", "content": "x"}],
        [{"role": "user", "content": 1}],
        [{"role": "user", "content": "x", "timestamp": "yesterday"}],
        [{"role": "user", "content": "x", "timestamp": 1700000000}],
        [{"role": "user", "content": "x", "timestamp": "2024-01-01T12:00:00Z" + " " * 100}],
        [{"role": "user", "content": "x"}] * 2001,
    ],
)
async def test_a_transcript_that_is_none(messages: Any, tmp_path: Path) -> None:
    async with gateway(data=tmp_path, **KEYS) as g:
        await connect(g, "s", ONE)
        a = await g.ask(f"{SESSIONS}/s/transcript", {"messages": messages}, ONE)
        assert error(a) == (400, "INVALID_REQUEST") and a.json["error"].startswith("messages")


async def test_a_transcript_that_is_too_large(tmp_path: Path) -> None:
    async with gateway(data=tmp_path, **KEYS) as g:
        await connect(g, "s", ONE)
        path = f"{SESSIONS}/s/transcript"
        most = [{"role": "user", "content": "ä" * 262_144}] * 2
        assert (await g.ask(path, {"messages": most}, ONE)).status == 200
        a = await g.ask(path, {"messages": [*most, {"role": "user", "content": "x"}]}, ONE)
        assert error(a) == (413, "PAYLOAD_TOO_LARGE")
        lone = b'{"messages": [{"role": "user", "content": "\\ud800"}]}'  # half a character is none
        assert error(await g.ask(path, lone, ONE)) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "INVALID_JSON"),
        (b"\xff", "INVALID_JSON"),
        (b"[]", "INVALID_REQUEST"),
        (b"{}", "INVALID_REQUEST"),
        (b"", "INVALID_REQUEST"),
        ({"sessionId": ""}, "INVALID_REQUEST"),
        ({"sessionId": "a b"}, "INVALID_REQUEST"),
        ({"sessionId": "a\n"}, "INVALID_REQUEST"),
        ({"sessionId": "a/b"}, "INVALID_REQUEST"),
        ({"sessionId": "a" * 129}, "INVALID_REQUEST"),
        ({"sessionId": 7}, "INVALID_REQUEST"),
        ({"sessionId": None}, "INVALID_REQUEST"),
        ({"sessionId": "s", "userId": 7}, "INVALID_REQUEST"),
        ({"sessionId": "s", "userId": "a\nb"}, "INVALID_REQUEST"),
        ({"sessionId": "s", "userId": "u" * 256}, "INVALID_REQUEST"),
        (b"[" * 100_000, "INVALID_JSON"),
    ],
)
async def test_a_connect_that_is_none(body: Any, code: str, tmp_path: Path) -> None:
    async with gateway(data=tmp_path, **KEYS) as g:
        assert error(await g.ask("/api/voice/connect", body, ONE)) == (400, code)
        assert ids(await g.ask(SESSIONS, headers=ONE)) == []


async def test_what_else_cannot_be(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        kind = await g.ask("/api/voice/connect", b"sessionId=s", ONE | {"content-type": "text/plain"})
        assert error(kind) == (415, "UNSUPPORTED_MEDIA_TYPE")
        for query in ("limit=0", "limit=101", "limit=x", "userId=a%0Ab"):
            assert error(await g.ask(f"{SESSIONS}?{query}", headers=ONE)) == (400, "INVALID_REQUEST")
        bad = await g.ask(f"{SESSIONS}/a%20b/end", headers=ONE, method="POST")
        assert error(bad) == (400, "INVALID_REQUEST")
        assert error(await g.ask("/api/voice/nonesuch", headers=ONE)) == (404, "NOT_FOUND")
        assert error(await g.ask("/api/voice/connect", headers=ONE)) == (405, "METHOD_NOT_ALLOWED")
        assert error(await g.ask(SESSIONS, headers=ONE, method="DELETE")) == (400, "INVALID_REQUEST")
        assert (await connect(g, "a" * 128, ONE, userId=None)).status == 200
        without = await g.ask("/api/voice/connect", {"sessionId": "b"}, ONE | {"content-type": ""})
        assert without.status == 200


async def test_what_breaks_before_it_is_a_request_has_the_same_shape(tmp_path: Path) -> None:
    async with gateway(data=tmp_path) as g:
        c = await Connection.open(g.port)
        await c.send(b"POST /api/voice/connect HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99999999999\r\n\r\n")
        a = await c.answer()
        assert error(a) == (413, "PAYLOAD_TOO_LARGE")
        c.close()


async def test_sessions_are_listed_the_newest_first(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS, **MANY) as g:
        for n in range(12):
            await connect(g, f"s{n}", ONE, userId="ann" if n % 2 else "bob")
            await asyncio.sleep(0.002)
        assert ids(await g.ask(SESSIONS, headers=ONE)) == [f"s{n}" for n in range(11, 1, -1)]
        assert ids(await g.ask(f"{SESSIONS}?limit=2&userId=ann", headers=ONE)) == ["s11", "s9"]
        assert ids(await g.ask("/api/v1/voice/sessions?limit=100", headers=ONE)) == [f"s{n}" for n in range(11, -1, -1)]
        assert ids(await g.ask(SESSIONS, headers=OTHER)) == []


async def test_sessions_are_forgotten(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS, **MANY) as g:
        talks = {}
        for n, user in enumerate(["ann", "bob", "ann", "bob"]):
            ticket, talks[n] = await redeem(g, await connect(g, f"s{n}", ONE, userId=user)), Talk()
            g.kept.voice.carry(ticket, talks[n])
            await g.ask(f"{SESSIONS}/s{n}/transcript", {"messages": MESSAGES}, ONE)
        await connect(g, "theirs", OTHER, userId="ann")
        assert (await g.ask(f"{SESSIONS}/s1", headers=ONE, method="DELETE")).json == {"success": True}
        unauthorized(await g.ask(f"{SESSIONS}/s1", headers=ONE, method="DELETE"))
        unauthorized(await g.ask(f"{SESSIONS}/s1/transcript", headers=ONE))
        assert (await g.ask(f"{SESSIONS}?userId=ann", headers=ONE, method="DELETE")).json == {"success": True}
        assert ids(await g.ask(SESSIONS, headers=ONE)) == ["s3"]
        assert ids(await g.ask(SESSIONS, headers=OTHER)) == ["theirs"]
        assert {n: t.over for n, t in talks.items()} == {
            0: [EndReason.DELETED],
            1: [EndReason.DELETED],
            2: [EndReason.DELETED],
            3: [],
        }
        await asyncio.sleep(0.6)  # whatever was on its way
        left = await g.kept.database.run(lambda db: db.rows("SELECT DISTINCT session FROM transcripts"), write=False)
        assert left == [("s3",)]


async def test_a_server_in_front_of_many_users(shell: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"auth": {**KEYS["auth"], "act_as": True}, **MANY}
    async with gateway(shell, data=tmp_path, **settings) as g:
        assert (await connect(g, "a", ONE, userId="ann")).status == 200
        assert (await connect(g, "b", ONE, userId="bob")).status == 200
        unauthorized(await connect(g, "a", ONE, userId="bob"))
        unauthorized(await connect(g, "a", OTHER, userId="ann"))
        assert ids(await g.ask(f"{SESSIONS}?userId=ann", headers=ONE)) == ["a"]
        unauthorized(await g.ask(f"{SESSIONS}/a/end?userId=bob", headers=ONE, method="POST"))
        unauthorized(await g.ask(f"{SESSIONS}/a/end", headers=OTHER, method="POST"))
        # without a name the session tells whose it is
        assert (await g.ask(f"{SESSIONS}/a/end", headers=ONE, method="POST")).status == 200
        assert (await g.ask(f"{SESSIONS}?userId=bob", headers=ONE, method="DELETE")).status == 200
        assert ids(await g.ask(f"{SESSIONS}?userId=bob", headers=ONE)) == []
        assert ids(await g.ask(f"{SESSIONS}?userId=ann", headers=ONE)) == ["a"]


async def test_limits(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, auth={"api_keys": True}) as g:
        app = bearer((await api_key(g, voice_connects_per_minute=3, voice_sessions=1)).text)
        ticket = await redeem(g, await connect(g, "a", app))
        g.kept.voice.carry(ticket, Talk())
        full = await connect(g, "b", app)
        assert error(full) == (429, "RATE_LIMITED") and "1 voice sessions" in full.json["error"]
        assert (await connect(g, "a", app)).status == 200
        often = await connect(g, "a", app)
        assert error(often) == (429, "RATE_LIMITED") and int(often.headers["retry-after"]) > 0
        no_voice = bearer((await api_key(g, "text", surfaces=["web_chat"])).text)
        assert error(await connect(g, "c", no_voice)) == (403, "FORBIDDEN")
        assert error(await g.ask(SESSIONS, headers=no_voice)) == (403, "FORBIDDEN")


async def test_a_ticket_goes_with_its_key(tmp_path: Path) -> None:
    async with gateway(data=tmp_path, auth={"api_keys": True}) as g:
        made = await api_key(g)
        a = await connect(g, "a", bearer(made.text))
        await g.kept.keys.revoke(made.id, int(time.time() * 1000))
        assert await redeem(g, a) is None


async def test_profiles_have_sessions_of_their_own(shell: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "profiles": {"shop": {"voice": {"session_seconds": 60}}},
        "public_url": "https://voice.example.com/x/",
    }
    async with gateway(shell, data=tmp_path, **KEYS, **settings) as g:
        a = await g.ask("/p/shop/api/voice/connect", {"sessionId": "s"}, ONE)
        assert a.json["wsUrl"].startswith("wss://voice.example.com/x/p/shop/api/voice/realtime?token=vt_")
        left = moment(a.json["expiresAt"]) - datetime.now(UTC)
        assert timedelta(seconds=55) < left < timedelta(seconds=61)
        assert ids(await g.ask(SESSIONS, headers=ONE)) == []
        assert ids(await g.ask(f"/p/shop{SESSIONS}", headers=ONE)) == ["s"]
        unauthorized(await connect(g, "s", ONE))
        unauthorized(await g.ask(f"{SESSIONS}/s/end", headers=ONE, method="POST"))
        assert error(await g.ask(f"/p/shop{SESSIONS}?limit=0", headers=ONE)) == (400, "INVALID_REQUEST")


async def test_a_page_of_another_origin_may_ask(tmp_path: Path) -> None:
    async with gateway(data=tmp_path, **KEYS) as g:
        origin = {"origin": "http://localhost:3000"}
        asked = origin | {"access-control-request-method": "DELETE"}
        preflight = await g.ask(f"{SESSIONS}/s", headers=asked, method="OPTIONS")
        assert preflight.status == 204 and preflight.headers["access-control-allow-origin"] == origin["origin"]
        refused = await g.ask(SESSIONS, headers=origin)
        assert refused.status == 401 and refused.headers["access-control-allow-origin"] == origin["origin"]


async def test_while_the_database_is_away(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"database": {"url": "postgresql://nobody@127.0.0.1:9/none"}}
    async with gateway(data=tmp_path, wait=False, **settings) as g:
        a = await connect(g, "s")
        assert error(a) == (503, "STORE_UNAVAILABLE") and "retry-after" in a.headers


# ---- straight to the provider


def secrets(status: int = 200, said: Any = None) -> ScriptServer:
    """A provider that gives out secrets."""
    good = {"value": "ek_of_the_provider", "expires_at": int(time.time()) + 600, "session": {}}
    return ScriptServer([Request(), answer(json.dumps(said or good).encode(), status=status), Again()])


def direct(up: ScriptServer, **row: Any) -> dict[str, Any]:
    openai = {"base_url": up.base_url, "api_key": "sk-secret-of-the-server", **row}
    return {
        "providers": {"openai": openai},
        "voice": {"connect": "direct"},
        "realtime": {"instructions": "You are a coach.", "voice": "marin", "model": "gpt-realtime-2.1"},
    }


async def test_straight_to_the_provider(shell: str, tmp_path: Path) -> None:
    async with secrets() as up, gateway(shell, data=tmp_path, **KEYS, **direct(up)) as g:
        a = await connect(g, "s", ONE)
        assert list(a.json) == ["wsUrl", "sessionId", "expiresAt", "clientSecret"]
        assert a.json["wsUrl"] == up.base_url.replace("http", "ws", 1) + "/realtime?model=gpt-realtime-2.1"
        assert a.json["clientSecret"] == "ek_of_the_provider"
        assert moment(a.json["expiresAt"]) < datetime.now(UTC) + timedelta(minutes=11)
        head, _, body = up.connections[0].requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/realtime/client_secrets HTTP/1.1\r\n")
        assert b"authorization: Bearer sk-secret-of-the-server" in head
        asked = json.loads(body)
        assert asked["expires_after"] == {"anchor": "created_at", "seconds": 1800}
        assert asked["session"]["model"] == "gpt-realtime-2.1" and asked["session"]["type"] == "realtime"
        assert asked["session"]["instructions"] == "You are a coach."
        assert asked["session"]["audio"]["output"]["voice"] == "marin"
        assert asked["session"]["audio"]["input"]["transcription"] == {"model": "whisper-1"}
        assert [s["status"] for s in (await g.ask(SESSIONS, headers=ONE)).json] == ["active"]
        assert b"sk-secret" not in a.body


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [(401, {"error": {"message": "sk-secret"}}, 502), (500, {"error": {}}, 503), (200, {"value": 1}, 502)],
)
async def test_a_provider_that_gives_no_secret(status: int, said: Any, told: int, tmp_path: Path) -> None:
    async with secrets(status, said) as up, gateway(data=tmp_path, **KEYS, **direct(up)) as g:
        a = await connect(g, "s", ONE)
        assert error(a)[0] == told and b"sk-secret" not in a.body
        assert [s["status"] for s in (await g.ask(SESSIONS, headers=ONE)).json] == ["ended"]


async def test_another_key_is_tried(tmp_path: Path) -> None:
    good = {"value": "ek_1", "expires_at": int(time.time()) + 600}
    turns = [answer(b"{}", status=401), answer(json.dumps(good).encode())]
    async with ScriptServer([Request(), turns[0], Request(), turns[1]]) as up:
        settings = direct(up, api_key=["sk-one-of-the-keys", "sk-two-of-the-keys"])
        async with gateway(data=tmp_path, **KEYS, **settings) as g:
            assert (await connect(g, "s", ONE)).json["clientSecret"] == "ek_1"


async def test_an_address_that_holds_the_key_is_not_told(tmp_path: Path) -> None:
    key = "sk-a+key-with/signs"
    async with secrets() as up:
        for shown in (key, "sk-a%2Bkey-with%2Fsigns"):
            settings = direct(up, api_key=key, realtime_url=f"ws://127.0.0.1:9/realtime?key={shown}")
            async with gateway(data=tmp_path, **KEYS, **settings) as g:
                a = await connect(g, "s", ONE)
                assert error(a) == (500, "INTERNAL_ERROR") and shown.encode() not in a.body


async def test_a_provider_without_a_key_or_without_secrets(tmp_path: Path) -> None:
    async with provider() as up:
        settings = direct(up, realtime_dialect="beta")
        async with gateway(data=tmp_path, **KEYS, **settings) as g:
            a = await connect(g, "s", ONE)
            assert error(a)[0] == 500 and "voice.connect" in a.json["error"]
    none: dict[str, Any] = {"voice": {"connect": "direct"}, "realtime": {"provider": "openai"}}
    async with gateway(data=tmp_path, **KEYS, **none) as g:
        assert error(await connect(g, "s", ONE)) == (500, "API_KEY_NOT_CONFIGURED")
