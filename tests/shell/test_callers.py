"""Who may call: holders of API keys, whom a check of one's own knows, and everybody where that is set; over either shell."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.callers import api_key, bearer
from support.client import Answer, chat
from support.gateway import Gateway, gateway
from support.issuer import IssuerServer
from support.process import BIN, program
from switchboard.core.clock import now
from switchboard.policy.api_keys import make

pytestmark = pytest.mark.anyio

TESTS = str(Path(__file__).parent.parent)
MAIN = "key-of-the-house-1"
KEYS: dict[str, Any] = {"auth": {"api_keys": True, "access_key": MAIN, "failures_per_minute": 1000}}
SHOP: dict[str, Any] = {"shop": {"model": "echo"}}


async def status(g: Gateway, headers: dict[str, str], path: str = "/api/chat") -> int:
    """What `path` answers to a short chat."""
    return (await g.ask(path, chat("Hi"), headers)).status


def error(a: Answer) -> tuple[int, str]:
    return a.status, a.json["error"]["code"]


# ---- API keys


async def test_an_api_key_lets_in_its_holder(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        key = await api_key(g, "kiosk")
        for headers in (bearer(key.text), {"x-api-key": key.text}):
            for path in ("/api/chat", "/v1/chat/completions", "/v1/messages", "/chat"):
                a = await g.ask(path, chat("Hi", model="echo", max_tokens=9, stream=False), headers)
                assert a.status == 200, (path, a.text)
        assert {(r.caller, r.user) for r in g.records} == {(f"apikey:{key.id}", "kiosk")}
        assert (await g.ask("/v1/models", headers=bearer(key.text))).status == 200


async def test_what_is_no_api_key(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, profiles=SHOP, **KEYS) as g:
        good, ended = await api_key(g), await api_key(g, "old", lifetime=-1)
        other = await api_key(g, "shop", "shop")
        typo = good.text[:-8] + ("a" if good.text[-8] != "a" else "b") + good.text[-7:]
        wrong = {
            "mistyped": typo,
            "cut": good.text[:-1],
            "longer": good.text + "x",
            "in capitals": good.text.upper(),
            "never made": make("default").text,
            "of a profile that is not there": make("nonesuch").text,
            "expired": ended.text,
            "long": "sb_default_" + "a" * 4000,
        }
        said = set()
        for why, text in wrong.items():
            for headers in (bearer(text), {"x-api-key": text}):
                a = await g.ask("/api/chat", chat("Hi"), headers)
                assert error(a) == (401, "UNAUTHORIZED"), why
                assert a.headers["www-authenticate"].startswith("Bearer ")
                said.add(a.json["error"]["message"])
        assert len(said) == 1  # which of these it was is nobody's business
        # of another profile, by the path
        assert await status(g, bearer(good.text), "/p/shop/api/chat") == 401
        assert await status(g, bearer(good.text), "/p/shop/v1/chat/completions") == 401
        assert await status(g, bearer(other.text), "/p/shop/api/chat") == 200
        assert await status(g, bearer(other.text)) == 200  # its own profile is chosen by the key
        assert await status(g, bearer(good.text)) == 200
        assert {r.profile for r in g.records if r.status == 200} == {"default", "shop"}


async def test_a_key_ends_while_the_server_runs(shell: str, tmp_path: Path) -> None:
    """Revoked, it is refused within two seconds; expired, at once."""
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        key, short = await api_key(g), await api_key(g, "short", lifetime=0.5)
        assert await status(g, bearer(key.text)) == await status(g, bearer(short.text)) == 200
        revoked = await g.kept.keys.revoke(key.id, 1)
        assert revoked is not None
        began = now()
        while await status(g, bearer(key.text)) == 200:
            assert now() - began < 2.5
            await asyncio.sleep(0.05)
            if 0.6 < now() - began < 1.5:  # it was remembered for longer than that
                assert await status(g, bearer(short.text)) == 401
        assert await status(g, bearer(key.text)) == 401


async def test_what_a_key_may(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, profiles={"shop": {"models": ["slow"], "model": "slow"}}, **KEYS) as g:
        models = await api_key(g, "models", models=["echo"])
        surfaces = await api_key(g, "surfaces", surfaces=["openai_v1"])
        shop = await api_key(g, "shop", "shop", models=["echo"])
        for model, wanted in (("echo", 200), ("offline/echo", 200), ("slow", 403), ("offline/slow", 403)):
            a = await g.ask("/v1/chat/completions", chat("Hi", model=model), bearer(models.text))
            assert a.status == wanted, (model, a.text)
        a = await g.ask("/v1/chat/completions", chat("Hi", model="slow"), bearer(models.text))
        assert (a.json["error"]["code"], a.json["error"]["param"]) == ("forbidden", "model")
        assert await status(g, bearer(surfaces.text), "/v1/chat/completions") in (200, 400)
        for path in ("/api/chat", "/v1/messages", "/chat"):
            a = await g.ask(path, chat("Hi", model="echo", max_tokens=5), bearer(surfaces.text))
            assert a.status == 403, path
        # a name that it may use, but that leads to a model that it may not
        a = await g.ask("/api/chat", chat("Hi", model="echo"), bearer(shop.text))
        assert a.status == 403, a.headers


async def test_a_key_s_models_hold_where_another_steps_in(shell: str, tmp_path: Path) -> None:
    """A route that begins with a model that the key may use, and goes on to one that it may not."""
    providers = {"down": {"base_url": "http://127.0.0.1:9/v1", "models": ["m"]}}
    routes, chats = {"both": ["down/m", "offline/echo"]}, {"provider": "offline"}
    async with gateway(shell, data=tmp_path, providers=providers, routes=routes, chat=chats, **KEYS) as g:
        narrow, named = await api_key(g, "narrow", models=["m"]), await api_key(g, "named", models=["both"])
        assert (await g.ask("/api/chat", chat("Hi", model="both"), bearer(narrow.text))).status == 502
        assert (await g.ask("/api/chat", chat("Hi", model="both"), bearer(named.text))).status == 200


async def test_the_limits_of_a_key_go_over_those_of_its_profile(shell: str, tmp_path: Path) -> None:
    limits = {"requests_per_minute": 3, "tokens_per_day": 100_000}
    async with gateway(shell, data=tmp_path, limits=limits, **KEYS) as g:
        few, many, plain = (
            await api_key(g, "few", requests_per_minute=1),
            await api_key(g, "many", requests_per_minute=6),
            await api_key(g, "plain"),
        )
        tokens = await api_key(g, "tokens", tokens_per_day=10)
        for key, allowed in ((few, 1), (many, 6), (plain, 3)):
            found = [await g.ask("/api/chat", chat("Hi"), bearer(key.text)) for _ in range(allowed + 1)]
            assert [a.status for a in found] == [200] * allowed + [429]
            assert found[0].headers["x-ratelimit-limit-requests"] == str(allowed)
            assert error(found[-1]) == (429, "RATE_LIMITED") and int(found[-1].headers["retry-after"]) > 0
        text = "A question of many words, " * 10
        await g.ask("/api/chat", chat(text), bearer(tokens.text))
        a = await g.ask("/api/chat", chat(text), bearer(tokens.text))
        assert error(a) == (429, "BUDGET_EXHAUSTED")
        assert await status(g, bearer(MAIN)) == 200


async def test_who_may_act_for_others(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        acts, plain = await api_key(g, "acts", act_as=True), await api_key(g, "plain")
        for key in (acts, plain):
            for user in ("ann", "bob"):
                body = chat(f"I am {user}", conversation_id="t", userId=user)
                assert (await g.ask("/api/chat", body, bearer(key.text))).status == 200

        async def read(key: str, user: str = "") -> list[str] | int:
            a = await g.ask(f"/api/conversations/t?userId={user}", headers=bearer(key))
            if a.status != 200:
                return a.status
            return [m["content"] for m in a.json["messages"] if m["role"] == "user"]

        assert await read(acts.text, "ann") == ["I am ann"]
        assert await read(acts.text, "bob") == ["I am bob"]
        assert await read(acts.text) == 404
        assert await read(plain.text) == await read(plain.text, "bob") == ["I am ann", "I am bob"]


async def test_while_the_database_is_down(shell: str, tmp_path: Path) -> None:
    """Keys and cookies that are known go on; of others nobody says that they are wrong."""
    origin = {"sec-fetch-site": "same-origin"}
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        known, new, revoked = await api_key(g, "known"), await api_key(g, "new"), await api_key(g, "revoked")
        assert await g.kept.keys.revoke(revoked.id, 1) is not None
        cookies = []
        for _ in range(2):
            a = await g.ask("/auth/session", {"access_key": MAIN})
            cookies.append(origin | {"cookie": a.headers["set-cookie"].partition(";")[0]})
        assert await status(g, bearer(known.text)) == await status(g, cookies[0]) == 200
        assert await status(g, bearer(revoked.text)) == 401

        file, away = tmp_path / "switchboard.db", tmp_path / "away"
        file.rename(away)
        file.mkdir()
        await asyncio.sleep(2.1)  # what was found a moment ago is asked again
        for _ in range(2):
            assert await status(g, bearer(known.text)) == await status(g, cookies[0]) == 200
            for headers in (bearer(new.text), bearer(make("default").text), bearer(revoked.text), cookies[1]):
                a = await g.ask("/api/chat", chat("Hi"), headers)
                assert error(a) == (503, "STORE_UNAVAILABLE")
                assert int(a.headers["retry-after"]) > 0
        assert await status(g, bearer(known.text[:-1] + "?")) == 401  # that tells itself
        assert await status(g, bearer(MAIN)) == 200
        a = await g.ask("/auth/session", {"access_key": MAIN})
        assert error(a) == (503, "STORE_UNAVAILABLE")
        assert "set-cookie" not in a.headers

        file.rmdir()
        away.rename(file)
        async with asyncio.timeout(5):
            while await status(g, bearer(new.text)) == 503:
                await asyncio.sleep(0.05)
        assert await status(g, bearer(new.text)) == await status(g, cookies[1]) == 200
        assert await status(g, bearer(make("default").text)) == await status(g, bearer(revoked.text)) == 401


BESIDE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("SELECT count(*) FROM api_keys").fetchall()
db.close()
"""


