"""Who is logged in at the page: cookies, over either shell, and what other sites and old cookies can do with them."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from support.callers import bearer, provider
from support.client import Answer, chat, request
from support.gateway import Gateway, gateway
from switchboard.app.storage import secret_of
from switchboard.core.clock import now
from switchboard.net.script import ScriptServer
from switchboard.policy.cookies import Signer

pytestmark = pytest.mark.anyio

MAIN, SECOND = "key-of-the-house-1", "key-of-the-house-2"
HOUSE: dict[str, Any] = {"auth": {"access_key": [MAIN, SECOND], "failures_per_minute": 1000}}
SAME = {"sec-fetch-site": "same-origin"}
PAGE = "https://www.example.com"


async def login(g: Gateway, key: str = MAIN, headers: dict[str, str] | None = None) -> dict[str, str]:
    """The cookie header of somebody who has logged in."""
    a = await g.ask("/auth/session", {"access_key": key}, SAME | (headers or {}))
    assert a.status == 200, a.text
    return {"cookie": a.headers["set-cookie"].partition(";")[0]}


async def said(g: Gateway, headers: dict[str, str], path: str = "/api/chat") -> tuple[int, str]:
    """Status and code of the answer to a chat."""
    a = await g.ask(path, chat("Hi"), headers)
    return a.status, "" if a.status == 200 else str(a.json["error"]["code"])


OK, NOBODY, ELSEWHERE = (200, ""), (401, "UNAUTHORIZED"), (403, "ORIGIN_NOT_ALLOWED")


def upstream(up: ScriptServer, **more: Any) -> dict[str, Any]:
    row = {"base_url": up.base_url, "models": ["m"]}
    return HOUSE | {"providers": {"up": row}, "chat": {"provider": "up", "format": "simple"}} | more


async def test_logged_in_and_out(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **HOUSE) as g:
        a = await g.ask("/auth/session", {"access_key": SECOND}, SAME)
        name, _, rest = a.headers["set-cookie"].partition("=")
        value, *attributes = rest.split("; ")
        assert name == "switchboard_session"
        assert set(attributes) == {"Path=/", "Max-Age=1209600", "HttpOnly", "SameSite=Lax"}
        assert a.json["success"] and a.json["expires_at"].endswith("Z")
        assert value not in a.text
        me = {"cookie": f"other=1; {name}={value}"} | SAME
        assert await said(g, me) == OK
        by_key = {(r.caller) for r in g.records if r.status == 200 and r.caller}
        assert await said(g, bearer(SECOND)) == OK
        assert {r.caller for r in g.records if r.status == 200 and r.caller} == by_key  # the same caller
        assert (await g.ask("/api/conversations", headers=me)).status == 200
        # logging in again is another session: whoever laid the first one there does not know it
        again = await login(g, SECOND, {"cookie": f"{name}={value}"})
        assert again["cookie"] != f"{name}={value}"
        a = await g.ask("/auth/session", headers=me, method="DELETE")
        assert a.json["success"] and a.headers["set-cookie"].startswith(f"{name}=; Path=/; Max-Age=0; HttpOnly")
        assert await said(g, me) == NOBODY
        assert (await g.ask("/api/conversations", headers=me)).status == 401
        assert await said(g, again | SAME) == OK
        assert (await g.ask("/auth/session", headers=me, method="DELETE")).status == 200  # nothing to do


async def test_over_tls_it_is_bound_to_this_host(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, public_url="https://chat.example.com", **HOUSE) as g:
        a = await g.ask("/auth/session", {"access_key": MAIN}, {"origin": "https://chat.example.com"})
        line = a.headers["set-cookie"]
        assert line.startswith("__Host-switchboard_session=v1.")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(line.split("; ")) and "Domain" not in line
        value = line.partition(";")[0].partition("=")[2]
        assert (
            await said(g, {"cookie": f"__Host-switchboard_session={value}", "origin": "https://chat.example.com"}) == OK
        )
        # without the prefix any neighbour could have set it
        assert await said(g, {"cookie": f"switchboard_session={value}"} | SAME) == NOBODY


FORGED: list[dict[str, str]] = [
    {"origin": "https://evil.example.net"},
    {"origin": "https://evil.example.net", "sec-fetch-site": "same-origin"},
    {"origin": "https://www.example.com.evil.net"},
    {"origin": "http://www.example.com"},
    {"origin": "null"},
    {"origin": "null", "sec-fetch-site": "cross-site"},
    {},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "Same-Origin"},
    {"sec-fetch-site": "cross-site", "content-type": "text/plain"},
    {"sec-fetch-site": "cross-site", "content-type": "application/x-www-form-urlencoded"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    {"referer": "https://www.example.com/"},
    {"x-requested-with": "XMLHttpRequest", "x-forwarded-host": "www.example.com"},
]


async def test_another_site_asks_with_the_cookie(shell: str, tmp_path: Path) -> None:
    """Whatever a foreign page can make a browser send: no provider is asked, nothing is deleted."""
    async with provider() as up, gateway(shell, data=tmp_path, **upstream(up, cors={"origins": [PAGE]})) as g:
        me = await login(g)
        body = chat("Hi", conversation_id="mine")
        assert (await g.ask("/api/chat", body, me | SAME)).status == 200
        asked = len(up.connections[0].requests)
        for forged in FORGED:
            for path in ("/api/chat", "/v1/chat/completions", "/p/shop/api/chat", "/api/tts"):
                a = await g.ask(path, body, me | forged)
                assert a.status == 403, (forged, path, a.text)
                assert a.headers.get("access-control-allow-origin") is None
            a = await g.ask("/api/conversations/mine", headers=me | forged, method="DELETE")
            assert a.status == 403, forged
        assert sum(len(c.requests) for c in up.connections) == asked
        # reading: refused where a browser says that another site wants it, but going there is the user's own doing
        get = "/api/conversations/mine"
        assert (await g.ask(get, headers=me | {"sec-fetch-site": "cross-site"})).status == 403
        framed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
        assert (await g.ask(get, headers=me | framed)).status == 403
        assert (await g.ask(get, headers=me | SAME)).status == 200
        a = await g.ask(get, headers=me | {"origin": "https://evil.example.net"})
        assert "access-control-allow-origin" not in a.headers
        # a page that may ask
        for headers in (
            {"origin": PAGE},
            {"origin": PAGE, "sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "none"},
        ):
            assert await said(g, me | headers) == OK
        # who shows a key is no victim of a page, which has none
        assert await said(g, bearer(MAIN) | {"sec-fetch-site": "cross-site"}) == OK


async def test_every_page_may_ask_but_none_with_a_cookie(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, cors={"origins": ["*"]}, **HOUSE) as g:
        me = await login(g)
        for origin in ("https://evil.example.net", "*", "null"):
            assert await said(g, me | {"origin": origin}) == ELSEWHERE
            assert await said(g, me | {"origin": origin, "sec-fetch-site": "cross-site"}) == ELSEWHERE
            assert await said(g, bearer(MAIN) | {"origin": origin}) == OK


async def test_another_site_logs_somebody_in_or_out(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **HOUSE) as g:
        me = await login(g)
        foreign = {"origin": "https://evil.example.net", "sec-fetch-site": "cross-site"}
        a = await g.ask("/auth/session", {"access_key": MAIN}, foreign)
        assert a.status == 403 and "set-cookie" not in a.headers
        a = await g.ask("/auth/session", headers=me | foreign, method="DELETE")
        assert a.status == 403 and "set-cookie" not in a.headers
        assert await said(g, me | SAME) == OK


async def test_logged_out_everywhere(shell: str, tmp_path: Path) -> None:
    """The old cookie is refused at once where its owner logged out, and within two seconds by other processes."""
    async with gateway(shell, data=tmp_path, **HOUSE) as one, gateway(shell, data=tmp_path, **HOUSE) as two:
        me = await login(one) | SAME
        assert await said(two, me) == await said(one, me) == OK
        await one.ask("/auth/session", headers=me, method="DELETE")
        assert await said(one, me) == NOBODY
        began = now()
        while await said(two, me) == OK:
            assert now() - began < 2.5
            await asyncio.sleep(0.05)
        assert await said(two, me) == await said(one, me) == NOBODY


async def test_cookies_that_were_not_made_here(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **HOUSE) as g:
        name, _, value = (await login(g))["cookie"].partition("=")
        version, session, expires, mac = value.split(".")
        secret, at = secret_of(g.app.runtime.settings), int(time.time())
        wrong = [
            value[:-1],
            value[:-2] + ("aa" if value[-2:] != "aa" else "bb"),
            value + "x",
            f"{version}.{session}.{int(expires) + 1}.{mac}",
            f"{version}.{session[::-1]}.{expires}.{mac}",
            f"v2.{session}.{expires}.{mac}",
            f"{session}.{expires}.{mac}",
            "",
            "x" * 300,
            "%00",
            Signer(b"another-secret-of-32-characters!").issue(at + 600)[0],
            Signer(secret, "other purpose").issue(at + 600)[0],
            Signer(secret).issue(at + 600)[0],  # signed, but no session was begun
            Signer(secret).issue(at - 1)[0],
        ]
        for text in wrong:
            assert await said(g, {"cookie": f"{name}={text}"} | SAME) == NOBODY, text
        assert await said(g, {"cookie": value} | SAME) == NOBODY
        assert await said(g, {"cookie": f"{name.upper()}={value}"} | SAME) == NOBODY
        assert await said(g, bearer(value) | SAME) == NOBODY  # it is no token
        assert await said(g, {"cookie": f'{name}="{value}"'} | SAME) == OK


async def test_one_that_has_expired(shell: str, tmp_path: Path) -> None:
    auth = HOUSE["auth"] | {"session_seconds": 1}
    async with gateway(shell, data=tmp_path, auth=auth) as g:
        me = await login(g) | SAME
        assert await said(g, me) == OK
        began = now()
        while await said(g, me) == OK:
            assert now() - began < 1.5
            await asyncio.sleep(0.05)
        assert await said(g, me) == NOBODY


async def test_two_cookies(shell: str, tmp_path: Path) -> None:
    """Of two sessions neither is chosen: somebody else may have laid one there."""
    async with gateway(shell, data=tmp_path, **HOUSE) as g:
        one, two = await login(g, MAIN), await login(g, SECOND)
        a, b = one["cookie"], two["cookie"]
        assert await said(g, {"cookie": f"{a}; {b}"} | SAME) == NOBODY
        assert await said(g, {"cookie": f"{a}; {a}"} | SAME) == OK
        assert await said(g, {"cookie": f"{a}; switchboard_session=rubbish"} | SAME) == OK
        # in two lines of the header
        data = request("/api/chat", chat("Hi"), SAME | {"cookie": a})
        for more, status in ((b, 401), (a, 200)):
            c = await g.connect()
            await c.send(data.replace(b"cookie: ", b"cookie: " + more.encode() + b"\r\nCookie: "))
            answer: Answer = await c.answer()
            c.close()
            assert answer.status == status


async def test_a_key_and_a_cookie(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **HOUSE) as g:
        me = await login(g) | SAME
        assert await said(g, me | bearer("wrong")) == NOBODY
        assert await said(g, me | {"x-api-key": "wrong"}) == NOBODY
        assert await said(g, {"cookie": "switchboard_session=rubbish"} | bearer(SECOND)) == OK


async def test_it_goes_with_its_key(shell: str, tmp_path: Path) -> None:
    profiles = {"shop": {"access_key": "key-of-the-shop-1"}}
    async with gateway(shell, data=tmp_path, profiles=profiles, **HOUSE) as g:
        first, second, shop = [await login(g, k) | SAME for k in (MAIN, SECOND, "key-of-the-shop-1")]
        assert await said(g, first) == await said(g, second) == OK
        # a profile's key opens that profile, and so does its cookie
        assert await said(g, shop, "/p/shop/api/chat") == OK
        assert await said(g, shop) == NOBODY
        assert await said(g, first, "/p/shop/api/chat") == OK
    async with gateway(shell, data=tmp_path, auth={"access_key": SECOND, "failures_per_minute": 1000}) as g:
        assert await said(g, first) == await said(g, shop) == NOBODY
        assert await said(g, second) == OK


async def test_an_old_cookie_locks_nobody_out(shell: str, tmp_path: Path) -> None:
    """A browser goes on sending a cookie whose key is gone. Nobody guesses anything by that: it is not counted, and what is open
    to everybody stays open to it."""
    open_chat: dict[str, Any] = {
        "limits": {"address": {"requests_per_minute": 1000}},
        "cors": {"origins": [PAGE]},
        "trusted_proxies": ["127.0.0.1"],
    }
    async with gateway(shell, data=tmp_path, auth={"access_key": MAIN}) as g:
        me = await login(g) | SAME
    auth = {"access_key": SECOND, "public": ["web_chat"], "failures_per_minute": 3}
    async with gateway(shell, data=tmp_path, auth=auth, **open_chat) as g:
        for _ in range(5):
            assert (await g.ask("/api/conversations", headers=me)).status == 401
        assert await said(g, bearer(SECOND)) == OK
        assert await said(g, me) == OK


async def test_wrong_keys_at_the_login(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, trusted_proxies=["127.0.0.1"], **HOUSE) as g:
        at = {"x-forwarded-for": "203.0.113.5"}
        tries = [await g.ask("/auth/session", {"access_key": f"wrong{n}"}, at) for n in range(10)]
        assert {a.status for a in tries} == {401}
        assert not any("set-cookie" in a.headers for a in tries)
        a = await g.ask("/auth/session", {"access_key": MAIN}, at)
        assert a.status == 429 and re.fullmatch(r"\d+", a.headers["retry-after"])
        assert (await g.ask("/auth", {"access_key": MAIN}, at)).status == 429
        await login(g, headers={"x-forwarded-for": "203.0.113.6"})


@pytest.mark.parametrize("body", [{}, {"access_key": ""}, {"access_key": None}, [], "x", {"access_key": "x" * 5000}])
async def test_no_login(shell: str, body: Any, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **HOUSE) as g:
        a = await g.ask("/auth/session", body, SAME)
        assert a.status in (400, 401) and "set-cookie" not in a.headers
