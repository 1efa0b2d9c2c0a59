"""Usage on its way to the database: taken at once, written in batches beside."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from switchboard.store.errors import Kind, StoreError
from switchboard.store.usage import UsageLog
from switchboard.store.usage_row import UsageRow

#: Seconds for which rows are gathered, and between two tries while the database is down.
GATHER: Final = 0.25
RETRY: Final = 0.5
#: Rows that are written in one transaction.
BATCH: Final = 1000
#: Rows that wait, at most; of more the oldest are lost.
WAITING: Final = 100_000


class _Batch(Struct):
    """Rows that are written together. The name stays the same whenever they are tried again."""

    rows: list[UsageRow]
    name: str


class UsageWriter:
    """Writes usage. While the database is down it tries again and again, and keeps `bound` rows; `lost` counts those that
    it had to let go: the oldest where there were more, and what the database would never take."""

    def __init__(self, log: UsageLog, bound: int = WAITING) -> None:
        self.lost = 0
        self._log = log
        self._bound = bound
        self._rows: deque[UsageRow] = deque()
        self._batches: deque[_Batch] = deque()  # begun, and not known to be written
        self._some = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._write())

    @property
    def waiting(self) -> int:
        """Rows that are not known to be written."""
        return len(self._rows) + sum(len(b.rows) for b in self._batches)

    def put(self, rows: Iterable[UsageRow]) -> None:
        """Have `rows` written soon. Returns at once."""
        self._rows.extend(rows)
        # what is begun may be written already: it is not let go
        over = len(self._rows) - max(0, self._bound - sum(len(b.rows) for b in self._batches))
        for _ in range(over):
            self._rows.popleft()
        self.lost += max(0, over)
        if self._rows:
            self._some.set()

    async def close(self, timeout: float = 5.0) -> None:
        """Write what waits, within `timeout` seconds; what then is left is lost, and counted."""
        self._closing = True
        self._some.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout)
            self._task.cancel()
            await asyncio.wait([self._task])
        self.lost += self.waiting
        self._rows.clear()
        self._batches.clear()

    async def _write(self) -> None:
        while not (self._closing and not self.waiting):
            if not self.waiting:
                await self._some.wait()
                if not self._closing:
                    await asyncio.sleep(GATHER)
            if not self._batches and self._rows:
                some = [self._rows.popleft() for _ in range(min(BATCH, len(self._rows)))]
                self._batches.append(_Batch(some, uuid.uuid4().hex))
            self._some.clear()
            if self._batches and not await self._wrote(self._batches[0]):
                await asyncio.sleep(RETRY)

    async def _wrote(self, batch: _Batch) -> bool:
        """Write one. False: not now."""
        try:
            await self._log.write(batch.rows, batch.name)
        except StoreError as e:
            if e.kind is not Kind.FAILED:
                return False
            self._refused(batch)
        else:
            self._batches.popleft()
        return True

    def _refused(self, batch: _Batch) -> None:
        """The database does not take it, and will not: find the rows that it is about."""
        self._batches.popleft()
        if len(batch.rows) == 1:
            self.lost += 1
            return
        middle = len(batch.rows) // 2
        for rows in (batch.rows[middle:], batch.rows[:middle]):
            self._batches.appendleft(_Batch(rows, uuid.uuid4().hex))
