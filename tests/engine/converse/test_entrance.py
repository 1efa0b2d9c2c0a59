"""What is held of limits is given back, however the entrance is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from switchboard.core.counting import Allowance, Change, Take, Taken, Window
from switchboard.core.types import Caller
from switchboard.engine.converse.entrance import Entrance
from switchboard.policy.quotas import Quotas

pytestmark = pytest.mark.anyio


class Slow:
    """Counters that answer when the test says so."""

    def __init__(self) -> None:
        self.held = 0
        self.answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()

    def take(self, takes: Sequence[Take]) -> asyncio.Future[Taken]:
        return self.answer

    def give(self, changes: Sequence[Change]) -> None:
        self.held += sum(c.amount for c in changes if c.window is Window.HELD)

    def admit(self) -> None:
        self.held += 1
        self.answer.set_result(Taken(-1, [1], [0.0], 1.0))


def entrance(counters: Slow) -> Entrance:
    class Gate:
        quotas = Quotas(caller=Allowance(voice_sessions=2))

    gate = Gate()
    gate.counters = counters  # type: ignore[attr-defined]

    class Kit:
        pass

    kit = Kit()
    kit.gate = gate  # type: ignore[attr-defined]

    def nothing(_: Any) -> None: ...

    return Entrance(cast("Any", kit), nothing, nothing, nothing)


@pytest.mark.parametrize("when", ["before", "in the same turn", "after"])
async def test_who_leaves_holds_nothing(when: str) -> None:
    counters = Slow()
    door = entrance(counters)
    door.place(Caller("c"), "127.0.0.1", "", None)
    await asyncio.sleep(0)
    if when == "before":
        door.leave()
        counters.admit()
    elif when == "in the same turn":
        counters.admit()
        door.leave()
    else:
        counters.admit()
        await asyncio.sleep(0)
        door.leave()
    for _ in range(5):
        await asyncio.sleep(0)
    assert counters.held == 0
