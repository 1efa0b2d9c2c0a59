"""How much of a conversation is kept."""

from __future__ import annotations

import pytest

from switchboard.store import Database
from switchboard.store.conversations import MOST_CHARACTERS, MOST_MESSAGES, Conversations

pytestmark = pytest.mark.anyio
PLACE = ("default", "ann", "talk")


async def test_the_newest_messages_are_kept(database: Database) -> None:
    kept = Conversations(database)
    total = 0
    while total < MOST_MESSAGES + 100:
        new = [{"role": "user", "content": str(total + i)} for i in range(50)]
        assert await kept.append(*PLACE, total, new, at=total + 1)
        total += 50
    held = await kept.load(*PLACE)
    assert held is not None and held.count == total
    assert MOST_MESSAGES <= len(held.messages) < MOST_MESSAGES + 50
    assert held.messages[-1]["content"] == str(total - 1)
    assert held.messages[0]["content"] == str(total - len(held.messages))
    # and it goes on by its number of messages
    assert await kept.append(*PLACE, total, [{"role": "user", "content": "more"}], at=1)


async def test_large_ones_push_others_out(database: Database) -> None:
    kept = Conversations(database)
    large = "x" * (MOST_CHARACTERS // 3)
    for n in range(6):
        assert await kept.append(*PLACE, n, [{"role": "user", "content": f"{n}{large}"}], at=n + 1)
    held = await kept.load(*PLACE)
    assert held is not None and [m["content"][0] for m in held.messages] == ["4", "5"]
    assert await kept.append(*PLACE, 6, [{"role": "user", "content": "y" * (2 * MOST_CHARACTERS)}], at=9)
    held = await kept.load(*PLACE)
    assert held is not None and [m["content"][0] for m in held.messages] == ["y"]
