"""``/api/conversations``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.gateway import gateway

pytestmark = pytest.mark.anyio

ONE, OTHER = {"authorization": "Bearer key-number-one-1"}, {"authorization": "Bearer key-number-two-2"}
SETTINGS: dict[str, Any] = {"auth": {"access_key": ["key-number-one-1", "key-number-two-2"]}}


def talk(name: str, text: str = "Hello there") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "conversation_id": name}


async def test_listed_read_and_forgotten(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **SETTINGS) as g:
        for name in ("a", "b", "c"):
            assert (await g.ask("/api/chat", talk(name), ONE)).status == 200
        page = (await g.ask("/api/conversations?limit=2", headers=ONE)).json
        assert [c["id"] for c in page["items"]] == ["c", "b"]
        first = page["items"][0]
        assert (first["title"], first["messages"]) == ("Hello there", 2)
        assert first["createdAt"].endswith("Z") and first["updatedAt"] >= first["createdAt"]
        rest = (await g.ask(f"/api/v1/conversations?before={page['next']}", headers=ONE)).json
        assert ([c["id"] for c in rest["items"]], rest["next"]) == (["a"], None)
        whole = (await g.ask("/api/conversations/a", headers=ONE)).json
        assert [m["role"] for m in whole["messages"]] == ["user", "assistant"]
        assert whole["messages"][0]["content"] == "Hello there"
        assert (await g.ask("/api/conversations/a", headers=ONE, method="DELETE")).json == {"success": True}
        gone = await g.ask("/api/conversations/a", headers=ONE)
        assert (gone.status, gone.json["error"]["code"]) == (404, "CONVERSATION_NOT_FOUND")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_somebody_else_s_is_as_one_that_is_not_there(shell: str, method: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **SETTINGS) as g:
        await g.ask("/api/chat", talk("secret"), ONE)
        theirs = await g.ask("/api/conversations/secret", headers=OTHER, method=method)
        none = await g.ask("/api/conversations/nonesuch", headers=OTHER, method=method)
        for a in (theirs, none):
            a.json["error"].pop("request_id", None)
        assert theirs.status == none.status == 404
        assert theirs.json["error"] == none.json["error"]
        assert (await g.ask("/api/conversations", headers=OTHER)).json["items"] == []
        # going on with it is a conversation of one's own
        await g.ask("/api/chat", talk("secret", "mine"), OTHER)
        mine = (await g.ask("/api/conversations/secret", headers=OTHER)).json
        assert [m["content"] for m in mine["messages"] if m["role"] == "user"] == ["mine"]
        assert (await g.ask("/api/conversations/secret", headers=ONE)).json["messages"][0]["content"] == "Hello there"


async def test_a_server_in_front_of_many_users(shell: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"auth": {**SETTINGS["auth"], "act_as": True}}
    async with gateway(shell, data=tmp_path, **settings) as g:
        for user in ("ann", "bob"):
            await g.ask("/api/chat", {**talk("t", f"I am {user}"), "userId": user}, ONE)
        for user in ("ann", "bob"):
            whole = (await g.ask(f"/api/conversations/t?userId={user}", headers=ONE)).json
            assert [m["content"] for m in whole["messages"] if m["role"] == "user"] == [f"I am {user}"]
        assert (await g.ask("/api/conversations/t", headers=ONE)).status == 404


async def test_who_does_not_act_for_others_is_one_user(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **SETTINGS) as g:
        for user in ("ann", "bob"):
            await g.ask("/api/chat", {**talk("t", f"I am {user}"), "userId": user}, ONE)
        whole = (await g.ask("/api/conversations/t?userId=ann", headers=ONE)).json
        assert [m["content"] for m in whole["messages"] if m["role"] == "user"] == ["I am ann", "I am bob"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "before=%00", "before=abc", "userId=a%20b"])
async def test_a_bad_question(shell: str, query: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **SETTINGS) as g:
        assert (await g.ask(f"/api/conversations?{query}", headers=ONE)).status == 400
