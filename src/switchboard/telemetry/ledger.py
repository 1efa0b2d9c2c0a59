"""The way of records to whoever reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from switchboard.telemetry.records import Record

#: Records after which a batch is handed on at once: about a millisecond's work, so that no request waits longer for it.
BATCH: Final = 128


class Ledger:
    """Takes records and hands them on in batches, by the clock (`flush`) or when `BATCH` wait. At most `size` wait;
    beyond that (readers may fail) the oldest are lost and counted."""

    def __init__(self, size: int = 50_000) -> None:
        self._waiting: deque[Record] = deque(maxlen=size)
        self._priced: Callable[[Record], bool] | None = None
        self._readers: list[Callable[[list[Record]], None]] = []
        self.lost = 0

    def read_by(self, reader: Callable[[list[Record]], None]) -> None:
        """`reader` gets every batch."""
        self._readers.append(reader)

    def priced_by(self, pricer: Callable[[Record], bool]) -> None:
        """`pricer` puts its cost into each record; one for which it gives False waits for the next flush."""
        self._priced = pricer

    def put(self, record: Record) -> None:
        """A request is over."""
        if len(self._waiting) == self._waiting.maxlen:
            self.lost += 1
        self._waiting.append(record)
        if len(self._waiting) % BATCH == 0:
            self.flush()

    def flush(self, *, last: bool = False) -> None:
        """Hand on what waits; with `last` also records whose price is not known yet."""
        if not self._waiting:
            return
        batch = list(self._waiting)
        self._waiting.clear()
        priced = self._priced
        if priced is not None:
            late = [r for r in batch if not priced(r)]
            if late and not last:
                self._waiting.extend(late)
                waits = {id(r) for r in late}
                batch = [r for r in batch if id(r) not in waits]
        for reader in self._readers:
            reader(batch)
