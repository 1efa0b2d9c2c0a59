"""What a process asks of Redis at a time: a batch of takes and changes in the order in which they were asked for, and the
script's answer to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from switchboard.core.counting import Change, Take, Taken, Window
from switchboard.store.counters._minute import start

#: Numbers that Redis' scripts can tell apart go up to this.
MOST: Final = 2**53
_KINDS: Final = {Window.MINUTE: "m", Window.DAY: "d", Window.MONTH: "c", Window.HELD: "h"}


class Asked:
    """A take that waits for its answer, which is to be awaited once. `at` is when it was asked for (seconds since the epoch); `unheard` is
    told of one that was refused, and whose caller was cancelled before it could hear of that."""

    __slots__ = ("at", "future", "takes", "unheard")

    def __init__(
        self,
        takes: Sequence[Take],
        at: float,
        future: asyncio.Future[Taken],
        unheard: Callable[[Asked], None],
    ) -> None:
        self.takes = takes
        self.at = at
        self.future = future
        self.unheard = unheard

    def __await__(self) -> Generator[Any, None, Taken]:
        try:
            return (yield from self.future.__await__())
        except asyncio.CancelledError:
            if not self.future.cancelled() and self.future.done() and self.future.result().refused >= 0:
                self.unheard(self)
            raise

    @property
    def size(self) -> int:
        """How many counters it is about."""
        return len(self.takes)

    def as_taken(self) -> Given:
        """What makes it count, whatever the limits say: its caller was cancelled, and gives back what it asked for."""
        return Given([Change(t.key, t.window, t.amount, self.at) for t in self.takes if t.amount])


class Given(Struct, gc=False):
    """Changes."""

    changes: Sequence[Change]

    @property
    def size(self) -> int:
        """How many counters it is about."""
        return len(self.changes)


class Raised(Struct, gc=False):
    """Floors."""

    floors: Sequence[Change]

    @property
    def size(self) -> int:
        """How many counters it is about."""
        return len(self.floors)


class Left(Struct, gc=False):
    """The end: nothing is held any more, of these keys that something was held of."""

    keys: Sequence[str]

    @property
    def size(self) -> int:
        """How many counters it is about."""
        return len(self.keys)


Entry = Asked | Given | Raised | Left


class Batch(Struct):
    """Entries, sent under a `name` that no other has. `held` is set where the process joins: what it holds.

    `written_off`: nobody waits for it any more, its takes were decided without it. What it gives is given all the same.
    `probe`: it was made while the circuit is open.
    """

    name: str
    entries: list[Entry]
    held: dict[str, int] | None
    written_off: bool
    probe: bool


class Answer(Struct, array_like=True, gc=False):
    """What the script answers. `at` is in seconds since the epoch, `alive` the number of processes."""

    at: float
    alive: int
    taken: list[tuple[int, list[int], list[float]]]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Answer | bool).decode


def encode(batch: Batch, prefix: str, process: str, lifetime: float, now: float | None) -> bytes:
    """The script's argument; `now` is None for Redis' own time."""
    ops = [_op(e) for e in batch.entries]
    joins = batch.held is not None
    held = [(_key(key), n) for key, n in (batch.held or {}).items()]
    return _encode((prefix, process, batch.name, lifetime, False if now is None else now, joins, held, ops))


def decode(answer: bytes) -> Answer | None:
    """What the script answered; None where the process has to join first. Raises msgspec.MsgspecError."""
    found = _decode(answer)
    return found if isinstance(found, Answer) else None


def _op(entry: Entry) -> tuple[str, Iterable[tuple[Any, ...]]]:
    if isinstance(entry, Asked):
        return "T", [(_KINDS[t.window], _key(t.key), min(t.amount, MOST), min(t.limit, MOST)) for t in entry.takes]
    if isinstance(entry, Given):
        return "G", _changes(entry.changes)
    if isinstance(entry, Raised):
        return "R", _changes(entry.floors)
    return "L", [("h", _key(key)) for key in entry.keys]


def _changes(changes: Sequence[Change]) -> list[tuple[str, str, int, int]]:
    return [(_KINDS[c.window], _key(c.key), max(-MOST, min(c.amount, MOST)), start(c.window, c.at)) for c in changes]


def _key(key: str) -> str:
    """`key` as msgpack can carry it; the scripts of Redis know none of its types but text."""
    return key if key.isascii() else key.encode("utf-8", "backslashreplace").decode()
