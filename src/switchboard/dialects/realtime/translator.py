"""Between a client and a provider that speak different shapes of the Realtime interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from switchboard.dialects.realtime import client_events, server_events
from switchboard.dialects.realtime.client_events import Reshape
from switchboard.dialects.realtime.frames import Rename, dump_event, event_type, load_event, rename
from switchboard.dialects.realtime.server_events import GA_ONLY, GA_ONLY_BEGIN, RENAMED
from switchboard.dialects.realtime.shapes import Shape
from switchboard.dialects.realtime.state import State

_Renames = dict[str, Rename]

_TO_GA: Final[_Renames] = {b: (b.encode(), g.encode()) for b, g in RENAMED.items()}
_TO_BETA: Final[_Renames] = {g: (g.encode(), b.encode()) for b, g in RENAMED.items()}


class Translator:
    """The translation of one connection, which it remembers things of.

    Where both sides speak one shape, frames pass as they are, not looked at. Elsewhere an event that is not known passes too, as does what
    is not known in one that is. Events keep their ids; one that is made of another gets an id that begins with the other's.
    """

    __slots__ = ("_asked", "_renames", "_state", "_told", "client", "provider")

    def __init__(self, client: Shape, provider: Shape) -> None:
        self.client = client
        self.provider = provider
        self._state = State()
        self._choose()

    def _choose(self) -> None:
        self._asked: Mapping[str, Reshape] | None
        self._told: Mapping[str, Reshape]
        self._renames: _Renames
        if self.client is self.provider:
            self._asked, self._told, self._renames = None, {}, {}
        elif self.client is Shape.BETA:
            self._asked, self._told, self._renames = client_events.BETA_TO_GA, server_events.GA_TO_BETA, _TO_BETA
        else:
            self._asked, self._told, self._renames = client_events.GA_TO_BETA, server_events.BETA_TO_GA, _TO_GA

    @property
    def dropped(self) -> Mapping[str, int]:
        """What the other side's shape has no place for, by name (members as ``session.temperature``, events by their
        type), and how often it was dropped, in either direction."""
        return self._state.losses

    @property
    def warnings(self) -> list[str]:
        """The names of what was dropped."""
        return list(self._state.losses)

    def correct(self, client: Shape) -> None:
        """The client turned out to speak `client`; what is known of the connection stays."""
        self.client = client
        self._choose()

    def from_client(self, frame: bytes, kind: str | None = None) -> list[bytes]:
        """What goes to the provider for a frame of the client. `kind` is its `event_type` where that is known. Raises
        `RealtimeFrameError`."""
        if self._asked is None:
            return [frame]
        if kind is None:
            kind = event_type(frame)
        reshape = self._asked.get(kind)
        return [frame] if reshape is None else self._reshaped(reshape, frame)

    def from_provider(self, frame: bytes, kind: str | None = None) -> list[bytes]:
        """What goes to the client for a frame of the provider. `kind` is its `event_type` where that is known. Raises
        `RealtimeFrameError`."""
        if self._asked is None:
            return [frame]
        renamed, kind = rename(frame, self._renames, kind)
        if renamed is not frame:
            return [renamed]
        reshape = self._told.get(kind)
        if reshape is not None:
            return self._reshaped(reshape, frame)
        if self.client is Shape.BETA and (kind in GA_ONLY or kind.startswith(GA_ONLY_BEGIN)):
            self._state.losses.add(kind if kind in GA_ONLY else "mcp")
            return []
        return [frame]

    def _reshaped(self, reshape: Reshape, frame: bytes) -> list[bytes]:
        events = reshape(load_event(frame), self._state)
        return [frame] if events is None else [dump_event(e) for e in events]
