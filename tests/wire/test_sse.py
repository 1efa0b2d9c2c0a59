"""Events cut out of a byte stream, held against a second reader that follows the standard line by line."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from switchboard.wire.sse import EventSplitter, EventTooLargeError, SSEvent, parse_event

BOM = b"\xef\xbb\xbf"
MANY = settings(max_examples=400, deadline=None)

#: Pieces of which streams are made: fields, values that are awkward to cut, and every line end.
PIECES = [
    b"data: ",
    b"data:",
    b"data",
    b"data : x",
    b"Data: x",
    b"event: error",
    b"event:",
    b"id: 1",
    b"retry: 5",
    b":",
    b": keep-alive",
    b" ",
    b"x",
    b'{"a": "b:c"}',
    b"[DONE]",
    "é€😀".encode(),
    b"\xff\xfe\x00",
]
ENDS = [b"\n", b"\r", b"\r\n"]


def reference(stream: bytes) -> list[tuple[bytes, bytes]]:
    """What a browser would dispatch: (event, data) of every event that has data. One byte at a time, no cleverness."""
    stream = stream[3:] if stream[:3] == BOM else stream
    lines: list[bytes] = []
    line = bytearray()
    at = 0
    while at < len(stream):
        byte = stream[at : at + 1]
        at += 1
        if byte not in (b"\r", b"\n"):
            line += byte
            continue
        if byte == b"\r" and stream[at : at + 1] == b"\n":
            at += 1
        lines.append(bytes(line))
        line.clear()
    # a line without an end, and an event without its blank line, are thrown away
    out: list[tuple[bytes, bytes]] = []
    name, data = b"", list[bytes]()
    for one in lines:
        if one == b"":
            if data:
                out.append((name, b"\n".join(data)))
            name, data = b"", []
        elif not one.startswith(b":"):
            field, _, value = one.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
    return out


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    """`stream` in pieces; every number is a place to cut."""
    edges = [0, *sorted(n % (len(stream) + 1) for n in at), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def told(events: list[SSEvent]) -> list[tuple[bytes, bytes]]:
    return [(e.name, e.data) for e in events if e.data is not None]


def read(pieces: list[bytes], limit: int = 1 << 20) -> tuple[list[SSEvent], bytes]:
    """All events of a stream that comes in `pieces`, and what is left over."""
    splitter = EventSplitter(limit)
    events: list[SSEvent] = []
    for p in pieces:
        events += splitter.feed(p)
        assert splitter.empty == (splitter.rest == b"")
    return events, splitter.rest


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Lines of a few pieces each; one line end most of the time, any mixture sometimes."""
    ends = draw(st.sampled_from([[b"\n"], [b"\r\n"], [b"\r"], ENDS]))
    line = st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join)
    lines = draw(st.lists(st.tuples(line, st.sampled_from(ends), st.booleans()), max_size=12))
    body = b"".join(text + end + (end if blank else b"") for text, end, blank in lines)
    return draw(st.sampled_from([b"", BOM])) + body + draw(st.sampled_from([b"", b"data: tail", b"\r"]))


cuts = st.lists(st.integers(0, 500), max_size=12)


@MANY
@given(stream=streams(), at=cuts)
@example(stream=b"data: x\r\n\r\ndata: y\r\n\r\n", at=[8, 9, 10, 11])
@example(stream=b"data: x\r\r\ndata: y\n\n", at=[9])
@example(stream=b"data: x\n\n\ndata: y\n\n", at=[10])
@example(stream=b"data: x\n\n\n\n\ndata: y\n\n", at=[9])
def test_events_are_the_same_however_the_stream_is_cut(stream: bytes, at: list[int]) -> None:
    events, rest = read(cut(stream, at))
    assert told(events) == reference(stream)
    assert b"".join(e.raw for e in events) + rest == stream


@MANY
@given(stream=streams())
def test_one_byte_at_a_time(stream: bytes) -> None:
    events, rest = read([bytes([b]) for b in stream])
    assert told(events) == reference(stream)
    assert b"".join(e.raw for e in events) + rest == stream


@MANY
@given(stream=st.lists(st.sampled_from([b"\r", b"\n", b"data: x", b"data"]), max_size=16).map(b"".join), at=cuts)
def test_any_run_of_line_ends(stream: bytes, at: list[int]) -> None:
    events, rest = read(cut(stream, at))
    assert told(events) == reference(stream)
    assert b"".join(e.raw for e in events) + rest == stream


@MANY
@given(stream=st.binary(max_size=200), at=cuts)
def test_any_bytes(stream: bytes, at: list[int]) -> None:
    events, rest = read(cut(stream, at))
    assert told(events) == reference(stream)
    assert b"".join(e.raw for e in events) + rest == stream


