"""The file behind `SharedCounters`: a table of slots of one size, mapped into the memory of every worker.

A slot is found by a keyed hash of its counter, in the set of `WAYS` slots that the hash names. Who reads or writes a set holds the
lock of its number (a POSIX record lock, which the kernel drops when its holder dies). Every value is one aligned word of
eight bytes, and words are written in such an order that the table makes sense after each of them: whoever dies in the
middle leaves nothing to repair.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from switchboard.store.counters._minute import BUCKETS

#: Slots of one set.
WAYS: Final = 32
#: Workers that one table can serve.
MOST_WORKERS: Final = 64
#: Words of a slot: two of its hash, when it was last asked for (seconds), where its window or newest bucket begins, the sum
#: of a calendar's window; from `CELLS` on one for each bucket, or for what each worker holds.
TOUCHED: Final = 2
START: Final = 3
AMOUNT: Final = 4
CELLS: Final = 6

_MAGIC: Final = b"switchboard counters 1\n\0"
_HEADER: Final = struct.Struct("24s16sqq")  # magic, the hash's key, workers, sets
_HEADER_ROOM: Final = 4096
_HASH: Final = struct.Struct("qq")
#: Counters whose place is remembered.
_PLACES: Final = 8192


class Place:
    """Where a counter is: its hash, its set, and the slot (the index of its first word) where it was last seen, or -1."""

    __slots__ = ("first", "kind", "second", "set", "slot")

    def __init__(self, kind: int, first: int, second: int, set_: int) -> None:
        self.kind = kind
        self.first = first
        self.second = second
        self.set = set_
        self.slot = -1


class _Shape:
    """Where things are in a table for so many workers and sets."""

    def __init__(self, workers: int, sets: int) -> None:
        self.cells = max(BUCKETS, workers)
        self.words = -(-(CELLS + self.cells) // 8) * 8  # whole cache lines
        self.kinds = _HEADER_ROOM  # a byte a slot: what it is of; 0 where it was never used
        self.slots = _HEADER_ROOM + -(-sets * WAYS // 4096) * 4096
        self.size = self.slots + sets * WAYS * self.words * 8


def create(path: str | os.PathLike[str], workers: int, slots: int) -> None:
    """See to it that there is a table at `path`, for so many workers and at least so many slots. One that is there is kept if it
    is of that shape and this version, or else replaced. Raises OSError, and ValueError for an impossible shape."""
    if not (1 <= workers <= MOST_WORKERS and slots > 0):
        raise ValueError(f"a table of counters has 1 to {MOST_WORKERS} workers, and slots")
    sets = -(-slots // WAYS)
    try:
        if _read_header(Path(path))[1:] == (workers, sets):
            return
    except (OSError, ValueError):
        pass
    made = Path(f"{os.fspath(path)}.{secrets.token_hex(4)}")
    fd = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, _HEADER.pack(_MAGIC, secrets.token_bytes(16), workers, sets))
        os.truncate(fd, _Shape(workers, sets).size)
        os.replace(made, path)
    except OSError:
        made.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _read_header(path: Path) -> tuple[bytes, int, int]:
    """The hash's key, the workers and the sets of a table. Raises OSError, and ValueError where it is none of this version."""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        size = os.fstat(file.fileno()).st_size
    if len(head) == _HEADER.size:
        magic, key, workers, sets = _HEADER.unpack(head)
        if magic == _MAGIC and 1 <= workers <= MOST_WORKERS and sets > 0 and size == _Shape(workers, sets).size:
            return key, workers, sets
    raise ValueError(f"{path} is not a table of counters of this version")


