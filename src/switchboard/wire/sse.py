"""Server-sent events, cut out of a byte stream however it was chunked.

Source: the HTML standard, section "Server-sent events": lines end in CRLF, LF or CR; a blank line ends an event; lines
that begin with a colon are comments; the values of several ``data`` lines are joined with LF; one byte order mark at
the start of the stream is passed over.
"""

from __future__ import annotations

import re
from typing import Final

#: Two line ends in a row. A CR counts as an end of its own only when no LF follows, so that CRLF is never read as two.
_BLANK_LINE: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """An event (or what was to become one) is over the limit; `events` are the whole ones before it."""

    def __init__(self, size: int, events: list[SSEvent]) -> None:
        super().__init__(f"an event of {size} bytes")
        self.events = events


class SSEvent:
    """One event: `raw` as it came, blank line included; `data` joined, None where it has no data line (a comment,
    say); `name` the value of ``event``."""

    __slots__ = ("data", "name", "raw")

    def __init__(self, raw: bytes, data: bytes | None, name: bytes = b"") -> None:
        self.raw = raw
        self.data = data
        self.name = name


def is_one_event(data: bytes) -> bool:
    """Whether `data` is one whole event of one ``data:`` line: what most servers send, a piece at a time."""
    return data[:6] == b"data: " and data.find(b"\n") == len(data) - 2 and data[-1:] == b"\n" and data.find(b"\r") < 0


def parse_event(raw: bytes) -> SSEvent:
    """Read the fields of one event; `raw` includes the blank line that ends it."""
    if is_one_event(raw):
        return SSEvent(raw, raw[6:-2])
    if raw[:7] == b"event: " and raw.find(b"\r") < 0:  # a name and one line of data, as Anthropic writes them
        end = raw.find(b"\n")
        if raw[end + 1 : end + 7] == b"data: " and raw.find(b"\n", end + 1) == len(raw) - 2 and raw[-1:] == b"\n":
            return SSEvent(raw, raw[end + 7 : -2], raw[7:end])
    data: list[bytes] = []
    name = b""
    for line in _LINE_END.split(raw):
        field, colon, value = line.partition(b":")
        if not field:
            continue
        value = value.removeprefix(b" ") if colon else b""
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return SSEvent(raw, b"\n".join(data) if data else None, name)


class EventSplitter:
    """Cuts a stream into whole events. `limit` is the largest event in bytes.

    The bytes of all events, joined, are the bytes that were fed, but for a tail that `rest` holds. `between` is whether
    the stream stands between two events, so that what comes now begins one.
    """

    __slots__ = ("_begun", "_buffer", "_half", "_limit", "_scanned", "between")

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._limit = limit
        self._half = False
        self.between = True
        self._begun = False  # the first event was read, and with it a byte order mark

    @property
    def rest(self) -> bytes:
        """What came after the last whole event."""
        return bytes(self._buffer)

    @property
    def empty(self) -> bool:
        """Whether nothing is held."""
        return not self._buffer

    def feed(self, data: bytes) -> list[SSEvent]:
        """The events that `data` completes, in order. Raises `EventTooLargeError`."""
        if self._begun and self.between and data.endswith(b"\n\n") and b"\r" not in data and len(data) <= self._limit:
            # what most servers send: whole events, in as many pieces as there are events
            return [parse_event(piece + b"\n\n") for piece in data[:-2].split(b"\n\n")]
        events: list[SSEvent] = []
        if self._half and data:
            self._half = False
            if data[:1] == b"\n":  # the rest of a CRLF whose CR has ended an event already
                events.append(SSEvent(b"\n", None))
                data = data[1:]
        buffer = self._buffer
        buffer += data
        start = 0
        # three bytes back: a blank line may be split anywhere in its up to four bytes
        position = max(0, self._scanned - 3)
        while (found := _BLANK_LINE.search(buffer, position)) is not None:
            position = found.end()
            if position - start > self._limit:
                raise EventTooLargeError(position - start, events)
            raw = bytes(buffer[start:position])
            if self._begun or not raw.startswith(_BOM):
                events.append(parse_event(raw))
            else:
                first = parse_event(raw.removeprefix(_BOM))
                events.append(SSEvent(raw, first.data, first.name))
            self._begun = True
            start = position
        if start:
            del buffer[:start]
            self._half = not buffer and events[-1].raw.endswith(b"\r")
        self.between = not buffer and not self._half
        if len(buffer) > self._limit:
            raise EventTooLargeError(len(buffer), events)
        self._scanned = len(buffer)
        return events
