"""What was said in a conversation, as a provider's events of either shape tell it.

The events do not come in the conversation's order: what a user said is transcribed while the model answers already, and an item may be told
of before it is said where it belongs. Nothing is believed of an event's members, not even their types.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Any, ClassVar, Final

from msgspec import Struct

from switchboard.core.clock import wall_iso
from switchboard.dialects.realtime.conversation import MAX_ITEMS, MAX_PARTS, Conversation, Item, Recent
from switchboard.dialects.realtime.frames import JsonObject

_MAX_ID: Final = 256  # characters; OpenAI takes 32
_LONGEST_WORD: Final = 40
_CUT_SHORT: Final = ("cancelled", "incomplete")
#: Which member of a part holds what it says.
_SAID_IN: Final = {
    "input_text": "text",
    "input_audio": "transcript",
    "text": "text",
    "audio": "transcript",
    "output_text": "text",
    "output_audio": "transcript",
}
#: Ideographs and kana, written without spaces: any place between them is a word's end.
_IDEOGRAPH: Final = re.compile("[\u2e80-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff]")


class Said(Struct, frozen=True, gc=False):
    """One message of a conversation: the `id` of its item, its `role` ("user", "assistant"), what it says, when it began (seconds since
    the epoch), and whether it was interrupted."""

    id: str
    role: str
    content: str
    since: float
    cut: bool


class Script:
    """What was said in one conversation: of its newest items only, see `Conversation`."""

    def __init__(self) -> None:
        self._conversation = Conversation()
        self._left_out = Recent()

    @property
    def changed(self) -> bool:
        """Set with every change of `messages`; who reads them clears it."""
        return self._conversation.changed

    @changed.setter
    def changed(self, value: bool) -> None:
        self._conversation.changed = value

    def event(self, kind: str, event: JsonObject, at: float) -> None:
        """Read an event of the type `kind`, one of `WANTED` (others are passed over), that came `at` seconds after the
        epoch. Never raises, whatever is in it."""
        read = self._READ.get(kind)
        if read is not None:
            read(self, event, at)

    def sound(self, item_id: str, ms: float) -> None:
        """So many more milliseconds of the sound of this item were passed on."""
        item = self._conversation.get(item_id)
        if item is not None and ms > 0 and not item.frozen:
            item.ms += ms

    def played(self, item_id: str) -> float:
        """How many milliseconds there are of this item's sound so far; 0 of one that is not known. Of one that was
        truncated, what was left of it."""
        item = self._conversation.get(item_id)
        return 0.0 if item is None else item.ms

    def leave_out(self, item_id: str) -> None:
        """This item was put there by the server itself, and is not part of the script; it may be told of yet."""
        self._left_out.add(item_id)
        item = self._conversation.get(item_id)
        if item is not None:
            item.left_out = True
            self._conversation.clear(item)

    def messages(self) -> list[dict[str, Any]]:
        """What was said, in the conversation's order: `role` ("user", "assistant"), `content`, `timestamp` (when it began), and
        `truncated` (true) where it was interrupted. What says nothing is left out."""
        out: list[dict[str, Any]] = []
        for said in self.said():
            message = {"role": said.role, "content": said.content, "timestamp": wall_iso(said.since)}
            out.append(message | {"truncated": True} if said.cut else message)
        return out

    def said(self) -> list[Said]:
        """The same, with what else is known of each."""
        told = ((item, item.text) for item in self._conversation if item.size)
        return [Said(i.id, i.role, text, i.since, i.cut) for i, text in told if text and not text.isspace()]

    def order(self) -> list[str]:
        """The ids of all items of the conversation, in its order."""
        return [item.id for item in self._conversation]

    # ---- items

    def _item_told(self, event: JsonObject, at: float) -> None:
        self._in_conversation(event, at, done=False)

    def _item_done(self, event: JsonObject, at: float) -> None:
        self._in_conversation(event, at, done=True)

    def _in_conversation(self, event: JsonObject, at: float, *, done: bool) -> None:
        told = _object(event, "item")
        item = self._known(told, at, late=done)
        if item is not None:
            self._place(item, event)
            if item.role == "user" or item.output:
                self._content(item, told, whole=done)

    def _committed(self, event: JsonObject, at: float) -> None:
        item_id = _id(event, "item_id")
        if item_id:
            item = self._conversation.get(item_id) or self._new(item_id, at)
            item.role = item.role or "user"
            self._place(item, event)

    def _output_added(self, event: JsonObject, at: float) -> None:
        self._output(event, at, done=False)

    def _output_done(self, event: JsonObject, at: float) -> None:
        self._output(event, at, done=True)

    def _output(self, event: JsonObject, at: float, *, done: bool) -> None:
        told = _object(event, "item")
        item = self._known(told, at, late=done)
        if item is None or item.role == "user":
            return
        item.output = True
        response = _id(event, "response_id")
        if response and not done:
            self._conversation.answers(item, response)
        if item.role:
            self._content(item, told, whole=done)
            item.complete = item.complete or (done and told.get("status") == "completed")

    def _response_done(self, event: JsonObject, _at: float) -> None:
        response = _object(event, "response")
        ids = self._conversation.answered(_id(response, "id"))
        told = response.get("output")
        for said in islice(told, MAX_ITEMS) if isinstance(told, list) else ():
            item = self._said(said, "id") if isinstance(said, dict) else None
            if item is not None and item.output:
                ids[item.id] = None
                item.complete = item.complete or said.get("status") == "completed"
        if response.get("status") not in _CUT_SHORT:
            return
        for item_id in ids:
            item = self._conversation.get(item_id)
            if item is not None and not item.complete and not item.cut:
                item.cut = self.changed = True

    def _deleted(self, event: JsonObject, _at: float) -> None:
        item = self._conversation.get(_id(event, "item_id"))
        if item is not None:
            self._conversation.forget(item)

    def _truncated(self, event: JsonObject, _at: float) -> None:
        item, end = self._said(event, "item_id"), event.get("audio_end_ms")
        if item is None or not isinstance(end, int | float) or isinstance(end, bool):
            return
        text, end = item.text, max(end, 0)
        if end < item.ms:
            text = _heard(text, end / item.ms)
            item.ms = float(end)
        elif not end:
            text = ""
        item.frozen = False
        self._conversation.clear(item)
        self._conversation.put(item, 0, text)
        item.cut = item.frozen = self.changed = True

    # ---- what they say

    def _spoken(self, event: JsonObject, _at: float) -> None:
        self._more(self._answered(event), event)

    def _spoken_transcript(self, event: JsonObject, _at: float) -> None:
        self._all(self._answered(event), event, event.get("transcript"))

    def _spoken_text(self, event: JsonObject, _at: float) -> None:
        self._all(self._answered(event), event, event.get("text"))

    def _heard_delta(self, event: JsonObject, _at: float) -> None:
        self._more(self._asked(event), event)

    def _heard_all(self, event: JsonObject, _at: float) -> None:
        self._all(self._asked(event), event, event.get("transcript"))

    def _heard_nothing(self, event: JsonObject, _at: float) -> None:
        self._all(self._asked(event), event, "")

    def _more(self, item: Item | None, event: JsonObject) -> None:
        index, text = event.get("content_index", 0), event.get("delta")
        if item is not None and _is_index(index) and isinstance(text, str) and index not in item.whole:
            self._conversation.put(item, index, text)

    def _all(self, item: Item | None, event: JsonObject, text: Any) -> None:
        index = event.get("content_index", 0)
        if item is not None and _is_index(index) and isinstance(text, str):
            self._conversation.put(item, index, text, over=True)
            item.whole.add(index)

    def _content(self, item: Item, told: JsonObject, *, whole: bool) -> None:
        """What the parts of `told` say; what has no words there may have been told before."""
        parts = told.get("content")
        for index, part in enumerate(islice(parts, MAX_PARTS)) if isinstance(parts, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            text = part.get(_SAID_IN.get(kind)) if isinstance(kind, str) else None
            if isinstance(text, str) and text and (whole or index not in item.whole):
                self._conversation.put(item, index, text, over=True)
                if whole:
                    item.whole.add(index)

    # ---- which item

    def _said(self, event: JsonObject, member: str) -> Item | None:
        """The model's item of the id that `event` has."""
        item = self._conversation.get(_id(event, member))
        return item if item is not None and item.role == "assistant" else None

    def _answered(self, event: JsonObject) -> Item | None:
        """The model's item that `event` tells the words of: it is a response's output."""
        item = self._said(event, "item_id")
        if item is not None:
            item.output = True
        return item

    def _asked(self, event: JsonObject) -> Item | None:
        """The user's item that `event` tells the words of."""
        item = self._conversation.get(_id(event, "item_id"))
        return item if item is not None and item.role == "user" else None

    def _known(self, told: JsonObject, at: float, *, late: bool) -> Item | None:
        """The item that `told` tells of, a new one where there is none; one that is gone does not come back by what tells of
        its end (`late`)."""
        item_id = _id(told, "id")
        if not item_id:
            return None
        item = self._conversation.get(item_id)
        if item is None:
            if late and item_id in self._conversation.gone:
                return None
            item = self._new(item_id, at)
        if not item.role and told.get("type") == "message" and told.get("role") in ("user", "assistant"):
            item.role = told["role"]
        return item

    def _new(self, item_id: str, at: float) -> Item:
        item = self._conversation.new(item_id, at)
        item.left_out = item_id in self._left_out
        return item

    def _place(self, item: Item, event: JsonObject) -> None:
        if "previous_item_id" in event:
            null = event["previous_item_id"] is None
            self._conversation.place(item, None if null else _id(event, "previous_item_id"))

    _READ: ClassVar[dict[str, Callable[[Script, JsonObject, float], None]]] = {
        "conversation.item.added": _item_told,
        "conversation.item.created": _item_told,
        "conversation.item.done": _item_done,
        "conversation.item.deleted": _deleted,
        "conversation.item.truncated": _truncated,
        "conversation.item.input_audio_transcription.delta": _heard_delta,
        "conversation.item.input_audio_transcription.completed": _heard_all,
        "conversation.item.input_audio_transcription.failed": _heard_nothing,
        "input_audio_buffer.committed": _committed,
        "response.output_item.added": _output_added,
        "response.output_item.done": _output_done,
        "response.output_audio_transcript.delta": _spoken,
        "response.output_audio_transcript.done": _spoken_transcript,
        "response.output_text.delta": _spoken,
        "response.output_text.done": _spoken_text,
        "response.audio_transcript.delta": _spoken,
        "response.audio_transcript.done": _spoken_transcript,
        "response.text.delta": _spoken,
        "response.text.done": _spoken_text,
        "response.done": _response_done,
    }
    #: The types of the events that are read, in both shapes.
    WANTED: ClassVar[frozenset[str]] = frozenset(_READ)


def _object(event: JsonObject, member: str) -> JsonObject:
    """The object that a member is; an empty one where it is none."""
    value = event.get(member)
    return value if isinstance(value, dict) else {}


def _id(event: JsonObject, member: str) -> str:
    """The id that a member is; "" where it is none."""
    value = event.get(member)
    return value if isinstance(value, str) and len(value) <= _MAX_ID else ""


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX_PARTS


def _heard(text: str, share: float) -> str:
    """The first `share` (0…1) of `text`, up to the end of its last word that is whole. What is written without spaces is cut where
    that is."""
    end = int(len(text) * share)
    for at in range(end, max(end - _LONGEST_WORD, 0) - 1, -1):
        if at in (0, len(text)) or text[at].isspace():
            return text[:at].rstrip()
        if _IDEOGRAPH.match(text[at]) or _IDEOGRAPH.match(text[at - 1]):
            return text[:at]
    return text[:end]
