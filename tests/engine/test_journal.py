"""Answers that go on without their client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.core.types import Lines
from switchboard.engine.journal import LEFT, Journal, Journals

KEY = ("default", "open", "t")


class Answering:
    """What makes the answer."""

    def __init__(self) -> None:
        self.left = self.resumed = 0

    def client_left(self) -> None:
        self.left += 1

    def resume(self) -> None:
        self.resumed += 1


class Client:
    """A connection that notes what it is sent."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.ended = ""

    def head(self, status: int, headers: Lines) -> None:
        self.said.append(headers)

    def whole(self, status: int, headers: Lines, body: bytes) -> None:
        self.ended = "whole"

    def write(self, data: bytes) -> None:
        self.said.append(data)

    def end(self, data: bytes = b"") -> None:
        self.said.append(data)
        self.ended = "end"

    def fail(self, last: bytes) -> None:
        self.said.append(last)
        self.ended = "fail"

    def continue_(self) -> None:
        """Nothing."""


def begun(kept: int = 1 << 20) -> tuple[Journal, Client, Answering]:
    client, answering = Client(), Answering()
    return Journal(answering, client, kept), client, answering


def test_events_are_numbered_and_comments_pass() -> None:
    j, client, _ = begun()
    j.head(200, b"content-type: text/event-stream\r\nx-request-id: 1\r\n")
    j.write(b"data: a\n\ndata: b\n\n")
    j.write(b": quiet\n\n")
    j.end(b"data: [DONE]\n\n")
    assert client.said[1:] == [b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n", b": quiet\n\n", b"id: 3\ndata: [DONE]\n\n"]
    assert j.kind == b"content-type: text/event-stream\r\n"
    assert j.since(1) == (b"id: 2\ndata: b\n\nid: 3\ndata: [DONE]\n\n", 3) and j.since(3) == (b"", 3)
    assert not j.goes_on()  # it is over


def test_without_its_client_it_goes_on() -> None:
    j, client, answering = begun()
    j.write(b"data: a\n\n")
    assert j.goes_on() and j.goes_on() and answering.resumed == 1
    j.write(b"data: b\n\n")
    j.end()
    assert client.said == [b"id: 1\ndata: a\n\n"] and client.ended == ""
    assert j.since(0) == (b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n", 2)


def test_stopped() -> None:
    j, _, answering = begun()
    j.stop()
    j.stop()
    assert answering.left == 1 and j.cut and not j.goes_on()


def test_what_is_kept_is_bounded() -> None:
    j, _, _ = begun(100)
    for n in range(50):
        j.write(b"data: %d\n\n" % n)
    assert j.since(0) is None  # gone
    found = j.since(48)
    assert found is not None and found[0].startswith(b"id: 49\n") and found[1] == 50


@given(st.lists(st.integers(1, 5), max_size=10), st.integers(0, 60))
def test_whoever_comes_gets_the_rest(sizes: list[int], last: int) -> None:
    j, _, _ = begun()
    total = 0
    for size in sizes:
        j.write(b"".join(b"data: %d\n\n" % (total + i + 1) for i in range(size)))
        total += size
    found = j.since(last)
    assert found is not None
    assert found == (b"".join(b"id: %d\ndata: %d\n\n" % (n, n) for n in range(last + 1, total + 1)), max(last, total))


@pytest.mark.anyio
async def test_a_cut_answer_is_read_as_cut() -> None:
    j, _, _ = begun()
    j.write(b"data: a\n\n")
    j.fail(b"data: error\n\n")
    seen = []
    reading = j.read(0)
    seen.append(await anext(reading))
    with pytest.raises(EOFError):
        await anext(reading)
    assert b"".join(seen) == b"id: 1\ndata: a\n\nid: 2\ndata: error\n\n"


def test_they_are_forgotten_after_a_while() -> None:
    at = [0.0]
    all_of_them = Journals(most=2, clock=lambda: at[0])
    for n in range(5):
        all_of_them.begin(("p", "o", str(n)), Answering(), Client())
    assert [all_of_them.find(("p", "o", str(n))) is not None for n in range(5)] == [False, False, False, True, True]
    done = all_of_them.begin(KEY, Answering(), Client())
    done.end()
    at[0] = (done.over or 0.0) + LEFT + 1
    assert all_of_them.find(KEY) is None


def test_all_of_them_together_are_bounded() -> None:
    all_of_them = Journals(room=1000)
    begun = [all_of_them.begin(("p", "o", str(n)), Answering(), Client()) for n in range(5)]
    for n in range(100):
        for journal in begun:
            journal.write(b"data: %d\n\n" % n)
    kept = [j.newest - j.oldest + 1 for j in begun]
    assert 0 < sum(kept) <= 1000 // len(b"id: 99\ndata: 99")
    assert all(j.newest == 100 for j in begun)  # what is not kept keeps its number


def test_one_that_is_forgotten_makes_room() -> None:
    all_of_them = Journals(room=200)
    first = all_of_them.begin(KEY, Answering(), Client())
    for n in range(50):
        first.write(b"data: %d\n\n" % n)
    second = all_of_them.begin(KEY, Answering(), Client())
    for n in range(10):
        second.write(b"data: %d\n\n" % n)
        first.write(b"data: %d\n\n" % n)  # who reads it still goes on
    found = second.since(0)
    assert found is not None and found[0].count(b"data: ") == 10
