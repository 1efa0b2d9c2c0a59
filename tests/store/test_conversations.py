"""Conversations, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from switchboard.store import Database
from switchboard.store.conversations import Conversations

pytestmark = pytest.mark.anyio

HELLO = {"role": "user", "content": "hello \u0000 \U0001f600 'quoted'; --"}
ANSWER = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "x": [1, 2.5, True]}]}


async def test_what_was_said_is_held_in_order(database: Database) -> None:
    held = Conversations(database)
    assert await held.load("p", "o", "c") is None
    assert await held.append("p", "o", "c", 0, [HELLO, ANSWER], 10, "a title")
    assert await held.append("p", "o", "c", 2, [HELLO] * 3, 20, "another")
    found = await held.load("p", "o", "c")
    assert found is not None
    assert found.messages == [HELLO, ANSWER, HELLO, HELLO, HELLO]
    assert found.updated == 20
    about = await held.get("p", "o", "c")
    assert about is not None
    assert (about.title, about.created, about.updated, about.messages) == ("a title", 10, 20, 5)


async def test_only_the_count_that_was_seen_can_be_added_to(database: Database) -> None:
    held = Conversations(database)
    assert not await held.append("p", "o", "c", 1, [HELLO], 10)
    assert await held.append("p", "o", "c", 0, [HELLO], 10)
    assert not await held.append("p", "o", "c", 0, [ANSWER], 11)
    assert not await held.append("p", "o", "c", 2, [ANSWER], 11)
    found = await held.load("p", "o", "c")
    assert found is not None and found.messages == [HELLO] and found.updated == 10


@pytest.mark.parametrize("begun", [0, 1])
async def test_of_many_writers_at_once_one_writes(database: Database, begun: int) -> None:
    held = Conversations(database)
    if begun:
        assert await held.append("p", "o", "c", 0, [HELLO], 1)
    done = await asyncio.gather(
        *(held.append("p", "o", "c", begun, [{"role": "user", "content": str(n)}] * 3, n) for n in range(20))
    )
    assert done.count(True) == 1
    found = await held.load("p", "o", "c")
    assert found is not None
    assert [m["content"] for m in found.messages[begun:]] == [str(done.index(True))] * 3


async def test_a_conversation_belongs_to_its_owner_in_its_profile(database: Database) -> None:
    held = Conversations(database)
    for owner, profile in (("a", "p"), ("b", "p"), ("a", "q")):
        assert await held.append(profile, owner, "c", 0, [{"role": "user", "content": owner + profile}], 1)
    found = await held.load("p", "b", "c")
    assert found is not None and found.messages[0]["content"] == "bp"
    assert await held.delete("p", "a", "c")
    assert not await held.delete("p", "a", "c")
    assert await held.load("p", "a", "c") is None
    assert await held.load("q", "a", "c") is not None


async def test_a_conversation_begins_afresh(database: Database) -> None:
    held = Conversations(database)
    await held.append("p", "o", "c", 0, [HELLO] * 5, 1, "old")
    await held.replace("p", "o", "c", [ANSWER], 2, "new")
    await held.replace("p", "o", "d", [HELLO], 3)
    found = await held.load("p", "o", "c")
    assert found is not None and found.messages == [ANSWER]
    about = await held.get("p", "o", "c")
    assert about is not None and (about.title, about.messages) == ("new", 1)
    assert await held.append("p", "o", "c", 1, [HELLO], 4)


async def test_a_list_is_paged_newest_first(database: Database) -> None:
    held = Conversations(database)
    for n in range(7):
        await held.append("p", "o", f"c{n}", 0, [HELLO], 100 + n // 2)
    await held.append("p", "other", "x", 0, [HELLO], 200)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await held.list("p", "o", 3, cursor)
        seen += [c.id for c in page.items]
        cursor = page.next
        if not cursor:
            break
    assert seen == [f"c{n}" for n in (6, 5, 4, 3, 2, 1, 0)]


@pytest.mark.parametrize("cursor", ["x", "!!", "MQ", "LTEuLTE", "é", "\0", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0LjE"])
async def test_a_cursor_that_is_none_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await Conversations(database).list("p", "o", 3, cursor)


async def test_what_is_old_is_forgotten(database: Database) -> None:
    held = Conversations(database)
    for n in range(120):
        await held.append("p" if n % 2 else "q", "o", f"c{n}", 0, [HELLO], n)
    assert await held.prune(10, "p") == 5
    assert await held.prune(110) == 105
    assert len((await held.list("p", "o", 100)).items) == 5
    left = await database.run(lambda db: db.rows("SELECT COUNT(*) FROM conversation_messages"), write=False)
    assert left == [(10,)]


async def test_a_user_is_exported_and_erased(database: Database) -> None:
    held = Conversations(database)
    for n in range(60):
        await held.append("p", "key-1", f"c{n}", 0, [HELLO], n, user="ann")
    await held.append("q", "ann", "own", 0, [ANSWER], 99)
    await held.append("p", "key-1", "other", 0, [HELLO], 99, user="bob")
    out = [(c.id, m) async for c, m in held.export("ann")]
    assert [i for i, _ in out] == [*(f"c{n}" for n in range(60)), "own"]
    assert out[-1][1] == [ANSWER]
    assert await held.erase("") == 0
    assert await held.erase("ann") == 61
    assert [c.id async for c, _ in held.export("ann")] == []
    assert [c.id for c in (await held.list("p", "key-1")).items] == ["other"]


async def test_nobody_is_not_everybody_without_a_name(database: Database) -> None:
    """As for `erase`: an empty name is that of all who have none."""
    kept = Conversations(database)
    assert await kept.append("default", "open", "a", 0, [{"role": "user", "content": "private"}], 1)
    assert [c async for c in kept.export("")] == []


async def test_one_that_is_gone_is_not_the_one_that_came_after_it(database: Database) -> None:
    held = Conversations(database)
    assert await held.append("p", "o", "c", 0, [HELLO], 1)
    first = await held.load("p", "o", "c")
    assert first is not None
    assert await held.append("p", "o", "c", 1, [ANSWER], 2, number=first.number)
    assert await held.delete("p", "o", "c")
    assert not await held.append("p", "o", "c", 2, [HELLO], 3, number=first.number)
    assert not await held.replace("p", "o", "c", [HELLO], 3, number=first.number)
    assert await held.load("p", "o", "c") is None
    assert await held.append("p", "o", "c", 0, [ANSWER] * 2, 4)
    assert not await held.append("p", "o", "c", 2, [HELLO], 5, number=first.number)
    assert not await held.replace("p", "o", "c", [HELLO], 5, number=first.number)
    second = await held.load("p", "o", "c")
    assert second is not None and second.messages == [ANSWER] * 2
    assert await held.replace("p", "o", "c", [HELLO], 6, "anew", number=second.number)
    found = await held.load("p", "o", "c")
    assert found is not None and (found.messages, found.number, found.updated) == ([HELLO], second.number, 6)
