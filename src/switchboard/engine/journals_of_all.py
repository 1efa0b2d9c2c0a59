"""The journals of all workers of a server: an answer is read and stopped from any of them, whichever makes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from switchboard.core.types import Lines
from switchboard.engine.journal import Journals, Key
from switchboard.net.control import Control, ControlError, Siblings

_READ: Final = "journal.read"
_STOP: Final = "journal.stop"
_AGAIN: Final = 0.1  # seconds between two looks at another worker's journal
_decode: Final = msgspec.json.Decoder


class Asked(Struct, array_like=True):
    """Whose journal, and the number behind which its events are wanted."""

    key: Key
    after: int = 0


class Read(Struct, array_like=True):
    """What is in a journal: the `kind` of its stream (header lines), the events that were asked for, the number of the last one,
    whether it is over, and whether it was cut. `gone`: some of the events are not kept any more."""

    kind: bytes = b""
    events: bytes = b""
    last: int = 0
    over: bool = False
    cut: bool = False
    gone: bool = False


class Followed(Protocol):
    """An answer that can be read along."""

    kind: Lines

    def read(self, last: int) -> AsyncIterator[bytes]:
        """The events behind number `last`, as they come. Raises `EOFError` where the answer was cut."""


class _Afar:
    """The journal of another worker."""

    def __init__(self, siblings: Siblings, worker: int, key: Key, kind: Lines) -> None:
        self._siblings = siblings
        self._worker = worker
        self._key = key
        self.kind = kind

    async def read(self, last: int) -> AsyncIterator[bytes]:
        """See `Followed`."""
        while True:
            try:
                answer = await self._siblings.ask(self._worker, _READ, msgspec.json.encode(Asked(self._key, last)))
            except ControlError:
                raise EOFError from None
            if not answer:
                raise EOFError
            read = _decode(Read).decode(answer)
            last = read.last
            if read.events:
                yield read.events
            if read.gone or (read.over and read.cut):
                raise EOFError
            if read.over:
                return
            if not read.events:
                await asyncio.sleep(_AGAIN)


class JournalsOfAll:
    """Finds the journal of a conversation: in `own`, this worker's, else among its `siblings`, whom `control` lets ask for ours."""

    def __init__(self, own: Journals, siblings: Siblings, control: Control) -> None:
        self._own = own
        self._siblings = siblings
        control.on(_READ, self._tell)
        control.on(_STOP, self._stop)

    async def find(self, key: Key, last: int | None) -> Followed | None:
        """What there is behind number `last`; with None all of an answer that is not over yet. None: nothing."""
        for worker, answer in await self._ask(_READ, Asked(key, last or 0)):
            if not answer:
                continue
            read = _decode(Read).decode(answer)
            if read.gone or (read.over and (last is None or not read.events)):
                return None
            own = self._own.find(key)
            return own if own is not None else _Afar(self._siblings, worker, key, read.kind)
        return None

    async def stop(self, key: Key) -> bool:
        """End the answer; whether one was under way."""
        return any(answer for _, answer in await self._ask(_STOP, Asked(key)))

    async def _ask(self, op: str, asked: Asked) -> list[tuple[int, bytes]]:
        return await self._siblings.ask_all(op, msgspec.json.encode(asked))

    def _tell(self, payload: bytes) -> bytes:
        asked = _decode(Asked).decode(payload)
        journal = self._own.find(asked.key)
        if journal is None:
            return b""
        found = journal.since(0 if asked.after > journal.newest else asked.after)
        if found is None:
            return msgspec.json.encode(Read(journal.kind, gone=True))
        return msgspec.json.encode(Read(journal.kind, *found, journal.over is not None, journal.cut))

    def _stop(self, payload: bytes) -> bytes:
        journal = self._own.find(_decode(Asked).decode(payload).key)
        if journal is None or journal.over is not None:
            return b""
        journal.stop()
        return b"1"
