"""One response at a time: a provider refuses a second one, so what asks for it waits until the first is over.

Sans-I/O; frames and events are in the provider's shape. Responses out of band (``conversation: "none"``) run beside.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from switchboard.dialects.realtime import JsonObject, RealtimeFrameError, dump_event

#: The ``response.create`` that may wait.
MOST: Final = 8
#: Seconds after which one that the provider never spoke of is given up.
PATIENCE: Final = 15.0
_ACTIVE: Final = "conversation_already_has_active_response"


class Responses:
    """The responses of one conversation. What `ask` and `event` give is to be sent to the provider."""

    __slots__ = ("_aside", "_asked", "_asked_at", "_made", "_waiting", "active")

    def __init__(self) -> None:
        self.active = ""  # the id of the one under way
        self._asked: JsonObject | None = None  # sent, and not begun yet
        self._asked_at = 0.0
        self._waiting: deque[JsonObject] = deque()
        self._aside: set[str] = set()  # ids of those out of band
        self._made = 0

    @property
    def busy(self) -> bool:
        """Whether one is under way or asked for."""
        return bool(self.active) or self._asked is not None

    def ask(self, event: JsonObject, at: float) -> list[bytes]:
        """A ``response.create``. Raises `RealtimeFrameError` where too many wait."""
        body = event.get("response")
        if isinstance(body, dict) and body.get("conversation") == "none":
            return [dump_event(event)]
        if not self.busy:
            return [self._send(event, at)]
        if len(self._waiting) >= MOST:
            raise RealtimeFrameError("Too many responses are asked for already.", _ACTIVE)
        self._waiting.append(event)
        return []

    def begun(self, response: JsonObject) -> None:
        """The provider tells of ``response.created``."""
        name = str(response.get("id") or "?")
        # one that belongs to no conversation says so; old servers do not tell
        if response.get("conversation_id", "") is not None:
            self.active = name
            self._asked = None
        elif len(self._aside) < MOST:
            self._aside.add(name)

    def aside(self, event: JsonObject) -> bool:
        """Whether an event tells of a response out of band, which is no part of what was said."""
        if not self._aside:
            return False
        response = event.get("response")
        name = response.get("id") if isinstance(response, dict) else event.get("response_id")
        return isinstance(name, str) and name in self._aside

    def done(self, response: JsonObject, at: float) -> list[bytes]:
        """The provider tells of ``response.done``."""
        self._aside.discard(str(response.get("id")))
        if self.active in (str(response.get("id") or "?"), "?"):
            self.active = ""
        return self._next(at)

    def refused(self, error: JsonObject, at: float) -> tuple[bool, list[bytes]]:
        """The provider tells of an error: whether it is none of the client's business, and what to send."""
        asked = self._asked
        if asked is None or error.get("event_id") not in (None, asked["event_id"]):
            return False, []
        self._asked = None
        if error.get("code") == _ACTIVE:  # it began one by itself at the same moment
            self._waiting.appendleft(asked)
            self.active = self.active or "?"
            return True, []
        return False, self._next(at)

    def tick(self, at: float) -> list[bytes]:
        """It is `at` (seconds, monotonic)."""
        if self._asked is not None and at - self._asked_at > PATIENCE:
            self._asked = None
            return self._next(at)
        return []

    def lost(self) -> str:
        """The provider is gone with what was under way: its id, "" where nothing was. What waits goes on waiting."""
        self._aside.clear()
        lost = self.active or ("?" if self._asked is not None else "")
        self.active, self._asked = "", None
        return lost

    def go_on(self, at: float) -> list[bytes]:
        """There is a provider again."""
        return self._next(at)

    def _next(self, at: float) -> list[bytes]:
        return [] if self.busy or not self._waiting else [self._send(self._waiting.popleft(), at)]

    def _send(self, event: JsonObject, at: float) -> bytes:
        if not isinstance(event.get("event_id"), str):  # by which an error names it
            self._made += 1
            event["event_id"] = f"evt_switchboard_response_{self._made}"
        self._asked, self._asked_at = event, at
        return dump_event(event)
