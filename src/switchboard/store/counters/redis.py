"""Counters in Redis, for processes on many hosts.

Takes and changes wait in one queue and go to Redis in batches, one at a time over one connection, in the order in which they
were asked for. A batch has a name, and Redis remembers the last one of each process with its answer: after a broken
connection it is sent again, and nothing is counted twice or lost.

When Redis does not answer within `patience`, or is gone, the circuit opens: takes are decided here (`_outage.Outage`) until it
answers in time again. Then it is told what this process holds, and what was used meanwhile; so from then on it does not
matter who decided a take whose amount is given back or corrected. What Redis counts of a take that nobody waited for is
given back.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from redis.exceptions import ResponseError

from switchboard.core.counting import Change, Take, Taken, Window
from switchboard.store.counters import _batch
from switchboard.store.counters._batch import Answer, Asked, Batch, Entry, Given, Left, Raised
from switchboard.store.counters._link import FAILURES, Link, Patience, reason, script
from switchboard.store.counters._outage import Outage, Seen

_log: Final = logging.getLogger("switchboard.counters")
#: Entries that wait at most, and counters in one batch.
_QUEUE: Final = 20_000
_BATCH: Final = 256
#: Seconds after which what is held is told again, so that it does not expire.
_AGAIN: Final = 60.0


class RedisCounters:
    """A `core.counting.Counters` at the Redis of `url`, for the process named `process`; raises ValueError for a URL that is none.

    What a process holds is freed when nothing was heard of it for `lifetime` seconds. An answer that takes longer than `patience` (seconds) opens the
    circuit, for `retry` seconds at least; so no take waits longer than twice that. `clock` replaces Redis' own time, for tests. Keys begin with `prefix`.

    Who is cancelled while waiting for a take gives back what it asked for, like everybody else: it counts as taken, whatever
    became of it.
    """

    def __init__(
        self,
        url: str,
        *,
        process: str,
        patience: float = 0.05,
        prefix: str = "switchboard:",
        retry: float = 5.0,
        lifetime: float = 10.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._script = script()
        try:
            Link(url, self._script)
        except (ValueError, TypeError):
            raise ValueError("the URL of Redis is not one: redis://, rediss:// or unix:// and where it is") from None
        self._url = url
        self._process = f"{process}:{secrets.token_hex(6)}"  # one that starts again is another
        self._prefix = prefix
        self._patience = Patience(patience, self._slow)
        self._longest = max(retry, 10 * patience)  # seconds that we wait for an answer, though nobody else does
        self._retry = retry
        self._lifetime = lifetime
        self._clock = clock
        self._wall = clock or time.time
        self._queue: deque[Entry] = deque()
        self._unanswered: Batch | None = None
        self._outage: Outage | None = None
        self._why = ""
        self._seen = Seen()
        self._held: dict[str, int] = {}  # what Redis knows this process to hold
        self._processes = 1
        self._batches = 0
        self._joins = True
        self._beats = False
        self._closing = False
        self._asked_at = self._told_at = self._retry_at = 0.0  # on the loop's clock
        self._failures = 0  # since the last answer
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def take(self, takes: Sequence[Take]) -> Taken | Awaitable[Taken]:
        """All of `takes`, or none: as Redis says, or at once while it cannot be asked."""
        if self._outage is None and len(self._queue) >= _QUEUE:
            self._open("does not keep up")
        if self._outage is not None:
            return self._outage.take(takes)
        self._start()
        loop = asyncio.get_running_loop()
        asked = Asked(takes, self._wall(), loop.create_future(), self._unheard)
        self._queue.append(asked)
        self._wake.set()
        self._patience.begin()
        return asked

    def give(self, changes: Sequence[Change]) -> None:
        """Correct counters, soon."""
        if self._outage is None and len(self._queue) >= _QUEUE:
            self._open("does not keep up")
        if self._outage is not None:
            self._outage.give(changes)
        else:
            self._queue.append(Given(list(changes)))
            self._wake.set()

    def raise_to(self, floors: Sequence[Change]) -> None:
        """See to it, soon, that each counter is at least at its `amount`; a window that is over is left alone, and so is what is
        held."""
        if self._outage is not None:
            self._outage.raise_to(floors)
        else:
            self._queue.append(Raised(list(floors)))
            self._wake.set()

    def tick(self, at: float) -> None:
        """Have Redis hear of this process now and then."""
        self._start()
        if at - self._asked_at > self._lifetime / 4:
            self._beats = True
            self._wake.set()

    @property
    def trouble(self) -> str:
        """That Redis cannot be asked."""
        if self._outage is None or self._closed.is_set():
            return ""
        text = (
            f"Redis {self._why}: limits are counted in this process alone, each shared among {self._outage.processes}"
        )
        return text + ("; not all that is used meanwhile is remembered" if self._outage.lost else "")

    def close(self) -> None:
        """Tell Redis what still waits, and that nothing is held any more."""
        self._closing = True
        self._wake.set()
        self._closed.set()

    async def wait_closed(self) -> None:
        """Wait until Redis knows, for a second at most."""
        self.close()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=1.0)
            self._task.cancel()
            await asyncio.wait([self._task])

    def _start(self) -> None:
        if self._task is None and not self._closing:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Connect, and connect again, until the end."""
        try:
            while True:
                try:
                    await self._converse()
                except FAILURES as e:
                    self._failures += 1
                    if self._outage is not None or self._failures > 1 or isinstance(e, ResponseError):
                        self._open(reason(e))
                else:
                    return
                if self._outage is None:
                    continue  # a connection broke, as they do: another one, before anybody notices
                try:
                    async with asyncio.timeout(self._retry):
                        await self._closed.wait()
                except TimeoutError:
                    continue
                return
        except Exception:
            _log.exception("counting in Redis ended")
        finally:
            self._closing = True
            self._open("is not asked any more", tell=False)

    async def _converse(self) -> None:
        """Send what there is over one connection, until the end; raises one of `FAILURES`."""
        loop = asyncio.get_running_loop()
        link = Link(self._url, self._script)
        try:
            async with asyncio.timeout(self._retry):
                await link.connect()
            self._retry_at = loop.time()
            while True:
                self._wake.clear()
                batch = self._unanswered or self._compose()
                if batch is None:
                    if self._closing:
                        return
                    await self._something()
                    continue
                self._unanswered = batch
                answer = await self._ask(link, batch)
                self._unanswered = None
                self._failures = 0
                self._take_in(batch, answer)
                if batch.entries and isinstance(batch.entries[-1], Left):
                    return
        finally:
            await link.close()

    async def _ask(self, link: Link, batch: Batch) -> Answer | None:
        """What Redis says, however late; raises one of `FAILURES`."""
        loop = asyncio.get_running_loop()
        now = None if self._clock is None else self._clock()
        argument = _batch.encode(batch, self._prefix, self._process, self._lifetime, now)
        self._asked_at = loop.time()
        self._patience.begin(anew=True)
        async with asyncio.timeout(self._longest):
            answer = await link.ask(argument)
        self._patience.end()
        return _batch.decode(answer)

    async def _something(self) -> None:
        """Wait until there is something to say."""
        loop = asyncio.get_running_loop()
        if self._outage is None:
            await self._wake.wait()
        else:
            try:
                async with asyncio.timeout_at(max(self._retry_at, loop.time())):
                    await self._closed.wait()
            except TimeoutError:
                pass

    def _compose(self) -> Batch | None:
        """What is to be sent next."""
        now = asyncio.get_running_loop().time()
        entries: list[Entry] = []
        outage = self._outage
        if outage is not None:
            if now < self._retry_at:
                return None
            entries.extend(outage.unload(_BATCH))
        else:
            size = 0
            while self._queue and size < _BATCH:
                entry = self._queue.popleft()
                if isinstance(entry, Asked) and entry.future.cancelled():
                    entry = entry.as_taken()
                size += entry.size
                entries.append(entry)
        if self._closing and not self._queue:
            entries.append(Left(sorted({*self._held, *(outage.held() if outage is not None else ())})))
        joins = self._joins or outage is not None or (bool(self._held) and now - self._told_at > _AGAIN)
        if not (entries or joins or self._beats):
            return None
        self._beats = False
        self._batches += 1
        return Batch(
            str(self._batches), entries, self._tell(now) if joins else None, outage is not None, outage is not None
        )

    def _tell(self, now: float) -> dict[str, int]:
        """What this process holds."""
        self._told_at = now
        held = self._held if self._outage is None else self._outage.held()
        return {key: held.get(key, 0) for key in {**self._held, **held}}

    def _take_in(self, batch: Batch, answer: Answer | None) -> None:
        """Redis answered `batch`, or did nothing because this process has to join."""
        if answer is None:
            self._joins = True
            self._put_back(batch)
            return
        self._processes = answer.alive
        if batch.held is not None:
            self._joins = False
            self._held = {key: n for key, n in batch.held.items() if n}
        taken = iter(answer.taken)
        for entry in batch.entries:
            if isinstance(entry, Asked):
                found = Taken(*next(taken), answer.at)
                self._seen.note(entry.takes, found)
                if found.refused < 0:
                    self._hold(entry.takes)
                if batch.written_off:
                    self._settle_late(entry, found)
                else:
                    self._settle(entry, found)
            elif isinstance(entry, Given):
                self._hold(entry.changes)
        if batch.probe:
            self._probed()

    def _settle(self, asked: Asked, taken: Taken) -> None:
        if asked.future.cancelled() and taken.refused >= 0:
            self._queue.appendleft(Given([Change(t.key, t.window, t.amount, taken.at) for t in asked.takes]))
        if not asked.future.done():
            asked.future.set_result(taken)

    def _settle_late(self, asked: Asked, taken: Taken) -> None:
        """A take was decided here before Redis answered it: what it counts is given back, unless the caller does so."""
        cancelled = asked.future.cancelled()
        if cancelled is (taken.refused >= 0):
            sign = 1 if cancelled else -1
            self._owe([Change(t.key, t.window, sign * t.amount, taken.at) for t in asked.takes])

    def _hold(self, what: Iterable[Take | Change]) -> None:
        for each in what:
            if each.window is Window.HELD:
                held = self._held.get(each.key, 0) + each.amount
                if held > 0:
                    self._held[each.key] = held
                else:
                    self._held.pop(each.key, None)

    def _owe(self, changes: Sequence[Change]) -> None:
        """Redis is to be told of changes of what is not held."""
        if self._outage is not None:
            self._outage.owe(changes)

    def _unheard(self, asked: Asked) -> None:
        """A take was refused, which its caller does not know that was cancelled: it counts until it is given back."""
        self.give(asked.as_taken().changes)

    def _slow(self) -> None:
        self._open("does not answer in time")

    def _open(self, why: str, *, tell: bool = True) -> None:
        """Redis cannot be asked: decide here what waits."""
        self._patience.end()
        self._retry_at = asyncio.get_running_loop().time() + self._retry
        self._why = why
        if self._outage is not None:
            return
        outage = self._outage = Outage(self._wall, self._processes, self._seen, self._held)
        if self._unanswered is not None:
            self._unanswered.written_off = True
            for entry in self._unanswered.entries:
                self._decide(outage, entry, sent=True)
        while self._queue:
            self._decide(outage, self._queue.popleft(), sent=False)
        if tell:
            _log.warning("%s", self.trouble)

    def _decide(self, outage: Outage, entry: Entry, *, sent: bool) -> None:
        """Do here what Redis was asked. What was `sent` may be done there yet, but for what is held, which it is told of anew."""
        if isinstance(entry, Asked):
            if not entry.future.done():
                entry.future.set_result(outage.take(entry.takes))
                return
            entry = entry.as_taken()
        if isinstance(entry, Given):
            outage.give([c for c in entry.changes if c.window is Window.HELD] if sent else entry.changes)
        elif isinstance(entry, Raised) and not sent:
            outage.raise_to(entry.floors)

    def _put_back(self, batch: Batch) -> None:
        """`batch` was not done."""
        if not batch.written_off:
            self._queue.extendleft(reversed(batch.entries))
            return
        for entry in batch.entries:
            if isinstance(entry, Asked) and entry.future.cancelled():
                self._owe(entry.as_taken().changes)
            elif isinstance(entry, Given):
                self._owe(entry.changes)
            elif isinstance(entry, Raised):
                self.raise_to(entry.floors)

    def _probed(self) -> None:
        """Redis answered while the circuit is open: close it, if it did so in time and knows enough."""
        outage = self._outage
        if outage is None:
            return
        if self._patience.over:
            self._retry_at = asyncio.get_running_loop().time() + self._retry
        elif outage.size <= _BATCH:
            self._outage = None
            held = outage.held()
            changes = [
                Change(k, Window.HELD, held.get(k, 0) - self._held.get(k, 0), 0.0) for k in {**held, **self._held}
            ]
            self._queue.extend([Given([c for c in changes if c.amount]), *outage.unload(_BATCH)])
            _log.warning("Redis answers again: limits are counted among all processes")
