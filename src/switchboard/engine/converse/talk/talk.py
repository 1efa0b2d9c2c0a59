"""One conversation, over the sessions of a provider that it takes."""

from __future__ import annotations

import time
from typing import Any

from switchboard.core.clock import now
from switchboard.dialects.realtime import JsonObject, Shape, Translator, dump_event
from switchboard.engine.converse.talk.client_side import ClientSide
from switchboard.engine.converse.talk.provider_side import ProviderSide
from switchboard.engine.converse.talk.state import PONG


class Talk(ClientSide, ProviderSide):
    """One conversation between the `ends`. `binary`: the client wants sound as binary messages; `rate` is that of its sound, in Hz.
    `secrets` are never shown to it, whatever the provider echoes."""

    def news(self) -> list[dict[str, Any]] | None:
        """All that was said, where that changed since it was last asked for."""
        if not self.script.changed:
            return None
        self.script.changed = False
        return self.script.messages()

    @property
    def quiet(self) -> bool:
        """Whether nobody is in the middle of anything."""
        if self._speaking or self._responses.busy or self._calls or (self._unheard and not self._turns):
            return False
        return self._toolbox is None or not self._toolbox.running

    # ---- sessions of the provider

    def begin(self, *, again: bool) -> list[bytes]:
        """What a provider's session is told first; `again`: one that goes on with this conversation."""
        shape = self._translator.provider
        update = self._session.update(shape)
        out = [] if update is None else [update]
        if not again:
            if update is not None:
                self._renewal.own()
            return out
        self._renewed = True
        self._stats.renewed += 1
        out += self._renewal.frames(shape, self.script.order(), self.script.said(), own=update is not None)
        out += self._responses.go_on(now())
        if self._toolbox is not None:
            self._toolbox.renewed()
        return out

    def configured(self, session: JsonObject) -> list[bytes]:
        """What the provider is told of the session (in GA's shape) that the client asked for when it got its secret."""
        own = {name: value for name, value in session.items() if name != "model"}  # which was chosen by it
        frame = self._guarded(dump_event({"type": "session.update", "session": own}))
        return self._updates(Translator(Shape.GA, self._translator.provider).from_client(frame, "session.update"))

    def dropped(self) -> None:
        """The provider's session broke off; another one is coming."""
        self._speaking = self._unheard = False
        heard = bool(self._made_characters or self._made_ms)
        self._settle()
        goes_on = self._toolbox is not None and self._toolbox.lost()
        lost = self._responses.lost(again=not heard and not goes_on)
        if not lost:
            return
        response: JsonObject = {
            "id": lost,
            "object": "realtime.response",
            "status": "failed",
            "status_details": {"type": "failed", "error": {"type": "server_error", "code": "session_renewed"}},
            "output": [],
            "usage": None,
        }
        event = {"type": "response.done", "event_id": "evt_switchboard_lost", "response": response}
        self.script.event("response.done", event | {"response": response | {"status": "incomplete"}}, time.time())
        self._tell(dump_event(event), "response.done")

    # ---- time

    def tick(self, at: float) -> None:
        """It is `at` (seconds, monotonic)."""
        self._to_provider(self._responses.tick(at))

    def close(self) -> None:
        """It is over."""
        self._settle()
        if self._toolbox is not None:
            self._toolbox.close()
        self._stats.lost.update(self._translator.dropped)

    def heartbeat(self) -> None:
        """Tell the client that the server lives."""
        self._ends.to_client(PONG)
