"""API keys as requests show them: looked up where they are kept, and remembered for a moment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from switchboard.core.clock import now
from switchboard.core.counting import Allowance
from switchboard.core.types import Caller
from switchboard.engine.storage import problem_of
from switchboard.policy import api_keys
from switchboard.store import StoreError
from switchboard.store.keys import ApiKey, Keys

#: Seconds for which a key is taken as it was when it was last looked up: how long one that is revoked may still be used.
FRESH: Final = 2.0
_TOUCHED: Final = 60.0  # seconds between two notes of when keys were last used
_log: Final = logging.getLogger("switchboard.keys")


class _Known(Struct):
    """What was found of a key; `caller` is None where there is none, or it may not be used. `at` is monotonic."""

    row: ApiKey | None
    caller: Caller | None
    at: float


class KeyRing:
    """The keys of `repository`, hashed with `pepper` (a secret of at least 16 bytes). At most `most` are remembered.

    A key that was good stays so while the database is down; one that is not known then is not refused, but has to come again
    (503).
    """

    def __init__(
        self, repository: Keys, pepper: bytes, *, most: int = 10_000, clock: Callable[[], float] = now
    ) -> None:
        self._repository = repository
        self._pepper = pepper
        self._most = most
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._used: dict[str, int] = {}  # keys and when, in ms, since this was last noted
        self._noted = clock()
        self._noting: asyncio.Task[None] | None = None

    def get(self, key: bytes) -> Caller | None:
        """Whose `key` it is, if that was found out a moment ago."""
        known = self._known.get(api_keys.hash_of(key, self._pepper))
        if known is None or known.caller is None or self._clock() - known.at > FRESH:
            return None
        return self._good(known)

    def _good(self, known: _Known) -> Caller | None:
        row = known.row
        if row is None or known.caller is None:
            return None
        at = int(time.time() * 1000)
        if row.expires is not None and at >= row.expires:
            return None
        self._used[row.id] = at
        return known.caller

    async def find(self, key: bytes) -> Caller | None:
        """Whose `key` it is; None where it is nobody's. Raises `Problem` (503) where that cannot be found out."""
        hashed = api_keys.hash_of(key, self._pepper)
        known = self._known.get(hashed)
        try:
            row = await self._repository.by_hash(hashed)
        except StoreError as e:
            if known is not None and known.caller is not None:
                known.at = self._clock()
                return self._good(known)
            raise problem_of(e) from None
        if known is None or _meaning(known.row) != _meaning(row):
            caller = None if row is None or row.revoked is not None else caller_of(row)
            known = _Known(row, caller, 0.0)
        known.at = self._clock()
        if known.caller is not None:  # what is no key is not worth remembering
            self._known[hashed] = known
            self._known.move_to_end(hashed)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        else:
            self._known.pop(hashed, None)
        return self._good(known)

    def tick(self, at: float) -> None:
        """Note when keys were used, once a minute."""
        if self._used and at - self._noted >= _TOUCHED and self._noting is None:
            self._noted = at
            used, self._used = self._used, {}
            self._noting = asyncio.get_running_loop().create_task(self._note(used))

    async def _note(self, used: dict[str, int]) -> None:
        try:
            for name, at in used.items():
                await self._repository.touch(name, at)
        except StoreError as e:
            _log.warning("when keys were used last could not be noted: %s", e)
        finally:
            self._noting = None

    async def close(self) -> None:
        """Note what there is to note."""
        if self._noting is not None:
            await self._noting
        if self._used:
            await self._note(self._used)


def _meaning(row: ApiKey | None) -> ApiKey | None:
    """The row without what says nothing of what its holder may."""
    return None if row is None else replace(row, last_used=None)


def caller_of(key: ApiKey) -> Caller:
    """Who the holder of an API key is."""
    return Caller(
        "apikey:" + key.id,
        "api_key",
        user=key.name,
        profile=key.profile,
        models=_names(key.models),
        surfaces=_names(key.surfaces),
        allowance=msgspec.json.decode(key.quota, type=Allowance),
        act_as=bool(key.act_as),
    )


def _names(text: str) -> frozenset[str] | None:
    """What a list in JSON names; None for an empty one, which is no bound."""
    return frozenset(msgspec.json.decode(text, type=list[str])) or None
