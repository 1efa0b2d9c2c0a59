"""A provider's session that goes on in a new one: what the new one is told, and what of its answers is no news to the client.

Sans-I/O; frames and events are in the provider's shape.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from switchboard.dialects.realtime import JsonObject, Shape, dump_event
from switchboard.dialects.realtime.script import Said

#: How much of a conversation is told again: items, and characters of all of them.
_MOST: Final = 400
_CHARACTERS: Final = 200_000
_LARGEST: Final = 64 * 1024  # bytes of an item that says nothing, a call or what came of it, say
_UPDATES: Final = 64  # that may be unanswered
#: What the ids of events begin with that were made here.
OURS: Final = "evt_switchboard_"
_AGAIN: Final = OURS + "again"
_CREATED: Final = frozenset({"conversation.item.added", "conversation.item.created", "conversation.item.done"})
_MEMBERS: Final = ("id", "type", "role", "content", "name", "call_id", "arguments", "output")


class _Update(Struct):
    """An update of the session that is not answered yet: what the client said (None: it is the server's). `hidden`: the client
    does not know of it."""

    id: str
    event: JsonObject | None = None
    hidden: bool = False


class Renewal:
    """What a client set of its session, and what there is in the conversation besides what was said."""

    WANTED: Final = _CREATED | {"response.output_item.done", "conversation.item.deleted"}

    def __init__(self) -> None:
        self.session: JsonObject = {}  # all that the client's updates said that were taken, one over the other
        self._expected: deque[_Update] = deque()
        self._items: OrderedDict[str, JsonObject] = OrderedDict()
        self._told: set[str] = set()  # ids of items that were told again
        self._beta = False
        self._made = 0

    # ---- updates

    def own(self) -> None:
        """The server's own update is sent."""
        self._expected.append(_Update("", None))

    def asks(self, event: JsonObject) -> None:
        """The client's update `event` is sent, under a name by which an error tells of it."""
        name = event.get("event_id")
        if not isinstance(name, str):
            self._made += 1
            name = event["event_id"] = f"{OURS}update_{self._made}"
        self._expected.append(_Update(name, event))
        if len(self._expected) > _UPDATES:
            self._expected.popleft()

    def updated(self) -> bool:
        """The provider took the oldest of them. Whether the client does not hear of it."""
        if not self._expected:
            return False
        update = self._expected.popleft()
        said = None if update.event is None else update.event.get("session")
        if isinstance(said, dict):
            merge(self.session, said)
        return update.hidden

    def refused(self, event_id: Any) -> bool:
        """The provider did not take what `event_id` names. Whether the client does not hear of it."""
        for update in self._expected:
            if update.id and update.id == event_id:
                self._expected.remove(update)
                return update.hidden
        return bool(event_id == _AGAIN)

    # ---- items

    def event(self, kind: str, event: JsonObject) -> None:
        """Remember what is told of an item that says nothing by itself: calls and what came of them, what the client put there."""
        item = event.get("item")
        if kind == "conversation.item.deleted":
            name = event.get("item_id")
            if isinstance(name, str):
                self._items.pop(name, None)
        elif isinstance(item, dict) and isinstance(item.get("id"), str) and _is_kept(kind, item):
            kept = {n: item[n] for n in _MEMBERS if item.get(n) is not None}
            if len(dump_event(kept)) <= _LARGEST:
                self._items[item["id"]] = kept
                if len(self._items) > _MOST:
                    self._items.popitem(last=False)

    # ---- a new session

    def frames(self, shape: Shape, order: Sequence[str], said: Sequence[Said], *, own: bool) -> list[bytes]:
        """What a new session is told behind the server's own update (`own`: there is one): the client's, and the conversation, whose items have
        the `order`."""
        unanswered = [u for u in self._expected if u.event is not None and not u.hidden]
        self._expected.clear()
        self._beta = shape is Shape.BETA
        out: list[bytes] = []
        if own:
            self._expected.append(_Update("", None, hidden=True))
        if self.session:
            again = {"type": "session.update", "event_id": _AGAIN + "_session", "session": self.session}
            self._expected.append(_Update(_AGAIN + "_session", None, hidden=True))
            out.append(dump_event(again))
        for update in unanswered:
            self._expected.append(update)
            out.append(dump_event(update.event or {}))
        items = self._newest(order, {s.id: s for s in said})
        self._told = {i["id"] for i in items}
        out += [dump_event({"type": "conversation.item.create", "event_id": _AGAIN, "item": i}) for i in items]
        return out

    def _newest(self, order: Sequence[str], said: dict[str, Said]) -> list[JsonObject]:
        """As much as is told again, in its order."""
        out: list[JsonObject] = []
        room = _CHARACTERS
        for name in reversed(order):
            item = self._message(said[name]) if name in said else self._items.get(name)
            if item is None:
                continue
            room -= len(said[name].content) if name in said else len(dump_event(item))
            if room < 0 or len(out) == _MOST:
                break
            out.append(item)
        out.reverse()
        calls = {i.get("call_id") for i in out if i["type"] == "function_call"}
        # what came of a call that is not told of means nothing
        return [i for i in out if i["type"] != "function_call_output" or i.get("call_id") in calls]

    def _message(self, said: Said) -> JsonObject:
        kind = "input_text" if said.role == "user" else "text" if self._beta else "output_text"
        content = [{"type": kind, "text": said.content}]
        return {"id": said.id, "type": "message", "role": said.role, "content": content}

    def hides(self, kind: str, event: JsonObject) -> bool:
        """Whether an event of the new session is an answer to that."""
        if kind in ("session.created", "conversation.created"):
            return True
        item = event.get("item")
        name = item.get("id") if isinstance(item, dict) else None
        if kind not in _CREATED or not isinstance(name, str) or name not in self._told:
            return False
        if kind == "conversation.item.done" or self._beta:
            self._told.discard(name)
        return True


def _is_kept(kind: str, item: JsonObject) -> bool:
    if item.get("type") in ("function_call", "function_call_output"):
        # a call is whole when it is done; what a client says is so at once
        return kind != "conversation.item.added" or item.get("status") == "completed"
    if item.get("type") != "message" or kind == "response.output_item.done":
        return False
    # what the model says comes empty at first, and is told of as it is said
    return item.get("role") == "system" or (
        item.get("role") == "assistant" and kind != "conversation.item.done" and bool(item.get("content"))
    )


def merge(body: JsonObject, over: JsonObject) -> None:
    """Put what an update says, `over`, into a session."""
    for name, value in over.items():
        below = body.get(name)
        if isinstance(below, dict) and isinstance(value, dict) and name in ("audio", "input", "output"):
            merge(below, value)
        else:
            body[name] = value
