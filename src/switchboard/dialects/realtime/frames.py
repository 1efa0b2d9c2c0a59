"""A frame of the Realtime interfaces: one WebSocket text message, which holds one event as a JSON object.

Most frames are audio and only pass, so what an event is can be told, and its type renamed, without making values of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from switchboard.core.errors import Problem
from switchboard.wire.json_body import load_json

JsonObject = dict[str, Any]
Rename = tuple[bytes, bytes]
"""A type, and what it is called on the other side."""

_encode: Final = msgspec.json.Encoder().encode
_KEY: Final = b'"type"'
_SHORT: Final = 512  # bytes: a frame that is no longer is read faster than it is cut
_SOUND: Final = (b'"delta"', b'"audio"')
_COLONS: Final = (b":", b": ")
_BEFORE_VALUE: Final = re.compile(rb'"type"[ \t\r\n]*:[ \t\r\n]*"')


class RealtimeFrameError(Exception):
    """A frame that holds no event. `message` and `code` are fit for an ``error`` event to whoever sent it."""

    def __init__(self, message: str, code: str = "invalid_json") -> None:
        self.message = message
        self.code = code
        super().__init__(message)


class _Head(Struct):
    type: Any = ""


class _ItemHead(Struct):
    type: Any = ""
    item_id: Any = ""


_decode_head: Final = msgspec.json.Decoder(_Head).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_item_head: Final = msgspec.json.Decoder(_ItemHead).decode


def without_sound(frame: bytes) -> bytes:
    """`frame` without what is in the first long ``delta`` or ``audio``, which most of it is; itself where that is not plain
    to see. It is JSON, and has the same other members, exactly where `frame` is and has: in JSON a quote after ``"delta":`` opens a
    string, and the next one ends it if nothing in between is escaped. Control characters in it are not seen."""
    if len(frame) > _SHORT:
        for name in _SOUND:
            at = frame.find(name, 0, _SHORT)
            if at >= 0:
                begin = frame.find(b'"', at + 7) + 1
                if frame[at + 7 : begin - 1] in _COLONS:
                    end = frame.find(b'"', begin)
                    if end > 0 and frame.find(b"\\", begin, end) < 0:
                        return frame[:begin] + frame[end:]
    return frame


def event_type(frame: bytes) -> str:
    """The type of the event in `frame`; "" where it has none, or one that is no string.

    It is that of the event's own member, the last where there are several, as in a full decode; the rest is checked to be
    JSON and skipped. Raises `RealtimeFrameError` where `frame` is no JSON object. What only a full decode sees is not
    seen here: numbers out of range, nesting that is too deep for `load_event` only, control characters in sound.
    """
    return _read_type(frame, without_sound(frame))


def _read_type(frame: bytes, short: bytes) -> str:
    try:
        kind = _decode_head(short).type
        if not frame.isascii():
            frame.decode()
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        kind = load_event(frame).get("type", "")  # for what is wrong with it, in words
    return kind if isinstance(kind, str) else ""


def sound_of(frame: bytes) -> tuple[str, str, int]:
    """The type of a provider's event as `event_type` has it, the item that it is about ("": none), and how many characters of
    base64 it holds, as far as that is plain to see. Raises `RealtimeFrameError` where `frame` is no JSON object."""
    short = without_sound(frame)
    try:
        head = _decode_item_head(short)
        if not frame.isascii():
            frame.decode()
    except (ValueError, RecursionError):
        return _read_type(frame, short), "", 0
    kind, item = head.type, head.item_id
    return (
        kind if isinstance(kind, str) else "",
        item if isinstance(item, str) else "",
        len(frame) - len(short),
    )


def plain_type(frame: bytes) -> tuple[str, bool]:
    """The `event_type` of a frame and whether `type_is_plain`, at the cost of one. Raises `RealtimeFrameError`."""
    short = without_sound(frame)
    return _read_type(frame, short), _plain(short)


def load_event(frame: bytes) -> JsonObject:
    """The event in `frame` as Python values. Raises `RealtimeFrameError`: no JSON, no object, nested too deeply."""
    try:
        event = load_json(frame)
    except Problem as problem:
        raise RealtimeFrameError(problem.message.replace("The body", "The event", 1), problem.code.lower()) from None
    except ValueError:  # a number of thousands of digits
        raise RealtimeFrameError("The event is not valid JSON: it holds a number out of range.") from None
    if not isinstance(event, dict):
        raise RealtimeFrameError("The event is not a JSON object.", "invalid_event")
    return event


def dump_event(event: JsonObject) -> bytes:
    """`event`, which came from `load_event`, as a frame."""
    return _encode(event)


def unambiguous(frame: bytes) -> bytes:
    """The same event, in which each member of its own, and of its item, stands once: no two readers of JSON can take it for different
    ones. Little is decoded. Raises `RealtimeFrameError`."""
    try:
        event = _decode_members(frame)
        item = event.get("item")
        if item is not None and bytes(item)[:1] == b"{":
            event["item"] = msgspec.Raw(_encode(_decode_members(item)))
    except (ValueError, RecursionError):
        return dump_event(load_event(frame))  # for what is wrong with it, in words
    return _encode(event)


def type_is_plain(frame: bytes) -> bool:
    """Whether ``"type"`` stands in `frame` at most once and nothing is escaped, so that no two readers of JSON can
    disagree on the type. False is no proof of the contrary."""
    return _plain(without_sound(frame))


def _plain(short: bytes) -> bool:
    return b"\\" not in short and short.find(_KEY, short.find(_KEY) + 1) < 0


def rename(frame: bytes, names: Mapping[str, Rename], kind: str | None = None) -> tuple[bytes, str]:
    """`frame` with the type that `names` have for its own, if any, and its own (`kind` where that is known). Raises `RealtimeFrameError`.

    The other bytes stay as they are where that can be done without a doubt: without escapes, the only ``"type"`` that
    there is must be the key of the event's own member.
    """
    short = without_sound(frame)
    if kind is None:
        kind = _read_type(frame, short)
    found = names.get(kind)
    if found is None:
        return frame, kind
    old, new = found
    if _plain(short):
        key = _BEFORE_VALUE.match(frame, frame.find(_KEY))
        if key is not None:
            begin = key.end()
            end = begin + len(old)
            if frame[begin:end] == old:
                return frame[:begin] + new + frame[end:], kind
    event = load_event(frame)
    event["type"] = new.decode()
    return dump_event(event), kind
