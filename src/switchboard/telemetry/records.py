"""One record a request: what the log line and the metrics are made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from switchboard.core.types import SpanIds


class Record(Struct, gc=False):
    """A request that is over. Times are in seconds (`at` since the epoch); `first_byte` is None where none was sent.

    `tokens_estimated` says that nobody counted and the figures are guessed from the length of the text. `attempts`
    is how often a provider was asked, `called` when last, in seconds from the beginning.
    """

    at: float
    request_id: str
    method: str
    path: str
    status: int
    outcome: str
    duration: float
    first_byte: float | None = None
    profile: str = ""
    caller: str = ""
    dialect: str = ""
    provider: str = ""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_estimated: bool = False
    streamed: bool = False
    error: str = ""
    detail: str = ""
    attempts: int = 0
    called: float = 0.0
    span: SpanIds | None = None


#: Records after which a batch is handed on at once: about a millisecond's work, so that no request waits longer for it.
BATCH: Final = 128


class Ledger:
    """Takes records and hands them on in batches, by the clock (`flush`) or when `BATCH` wait. At most `size` wait;
    beyond that (readers may fail) the oldest are lost and counted."""

    def __init__(self, size: int = 50_000) -> None:
        self._waiting: deque[Record] = deque(maxlen=size)
        self._readers: list[Callable[[list[Record]], None]] = []
        self.lost = 0

    def read_by(self, reader: Callable[[list[Record]], None]) -> None:
        """`reader` gets every batch."""
        self._readers.append(reader)

    def put(self, record: Record) -> None:
        """A request is over."""
        if len(self._waiting) == self._waiting.maxlen:
            self.lost += 1
        self._waiting.append(record)
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand on what waits."""
        if not self._waiting:
            return
        batch = list(self._waiting)
        self._waiting.clear()
        for reader in self._readers:
            reader(batch)
