"""The voice sessions that this process carries: what is said in them is kept, and what others did to them is heard of.

One task looks after all of them with one transaction every `TEND` seconds, which tells the database what is new and asks it what is
still ours. While it is away, the newest of every transcript waits, and conversations go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, Final, Protocol

from msgspec import Struct

from switchboard.core.clock import now
from switchboard.store import StoreError
from switchboard.store.voice_sessions import EndReason, Heard, Over, VoiceSession, VoiceSessions

_log: Final = logging.getLogger("switchboard.voice")
#: Seconds between two looks at what is carried: a transcript is no older, an end that was asked for elsewhere no later.
TEND: Final = 0.5
#: Milliseconds for which a process answers for what it carries.
LEASE: Final = 10_000
#: Seconds between two looks for what has expired, and for what dead processes left.
SWEEP: Final = 4.0
_RENEW: Final = 2.0  # seconds between two renewals of leases
_PATIENCE: Final = 2.0  # seconds that all of it may take at the end
_WAITING: Final = 1000  # conversations that are over and wait for the database
_MESSAGES: Final = 2000  # of a session that are kept, over all its conversations


class Carried(Protocol):
    """A conversation that carries a voice session."""

    def script(self) -> list[dict[str, Any]] | None:
        """What was said in it: all messages (``role``, ``content``, ``timestamp``) where that changed since it was last asked for; None:
        it did not."""

    def session_over(self, reason: EndReason) -> None:
        """The session is over, or gone, or carried by another conversation: end this one."""


class _Entry:
    """A conversation: `earlier` is what was said in its session before, `waiting` all that is to be kept (None: nothing new)."""

    __slots__ = ("carried", "carrier", "created", "earlier", "session", "waiting")

    def __init__(self, session: VoiceSession, carried: Carried, earlier: list[dict[str, Any]]) -> None:
        self.session = session.id
        self.created = session.created
        self.carrier = session.carrier
        self.carried = carried
        self.earlier = earlier
        self.waiting: list[dict[str, Any]] | None = None

    @property
    def number(self) -> int:
        """The how many-th it is of its process."""
        return int(self.carrier.rpartition(".")[2])

    def look(self) -> None:
        """Ask for what is new."""
        try:
            script = self.carried.script()
        except Exception:
            _log.exception("what was said in a voice session cannot be told")
            return
        if script is not None:
            self.waiting = (self.earlier + script)[-_MESSAGES:]

    def tell(self, reason: EndReason) -> None:
        """Have it end."""
        try:
            self.carried.session_over(reason)
        except Exception:
            _log.exception("a conversation could not be ended")


class _Left(Struct):
    """What is to be kept of a conversation that is over; `reason` is what its session is to be marked with (None: nothing)."""

    session: str
    created: int
    carrier: str
    messages: list[dict[str, Any]] | None
    reason: EndReason | None


class Carrying:
    """What the process `boot` carries, kept in `sessions`."""

    def __init__(self, sessions: VoiceSessions, boot: str) -> None:
        self.boot = boot
        self._sessions = sessions
        self._entries: dict[str, _Entry] = {}  # by session
        self._left: dict[str, _Left] = {}  # by conversation
        self._renewed = self._swept = float("-inf")
        self._wake = asyncio.Event()
        #: Held while the database is told of what is carried; who changes there what this process carries holds it too.
        self.telling = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._trouble = False

    @property
    def open(self) -> int:
        """How many sessions are carried."""
        return len(self._entries)

    def start(self) -> None:
        """Begin to look after them."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def taken(self, session: VoiceSession) -> list[dict[str, Any]] | None:
        """`session` was opened anew, and is carried by this process from now on: a conversation that carried it is told that it is over.
        Gives what was said in it before, where the database does not have that yet (None: it has). To be called while `telling` is
        held, so that nothing of it is on its way."""
        before = self._entries.get(session.id)
        if before is not None:
            self._part(before, EndReason.REPLACED)
        found = None
        for carrier, left in list(self._left.items()):
            if left.session == session.id:  # it cannot be written by its own name any more
                del self._left[carrier]
                if left.created == session.created and left.messages is not None:
                    found = left.messages
        return found

    def carry(self, session: VoiceSession, earlier: list[dict[str, Any]], carried: Carried) -> None:
        """`carried` is the conversation of `session`, in which `earlier` was said before. Where two of this process carry it, the one
        that was opened first is told that it is over."""
        entry, before = _Entry(session, carried, earlier), self._entries.get(session.id)
        if before is not None and before.number > entry.number:
            entry.tell(EndReason.REPLACED)
            return
        if before is not None:
            self._part(before, EndReason.REPLACED)
        entry.waiting = earlier or None  # perhaps the database does not have it
        self._entries[session.id] = entry

    def release(self, session: str, carried: Carried, reason: EndReason) -> None:
        """`carried` is over: the last of it is kept, and its session is marked with `reason`. Nothing happens where `carried` was
        told so already."""
        entry = self._entries.get(session)
        if entry is not None and entry.carried is carried:
            del self._entries[session]
            entry.look()
            self._leave(entry, reason)

    def ended(self, session: str, reason: EndReason = EndReason.ENDED) -> None:
        """A session was ended, begun anew or deleted here: its conversation hears of it at once."""
        entry = self._entries.get(session)
        if entry is not None:
            self._part(entry, reason)

    async def close(self) -> None:
        """Keep what there is to keep, within about two seconds, and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._entries or self._left:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._tend()
            if self._left:
                _log.error("what was said at the end of %d voice sessions could not be kept", len(self._left))

    # ---- within

    def _part(self, entry: _Entry, reason: EndReason) -> None:
        """A session is not carried by a conversation any more, as the database knows already."""
        del self._entries[entry.session]
        if reason is not EndReason.DELETED:
            entry.look()
            # the sweeper would find it in its time
            self._leave(entry, reason if reason is EndReason.EXPIRED else None)
        entry.tell(reason)

    def _leave(self, entry: _Entry, reason: EndReason | None) -> None:
        if entry.waiting is None and reason is None:
            return
        if len(self._left) >= _WAITING:
            self._left.pop(next(iter(self._left)))
            _log.error("the database is away for too long: what was said at the end of a voice session is lost")
        self._left[entry.carrier] = _Left(entry.session, entry.created, entry.carrier, entry.waiting, reason)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            if self._entries or self._left:
                await self._tend()
            if now() - self._swept >= SWEEP:
                await self._sweep()
            with suppress(TimeoutError):
                async with asyncio.timeout(TEND):
                    await self._wake.wait()
                    self._wake.clear()

    async def _tend(self) -> None:
        """Say what is new, and hear what is not ours any more."""
        async with self.telling:
            await self._tell()

    async def _tell(self) -> None:
        entries, left = list(self._entries.values()), list(self._left.values())
        for e in entries:
            e.look()
        waiting = [(e, e.waiting) for e in entries if e.waiting is not None]
        heard = [Heard(x.session, x.created, x.carrier, x.messages) for x in left if x.messages is not None]
        heard += [Heard(e.session, e.created, e.carrier, messages) for e, messages in waiting]
        over = [Over(x.session, x.carrier, x.reason) for x in left if x.reason is not None]
        at, began = int(time.time() * 1000), now()
        lease = at + LEASE if began - self._renewed >= _RENEW else None
        carried = [(e.session, e.carrier) for e in entries]
        try:
            gone = await self._sessions.tend(self.boot, carried, at, lease=lease, heard=heard, over=over)
        except StoreError as e:
            self._note(e)
            return
        self._note(None)
        if lease is not None:
            self._renewed = began
        for x in left:
            if self._left.get(x.carrier) is x:
                del self._left[x.carrier]
        for entry, messages in waiting:
            if entry.waiting is messages:
                entry.waiting = None
        for entry in entries:
            reason = gone.get(entry.carrier)
            if reason is not None and self._entries.get(entry.session) is entry:
                self._part(entry, reason)

    async def _sweep(self) -> None:
        self._swept = now()
        try:
            swept = await self._sessions.sweep(int(time.time() * 1000))
        except StoreError as e:
            self._note(e)
            return
        if swept.lost:
            _log.warning("%d voice sessions were lost with the processes that carried them", swept.lost)

    def _note(self, error: StoreError | None) -> None:
        """Log a trouble once, until it is over."""
        if error is not None and not self._trouble:
            _log.warning("voice sessions cannot be looked after at the moment: %s", error)
        self._trouble = error is not None
