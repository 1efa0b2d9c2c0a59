"""Users of issuers of tokens (JWT, OpenID Connect, Firebase), over either shell."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.callers import Clock, bearer, key_sets
from support.client import Answer, chat
from support.gateway import Gateway, gateway
from support.issuer import IssuerServer
from support.tokens import document, jwk
from switchboard.core.types import Headers

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


@pytest.mark.parametrize("discovered", [True, False])
async def test_users_of_an_issuer(shell: str, discovered: bool, tmp_path: Path) -> None:
    async with IssuerServer() as issuer:
        more = {} if discovered else {"jwks_url": issuer.jwks_url}
        async with gateway(shell, data=tmp_path, auth={"jwt": issuer.settings(**more)}) as g:
            # all at once, before there are any keys
            shown = [issuer.bearer(f"user{n % 3}", nonce=n) for n in range(9)]
            assert await asyncio.gather(*[status(g, h) for h in shown]) == [200] * 9
            elliptic = issuer.bearer("eve", algorithm="ES256", kid="two")
            assert await status(g, elliptic) == await status(g, elliptic, "/v1/chat/completions") == 200
            assert await status(g, {"x-api-key": issuer.token("zoe")}, "/v1/chat/completions") == 200
            names = {f"jwt:{issuer.url}:{u}" for u in ("user0", "user1", "user2", "eve", "zoe")}
            assert {r.caller for r in g.records} == names
            configuration = ["/.well-known/openid-configuration"] if discovered else []
            assert issuer.asked == [*configuration, "/keys"]
            assert (await g.ask("/v1/models", headers=elliptic)).status == 200
            assert await status(g, {}) == 401


async def test_keys_are_rotated(shell: str, tmp_path: Path) -> None:
    clock = Clock()
    async with IssuerServer(jwk(kid="one")) as issuer:
        auth = {"jwt": issuer.settings(), "failures_per_minute": 1000}
        async with gateway(shell, auth=auth) as g, key_sets(g, clock):
            old, new = issuer.bearer("ann"), issuer.bearer("ann", kid="new", number=1)
            unknown = [issuer.bearer(f"u{n}", kid=f"unknown{n}", number=1) for n in range(5)]
            assert await status(g, old) == 200
            assert [await status(g, h) for h in (new, *unknown)] == [401] * 6
            assert issuer.fetched == 1  # a minute has not passed
            issuer.rows = [jwk(kid="one"), jwk(kid="new", number=1)]
            clock.ahead = 61.0
            assert await asyncio.gather(*[status(g, h) for h in (new, *unknown)]) == [200] + [401] * 5
            assert issuer.fetched == 2
            assert [await status(g, h) for h in (*unknown, new, old)] == [401] * 5 + [200, 200]
            assert issuer.fetched == 2
            # the old key is taken away: what was found valid with it, is no more
            issuer.rows = [jwk(kid="new", number=1)]
            clock.ahead = 122.0
            assert [await status(g, h) for h in (unknown[0], old, new)] == [401, 401, 200]
            assert issuer.fetched == 3


async def test_an_issuer_that_is_down(shell: str, tmp_path: Path) -> None:
    clock = Clock()
    async with IssuerServer() as issuer:
        auth = {"jwt": issuer.settings(), "access_key": MAIN, "failures_per_minute": 3}
        async with gateway(shell, auth=auth) as g, key_sets(g, clock):
            await issuer.stop()
            for n in range(4):  # no keys yet: nobody says that the token is wrong
                a = await g.ask("/api/chat", chat("Hi"), issuer.bearer(f"u{n}"))
                assert error(a) == (503, "IDENTITY_UNAVAILABLE")
                assert int(a.headers["retry-after"]) > 0
            assert "could not be fetched" in str((await g.ask("/health")).json["checks"])
            assert await status(g, bearer(MAIN)) == 200
            await issuer.start()
            clock.ahead = 6.0
            known = issuer.bearer("known")
            assert await status(g, known) == 200
            # down again, and longer than the keys are fresh
            await issuer.stop()
            clock.ahead = 3700.0
            assert await status(g, known) == await status(g, issuer.bearer("new")) == 200
            assert await status(g, issuer.bearer("x", kid="unknown", number=1)) == 401
            clock.ahead = 4000.0 + 86_400.0  # the last good ones are not used for ever
            assert await status(g, issuer.bearer("newer")) == 503
            await issuer.start()


async def test_one_issuer_for_two_apps(shell: str, tmp_path: Path) -> None:
    """A token is for one of them, also once it was found valid there."""
    async with IssuerServer() as issuer:
        profiles = {"shop": {"auth": {"jwt": issuer.settings("shop")}}}
        auth = {"jwt": issuer.settings("app"), "failures_per_minute": 1000}
        async with gateway(shell, data=tmp_path, auth=auth, profiles=profiles) as g:
            app, shop, both = (issuer.bearer(aud=aud) for aud in ("app", "shop", ["app", "shop"]))
            for _ in range(2):
                assert await status(g, app) == await status(g, shop, "/p/shop/api/chat") == 200
                assert await status(g, shop) == await status(g, app, "/p/shop/api/chat") == 401
                assert await status(g, both) == await status(g, both, "/p/shop/api/chat") == 200
            for path in ("/v1/models", "/api/conversations", "/api/usage"):
                assert (await g.ask(path, headers=shop)).status == 401
                assert (await g.ask("/p/shop" + path, headers=app)).status == 401
            assert issuer.fetched == 1


async def test_users_of_firebase(shell: str, tmp_path: Path) -> None:
    """Google's keys come from a stand-in for what fetches them."""
    asked: list[str] = []

    async def fetch(url: str, *, limit: int, timeout: float) -> tuple[int, Headers, bytes]:
        asked.append(url)
        return 200, {b"cache-control": b"public, max-age=20000"}, document(jwk(kid="g1"))

    auth = {"firebase_project": "demo-project", "failures_per_minute": 1000}
    async with gateway(shell, auth=auth) as g, key_sets(g, Clock(), fetch):
        claims = IssuerServer().claims(iss="https://securetoken.google.com/demo-project", aud="demo-project")
        claims["auth_time"] = claims["iat"]

        async def shown(kid: str | None = "g1", algorithm: str = "RS256", **changes: Any) -> int:
            from support.tokens import token

            return await status(g, bearer(token(claims | changes, kid=kid, algorithm=algorithm).decode()))

        assert await shown() == 200
        assert g.records[0].caller == "jwt:firebase:alice"
        for changes in (
            {"aud": "other-project"},
            {"iss": "https://securetoken.google.com/other-project"},
            {"auth_time": None},
            {"auth_time": claims["iat"] + 3600},
            {"iat": None},
            {"sub": ""},
            {"sub": "x" * 129},
            {"kid": None},
            {"algorithm": "ES256"},
        ):
            assert await shown(**changes) == 401, changes
        assert asked == ["https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"]


async def test_tokens_that_have_expired_lock_nobody_out(shell: str) -> None:
    """A page that was left open goes on sending its token. Nothing is found out by that, whoever signed it."""
    async with IssuerServer() as issuer:
        auth = {"jwt": issuer.settings(), "failures_per_minute": 3}
        async with gateway(shell, auth=auth) as g:
            for n in range(5):
                assert await status(g, issuer.bearer(f"u{n}", lifetime=-100)) == 401
            assert await status(g, issuer.bearer()) == 200
            forged = [await status(g, issuer.bearer(f"u{n}", number=5)) for n in range(4)]
            assert forged == [401, 401, 401, 429]