@MANY
@given(
    payloads=st.lists(
        st.lists(st.binary(max_size=12).filter(lambda b: not set(b) & {10, 13}), min_size=1, max_size=3), max_size=5
    ),
    end=st.sampled_from(ENDS),
    at=cuts,
)
def test_what_was_written_is_read(payloads: list[list[bytes]], end: bytes, at: list[int]) -> None:
    """Several data lines are one payload, joined with LF."""
    stream = b"".join(b"".join(b"data: " + line + end for line in lines) + end for lines in payloads)
    events, rest = read(cut(stream, at))
    # the last CR may have ended an event before its LF came, which then comes by itself
    assert [e.data for e in events if e.raw != b"\n"] == [b"\n".join(lines) for lines in payloads]
    assert rest == b""


def test_an_event_comes_with_the_piece_that_ends_it() -> None:
    """Nothing is held back: the events of a chunk are there when it has been fed."""
    s = EventSplitter()
    assert s.feed(b"data: a\n") == []
    assert [e.data for e in s.feed(b"\ndata: b\n\nda")] == [b"a", b"b"]
    assert [e.data for e in s.feed(b"ta: c\r\r")] == [b"c"]
    assert s.empty


def test_comments_and_names() -> None:
    events, _ = read([b": ping\n\nevent: error\ndata: {}\n\nevent: only\n\n"])
    assert [(e.name, e.data) for e in events] == [(b"", None), (b"error", b"{}"), (b"only", None)]


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x \n\n", b" x "),
        (b"data\n\n", b""),
        (b"data: \n\n", b""),
        (b"data: a:b\n\n", b"a:b"),
        (b"data: a\ndata\ndata: b\n\n", b"a\n\nb"),
        (b"data: a\rdata: b\n\n", b"a\nb"),
        (b"data: a\r\n\n", b"a"),
        (b"data: x", b"x"),
        (b" data: x\n\n", None),
        (b"datax: x\n\n", None),
        (b"", None),
    ],
)
def test_fields_of_one_event(raw: bytes, data: bytes | None) -> None:
    event = parse_event(raw)
    assert (event.raw, event.data, event.name) == (raw, data, b"")


def test_a_byte_order_mark_begins_a_stream() -> None:
    for at in range(4):
        events, _ = read([BOM[:at], BOM[at:] + b"data: x\n\n"])
        assert [(e.raw, e.data) for e in events] == [(BOM + b"data: x\n\n", b"x")]


@pytest.mark.parametrize("before", [b"data: a\n\n", b"\n\n"])
def test_a_byte_order_mark_later_is_part_of_a_name(before: bytes) -> None:
    """Only the one at the start of the stream is passed over; further on it makes the field one that nobody knows."""
    stream = before + BOM + b"data: x\n\n"
    events, _ = read([stream])
    assert told(events) == reference(stream)


def test_a_large_event_in_small_pieces() -> None:
    payload = "é😀x".encode() * (10 * 1024 * 1024 // 7)
    stream = b"data: " + payload + b"\r\n\r\n" + b"data: after\n\n"
    events, rest = read([stream[i : i + 16_381] for i in range(0, len(stream), 16_381)], limit=16 * 1024 * 1024)
    assert [e.data for e in events] == [payload, b"after"]
    assert rest == b""


def test_very_many_small_events_at_once() -> None:
    stream = b"data: x\r\n\r\n" * 50_000
    events, rest = read([stream])
    assert len(events) == 50_000
    assert rest == b""


@MANY
@given(
    sizes=st.lists(st.integers(9, 40), max_size=8),
    limit=st.integers(9, 40),
    at=cuts,
    end=st.sampled_from([b"\n", b"\r"]),
)
def test_the_limit_holds_for_each_event(sizes: list[int], limit: int, at: list[int], end: bytes) -> None:
    """Events up to the limit pass, one that is larger is an error, and none before it is lost.

    Not for CRLF: cut between CR and LF, an event is whole with the CR, and the LF counts for the next one.
    """
    made = [b"data: " + b"x" * (n - 6 - 2 * len(end)) + end * 2 for n in sizes]
    fits = [len(m) <= limit for m in made]
    good = made[: fits.index(False)] if False in fits else made
    splitter = EventSplitter(limit)
    raws: list[bytes] = []
    failed = False
    for piece in cut(b"".join(made), at):
        try:
            raws += [e.raw for e in splitter.feed(piece)]
        except EventTooLargeError as e:
            raws += [x.raw for x in e.events]
            failed = True
            break
    assert failed == (False in fits)
    assert raws == good


def test_an_event_that_never_ends_is_an_error_before_it_fills_the_memory() -> None:
    s = EventSplitter(1000)
    s.feed(b"data: " + b"x" * 990)
    with pytest.raises(EventTooLargeError) as caught:
        s.feed(b"xxxxx")
    assert "1001" in str(caught.value)


def test_the_limit_is_of_an_event_and_not_of_a_chunk() -> None:
    stream = (b"data: " + b"x" * 92 + b"\n\n") * 100
    for tail in (b"", b"data: "):
        assert len(read([stream + tail], limit=100)[0]) == 100
