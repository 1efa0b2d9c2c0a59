"""A few threads for functions that wait, with a bound on how many wait for a thread.

Unlike those of `concurrent.futures` they are daemons, so that a function that never returns does not keep the process
from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any


class Full(Exception):  # noqa: N818  not an error of anybody
    """There is no room for one more job, or the threads are closed."""


class _Job:
    """A call that is to be made, and the future that waits for what comes of it."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.loop = asyncio.get_running_loop()
        self.result: asyncio.Future[tuple[Any, Exception | None]] = self.loop.create_future()
        self._call = function, arguments

    def work(self) -> tuple[Any, Exception | None]:
        """Make the call, in whichever thread; gives what came of it."""
        if self.result.cancelled():  # whoever wanted it has gone; looking is safe from any thread
            return None, None
        try:
            return self._call[0](*self._call[1]), None
        except BaseException as e:
            # what would end the event loop, or be taken for a cancellation there, is an error like others
            return None, e if isinstance(e, Exception) else RuntimeError(type(e).__name__)

    def tell(self, outcome: tuple[Any, Exception | None]) -> None:
        """Tell whoever waits in the event loop."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._tell, outcome)

    def _tell(self, outcome: tuple[Any, Exception | None]) -> None:
        if not self.result.done():
            self.result.set_result(outcome)


class Threads:
    """At most `most` threads, begun when there is work and ended after `idle` seconds without; at most `waiting` jobs wait."""

    def __init__(self, most: int, waiting: int, name: str, *, idle: float = 30.0) -> None:
        self._idle = idle
        self._most = most
        self._waiting = waiting
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._alive = 0
        self._busy = 0  # jobs that run or wait
        self._closed = False

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` gives for `arguments`; raises what it raises, and `Full`. Where the waiting is cancelled, a function that
        runs already runs on, and nobody hears of it."""
        with self._lock:
            if self._closed or self._busy >= self._most + self._waiting:
                raise Full
            self._busy += 1
            job = _Job(function, arguments)
            self._jobs.put(job)
            if self._alive < min(self._most, self._busy):
                self._alive += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._alive}", daemon=True).start()
        value, error = await job.result
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Take no more jobs; those that wait are done yet."""
        with self._lock:
            self._closed = True
            for _ in range(self._alive):
                self._jobs.put(None)

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._idle)
            except Empty:
                job = None
            if job is None:
                with self._lock:
                    if self._jobs.empty() or self._closed:
                        self._alive -= 1
                        return
                continue
            outcome = job.work()
            with self._lock:  # before anybody hears of it, and comes with the next job
                self._busy -= 1
            job.tell(outcome)
            del job, outcome  # not kept while it waits for another
