"""Several apps on one server: chosen by path, by key or by origin."""

from __future__ import annotations

from typing import Any

import pytest

from support.client import chat
from support.gateway import gateway
from switchboard.net.script import Again, Request, ScriptServer, answer

pytestmark = pytest.mark.anyio

MESSAGE = b'{"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}'
MINE, SHOP, MAIN = "http://localhost:3000", "https://shop.example.com", "key-of-the-house-1"
PROFILES: dict[str, Any] = {
    "shop": {
        "system_prompt": "Sell.",
        "format": "openai",
        "model": "echo",
        "models": ["echo"],
        "access_key": "key-of-the-shop-1",
        "origins": [SHOP],
        "limits": {"requests_per_minute": 3},
    },
    "desk": {"format": "simple", "access_key": "key-of-the-desk-1", "max_tokens": 5},
}
SETTINGS: dict[str, Any] = {"auth": {"access_key": MAIN}, "profiles": PROFILES}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("path", "headers", "profile"),
    [
        ("/api/chat", bearer(MAIN), "default"),
        ("/p/shop/api/chat", bearer(MAIN), "shop"),
        ("/p/desk/api/chat", bearer(MAIN), "desk"),
        ("/api/chat", bearer("key-of-the-shop-1"), "shop"),
        ("/p/shop/api/chat", bearer("key-of-the-shop-1"), "shop"),
        ("/api/chat", {"x-api-key": "key-of-the-desk-1"}, "desk"),
        ("/api/chat", bearer(MAIN) | {"origin": SHOP}, "shop"),
        ("/p/desk/v1/chat/completions", bearer(MAIN), "desk"),
        ("/p/desk/v1/messages", bearer(MAIN), "desk"),
    ],
)
async def test_chosen(shell: str, path: str, headers: dict[str, str], profile: str) -> None:
    async with gateway(shell, **SETTINGS) as g:
        a = await g.ask(path, chat("Hello", model="echo", max_tokens=9), headers)
        assert a.status == 200, a.text
        r = await g.record()
        assert (r.profile, r.path) == (profile, path)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/chat", {}, 401),
        ("/p/shop/api/chat", {}, 401),
        ("/p/desk/api/chat", bearer("key-of-the-shop-1"), 401),  # a key opens its own profile only
        ("/p/nonesuch/api/chat", bearer(MAIN), 404),
        ("/p/", bearer(MAIN), 404),
        ("/p/shop", bearer(MAIN), 200),
        ("/p/desk/api/chat", bearer(MAIN) | {"origin": SHOP}, 403),
        ("/api/chat", bearer("key-of-the-desk-1") | {"origin": SHOP}, 403),
        ("/api/chat", bearer(MAIN) | {"origin": MINE}, 200),
        ("/api/chat", bearer(MAIN) | {"origin": "https://evil.example.com"}, 403),
    ],
)
async def test_let_in(shell: str, path: str, headers: dict[str, str], status: int) -> None:
    async with gateway(shell, **SETTINGS) as g:
        method = "GET" if path == "/p/shop" else "POST"
        body = None if method == "GET" else chat("Hello")
        assert (await g.ask(path, body, headers, method=method)).status == status


async def test_each_has_its_own_settings(shell: str) -> None:
    async with gateway(shell, **SETTINGS) as g:
        a = await g.ask("/p/shop/api/chat", chat("Hello"), bearer(MAIN))
        assert a.events[-1] == "[DONE]"
        a = await g.ask("/p/desk/api/chat", chat("Hello"), bearer(MAIN))
        assert a.events[-1] == {"content": "", "done": True}
        a = await g.ask("/p/shop/api/chat", chat("Hello", model="slow"), bearer(MAIN))
        assert a.headers["x-switchboard-model"] == "echo"
        listed = (await g.ask("/p/shop/v1/models", None, bearer(MAIN), method="GET")).json["data"]
        assert [m["id"] for m in listed] == ["echo"]
        listed = (await g.ask("/v1/models", None, bearer("key-of-the-shop-1"), method="GET")).json["data"]
        assert [m["id"] for m in listed] == ["echo"]
        listed = (await g.ask("/v1/models", None, bearer(MAIN), method="GET")).json["data"]
        assert len(listed) > 3


async def test_each_has_its_own_limit(shell: str) -> None:
    async with gateway(shell, **SETTINGS) as g:
        shop = [(await g.ask("/api/chat", chat("Hi"), bearer("key-of-the-shop-1"))).status for _ in range(4)]
        assert shop == [200, 200, 200, 429]
        assert (await g.ask("/api/chat", chat("Hi"), bearer("key-of-the-desk-1"))).status == 200


async def test_an_identity_of_one_closes_all(shell: str) -> None:
    async with gateway(shell, profiles=PROFILES) as g:
        assert (await g.ask("/api/chat", chat("Hi"))).status == 401
        assert (await g.ask("/v1/models", None, method="GET")).status == 401
        assert (await g.ask("/api/chat", chat("Hi"), bearer("key-of-the-desk-1"))).status == 200


async def test_preflights_go_by_path_and_origin(shell: str) -> None:
    async with gateway(shell, **SETTINGS) as g:
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        for path, origin, allowed in [
            ("/api/chat", SHOP, SHOP),
            ("/p/shop/api/chat", SHOP, SHOP),
            ("/p/desk/api/chat", SHOP, None),
            ("/api/chat", MINE, MINE),
            ("/p/shop/api/chat", MINE, None),
        ]:
            a = await g.ask(path, None, asks | {"origin": origin}, method="OPTIONS")
            assert a.headers.get("access-control-allow-origin") == allowed, (path, origin)


async def test_another_provider_brings_its_own_model(shell: str) -> None:
    async with ScriptServer([Request(), answer(MESSAGE), Again()]) as up:
        row = {"base_url": up.base_url.removesuffix("/v1"), "api_key": "sk-ant-profile-1"}
        profiles = {"desk": {"provider": "anthropic"}}
        chats = {"provider": "offline", "model": "echo"}
        async with gateway(shell, providers={"anthropic": row}, chat=chats, profiles=profiles) as g:
            assert (await g.ask("/p/desk/api/chat", chat("Hi", stream=False))).status == 200
            assert (await g.record()).model.startswith("claude-")
