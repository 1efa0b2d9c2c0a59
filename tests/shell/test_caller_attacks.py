"""What those try who may not call, or want what is somebody else's: forged tokens, texts that are more than they seem, and
conversations of others; over either shell."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.callers import api_key, bearer, provider, told
from support.client import Answer, chat, request
from support.gateway import Gateway, gateway
from support.issuer import IssuerServer
from support.tokens import jwk, part, private, signed

pytestmark = pytest.mark.anyio

MAIN = "key-of-the-house-1"
PATIENT: dict[str, Any] = {"access_key": MAIN, "failures_per_minute": 1000}
SQL = "'; DROP TABLE api_keys; --"
LINES = 'x\r\n{"event": "forged"}\nforged: yes\r\n'

# ---- tokens


def hmac_with_the_public_key(issuer: IssuerServer, form: Encoding) -> str:
    """A token that is signed with what everybody knows, as if it were a shared secret."""
    import hmac

    kind = PublicFormat.PKCS1 if form is Encoding.DER else PublicFormat.SubjectPublicKeyInfo
    key = private("RS256").public_key().public_bytes(form, kind)
    message = part({"alg": "HS256", "typ": "JWT", "kid": "one"}) + b"." + part(issuer.claims())
    return (message + b"." + part(hmac.digest(key, message, "sha256"))).decode()


def forgeries(issuer: IssuerServer) -> dict[str, str | bytes]:
    """Tokens that are not good, by what is wrong."""
    at, good = time.time(), issuer.claims()
    head, body, mark = issuer.token().split(".")
    rogue = jwk("RS256", "one", number=5)
    return {
        "alg none": (part({"alg": "none", "typ": "JWT"}) + b"." + part(good) + b".").decode(),
        "alg None": (part({"alg": "None"}) + b"." + part(good) + b".AA").decode(),
        "alg none, with a signature": f"{part({'alg': 'none', 'kid': 'one'}).decode()}.{body}.{mark}",
        "alg missing": signed({"typ": "JWT", "kid": "one"}, good),
        "HS256 with the public key": hmac_with_the_public_key(issuer, Encoding.PEM),
        "HS256 with the public key, DER": hmac_with_the_public_key(issuer, Encoding.DER),
        "RS512, which is not allowed": issuer.token(algorithm="RS512"),
        "PS256, which is not allowed": issuer.token(algorithm="PS256"),
        "RS512, with a key for anything": issuer.token(algorithm="RS512", kid="any"),
        "PS256, with a key for anything": issuer.token(algorithm="PS256", kid="any"),
        "of another key": issuer.token(number=5),
        "its own key in the header": issuer.token(number=5, header={"jwk": rogue}),
        "a key elsewhere": issuer.token(number=5, header={"jku": issuer.url + "/evil"}),
        "of a key for another algorithm": issuer.token(algorithm="ES256", kid="one"),
        "crit": issuer.token(header={"crit": ["b64"], "b64": True}),
        "kid of another kind": signed({"alg": "RS256", "kid": ["one"]}, good),
        "kid is a path": issuer.token(kid="../../../../dev/null"),
        "kid is SQL": issuer.token(kid=SQL),
        "kid of many lines": issuer.token(kid=LINES),
        "other issuer": issuer.token(iss="http://127.0.0.1:1"),
        "other issuer, one letter more": issuer.token(iss=issuer.url + "/"),
        "no issuer": issuer.token(iss=None),
        "issuer of another kind": issuer.token(iss=[issuer.url]),
        "other audience": issuer.token(aud="other"),
        "other audiences": issuer.token(aud=["other", "App", "app "]),
        "no audience": issuer.token(aud=None),
        "audience of another kind": issuer.token(aud={"app": 1}),
        "no user": issuer.token(sub=None),
        "user of another kind": issuer.token(sub=7),
        "user of two lines": issuer.token(sub=LINES),
        "user with a NUL": issuer.token(sub="a\0b"),
        "user too long": issuer.token(sub="x" * 256),
        "expired": signed({"alg": "RS256", "kid": "one"}, good | {"exp": at - 61}),
        "never expires": signed({"alg": "RS256", "kid": "one"}, good | {"exp": None}),
        "expires as text": signed({"alg": "RS256", "kid": "one"}, good | {"exp": str(at + 600)}),
        "expires at infinity": signed({"alg": "RS256", "kid": "one"}, json.dumps(good | {"exp": 1e400}).encode()),
        "from the future": signed({"alg": "RS256", "kid": "one"}, good | {"iat": at + 3600}),
        "not yet": issuer.token(nbf=at + 3600),
        "another payload": f"{head}.{part(good | {'sub': 'root'}).decode()}.{mark}",
        "another header": f"{part({'alg': 'RS256', 'kid': 'two'}).decode()}.{body}.{mark}",
        "no signature": f"{head}.{body}.",
        "half a signature": f"{head}.{body}.{mark[: len(mark) // 2]}",
        "four parts": f"{head}.{body}.{mark}.{mark}",
        "padded": f"{head}=.{body}.{mark}",
        "a name twice": signed({"alg": "RS256", "kid": "one"}, json.dumps(good)[:-1].encode() + b', "sub": "root"}'),
        "deep": signed({"alg": "RS256", "kid": "one"}, b'{"a":' * 60 + b"1" + b"}" * 60),
        "a long one": issuer.token(nonce="x" * 9000),
        "not JSON": f"{head}.{part(b'rubbish').decode()}.{mark}",
        "for logging out": issuer.token(header={"typ": "logout+jwt"}),
    }


async def test_forged_tokens(shell: str) -> None:
    async with IssuerServer() as issuer, gateway(shell, auth=PATIENT | {"jwt": issuer.settings()}) as g:
        assert (await g.ask("/api/chat", chat("Hi"), issuer.bearer())).status == 200
        messages = set()
        for why, forged in forgeries(issuer).items():
            text = forged.decode() if isinstance(forged, bytes) else forged
            for headers in (bearer(text), {"x-api-key": text}):
                a = await g.ask("/api/chat", chat("Hi"), headers)
                assert (a.status, a.json["error"]["code"]) == (401, "UNAUTHORIZED"), (why, a.text)
                messages.add(a.json["error"]["message"])
        assert len(messages) == 1  # what is wrong with it stands in the log
        assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
        assert (await g.ask("/api/chat", chat("Hi"), issuer.bearer(), method="POST")).status == 200
        log = await g.log()
        assert "expired" in log and "for another audience" in log
        assert log.count("\n") == len(g.records) and '"forged"' not in log.replace('\\"', "'")


async def test_a_token_of_a_megabyte(shell: str) -> None:
    async with IssuerServer() as issuer, gateway(shell, auth=PATIENT | {"jwt": issuer.settings()}) as g:
        for text in (issuer.token(nonce="x" * 1_000_000), "sb_default_" + "x" * 1_000_000, "x" * 1_000_000):
            for headers in (bearer(text), {"x-api-key": text}, {"cookie": f"switchboard_session={text}"}):
                a = await g.ask("/api/chat", chat("Hi"), headers)
                # the front door has the limit; without it, it is but a wrong key
                assert a.status == (431 if shell == "splice" else 401), a.text
        # what just goes through
        a = await g.ask("/api/chat", chat("Hi"), bearer("x" * 30_000))
        assert a.status == 401
        assert (await g.ask("/api/chat", chat("Hi"), issuer.bearer())).status == 200
        assert (await g.ask("/health")).status == 200


# ---- texts that are more than they seem


@asynccontextmanager
async def house(shell: str, folder: Path, **more: Any) -> AsyncIterator[tuple[Gateway, IssuerServer]]:
    """A server with every way to be known."""
    async with IssuerServer() as issuer:
        auth = PATIENT | {
            "api_keys": True,
            "act_as": True,
            "jwt": issuer.settings(),
            "validate": "support.callers:check",
        }
        async with gateway(shell, data=folder, auth=auth, **more) as g:
            yield g, issuer


def everywhere(issuer: IssuerServer, text: str) -> list[tuple[str, Any, dict[str, str], str]]:
    """Requests with `text` wherever a client may say something: path, body, headers, method."""
    me, url = bearer(MAIN), quote(text, safe="")
    line = text.replace("\r", "").replace("\n", " ").strip()
    talk = "/api/conversations"
    bodies: list[dict[str, Any]] = [
        chat("Hi", conversation_id=text),
        chat("Hi", userId=text),
        chat("Hi", model=text),
        chat(text, user=text, conversation_id="mine"),
        chat("Hi", **{text: 1}),
        {"message": "Hi", text: text},
        {"messages": [{"role": text, "content": "Hi"}]},
        {"id": text, "messages": [{"id": text, "role": "user", "parts": [{"type": "text", "text": text}]}]},
    ]
    out: list[tuple[str, Any, dict[str, str], str]] = [("/api/chat", b, me, "POST") for b in bodies]
    out += [("/v1/chat/completions", chat("Hi", model=text, user=text, metadata={"a": text}), me, "POST")]
    out += [("/v1/messages", chat("Hi", model=text, max_tokens=5, metadata={"user_id": text}), me, "POST")]
    for query in ("before", "userId", "limit"):
        out.append((f"{talk}?{query}={url}", None, me, "GET"))
    for query in ("from", "to", "by"):
        out.append((f"/api/usage?{query}={url}", None, me, "GET"))
    for method in ("GET", "DELETE"):
        out += [(f"{talk}/{url}", None, me, method), (f"{talk}/mine?userId={url}", None, me, method)]
    out += [(f"/v1/models/{url}", None, me, "GET"), (f"/p/{url}/api/chat", chat("Hi"), me, "POST")]
    out += [(f"/api/chat?format={url}", chat("Hi"), me, "POST"), (f"/{url}", None, me, "GET")]
    out += [("/auth", {"access_key": text}, {}, "POST"), ("/auth/session", {"access_key": text}, {}, "POST")]
    shown = [bearer(line), {"x-api-key": line}, bearer("sb_default_" + line), bearer("sbt_default." + line)]
    shown += [{"cookie": f"switchboard_session={line}", "sec-fetch-site": "same-origin"}]
    shown += [bearer(issuer.token(line)), {"x-me": json.dumps(text)}, {"x-me": json.dumps({"user": text})}]
    shown += [bearer(issuer.token(text)), me | {"x-request-id": line}, me | {"traceparent": line}]
    out += [("/api/chat", chat("Hi"), headers, "POST") for headers in shown]
    return out


def rows_of(folder: Path) -> dict[str, int]:
    """The tables of the database with how many rows they have."""
    with contextlib.closing(sqlite3.connect(folder / "switchboard.db")) as db:
        names = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {n: db.execute(f'SELECT count(*) FROM "{n}"').fetchone()[0] for n in names}


@pytest.mark.parametrize("text", [SQL, "' OR '1'='1", '" OR ""="', "x'; UPDATE api_keys SET revoked = 1; --", "%_\\"])
async def test_sql_in_every_text(shell: str, text: str, tmp_path: Path) -> None:
    async with house(shell, tmp_path) as (g, issuer):
        key = await api_key(g)
        assert (await g.ask("/api/chat", chat("mine", conversation_id="mine"), bearer(key.text))).status == 200
        before = rows_of(tmp_path)
        for path, body, headers, method in everywhere(issuer, text):
            a = await g.ask(path, body, headers, method=method)
            assert a.status < 500, (path, body, headers, a.text)
            assert "sqlite" not in a.text.lower()
        after = rows_of(tmp_path)
        assert after.keys() == before.keys() and after["api_keys"] == 1
        a = await g.ask("/api/conversations/mine", headers=bearer(key.text))
        assert a.status == 200 and a.json["messages"][0]["content"] == "mine"


@pytest.mark.parametrize("style", ["json", "human"])
async def test_line_ends_in_every_text(shell: str, style: str, tmp_path: Path) -> None:
    """None of them makes a line in the log or a header in an answer."""
    async with house(shell, tmp_path, log={"level": "INFO", "format": style}) as (g, issuer):
        key = await api_key(g, LINES, profile="default")
        requests = everywhere(issuer, LINES)
        requests.append(("/api/chat", chat("Hi"), bearer(key.text), "POST"))
        for path, body, headers, method in requests:
            a = await g.ask(path, body, headers, method=method)
            assert a.status < 500, (path, body, headers, a.text)
            assert "forged" not in a.headers and "{" not in a.headers, (path, body)
        log = await g.log()
        lines = log.splitlines()
        assert len(lines) == len(g.records), [line for line in lines if "forged" in line]
        if style == "json":
            assert {json.loads(line)["event"] for line in lines} == {"request"}
        assert not any(line.lstrip().startswith(("forged", '{"event": "forged"')) for line in lines)


async def test_line_ends_in_headers_are_no_headers(shell: str) -> None:
    """Raw bytes where a client cannot be had to send them."""
    async with gateway(shell, auth=PATIENT) as g:
        good = request("/api/chat", chat("Hi"), bearer(MAIN))
        for evil in (b"a\rforged: yes", b"a\0b", b"a\n\tb", b"a\r\n b"):
            c = await g.connect()
            await c.send(good.replace(b"host: ", b"x-request-id: " + evil + b"\r\nhost: "))
            a = await c.answer()
            c.close()
            assert a.status in (200, 400) and "forged" not in a.headers
            assert not any("\r" in v or "\n" in v or "\0" in v for v in a.headers.values())


async def test_two_authorizations(shell: str) -> None:
    """A right one beside a wrong one is not looked for."""
    async with gateway(shell, auth=PATIENT) as g:
        good = request("/api/chat", chat("Hi"), bearer(MAIN))
        for first, second in ((MAIN, "wrong"), ("wrong", MAIN), (MAIN, MAIN)):
            c = await g.connect()
            both = f"Bearer {first}\r\nAuthorization: Bearer {second}"
            await c.send(good.replace(f"Bearer {MAIN}".encode(), both.encode()))
            assert (await c.answer()).status in (400, 401)
            c.close()


# ---- what is somebody else's


def two_users(issuer: IssuerServer, keys: list[str]) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Pairs of callers, the first of whom has a conversation."""
    return {
        "two users of an issuer": (issuer.bearer("ann"), issuer.bearer("bob")),
        "users whose names begin alike": (issuer.bearer("ann"), issuer.bearer("ann/mine")),
        "two API keys": (bearer(keys[0]), bearer(keys[1])),
        "a user and a key": (issuer.bearer("ann"), bearer(keys[0])),
        "a key and a user": (bearer(keys[0]), issuer.bearer("ann")),
        "a key and an access key": (bearer(keys[0]), bearer(MAIN)),
        "a key and nobody": (bearer(keys[0]), {}),
        "nobody and a key": ({}, bearer(keys[0])),
        "one's own check and a user": ({"x-me": '"ann"'}, issuer.bearer("ann")),
        "one's own check, two users": ({"x-me": '"ann"'}, {"x-me": '"bob"'}),
    }


