"""The line to the provider, over sessions that end."""

from __future__ import annotations

from typing import Any, cast

from switchboard.core.clock import now
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Flow
from switchboard.core.sockets import ClientSink, Socket
from switchboard.engine.converse.line import Closed, Line


class Leg:
    """One WebSocket to the provider, driven by the test."""

    def __init__(self, sink: ClientSink) -> None:
        self.sink = sink
        self.sent: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.paused = False

    def send_text(self, data: bytes) -> None:
        assert self.closed is None
        self.sent.append(data)

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def abort(self) -> None:
        self.aborted = True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def opens(self) -> None:
        self.sink.on_open(cast("Socket", self))


class Talk:
    """Who talks over the line."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.quiet = True
        self.another = False  # key
        self.legs: list[Leg] = []
        self.line = Line(self.dial, self, mended=True)

    def dial(self, sink: ClientSink) -> Flow:
        self.legs.append(Leg(sink))
        return cast("Flow", self.legs[-1])

    def line_open(self, *, again: bool) -> list[bytes]:
        self.log.append("again" if again else "open")
        return [b"update", b"what was said"] if again else [b"update"]

    def line_text(self, data: bytes) -> None:
        self.log.append(data)

    def line_dropped(self) -> None:
        self.log.append("dropped")

    def line_closed(self, closed: Closed) -> None:
        self.log.append(closed)

    def line_refused(self, error: UpstreamError) -> bool:
        return self.another

    def line_failed(self, error: UpstreamError) -> None:
        self.log.append(error)

    def line_full(self) -> None:
        self.log.append("full")

    def line_drain(self) -> None:
        self.log.append("drain")


def opened(*, mended: bool = True) -> Talk:
    talk = Talk()
    talk.line = Line(talk.dial, talk, mended=mended)
    talk.line.open()
    talk.legs[0].opens()
    assert talk.legs[0].sent == [b"update"]
    return talk


REFUSED = UpstreamError(Fault.REFUSED, "refused")


def test_what_is_said_before_there_is_a_provider_waits() -> None:
    talk = Talk()
    talk.line.open()
    talk.line.send(b"early")
    talk.legs[0].opens()
    assert talk.legs[0].sent == [b"update", b"early"]


def test_no_provider() -> None:
    talk = Talk()
    talk.line.open()
    talk.legs[0].sink.on_error(REFUSED)
    assert talk.log == [REFUSED]


def test_a_session_that_breaks_off_goes_on_in_a_new_one() -> None:
    talk = opened()
    talk.legs[0].sink.on_close(1001, "time is up", True)
    assert talk.log == ["open", "dropped"] and len(talk.legs) == 2
    talk.line.send(b"meanwhile")
    talk.legs[1].opens()
    assert talk.legs[1].sent == [b"update", b"what was said", b"meanwhile"]
    talk.legs[1].sink.on_text(b"hello again")
    # whatever the old one was too slow for, the new one is not
    assert talk.log[-3:] == ["again", "drain", b"hello again"]


def test_an_end_that_was_meant_is_passed_on() -> None:
    for code in (1000, 1008, 4000):
        talk = opened()
        talk.legs[0].sink.on_close(code, "why", True)
        assert talk.log == ["open", Closed(code, "why")] and len(talk.legs) == 1


def test_nothing_is_mended_where_that_is_not_wanted() -> None:
    talk = opened(mended=False)
    talk.legs[0].sink.on_close(1001, "", True)
    assert talk.log == ["open", Closed(1001, "")]


def test_after_three_attempts_it_is_over() -> None:
    talk = opened()
    talk.legs[0].sink.on_close(1011, "broken", True)
    at = now()
    for n in (1, 2, 3):
        assert len(talk.legs) == n + 1
        talk.legs[n].sink.on_error(REFUSED)
        talk.line.tick(at + n * 10)
    assert talk.log == ["open", "dropped", Closed(1011, "broken")]
    talk.line.tick(at + 100)
    assert len(talk.legs) == 4


def test_a_session_that_breaks_off_again_and_again_is_over() -> None:
    talk = opened()
    for n in range(4):
        talk.legs[n].sink.on_close(1011, "", True)
        talk.legs[n + 1].opens()
    talk.legs[4].sink.on_close(1011, "", True)
    assert talk.log[-1] == Closed(1011, "") and len(talk.legs) == 5


def test_a_new_session_is_there_before_the_old_one_is_left() -> None:
    talk = opened()
    talk.line.renew()
    talk.line.renew()  # it is under way
    assert len(talk.legs) == 2 and talk.line.renewing
    talk.line.send(b"to the old one")
    talk.legs[1].opens()
    talk.line.send(b"to the new one")
    assert talk.legs[0].sent[-1] == b"to the old one" and talk.legs[0].closed == (1001, "")
    assert talk.legs[1].sent[-1] == b"to the new one" and "dropped" not in talk.log
    talk.legs[0].sink.on_text(b"late")
    talk.legs[0].sink.on_close(1001, "", True)
    assert talk.log == ["open", "again", "drain"]


def test_a_new_session_waits_for_a_pause() -> None:
    talk = opened()
    talk.line.renew()
    talk.quiet = False
    talk.legs[1].opens()
    talk.line.send(b"to the old one")
    talk.line.tick(now())
    assert talk.legs[0].sent[-1] == b"to the old one" and talk.legs[1].sent == []
    talk.quiet = True
    talk.line.tick(now())
    assert talk.log == ["open", "again", "drain"] and talk.legs[0].closed == (1001, "")


def test_a_new_session_is_there_when_the_old_one_breaks_off() -> None:
    talk = opened()
    talk.line.renew()
    talk.quiet = False
    talk.legs[1].opens()
    talk.legs[0].sink.on_close(1001, "", True)
    assert talk.log == ["open", "dropped", "again", "drain"] and len(talk.legs) == 2


def test_the_old_one_stays_where_no_new_one_can_be_had() -> None:
    talk = opened()
    talk.line.renew()
    talk.legs[1].sink.on_error(REFUSED)
    talk.line.send(b"still here")
    assert talk.legs[0].sent[-1] == b"still here" and talk.log == ["open"]
    talk.line.renew()  # not at every tick
    assert len(talk.legs) == 2
    # and what was tried in vain does not count against mending
    talk.legs[0].sink.on_close(1001, "", True)
    assert talk.log == ["open", "dropped"] and len(talk.legs) == 3


def test_another_key_is_tried() -> None:
    talk = Talk()
    talk.another = True
    talk.line.open()
    talk.legs[0].sink.on_error(REFUSED)
    talk.another = False
    assert talk.log == [] and len(talk.legs) == 2
    talk.legs[1].opens()
    assert talk.log == ["open"]


def test_of_the_sound_that_waits_only_the_newest_is_kept() -> None:
    talk = opened()
    talk.legs[0].sink.on_close(1006, "", False)
    sound = [b"%03d" % n + b"x" * 9997 for n in range(60)]
    talk.line.send(b"first event")
    for n, s in enumerate(sound):
        talk.line.send(s, sound=True)
        if n == 30:
            talk.line.send(b"event between")
    talk.legs[1].opens()
    sent = talk.legs[1].sent[2:]
    kept = [f for f in sent if len(f) == 10_000]
    assert kept == sound[-len(kept) :] and 30 <= len(kept) < 60 and talk.line.dropped == 60 - len(kept)
    assert [f for f in sent if len(f) != 10_000] == [b"first event", b"event between"]


def test_too_much_else_that_waits_is_the_end() -> None:
    talk = opened()
    talk.legs[0].sink.on_close(1006, "", False)
    for _ in range(11):
        talk.line.send(b"x" * 100_000)
    assert talk.log[-1] == Closed(1006, "") and talk.legs[1].aborted


def test_a_pause_holds_for_the_next_session_too() -> None:
    talk = opened()
    talk.line.pause()
    talk.legs[0].sink.on_close(1001, "", True)
    talk.legs[1].opens()
    assert talk.legs[1].paused
    talk.line.resume()
    assert not talk.legs[1].paused


def test_close() -> None:
    talk = opened()
    talk.line.renew()
    talk.line.close(3000, "bye")
    assert talk.legs[0].closed == (3000, "bye") and talk.legs[1].aborted
    talk.line.send(b"nobody")
    talk.line.tick(now() + 100)
    assert talk.log == ["open"]
