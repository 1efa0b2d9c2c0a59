"""The turns that all workers of a server have under way: a conversation that is deleted is forgotten by whichever answers in it."""

from __future__ import annotations

from typing import Final

import msgspec

from switchboard.engine.conversations import Keeping
from switchboard.engine.journal import Key
from switchboard.net.control import Control, Siblings

_FORGET: Final = "turns.forget"
_decode: Final = msgspec.json.Decoder(Key).decode


class TurnsOfAll:
    """Forgets turns in `own`, this worker's, and among its `siblings`, whom `control` lets ask for ours."""

    def __init__(self, own: Keeping, siblings: Siblings, control: Control) -> None:
        self._own = own
        self._siblings = siblings
        control.on(_FORGET, self._forget)

    async def forget(self, key: Key) -> bool:
        """What is under way in a conversation is not kept; whether anything was."""
        return any(answer for _, answer in await self._siblings.ask_all(_FORGET, msgspec.json.encode(key)))

    def _forget(self, payload: bytes) -> bytes:
        return b"1" if self._own.forget(_decode(payload)) else b""
