"""Frames for a client that reads slowly: order, what is dropped, and what never is."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.engine.converse.outbox import Outbox


class Line:
    """A socket that is full from `room` messages on; `outbox` is told, while it sends, as sockets do."""

    subprotocol = None

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[tuple[bytes, bool]] = []
        self.taken = 0  # by the network
        self.full = False
        self.outbox: Outbox | None = None
        self.late = 0  # sent although it was full

    @property
    def waiting(self) -> int:
        return len(self.sent) - self.taken

    def _take(self, data: bytes, binary: bool) -> None:
        self.late += self.full
        self.sent.append((data, binary))
        if self.waiting >= self.room and not self.full:
            self.full = True
            assert self.outbox is not None
            self.outbox.on_full()

    def send_text(self, data: bytes) -> None:
        self._take(data, False)

    def send_binary(self, data: bytes) -> None:
        self._take(data, True)

    def drain(self) -> None:
        """The network takes all of it."""
        self.taken = len(self.sent)
        if self.full:
            self.full = False
            assert self.outbox is not None
            self.outbox.on_drain()

    def ping(self) -> None: ...

    def close(self, code: int = 1000, reason: str = "") -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None: ...


def made(room: int, **limits: int) -> tuple[Line, Outbox]:
    line = Line(room)
    line.outbox = outbox = Outbox(line, **limits)
    return line, outbox


def test_frames_pass_while_there_is_room() -> None:
    line, outbox = made(9)
    outbox.event(b"e")
    outbox.sound(b"s")
    outbox.sound(b"b", binary=True)
    assert line.sent == [(b"e", False), (b"s", False), (b"b", True)]


def test_frames_wait_while_there_is_none_and_go_in_order() -> None:
    line, outbox = made(2)
    for frame in (b"1", b"2", b"3"):
        outbox.event(frame)
    outbox.sound(b"4", binary=True)
    outbox.event(b"5")
    assert [f for f, _ in line.sent] == [b"1", b"2"]
    line.drain()
    assert line.sent[2:] == [(b"3", False), (b"4", True)]
    outbox.sound(b"6")  # not before what waits
    line.drain()
    assert [f for f, _ in line.sent] == [b"1", b"2", b"3", b"4", b"5", b"6"]
    line.drain()
    outbox.event(b"7")
    assert line.sent[-1] == (b"7", False) and line.late == outbox.dropped == 0


def test_the_oldest_sound_makes_room_and_events_stay_where_they_are() -> None:
    line, outbox = made(1, sound_bytes=4)
    outbox.event(b"full")
    for n in range(4):
        outbox.sound(b"s%d" % n)
        outbox.event(b"e%d" % n)
    assert outbox.dropped == 2
    line.room = 99
    line.drain()
    assert [f for f, _ in line.sent[1:]] == [b"e0", b"e1", b"s2", b"e2", b"s3", b"e3"]


def test_what_has_gone_out_waits_no_more() -> None:
    line, outbox = made(999, sound_bytes=4, other_bytes=4)
    for _ in range(50):
        outbox.on_full()
        outbox.sound(b"12")
        outbox.event(b"34")
        assert not outbox.over
        outbox.on_drain()
    assert outbox.dropped == 0 and len(line.sent) == 100


@pytest.mark.parametrize("drains", [False, True])
def test_the_last_events_go_out_whatever_the_socket_says(drains: bool) -> None:
    class Draining(Line):
        def _take(self, data: bytes, binary: bool) -> None:
            super()._take(data, binary)
            if drains and data != b"full":
                self.drain()

    line = Draining(1)
    line.outbox = outbox = Outbox(line, other_bytes=1)
    outbox.event(b"full")
    for frame in (b"1", b"2", b"3"):
        outbox.sound(b"sound")
        outbox.event(frame)
    outbox.last()
    assert [f for f, _ in line.sent] == [b"full", b"1", b"2", b"3"] and not outbox.over


def test_a_frame_of_sound_that_never_has_room_is_dropped() -> None:
    line, outbox = made(1, sound_bytes=4)
    outbox.sound(b"12345")
    assert line.sent and outbox.dropped == 0  # nothing had to wait
    outbox.sound(b"12345")
    assert outbox.dropped == 1


def test_it_says_when_too_many_events_wait() -> None:
    line, outbox = made(1, other_bytes=4)
    outbox.event(b"12345")
    outbox.event(b"1234")
    outbox.sound(b"1")
    assert not outbox.over
    outbox.event(b"5")
    assert outbox.over
    line.drain()
    assert not outbox.over
    line.room = 99
    line.drain()
    assert [f for f, _ in line.sent] == [b"12345", b"1234", b"1", b"5"]


def test_a_socket_that_drains_while_it_is_sent_to() -> None:
    """Told within a send: neither out of order nor by recursion, however much waits."""

    class Quick(Line):
        def _take(self, data: bytes, binary: bool) -> None:
            super()._take(data, binary)
            if data != b"first":
                self.drain()

    line = Quick(1)
    line.outbox = outbox = Outbox(line)
    outbox.event(b"first")
    frames = [b"%d" % n for n in range(5000)]
    for frame in frames:
        outbox.event(frame)
    assert len(line.sent) == 1
    line.drain()
    assert [f for f, _ in line.sent[1:]] == frames
    outbox.event(b"direct")
    assert line.sent[-1] == (b"direct", False)


@pytest.mark.parametrize("sound", [True, False])
def test_what_fails_while_it_drains_does_not_stop_it_for_good(sound: bool) -> None:
    class Failing(Line):
        def _take(self, data: bytes, binary: bool) -> None:
            if data == b"bad":
                raise ValueError(data)
            super()._take(data, binary)

    line = Failing(1)
    line.outbox = outbox = Outbox(line)
    outbox.event(b"first")
    send: Callable[[bytes], None] = outbox.sound if sound else outbox.event
    send(b"bad")
    send(b"good")
    with pytest.raises(ValueError, match="bad"):
        line.drain()
    outbox.on_drain()
    assert [f for f, _ in line.sent] == [b"first", b"good"]


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6), st.integers(0, 60), st.integers(0, 60))
def test_order_is_kept_and_no_event_is_lost(random: Random, room: int, sound_bytes: int, other_bytes: int) -> None:
    line, outbox = made(room, sound_bytes=sound_bytes, other_bytes=other_bytes)
    given: list[tuple[bytes, bool]] = []
    sounds: set[bytes] = set()

    def waiting(kind: bool) -> int:
        """Bytes that were given, not sent and not dropped: the newest, as the oldest are dropped first."""
        sent = {f for f, _ in line.sent}
        left = [f for f, _ in given if (f in sounds) is kind and f not in sent]
        return sum(map(len, left[outbox.dropped :] if kind else left))

    for n in range(random.randint(1, 60)):
        what = random.choice(["sound", "binary", "event", "drain"])
        frame = b"%04d" % n + b"." * random.randint(0, 16)
        if what == "drain":
            line.drain()
        else:
            given.append((frame, what == "binary"))
            if what == "event":
                outbox.event(frame)
            else:
                sounds.add(frame)
                outbox.sound(frame, binary=what == "binary")
        assert waiting(True) <= sound_bytes
        assert outbox.over is (waiting(False) > other_bytes)
        if not line.full:
            assert not waiting(True) and not waiting(False)
    while line.full:
        line.drain()
    assert line.sent == [g for g in given if g in line.sent]
    lost = [f for f, _ in given if f not in {s for s, _ in line.sent}]
    assert set(lost) <= sounds and len(lost) == outbox.dropped and line.late == 0


def test_sound_that_nobody_wants_any_more() -> None:
    """The user broke in: events stay, in their order."""
    line = Line(1)
    box = line.outbox = Outbox(line)
    box.event(b"begun")
    for n in range(5):
        box.sound(b"sound %d" % n)
        box.event(b"word %d" % n)
    box.stale()
    box.event(b"cancelled")
    while line.full:
        line.drain()
    assert [data for data, _ in line.sent] == [b"begun", *(b"word %d" % n for n in range(5)), b"cancelled"]
    assert box.dropped == 5