def without_ids(a: Answer) -> tuple[int, Any, list[str]]:
    """What can be told by an answer."""
    told = a.json
    told.pop("request_id", None)
    told.get("error", {}).pop("request_id", None)
    return a.status, told, sorted(a.headers)


async def test_conversations_of_others_are_not_there(shell: str, tmp_path: Path) -> None:
    """Reading, forgetting and going on: as if there were nothing."""
    async with provider() as up, IssuerServer() as issuer:
        settings: dict[str, Any] = {
            "auth": PATIENT
            | {"api_keys": True, "jwt": issuer.settings(), "public": ["web_chat"], "validate": "support.callers:check"},
            "limits": {"address": {"requests_per_minute": 10_000}},
            "cors": {"origins": ["https://www.example.com"]},
            "providers": {"up": {"base_url": up.base_url, "models": ["m"]}},
            "chat": {"provider": "up", "format": "simple"},
        }
        async with gateway(shell, data=tmp_path, **settings) as g:
            keys = [(await api_key(g, name)).text for name in ("one", "two")]
            for n, (why, (owner, other)) in enumerate(two_users(issuer, keys).items()):
                theirs, none = f"talk{n}", f"none{n}"
                secret = f"a secret of pair {n}"
                a = await g.ask("/api/chat", chat(secret, conversation_id=theirs, stream=False), owner)
                assert a.status == 200, why
                theirs = a.headers["x-switchboard-conversation"]  # who is not known gets one that nobody guesses
                for method in ("GET", "DELETE"):
                    found = [
                        await g.ask(f"/api/conversations/{name}", headers=other, method=method)
                        for name in (theirs, none)
                    ]
                    assert without_ids(found[0]) == without_ids(found[1]), why
                    assert found[0].status == (404 if other else 401), why
                listed = await g.ask("/api/conversations?limit=100", headers=other)
                assert secret not in listed.text and theirs not in listed.text
                asked = len([m for c in told(up) for m in c])
                found = [
                    await g.ask("/api/chat", chat("go on", conversation_id=name, stream=False), other)
                    for name in (theirs, none)
                ]
                assert found[0].status == found[1].status == 200
                assert sorted(found[0].headers) == sorted(found[1].headers)
                assert not any(secret in text for call in told(up)[-2:] for text in call), why
                assert asked
                # its owner has it as it was
                if owner:
                    a = await g.ask(f"/api/conversations/{theirs}", headers=owner)
                    assert [m["content"] for m in a.json["messages"]] == [secret, "Fine."], why
                assert (
                    await g.ask("/api/chat", chat("more", conversation_id=theirs, stream=False), owner)
                ).status == 200
                assert told(up)[-1][0] == f"u:{secret}", why


