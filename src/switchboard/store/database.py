"""A database beside the event loop: transactions are functions that run on its own threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from switchboard.store.connection import Connection
from switchboard.store.errors import Kind, StoreError
from switchboard.store.urls import is_postgres, sqlite_path
from switchboard.store.worker import CLOSED, Job, Lane

if TYPE_CHECKING:
    from switchboard.store.connection import Backend

T = TypeVar("T")

#: Seconds that a transaction may take, its time in the queue included.
LONGEST: Final = 15.0

#: Transactions that may wait for each of writing and reading.
QUEUE: Final = 1000


class Database:
    """Runs transactions. It is connected by itself, also again, for as long as it is open.

    SQLite has one writing and two reading threads, PostgreSQL `connections` that do both. At most `queue` transactions
    wait (for each of reading and writing where there are two), none longer than `longest` seconds.
    """

    def __init__(self, backend: Backend, queue: int = QUEUE, longest: float = LONGEST) -> None:
        self._backend = backend
        writing = Lane(backend, "store", backend.writers, queue, write=True)
        self._lanes = [writing]
        if backend.readers:
            self._lanes.append(Lane(backend, "store-read", backend.readers, queue, write=False))
        self._longest = longest
        self._started = False

    @classmethod
    def open(cls, url: str, *, connections: int = 4, queue: int = QUEUE, longest: float = LONGEST) -> Database:
        """The database at `url`: ``sqlite:///PATH`` or ``postgresql://…``. Nothing is opened before `start`. Raises
        ValueError for any other URL."""
        if is_postgres(url):
            from switchboard.store.postgres import Postgres

            return cls(Postgres(url, connections), queue, longest)
        from switchboard.store.sqlite import Sqlite

        return cls(Sqlite(sqlite_path(url)), queue, longest)

    def start(self) -> None:
        """Begin to connect; returns at once. Until it is known what came of that, transactions wait."""
        self._started = True
        for lane in self._lanes:
            lane.start()

    @property
    def ready(self) -> bool:
        """Whether transactions can be run, as far as is known: connections that rest are looked at every second."""
        return all(lane.connected and not lane.closing for lane in self._lanes)

    @property
    def opening(self) -> bool:
        """Whether it is not known yet what came of the first try to connect."""
        return any(not lane.tried for lane in self._lanes)

    @property
    def trouble(self) -> str:
        """Why it is not ready; "" where it is. Without secrets."""
        if self._lanes[0].closing:
            return CLOSED
        return next((lane.trouble for lane in self._lanes if not lane.connected), "")

    async def wait_ready(self, timeout: float) -> bool:
        """Wait until it is ready, at most `timeout` seconds; whether it is."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while not self.ready and loop.time() < end:
            await asyncio.sleep(0.02)
        return self.ready

    async def run(self, work: Callable[[Connection], T], *, write: bool) -> T:
        """Run `work` on one of the threads, as one transaction; what it gives. Where it raises, nothing was changed.

        Without `write` it may only read. Who is cancelled while it runs does not stop it: it is then either done or
        undone, whole. Raises `StoreError`, and whatever `work` raises itself; after `longest` seconds at the latest.
        """
        if not self._started:
            raise StoreError(Kind.UNAVAILABLE, "the store is not started")
        job = Job(work, write)
        lane = self._lanes[0 if write else -1]
        lane.put(job)
        try:
            async with asyncio.timeout(self._longest):
                result: T = await job.future
        except TimeoutError:
            lane.give_up(job)
            raise StoreError(Kind.BUSY, f"the database did not answer in {self._longest:g} seconds") from None
        return result

    async def close(self, timeout: float = 5.0) -> None:
        """Finish what waits, within about `timeout` seconds; what then is left fails."""
        for lane in self._lanes:
            lane.close()
        if not self._started:
            return
        ended = [asyncio.wrap_future(f) for lane in self._lanes for f in lane.ended]
        _, late = await asyncio.wait(ended, timeout=timeout)
        for lane in self._lanes:  # also where all have ended: while the database is down, nobody does what waits
            lane.abandon()
        if late:
            await asyncio.wait(late, timeout=1.0)
