"""Conversations that the server holds, at the engine's own level."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from switchboard.core.events import Event, Finish, Text, ToolCallArguments, ToolCallBegin
from switchboard.core.types import Caller, Generate
from switchboard.engine.conversations import Conversations, Keeping
from switchboard.engine.journal import Journals
from switchboard.policy.profile import Profile
from switchboard.store import Database, Kind, StoreError
from switchboard.store.conversations import Conversations as Repository
from switchboard.store.conversations import Held

pytestmark = pytest.mark.anyio
PLACE = ("default", "open", "talk")


class Flaky(Repository):
    """A database that does not answer for a moment."""

    failing = False

    async def load(self, profile: str, owner: str, id: str) -> Held | None:  # noqa: A002
        if self.failing:
            raise StoreError(Kind.BUSY, "not now")
        return await super().load(profile, owner, id)


@asynccontextmanager
async def held_in(folder: Path) -> AsyncIterator[tuple[Conversations, Flaky, Keeping]]:
    database = Database.open(f"sqlite:///{folder / 'a.db'}")
    database.start()
    assert await database.wait_ready(10)
    repository, keeping = Flaky(database), Keeping()
    try:
        yield Conversations(repository, Journals(), keeping, trusting=True), repository, keeping
    finally:
        await keeping.close()
        await database.close()


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


async def turn(c: Conversations, messages: list[dict[str, Any]], answer: list[Event], **more: Any) -> Generate:
    """A question and its answer."""
    op = Generate("m", messages=messages, params={}, conversation="talk", **more)
    made = await c.begin(op, Caller("1.2.3.4"), Profile())
    made.answer.add(answer)
    told = asyncio.Event()
    c.keep(made, told.set)
    await told.wait()
    return op


async def test_a_client_that_sends_all_of_it_while_the_database_is_away(tmp_path: Path) -> None:
    """What it says stands in the place of what is held, not behind it."""
    async with held_in(tmp_path) as (c, repository, _):
        await turn(c, [user("q0")], [Text("a0")], whole=True)
        repository.failing = True
        op = Generate("m", messages=[user("q0"), said("a0"), user("q1")], params={}, conversation="talk", whole=True)
        made = await c.begin(op, Caller("1.2.3.4"), Profile())
        repository.failing = False
        made.answer.add([Text("a1")])
        told = asyncio.Event()
        c.keep(made, told.set)
        await told.wait()
        held = await repository.load(*PLACE)
        assert held is not None
        assert [m["content"] for m in held.messages] == ["q0", "a0", "q1", "a1"]


async def test_a_tool_call_that_broke_off_is_not_kept(tmp_path: Path) -> None:
    """Providers refuse a conversation with a call that has no result, or whose arguments are no JSON: it could never go on."""
    async with held_in(tmp_path) as (c, repository, keeping):
        op = Generate("m", messages=[user("q0")], params={}, conversation="talk", stream=True)
        made = await c.begin(op, Caller("1.2.3.4"), Profile())
        made.answer.add([Text("Let me look."), ToolCallBegin(0, "call_1", "look"), ToolCallArguments(0, '{"wh')])
        c.broke_off(made)
        await asyncio.gather(*keeping.tasks)
        held = await repository.load(*PLACE)
        assert held is not None
        assert held.messages == [user("q0"), said("Let me look.")]


async def test_a_whole_tool_call_is_kept(tmp_path: Path) -> None:
    async with held_in(tmp_path) as (c, repository, _):
        await turn(c, [user("q0")], [ToolCallBegin(0, "c1", "look"), ToolCallArguments(0, "{}"), Finish("tool_calls")])
        held = await repository.load(*PLACE)
        assert held is not None and held.messages[1]["tool_calls"][0]["id"] == "c1"


async def test_thinking_alone_that_broke_off_leaves_no_empty_message(tmp_path: Path) -> None:
    """Some providers refuse an assistant's message without content."""
    from switchboard.core.events import Reasoning

    async with held_in(tmp_path) as (c, repository, keeping):
        op = Generate("m", messages=[user("q0")], params={}, conversation="talk", stream=True)
        made = await c.begin(op, Caller("1.2.3.4"), Profile())
        made.answer.add([Reasoning("Hm.")])
        c.broke_off(made)
        await asyncio.gather(*keeping.tasks)
        assert await repository.load(*PLACE) is None


async def test_what_a_client_has_lost_is_still_held(tmp_path: Path) -> None:
    """A client that sends all of it again without the picture: the model is told of the picture all the same."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    first = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}
    async with held_in(tmp_path) as (c, _, _keeping):
        await turn(c, [first], [Text("A dot.")])
        op = await turn(c, [user("What is it?"), said("A dot."), user("What colour?")], [Text("Black.")])
        assert op.messages[0] == first