class Table:
    """An open table. Belongs to one thread of one process: a child that was forked opens its own."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._key, self.workers, self._sets = _read_header(Path(path))
        shape = _Shape(self.workers, self._sets)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(self._fd, shape.size)
        except (OSError, ValueError):
            os.close(self._fd)
            raise
        self.words = memoryview(self._map).cast("q")
        self._kinds = shape.kinds
        self._first = shape.slots // 8
        self._size = shape.words
        self._zeros = memoryview(bytes(8 * shape.cells)).cast("q")
        self._buckets = struct.Struct(f"{BUCKETS}q")
        self._holders = struct.Struct(f"{self.workers}q")
        self._places: dict[int, dict[str, Place]] = {}

    def place(self, kind: int, key: str) -> Place:
        """Where the counter `key` of the `kind` (a letter's code) belongs."""
        known = self._places.setdefault(kind, {})
        found = known.get(key)
        if found is None:
            if len(known) >= _PLACES:
                known.clear()
            name = key.encode("utf-8", "surrogatepass")
            first, second = _HASH.unpack(blake2b(name, digest_size=16, key=self._key, person=bytes([kind])).digest())
            found = known[key] = Place(kind, first, second, first % self._sets)
        return found

    def lock(self, sets: Sequence[int]) -> None:
        """Hold the locks of `sets`, which are in ascending order and each there once: so nobody waits in a circle."""
        for number in sets:
            fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, number)

    def unlock(self) -> None:
        """Hold none any more."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 0, 0)

    def find(self, place: Place) -> int:
        """The slot of a counter, -1 where it has none. Its set is locked."""
        slot, words = place.slot, self.words
        if slot >= 0 and words[slot] == place.first and words[slot + 1] == place.second:
            return slot
        for slot in self.slots_of(place.set):
            if words[slot] == place.first and words[slot + 1] == place.second:
                place.slot = slot
                return slot
        return -1

    def slots_of(self, number: int) -> range:
        """The slots of a set."""
        first = self._first + number * WAYS * self._size
        return range(first, first + WAYS * self._size, self._size)

    def kind(self, slot: int) -> int:
        """What kind of counter a slot is of; 0 where it was never used."""
        return self._map[self._kinds + (slot - self._first) // self._size]

    def claim(self, slot: int, place: Place, start: int, touched: int) -> None:
        """Make a slot that of another counter, which holds nothing yet. Its set is locked."""
        words = self.words
        words[slot] = words[slot + 1] = 0  # nobody's
        words[slot + AMOUNT] = 0
        words[slot + CELLS : slot + CELLS + len(self._zeros)] = self._zeros
        words[slot + START] = start
        words[slot + TOUCHED] = touched
        self._map[self._kinds + (slot - self._first) // self._size] = place.kind
        words[slot] = place.first
        words[slot + 1] = place.second
        place.slot = slot

    def clear_buckets(self, slot: int) -> None:
        """Empty all buckets of a slot."""
        self.words[slot + CELLS : slot + CELLS + BUCKETS] = self._zeros[:BUCKETS]

    def buckets(self, slot: int, first: int) -> tuple[int, int]:
        """What is in the buckets of a slot in all, and how many are empty before one is not, from `first` on round the ring."""
        at = (slot + CELLS) * 8
        raw = self._map[at : at + BUCKETS * 8]
        ring = raw[first * 8 :] + raw[: first * 8]
        return sum(self._buckets.unpack(raw)), (BUCKETS * 8 - len(ring.lstrip(b"\0"))) // 8

    def held(self, slot: int) -> int:
        """What all workers hold of a slot's counter."""
        return sum(self._holders.unpack_from(self._map, (slot + CELLS) * 8))

    def slots_of_kind(self, kind: int) -> list[tuple[int, int]]:
        """All slots that are of a kind at the moment, each with its set's number."""
        found = []
        name = bytes([kind])
        number = self._map.find(name, self._kinds, self._kinds + self._sets * WAYS)
        while number >= 0:
            index = number - self._kinds
            found.append((self._first + index * self._size, index // WAYS))
            number = self._map.find(name, number + 1, self._kinds + self._sets * WAYS)
        return found

    def close(self) -> None:
        """Let go of the file. May be called more than once."""
        if self._fd >= 0:
            self.words.release()
            self._map.close()
            os.close(self._fd)
            self._fd = -1