async def test_a_command_beside_the_server_takes_nothing_away(shell: str, tmp_path: Path) -> None:
    """Another process that opens the database and closes it is not the last one: what this one has written since is still there."""
    async with gateway(shell, data=tmp_path, **KEYS) as g:
        key = await api_key(g)
        log = tmp_path / "switchboard.db-wal"
        before = log.stat().st_ino
        command = [sys.executable, "-c", BESIDE, str(tmp_path / "switchboard.db")]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=20)
        assert log.exists() and log.stat().st_ino == before
        assert await g.kept.keys.revoke(key.id, 1) is not None
        assert await status(g, bearer(key.text)) == 401


def switchboard(folder: Path, *arguments: str) -> str:
    """What the command says."""
    environment = {
        "PATH": str(BIN),
        "HOME": str(folder),
        "PYTHONPATH": TESTS,
        "SWITCHBOARD_DATA_DIR": str(folder / "data"),
    }
    command = [str(BIN / "switchboard"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_secret_is_told(tmp_path: Path) -> None:
    """The real server at its most talkative, and the real commands beside it: nothing that opens anything shows in the log, in
    answers, in metrics or in the database; and a key that is revoked is refused soon."""
    secret, access = "canary-jwt-secret-0123456789abcdef-0123", "canary-access-key-0123456789"
    pepper = "canary-pepper-0123456789abcdef0123456789"
    config = {
        "log": {"level": "DEBUG", "format": "json"},
        "auth": {
            "api_keys": True,
            "access_key": access,
            "secret": pepper,
            "validate": "support.callers:check",
            "jwt": {"issuer": "house", "audience": "app", "secret": secret},
        },
    }
    (tmp_path / "switchboard.yaml").write_text(json.dumps(config))
    quick = {
        "SWITCHBOARD_SHUTDOWN__ACCEPT": "0",
        "SWITCHBOARD_SHUTDOWN__STREAMS": "0.1",
        "SWITCHBOARD_DATA_DIR": str(tmp_path / "data"),
        "PYTHONPATH": TESTS,
    }
    with program(BIN / "switchboard", "serve", "--port", "0", environment=quick, cwd=tmp_path) as p:
        port = int(p.wait_for(r"http://127\.0\.0\.1:(\d+)")[1])
        said = asyncio.run(_everything(port, tmp_path, access, secret))
        p.process.terminate()
        p.process.wait(10)
        p._reader.join(5)
        said.answers.append("".join(p.said).encode())
    assert b"canary-of-an-exception" not in said.answers[-1]
    kept = [f.read_bytes() for f in (tmp_path / "data").rglob("*") if f.is_file()]
    assert any(b"SQLite format 3" in data for data in kept)
    for canary in [secret, access, pepper, *said.secrets]:
        for data in [*said.answers, *kept]:
            place = data.find(canary.encode())
            assert place < 0, (canary[:12], data[max(0, place - 200) : place + 100])


class _Said:
    """Secrets that were used, and all that was answered."""

    def __init__(self) -> None:
        self.secrets: list[str] = []
        self.answers: list[bytes] = []


async def _everything(port: int, folder: Path, access: str, secret: str) -> _Said:
    """Show every kind of credential, good and bad, to the server at `port`."""
    import jwt as library

    from support.client import ask

    said = _Said()
    made = await asyncio.to_thread(switchboard, folder, "keys", "create", "kiosk", "--requests-per-minute", "90")
    key = made.strip()
    assert key.startswith("sb_default_")

    async def tell(path: str, body: Any = None, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        a = await ask(port, path, body, headers, **more)
        said.answers.append(json.dumps(a.headers).encode() + a.body)
        return a

    claims = IssuerServer().claims(iss="house")
    token = library.encode(claims, secret, "HS256")
    forged = library.encode(claims, "another-secret-of-32-characters-or-more", "HS256")
    session = await ask(port, "/auth/session", {"access_key": access})
    cookie = session.headers["set-cookie"].partition(";")[0]
    stands = (await ask(port, "/auth", {"access_key": access})).json["token"]
    never = make("default").text
    said.secrets += [key, key[-38:], token, forged, token.split(".")[2], cookie.partition("=")[2], stands, never]
    for text, wanted in ((key, 200), (token, 200), (stands, 200), (access, 200), (never, 401), (forged, 401)):
        for headers in (bearer(text), {"x-api-key": text}):
            for path in ("/api/chat", "/v1/chat/completions", "/v1/models"):
                body = None if path == "/v1/models" else chat("Hi", model="echo")
                assert (await tell(path, body, headers)).status == wanted, (text[:8], path)
    same = {"cookie": cookie, "sec-fetch-site": "same-origin"}
    assert (await tell("/api/chat", chat("Hi", conversation_id="c"), same)).status == 200
    assert (await tell("/api/chat", chat("Hi"), {"cookie": cookie})).status == 403
    assert (await tell("/api/chat", chat("Hi"), {"x-me": f"raise {key}"})).status == 401
    assert (await tell("/auth", {"access_key": key})).status == 401
    assert (await tell("/auth", {"access_key": [key, access]})).status == 400
    assert (await tell("/auth/session", {"access_key": access + "x"})).status == 401
    listed = await asyncio.to_thread(switchboard, folder, "keys", "list", "--json")
    said.answers.append(listed.encode())
    for path in ("/health", "/health/ready", "/api/status", "/api/usage", "/api/conversations", "/"):
        assert (await tell(path, headers=bearer(key))).status == 200, path
    # metrics tell of all apps
    assert (await tell("/metrics", headers=bearer(access))).status == 200
    for text in (key, token):
        assert (await tell("/metrics", headers=bearer(text))).status == 403
    said.answers.append((await asyncio.to_thread(switchboard, folder, "keys", "revoke", "kiosk")).encode())
    began = now()
    while (await tell("/api/chat", chat("Hi"), bearer(key))).status == 200:
        assert now() - began < 2.5
        await asyncio.sleep(0.05)
    assert (await tell("/api/chat", chat("Hi"), bearer(key))).status == 401
    await tell("/auth/session", None, {"cookie": cookie}, method="DELETE")
    return said


# ---- checks of one's own


@pytest.mark.parametrize("function", ["check", "check_later"])
async def test_a_check_of_one_s_own(shell: str, function: str, tmp_path: Path) -> None:
    auth = {"validate": f"support.callers:{function}", "validate_seconds": 0.2, "failures_per_minute": 1000}
    async with gateway(shell, data=tmp_path, auth=auth, profiles=SHOP, log={"format": "json"}) as g:
        for said, wanted in (
            ('"ann"', 200),
            ("true", 200),
            ('{"user": "ann", "profile": "default"}', 200),
            ('{"user": "ann", "models": ["echo"]}', 200),
            ('{"user": "ann", "profile": "shop"}', 401),
            ('{"user": "ann", "models": ["slow"]}', 403),
            ('{"user": "ann", "surfaces": ["openai_v1"]}', 403),
            ('{"user": "ann", "surfaces": []}', 401),
            ('{"user": "ann", "modles": ["echo"]}', 401),
            (r'"a\nb"', 401),
            ("7", 401),
            ("false", 401),
            ("raise it", 401),
            ("not JSON", 401),
            ("wait 0.4", 503),
        ):
            a = await g.ask("/api/chat", chat("Hi"), {"x-me": said})
            assert a.status == wanted, (said, a.text)
        assert a.json["error"]["code"] == "IDENTITY_UNAVAILABLE"
        assert await status(g, {}) == 401
        assert await status(g, {"x-me": '{"user": "ann", "profile": "shop"}'}, "/p/shop/api/chat") == 200
        assert await status(g, {"x-me": '{"user": "ann", "profile": "default"}'}, "/p/shop/api/chat") == 401
        assert {r.caller for r in g.records if r.status == 200} == {"own:ann", "own:own"}
        assert "canary-of-an-exception" not in await g.log()


# ---- who tries, and who need not ask


async def test_wrong_keys_are_counted_by_address(shell: str, tmp_path: Path) -> None:
    auth = {"access_key": MAIN, "api_keys": True}
    async with gateway(shell, data=tmp_path, auth=auth, trusted_proxies=["127.0.0.1"]) as g:
        bad, good = {"x-forwarded-for": "203.0.113.5"}, {"x-forwarded-for": "203.0.113.6"}
        key = await api_key(g)
        assert await status(g, bad | bearer(MAIN)) == 200
        for n in range(31):  # nothing shown is no attempt
            if n % 10 == 0:
                assert await status(g, bad) == 401
        tries = [f"wrong-{n}" if n % 3 else make("default").text for n in range(30)]
        assert [await status(g, bad | bearer(t)) for t in tries] == [401] * 30
        for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
            a = await g.ask(path, chat("Hi", model="echo", max_tokens=5), bad | bearer("wrong"))
            assert a.status == 429 and 50 <= int(a.headers["retry-after"]) <= 60
        assert (await g.ask("/v1/models", headers=bad | bearer("wrong"))).status == 429
        # others do not notice, nor does who was known by this very header, or by what nobody guesses
        assert await status(g, bad | bearer(key.text)) == 200
        assert await status(g, good | bearer(MAIN)) == await status(g, good | bearer(key.text)) == 200
        assert await status(g, bad | bearer(MAIN)) == 200
        assert await status(g, good | bearer("wrong")) == 401
        # what a client says of itself in front of what the proxy says does not count
        spoofed = {"x-forwarded-for": "198.51.100.9, 203.0.113.5"}
        assert await status(g, spoofed | bearer("wrong")) == 429
        assert (await g.ask("/health", headers=bad)).status == 200


async def test_what_is_open_to_everybody(shell: str, tmp_path: Path) -> None:
    async with IssuerServer() as issuer:
        settings: dict[str, Any] = {
            "auth": {"public": ["web_chat"], "access_key": MAIN, "api_keys": True, "jwt": issuer.settings()},
            "limits": {"address": {"requests_per_minute": 3}},
            "cors": {"origins": ["https://www.example.com"]},
            "trusted_proxies": ["127.0.0.1"],
        }
        async with gateway(shell, data=tmp_path, **settings) as g:
            one, other = ({"x-forwarded-for": f"203.0.113.{n}"} for n in (1, 2))
            for path in ("/v1/chat/completions", "/v1/messages", "/chat", "/api/tts"):
                a = await g.ask(path, chat("Hi", model="echo", max_tokens=5, text="Hi"), one)
                assert a.status == 401, path
            for path in ("/v1/models", "/api/conversations", "/api/usage", "/metrics", "/api/conversations/x"):
                assert (await g.ask(path, headers=one)).status == 401, path
            assert [await status(g, one) for _ in range(4)] == [200, 200, 200, 429]
            assert [await status(g, other) for _ in range(2)] == [200, 200]
            third = {"x-forwarded-for": "203.0.113.3"}
            for wrong in (bearer("wrong"), bearer(make("default").text), issuer.bearer(aud="other")):
                assert await status(g, third | wrong) == 401  # who shows something is somebody, or nobody
            assert await status(g, third | bearer(MAIN)) == 200
            assert {r.caller for r in g.records if r.path == "/api/chat" and r.status == 200} >= {
                "203.0.113.1",
                "203.0.113.2",
            }
