"""One response at a time: a provider refuses a second one, so what asks for it waits until the first is over.

Sans-I/O; frames and events are in the provider's shape. Responses out of band (``conversation: "none"``) run beside.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from switchboard.dialects.realtime import JsonObject, RealtimeFrameError, dump_event

#: The ``response.create`` that may wait, and responses out of band at a time.
MOST: Final = 8
#: Seconds after which one that the provider never spoke of is given up.
PATIENCE: Final = 15.0
_ACTIVE: Final = "conversation_already_has_active_response"


class Responses:
    """The responses of one conversation. What methods give is to be sent to the provider."""

    __slots__ = ("_aside", "_asked", "_asked_at", "_beside", "_current", "_doubtful", "_made", "_waiting", "active")

    def __init__(self) -> None:
        self.active = ""  # the id of the one under way
        self._current: JsonObject | None = None  # what asked for it; None: the provider began by itself
        self._doubtful: JsonObject | None = None  # … if it did not, for both may have crossed
        self._asked: JsonObject | None = None  # sent, and not begun yet
        self._asked_at = 0.0
        self._waiting: deque[JsonObject] = deque()
        self._beside: dict[str, float] = {}  # out of band and not begun: ids of events, and when they were sent
        self._aside: set[str] = set()  # out of band and under way: ids of responses
        self._made = 0

    @property
    def busy(self) -> bool:
        """Whether one is under way or asked for."""
        return bool(self.active or self._aside or self._beside) or self._asked is not None

    def ask(self, event: JsonObject, at: float) -> list[bytes]:
        """A ``response.create``. Raises `RealtimeFrameError` where too many wait, or run beside."""
        body = event.get("response")
        if isinstance(body, dict) and body.get("conversation") == "none":
            if len(self._beside) + len(self._aside) >= MOST:
                raise RealtimeFrameError("Too many responses out of band are under way already.", _ACTIVE)
            self._beside[self._named(event)] = at
            return [dump_event(event)]
        if not (self.active or self._asked):
            return [self._send(event, at)]
        if len(self._waiting) >= MOST:
            raise RealtimeFrameError("Too many responses are asked for already.", _ACTIVE)
        self._waiting.append(event)
        return []

    def cancelled(self) -> None:
        """The client wants no answer: what waits would be one."""
        self._waiting.clear()

    def begun(self, response: JsonObject) -> None:
        """The provider tells of ``response.created``."""
        name = str(response.get("id") or "?")
        # one that belongs to no conversation says so; old servers do not tell
        if response.get("conversation_id", "") is not None:
            self.active = name
            self._current = self._doubtful = self._asked
            self._asked = None
        elif len(self._aside) < MOST:
            self._aside.add(name)
            if self._beside:
                del self._beside[next(iter(self._beside))]

    def aside(self, event: JsonObject) -> bool:
        """Whether an event tells of a response out of band, which is no part of what was said."""
        if not self._aside:
            return False
        response = event.get("response")
        name = response.get("id") if isinstance(response, dict) else event.get("response_id")
        return isinstance(name, str) and name in self._aside

    def done(self, response: JsonObject, at: float) -> list[bytes]:
        """The provider tells of ``response.done``."""
        name = str(response.get("id") or "?")
        self._aside.discard(name)
        if self.active in (name, "?"):
            self.active = ""
            self._current = self._doubtful = None
        return self._next(at)

    def refused(self, error: JsonObject, at: float) -> tuple[bool, list[bytes]]:
        """The provider tells of an error: whether it is none of the client's business, and what to send."""
        named, crossed = error.get("event_id"), error.get("code") == _ACTIVE
        if isinstance(named, str) and self._beside.pop(named, None) is not None:
            return False, []
        if crossed:  # it began one by itself at the same moment, and may have told of that before
            for asked in (self._asked, self._doubtful):
                if asked is not None and named in (None, asked["event_id"]):
                    self._waiting.appendleft(asked)
                    self.active = self.active or "?"
                    self._asked = self._current = self._doubtful = None
                    return True, []
        if self._asked is not None and named == self._asked["event_id"]:
            self._asked = None
            return False, self._next(at)
        return False, []

    def tick(self, at: float) -> list[bytes]:
        """It is `at` (seconds, monotonic)."""
        for name in [n for n, sent in self._beside.items() if at - sent > PATIENCE]:
            del self._beside[name]
        if self._asked is not None and at - self._asked_at > PATIENCE:
            self._asked = None
            return self._next(at)
        return []

    def lost(self, *, again: bool) -> str:
        """The provider is gone with what was under way, which is to be asked for `again`: the id of that, "" where nothing was. What
        was not begun yet, and what waits, goes on waiting."""
        lost, back = self.active, []
        if lost and again:
            back.append(self._current or {"type": "response.create"})
        if self._asked is not None:
            back.append(self._asked)
        self._waiting.extendleft(reversed(back))
        self.active, self._asked = "", None
        self._current = self._doubtful = None
        self._aside.clear()
        self._beside.clear()
        return "" if lost == "?" else lost

    def go_on(self, at: float) -> list[bytes]:
        """There is a provider again."""
        return self._next(at)

    def _next(self, at: float) -> list[bytes]:
        if self.active or self._asked or not self._waiting:
            return []
        return [self._send(self._waiting.popleft(), at)]

    def _send(self, event: JsonObject, at: float) -> bytes:
        self._named(event)
        self._asked, self._asked_at = event, at
        return dump_event(event)

    def _named(self, event: JsonObject) -> str:
        """The id of an event, by which an error names it."""
        name = event.get("event_id")
        if not isinstance(name, str):
            self._made += 1
            name = event["event_id"] = f"evt_switchboard_response_{self._made}"
        return name
