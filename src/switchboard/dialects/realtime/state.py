"""What a translation remembers of a connection, all of it bounded."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from switchboard.dialects.realtime.fields import REALTIME
from switchboard.dialects.realtime.losses import Losses

_MOST: Final = 4096  # items that are remembered; a conversation of an hour has fewer

V = TypeVar("V")


class Recent(dict[str, V], Generic[V]):
    """A dict of the newest entries only."""

    def put(self, key: str, value: V) -> None:
        """Remember `value`; what was put first is forgotten where there are too many."""
        self[key] = value
        if len(self) > _MOST:
            del self[next(iter(self))]


class State:
    """Of one connection: what its session is for, which items the client knows of, and what was lost.

    `announced` are the items that the client was told of; `open` those of them that it was not yet told are whole, with the item before each;
    `functions` are the names of functions that are being called, by the item.
    """

    __slots__ = ("announced", "functions", "kind", "losses", "open")

    def __init__(self) -> None:
        self.kind = REALTIME
        self.losses = Losses()
        self.announced: Recent[None] = Recent()
        self.open: Recent[str | None] = Recent()
        self.functions: Recent[str] = Recent()

    def forget(self, item_id: str) -> None:
        """The item was deleted; another may get its id."""
        self.announced.pop(item_id, None)
        self.open.pop(item_id, None)
        self.functions.pop(item_id, None)
