"""The threads that talk to the database, and the queues in front of them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any, Final

from switchboard.store.connection import Backend, Connection, Link
from switchboard.store.errors import Kind, StoreError

#: Seconds between two tries to connect.
RETRY: Final = 0.5
#: Seconds after which an idle connection is looked at.
IDLE: Final = 1.0
#: Seconds that a transaction waits for others, its time in the queue included.
PATIENCE: Final = 2.0
#: Transactions that share a commit, where one thread writes: a commit waits for the disk.
TOGETHER: Final = 32

CLOSED: Final = "the store is closed"


class Job:
    """A transaction that waits for a thread, and who waits for it."""

    __slots__ = ("at", "future", "loop", "work", "write")

    def __init__(self, work: Callable[[Connection], Any], write: bool) -> None:
        self.work = work
        self.write = write
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.at = monotonic()

    def done(self, result: Any) -> None:
        """From a thread: it happened."""
        self._tell(lambda: None if self.future.done() else self.future.set_result(result))

    def failed(self, error: BaseException) -> None:
        """From a thread: it did not."""
        self._tell(lambda: None if self.future.done() else self.future.set_exception(error))

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


class Lane:
    """A bounded queue of transactions with its threads. While none of them is connected, the first one tries to be."""

    def __init__(self, backend: Backend, name: str, threads: int, bound: int, *, write: bool) -> None:
        self.backend = backend
        self.write = write
        self.connected = 0
        self.trouble = "the database is being opened"
        self.ended: list[Future[None]] = [Future() for _ in range(threads)]
        self._bound = bound
        self._together = TOGETHER if write and backend.one_writer else 1
        self._jobs: deque[Job] = deque()
        lock = threading.Lock()
        self._wake = threading.Condition(lock)  # for those that are connected: a transaction waits
        self._changed = threading.Condition(lock)  # for those that are not: one is connected, or it is closing
        self._tried = False  # to connect: before, transactions wait for what comes of it
        self._closing = False
        self.abandoned = False  # nothing is begun any more
        self._workers = [Worker(self, i == 0, ended) for i, ended in enumerate(self.ended)]
        self._threads = [
            threading.Thread(target=w.run, name=f"switchboard-{name}-{i}", daemon=True)
            for i, w in enumerate(self._workers)
        ]

    @property
    def tried(self) -> bool:
        """Whether it is known what came of the last try to connect."""
        return self._tried

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        """Have `job` done. Raises `StoreError` at once where it cannot be."""
        with self._wake:
            if self._closing:
                raise StoreError(Kind.UNAVAILABLE, CLOSED)
            if self._tried and not self.connected:
                raise StoreError(Kind.UNAVAILABLE, self.trouble)
            if len(self._jobs) >= self._bound:
                raise StoreError(Kind.BUSY, f"{self._bound} transactions wait already")
            self._jobs.append(job)
            self._wake.notify()

    def take(self) -> list[Job]:
        """What is next: several where they may have one commit; nothing where none came for a while, or none will any more."""
        with self._wake:
            if not self._jobs and not self._closing:
                self._wake.wait(IDLE)
            return [self._jobs.popleft() for _ in range(min(self._together, len(self._jobs)))]

    def put_back(self, jobs: list[Job]) -> list[Job]:
        """Let those of `jobs` wait on whose patience is not at its end; the others."""
        late = [job for job in jobs if monotonic() - job.at >= PATIENCE]
        with self._wake:
            self._jobs.extendleft(job for job in reversed(jobs) if job not in late)
        return late

    def up(self) -> None:
        """One of the threads is connected."""
        with self._wake:
            self._tried = True
            self.connected += 1
            self._changed.notify_all()

    def down(self, error: StoreError, *, was: bool) -> None:
        """One of the threads is not connected. `was` it until now, it will try to be at once, and what waits, waits for
        that; where it has tried, and no other is connected, that fails."""
        with self._wake:
            self.connected -= was
            self.trouble = str(error)
            self._tried = not was or self.connected > 0
            left = [] if was or self.connected else list(self._jobs)
            if left:
                self._jobs.clear()
        for job in left:
            job.failed(StoreError(error.kind, str(error)))

    def pause(self, *, first: bool) -> bool:
        """Wait until it is time to try to connect. False: do not, it is closing."""
        with self._wake:
            if not self._closing:
                self._changed.wait(RETRY)
            while not (first or self.connected or self._closing):
                self._changed.wait()
            return not self._closing

    @property
    def closing(self) -> bool:
        """Whether nothing new is taken."""
        return self._closing

    def give_up(self, job: Job) -> None:
        """Nobody waits for `job` any more, for it takes too long: break it off."""
        for worker in self._workers:
            if job in worker.jobs and (link := worker.link) is not None:
                link.interrupt()

    def close(self) -> None:
        """Take nothing new; the threads end when nothing is left."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
            self._changed.notify_all()

    def abandon(self) -> None:
        """Break off what runs, and fail what waits."""
        self.abandoned = True
        self.close()
        with self._wake:
            left = list(self._jobs)
            self._jobs.clear()
        for job in left:
            job.failed(StoreError(Kind.UNAVAILABLE, CLOSED))
        for worker in self._workers:
            if (link := worker.link) is not None:
                link.interrupt()


