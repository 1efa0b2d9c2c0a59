"""Several apps on one server show nothing of each other, over either shell."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.callers import bearer, provider, told
from support.client import chat
from support.gateway import gateway

pytestmark = pytest.mark.anyio

TESTS = str(Path(__file__).parent.parent)
MAIN = "key-of-the-house-1"
KEYS: dict[str, Any] = {"auth": {"api_keys": True, "access_key": MAIN, "failures_per_minute": 1000}}
SHOP: dict[str, Any] = {"shop": {"model": "echo"}}


PAGES = {"default": "https://www.example.com", "shop": "https://shop.example.com", "desk": "https://desk.example.com"}
OF = {"default": MAIN, "shop": "key-of-the-shop-1", "desk": "key-of-the-desk-1"}
NAMES = ("default", "shop", "desk")


async def test_apps_show_nothing_of_each_other(shell: str, tmp_path: Path) -> None:
    """By key, by path and by page: each has its own prompt, provider, limit and conversations."""
    async with provider("of default") as up0, provider("of shop") as up1, provider("of desk") as up2:
        ups = dict(zip(NAMES, (up0, up1, up2), strict=True))

        def section(name: str) -> dict[str, Any]:
            return {"provider": f"at-{name}", "system_prompt": f"prompt-{name}", "model": f"m-{name}"}

        limit = {"default": 100, "shop": 101, "desk": 102}
        profiles = {
            n: section(n) | {"access_key": OF[n], "origins": [PAGES[n]], "limits": {"requests_per_minute": limit[n]}}
            for n in ("shop", "desk")
        }
        settings: dict[str, Any] = {
            "auth": {"access_key": MAIN},
            "providers": {f"at-{n}": {"base_url": up.base_url, "models": [f"m-{n}"]} for n, up in ups.items()},
            "chat": section("default"),
            "limits": {"requests_per_minute": 100},
            "cors": {"origins": [PAGES["default"]]},
            "profiles": profiles,
        }
        async with gateway(shell, data=tmp_path, **settings) as g:
            ways: list[tuple[str, str, dict[str, str]]] = [(n, "", bearer(OF[n])) for n in NAMES]
            ways += [(n, f"/p/{n}", bearer(MAIN)) for n in ("shop", "desk")]
            ways += [(n, "", bearer(MAIN) | {"origin": PAGES[n]}) for n in NAMES]
            for i, (name, prefix, headers) in enumerate(ways):
                body = chat(f"q{i} for {name}", conversation_id="talk", stream=False)
                a = await g.ask(prefix + "/api/chat", body, headers)
                assert (a.status, f"of {name}" in a.text) == (200, True), (name, prefix, a.text)
                assert a.headers["x-ratelimit-limit-requests"] == str(limit[name])
            for name, up in ups.items():
                for call in told(up):
                    assert call[0] == f"s:prompt-{name}"
                    assert all(name in said for said in call), call
            for name, prefix, headers in ways:
                shown = (await g.ask(prefix + "/api/conversations/talk", headers=headers)).text
                others = [n for n in NAMES if n != name]
                assert f"for {name}" in shown and not any(f"for {n}" in shown for n in others), shown
                models = (await g.ask(prefix + "/v1/models", headers=headers)).text
                if name != "default":
                    listed = (await g.ask(prefix + "/api/conversations", headers=headers)).json["items"]
                    assert [c["id"] for c in listed] == ["talk"]
                assert f"m-{name}" in models


async def test_two_apps_with_checks_of_their_own(shell: str, tmp_path: Path) -> None:
    """Bob of the shop is not Bob of the desk."""
    profiles = {
        "shop": {"auth": {"validate": "support.callers:check"}},
        "desk": {"auth": {"validate": "support.callers:other_check"}},
    }
    async with gateway(shell, data=tmp_path, profiles=profiles) as g:
        bob = {"x-me": '"bob"'}
        assert (await g.ask("/p/shop/api/chat", chat("Hi", conversation_id="t"), bob)).status == 200
        await g.record()
        async with asyncio.timeout(5):
            while g.kept.writer.waiting:
                await asyncio.sleep(0.01)
        assert (await g.ask("/p/shop/api/usage", headers=bob)).json["total"]["requests"] == 1
        assert (await g.ask("/p/desk/api/conversations/t", headers=bob)).status == 404
        assert (await g.ask("/p/desk/api/usage", headers=bob)).json["total"]["requests"] == 0
