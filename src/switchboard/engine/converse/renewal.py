"""A provider's session that goes on in a new one: what the new one is told, and what of its answers is no news to the client.

Sans-I/O; frames are in the provider's shape.
"""

from __future__ import annotations

from typing import Final

from switchboard.dialects.realtime import JsonObject, Shape, dump_event
from switchboard.dialects.realtime.script import Said

#: How much of a conversation is told again: messages, and characters of all of them.
_MESSAGES: Final = 400
_CHARACTERS: Final = 200_000
#: What the ids of events begin with that were made here.
OURS: Final = "evt_switchboard_"
_AGAIN: Final = OURS + "again"


class Renewal:
    """What a client set of its session, and what is hidden after a new one began."""

    __slots__ = ("_hidden_items", "_updates", "session")

    def __init__(self) -> None:
        self.session: JsonObject = {}  # all that the client's updates said, one over the other
        self._updates = 0
        self._hidden_items: set[str] = set()

    def updated(self, session: JsonObject) -> None:
        """The client says so of its session."""
        merge(self.session, session)

    def frames(self, shape: Shape, said: list[Said], *, own_update: bool) -> list[bytes]:
        """What a new session is told behind the server's own update (`own_update`: there is one): the client's, and the conversation."""
        out: list[bytes] = []
        self._updates = int(own_update)
        if self.session:
            self._updates += 1
            out.append(dump_event({"type": "session.update", "event_id": _AGAIN, "session": self.session}))
        told = list(_newest(said))
        self._hidden_items = {s.id for s in told}
        for s in reversed(told):
            kind = "input_text" if s.role == "user" else "output_text" if shape is Shape.GA else "text"
            item = {"id": s.id, "type": "message", "role": s.role, "content": [{"type": kind, "text": s.content}]}
            out.append(dump_event({"type": "conversation.item.create", "event_id": _AGAIN, "item": item}))
        return out

    def hides(self, kind: str, event: JsonObject) -> bool:
        """Whether an event of the new session is an answer to that."""
        if kind == "session.created" or kind == "conversation.created":
            return True
        if kind == "session.updated" and self._updates:
            self._updates -= 1
            return True
        item = event.get("item")
        if kind.startswith("conversation.item.") and isinstance(item, dict):
            return item.get("id") in self._hidden_items
        error = event.get("error")
        return kind == "error" and isinstance(error, dict) and error.get("event_id") == _AGAIN


def _newest(said: list[Said]) -> list[Said]:
    """As much as is told again, the newest first."""
    out: list[Said] = []
    room = _CHARACTERS
    for s in reversed(said[-_MESSAGES:]):
        room -= len(s.content)
        if room < 0:
            break
        out.append(s)
    return out


def merge(body: JsonObject, over: JsonObject) -> None:
    """Put what an update says, `over`, into a session."""
    for name, value in over.items():
        below = body.get(name)
        if isinstance(below, dict) and isinstance(value, dict) and name in ("audio", "input", "output"):
            merge(below, value)
        else:
            body[name] = value
