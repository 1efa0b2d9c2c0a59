"""``/api/usage``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.client import chat
from support.gateway import Gateway, gateway, until

pytestmark = pytest.mark.anyio

ONE, OTHER = {"authorization": "Bearer key-number-one-1"}, {"authorization": "Bearer key-number-two-2"}
SETTINGS: dict[str, Any] = {"auth": {"access_key": ["key-number-one-1", "key-number-two-2"]}}


async def used(g: Gateway, query: str = "", headers: dict[str, str] = ONE) -> Any:
    await until(lambda: not g.kept.writer.waiting)
    a = await g.ask(f"/api/usage{query}", headers=headers)
    assert a.status == 200, a.text
    return a.json


async def test_what_a_caller_used(shell: str, tmp_path: Path) -> None:
    today = datetime.now(UTC).date().isoformat()
    async with gateway(shell, data=tmp_path, **SETTINGS) as g:
        for n in range(3):
            await g.ask("/api/chat", chat(f"Hello number {n}"), ONE)
        await g.ask("/api/chat", chat("Hello"), OTHER)
        await g.ask("/api/chat", {"messages": []}, ONE)
        await g.record(5)
        found = await used(g)
        assert (found["by"], found["to"], len(found["items"])) == ("day", today, 1)
        item = found["items"][0]
        assert (item["key"], item["requests"], item["errors"]) == (today, 4, 0)
        assert item["inputTokens"] > 0 and item["outputTokens"] > 0
        assert found["total"]["requests"] == 4
        by_model = await used(g, "?by=model")
        assert {i["key"]: i["requests"] for i in by_model["items"]} == {"echo": 3, "": 1}
        assert (await used(g, headers=OTHER))["total"]["requests"] == 1
        assert (await used(g, "?from=2026-01-01&to=2026-01-02"))["items"] == []


@pytest.mark.parametrize(
    "query", ["from=x", "to=2026-13-01", "by=caller", "from=2026-02-01&to=2026-01-01", "from=0001-01-01"]
)
async def test_a_bad_question_about_usage(shell: str, query: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **SETTINGS) as g:
        a = await g.ask(f"/api/usage?{query}", headers=ONE)
        assert a.status == 400, a.text