async def test_answers_of_others_are_not_there(shell: str, tmp_path: Path) -> None:
    """Nobody else picks one up, or stops it."""
    async with IssuerServer() as issuer:
        auth = PATIENT | {"api_keys": True, "jwt": issuer.settings()}
        chats = {"provider": "offline", "model": "slow", "resumable": True}
        async with gateway(shell, data=tmp_path, auth=auth, chat=chats) as g:
            keys = [bearer((await api_key(g, name)).text) for name in ("one", "two")]
            owner, since = issuer.bearer("ann"), {"last-event-id": "0"}
            body = chat("a secret of hers", conversation_id="t", stream=True, model="echo")
            assert (await g.ask("/api/chat", body, owner)).status == 200
            for other in (*keys, issuer.bearer("bob"), bearer(MAIN)):
                for method in ("GET", "DELETE"):
                    theirs, none = [
                        await g.ask(f"/api/chat/{name}/stream", headers=other | since, method=method) for name in "tn"
                    ]
                    assert theirs.status == none.status == (204 if method == "GET" else 404)
                    assert sorted(theirs.headers) == sorted(none.headers)
            assert (await g.ask("/api/chat/t/stream", headers=since)).status == 401
            assert "hers" in (await g.ask("/api/chat/t/stream", headers=owner | since)).text
            # digits that are none
            c = await g.connect()
            data = request("/api/chat/t/stream", headers=owner | {"last-event-id": "@"}, method="GET")
            await c.send(data.replace(b"last-event-id: @", b"last-event-id: \xb2"))
            assert (await c.answer()).status < 500
            c.close()