class Worker:
    """One thread with one connection."""

    def __init__(self, lane: Lane, first: bool, ended: Future[None]) -> None:
        self.link: Link | None = None
        self.jobs: list[Job] = []  # that it is at
        self._lane = lane
        self._first = first
        self._ended = ended

    def run(self) -> None:
        """Until the lane is closed and empty."""
        lane = self._lane
        try:
            wait = not self._first
            while wait is False or lane.pause(first=self._first):
                wait = not self._connect()
                if self.link is not None and self._serve():
                    break
        finally:
            if (link := self.link) is not None:
                self.link = None
                lane.down(StoreError(Kind.UNAVAILABLE, CLOSED), was=True)
                link.close()
            self._ended.set_result(None)

    def _connect(self) -> bool:
        try:
            link = self._lane.backend.connect(write=self._lane.write)
        except Exception as e:
            self._lane.down(self._meaning(e), was=False)
            return False
        self.link = link
        self._lane.up()
        return True

    def _serve(self) -> bool:
        """Do what waits. True: it is over; False: the connection is."""
        while (link := self.link) is not None:
            self.jobs = self._lane.take()
            if self.jobs:
                self._do(link, self.jobs)
                self.jobs = []
            elif self._lane.closing:
                return True
            else:
                try:
                    link.check()
                except Exception as e:
                    self._lost(self._meaning(e))
        return False

    def _do(self, link: Link, jobs: list[Job]) -> None:
        """Do `jobs` with one commit. Each of them happens, or does not, by itself; nobody is told before they last."""
        error = self._begin(link, jobs[0])
        if error is not None and error.kind is Kind.UNAVAILABLE:
            # it broke while nothing was done on it: nothing is lost by another try
            self._lost(error)
            if self._connect() and self.link is not None:
                link = self.link
                error = self._begin(link, jobs[0])
        if error is not None:
            link.rollback()
            self._failed(self._lane.put_back(jobs) if error.kind is Kind.LOCKED else jobs, error)
            return
        try:
            done = [(job, result) for job in jobs for result in self._results(link, job, alone=len(jobs) == 1)]
            link.commit()
        except Exception as e:
            link.rollback()
            # what is not the database's is a StoreError of ours, or the work's own: a mistake in it, say
            self._failed(jobs, self._lane.backend.explain(e) or e)
        else:
            for job, result in done:
                job.done(result)

    def _results(self, link: Link, job: Job, *, alone: bool) -> list[Any]:
        """What `job` gives; nothing where it failed, which it is told, or where nobody waits for it any more. Raises what
        ends the transaction for all."""
        if self._lane.abandoned:
            raise StoreError(Kind.UNAVAILABLE, CLOSED)
        if job.future.cancelled():
            return []
        if alone:
            return [job.work(link)]
        link.mark()
        try:
            result = job.work(link)
        except Exception as e:
            if not link.undo():
                raise
            job.failed(self._lane.backend.explain(e) or e)
            return []
        return [result]

    def _failed(self, jobs: list[Job], error: Exception) -> None:
        if isinstance(error, StoreError) and error.kind is Kind.UNAVAILABLE and self.link is not None:
            self._lost(error)
        for job in jobs:
            # each its own: who waits adds its traceback to it
            job.failed(StoreError(error.kind, str(error)) if isinstance(error, StoreError) else error)

    def _begin(self, link: Link, job: Job) -> StoreError | None:
        patience = max(0.05, PATIENCE - (monotonic() - job.at))
        try:
            link.begin(write=job.write, patience=patience)
        except Exception as e:
            return self._meaning(e)
        return None

    def _lost(self, error: StoreError) -> None:
        if (link := self.link) is not None:
            self.link = None
            self._lane.down(error, was=True)
            link.close()

    def _meaning(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        return self._lane.backend.explain(error) or StoreError(Kind.FAILED, type(error).__name__)
