"""What a reload changes of who may ask, and what it says that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.gateway import gateway
from switchboard.config.tree import Settings

pytestmark = pytest.mark.anyio
KEY = "key-number-one-1"


def tree(data: Path, **auth: Any) -> dict[str, Any]:
    return {"port": 0, "data_dir": str(data), "auth": {"access_key": [KEY], **auth}}


async def test_a_secret_that_holds_only_after_a_restart_is_named(tmp_path: Path) -> None:
    before = tree(tmp_path, secret="first-secret-of-the-house")
    async with gateway("splice", data=tmp_path, **{k: v for k, v in before.items() if k != "data_dir"}) as g:
        after = g.app.runtime.settings.model_dump(mode="python", by_alias=True)
        after["auth"]["secret"] = "second-secret-of-the-house"
        assert "auth.secret" in g.app.reload(Settings.model_validate(after))


async def test_how_many_wrong_keys_an_address_may_show_holds_at_once(tmp_path: Path) -> None:
    async with gateway("splice", auth={"access_key": [KEY], "failures_per_minute": 30}) as g:
        after = g.app.runtime.settings.model_dump(mode="python", by_alias=True)
        after["auth"]["failures_per_minute"] = 2
        assert g.app.reload(Settings.model_validate(after)) == []
        wrong = {"authorization": "Bearer wrong-key-1"}
        said = [(await g.ask("/api/usage", headers=wrong)).status for _ in range(4)]
        assert said == [401, 401, 429, 429]


async def test_cookies_are_for_tls_once_the_server_is_reached_over_it(tmp_path: Path) -> None:
    async with gateway("splice", data=tmp_path, auth={"access_key": [KEY]}) as g:
        after = g.app.runtime.settings.model_dump(mode="python", by_alias=True)
        after["public_url"] = "https://chat.example.com"
        fixed = g.app.reload(Settings.model_validate(after))
        a = await g.ask("/auth/session", {"access_key": KEY}, {"host": "chat.example.com"})
        assert "Secure" in a.headers["set-cookie"] or "public_url" in fixed