async def test_who_acts_for_somebody_is_not_somebody_else(shell: str, tmp_path: Path) -> None:
    """``acme``, which acts for ``bob``, is not ``acme/bob``."""
    auth = {"validate": "support.callers:check"}
    async with gateway(shell, data=tmp_path, auth=auth) as g:
        acme, person = {"x-me": '{"user": "acme", "act_as": true}'}, {"x-me": '"acme/bob"'}
        body = chat("a secret", conversation_id="t", userId="bob")
        assert (await g.ask("/api/chat", body, acme)).status == 200
        assert (await g.ask("/api/conversations/t?userId=bob", headers=acme)).status == 200
        assert (await g.ask("/api/conversations/t", headers=person)).status == 404


async def test_issuers_whose_names_begin_alike(shell: str, tmp_path: Path) -> None:
    """User ``8443:ann`` of one is not user ``ann`` of the other, whose name goes on with ``:8443``."""
    async with IssuerServer() as one, IssuerServer() as keys:
        longer = one.url + ":8443"
        jwt = [one.settings(), {"issuer": longer, "audience": "app", "jwks_url": keys.jwks_url}]
        async with gateway(shell, data=tmp_path, auth=PATIENT | {"jwt": jwt}) as g:
            ann, other = keys.bearer("ann", iss=longer), one.bearer("8443:ann")
            assert (await g.ask("/api/chat", chat("a secret", conversation_id="t"), ann)).status == 200
            assert (await g.ask("/api/conversations/t", headers=ann)).status == 200
            assert (await g.ask("/api/conversations/t", headers=other)).status == 404
