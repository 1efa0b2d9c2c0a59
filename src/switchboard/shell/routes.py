"""What a runtime gives the shells."""

from __future__ import annotations

from msgspec import Struct

from switchboard.core.ports import Surface
from switchboard.engine.converse import HeldSession
from switchboard.engine.exchange import Kit
from switchboard.surface.envelope import Envelopes


class Routes(Struct, frozen=True):
    """What a runtime gives the shells: hot paths (all POST) by name, the kit of their exchanges, the envelopes, what is held of `session`s
    by voice.

    `profiles` are those of further apps by name; `by_key` finds the profile that a key chooses, `by_origin` the one that
    a page does.
    """

    hot: dict[str, Surface]
    kit: Kit
    envelopes: Envelopes
    session: HeldSession = HeldSession()
    profiles: dict[str, Routes] = {}
    by_key: dict[bytes, Routes] = {}
    by_origin: dict[bytes, Routes] = {}
