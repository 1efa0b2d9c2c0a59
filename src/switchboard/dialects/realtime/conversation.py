"""The items of a conversation in its order, with what each says, all of it bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

MAX_ITEMS: Final = 2000
MAX_TEXT: Final = 1 << 20  # bytes of UTF-8
MAX_PARTS: Final = 64  # of one item


class Item:
    """One item, and its place in the conversation: between `before` and `after`.

    `role` is "" where it is no message of a user or the model; `left_out`: the server put it there itself. `output`: it came of a
    response, that of the id `response`. `whole` are the parts whose text is final. `complete`: the model got to its end; `cut`: it did
    not, or was not heard to it; `frozen`: nothing is added any more. `ms` is how much sound of it there is; `size`, of how many bytes its text is.
    """

    __slots__ = (
        "after",
        "before",
        "complete",
        "cut",
        "frozen",
        "id",
        "left_out",
        "ms",
        "output",
        "parts",
        "placed",
        "response",
        "role",
        "since",
        "size",
        "whole",
    )

    def __init__(self, item_id: str, since: float) -> None:
        self.id = item_id
        self.since = since
        self.before = self.after = self  # in no conversation
        self.placed = self.output = self.complete = self.cut = self.frozen = self.left_out = False
        self.role = self.response = ""
        self.ms = 0.0
        self.parts: dict[int, bytearray] = {}
        self.whole: set[int] = set()
        self.size = 0

    @property
    def text(self) -> str:
        """What its parts say, in order; a space stands between two that have none there."""
        out = ""
        for n in sorted(self.parts):
            # what was cut for its size may end within a character
            part = self.parts[n].decode("utf-8", "ignore")
            out += " " + part if out and part and not (out[-1].isspace() or part[0].isspace()) else part
        return out


class Recent(OrderedDict[str, None]):
    """The ids that were added last, no more than `MAX_ITEMS`."""

    def add(self, item_id: str) -> None:
        """Remember an id, which the oldest makes room for."""
        self[item_id] = None
        self.move_to_end(item_id)
        if len(self) > MAX_ITEMS:
            self.popitem(last=False)


class Conversation:
    """The newest `MAX_ITEMS` items, and of them the newest whose texts are no more than `MAX_TEXT` bytes together.

    `changed` is set with every change of what they say, and of the order of those that say something. `gone` are the ids of items that were
    forgotten, the last ones.
    """

    def __init__(self) -> None:
        self.changed = False
        self.gone = Recent()
        self._items: OrderedDict[str, Item] = OrderedDict()  # as they came about
        self._ends = Item("", 0.0)  # stands before the first and after the last
        self._size = 0
        self._answers: dict[str, dict[str, None]] = {}  # response → its items, until it is done

    def __iter__(self) -> Iterator[Item]:
        """The items, in the conversation's order."""
        item = self._ends.after
        while item is not self._ends:
            yield item
            item = item.after

    def get(self, item_id: str) -> Item | None:
        """The item of this id, if it is known."""
        return self._items.get(item_id)

    def new(self, item_id: str, since: float) -> Item:
        """A new item, at the end; its id is not known yet."""
        item = self._items[item_id] = Item(item_id, since)
        self._link(item, self._ends.before)
        if len(self._items) > MAX_ITEMS:
            self.forget(next(iter(self._items.values())))
        return item

    def place(self, item: Item, previous: str | None) -> None:
        """Put it behind the item of the id `previous`, None: first. Does nothing where that is not known, or where it was put
        somewhere before."""
        before = self._ends if previous is None else self._items.get(previous)
        if item.placed or before is None or before is item:
            return
        item.placed = True
        if item.before is not before:
            self._unlink(item)
            self._link(item, before)
            self.changed = self.changed or item.size > 0

    def forget(self, item: Item) -> None:
        """It is no part of the conversation any more."""
        self.clear(item)
        self._unlink(item)
        del self._items[item.id]
        self.gone.add(item.id)
        answer = self._answers.get(item.response)
        if answer is not None:
            answer.pop(item.id, None)
            if not answer:
                del self._answers[item.response]

    # ---- responses

    def answers(self, item: Item, response: str) -> None:
        """It is output of this response; the first one that is told counts."""
        if not item.response:
            item.response = response
            self._answers.setdefault(response, {})[item.id] = None

    def answered(self, response: str) -> dict[str, None]:
        """The ids of this response's items, which is done."""
        return self._answers.pop(response, {})

    # ---- texts

    def put(self, item: Item, index: int, text: str, *, over: bool = False) -> None:
        """Add `text` to a part of what it says, or put it there in place of what is (`over`)."""
        if item.left_out or item.frozen:
            return
        data = text.encode("utf-8", "replace")  # lone surrogates, which no JSON can hold
        part = item.parts.get(index)
        if part is not None and over:
            if part == data:
                return
            self._resize(item, -len(part))
            self.changed = True
            part.clear()
        if data:
            data = data[: self._room(item, len(data))]
            item.parts.setdefault(index, bytearray()).extend(data)
            self._resize(item, len(data))
            self.changed = True

    def clear(self, item: Item) -> None:
        """Take away what it says."""
        if item.size:
            self._resize(item, -item.size)
            self.changed = True
        item.parts.clear()

    def _room(self, item: Item, wanted: int) -> int:
        """How many more bytes `item` may have, at most `wanted`: the oldest of the others make room."""
        while self._size + wanted > MAX_TEXT and (oldest := self._oldest_but(item)) is not None:
            self.forget(oldest)
        return min(wanted, MAX_TEXT - self._size)

    def _oldest_but(self, item: Item) -> Item | None:
        return next((i for i in self._items.values() if i is not item), None)

    def _resize(self, item: Item, by: int) -> None:
        item.size += by
        self._size += by

    # ---- order

    def _link(self, item: Item, before: Item) -> None:
        item.before, item.after = before, before.after
        before.after.before = item
        before.after = item

    def _unlink(self, item: Item) -> None:
        item.before.after, item.after.before = item.after, item.before
