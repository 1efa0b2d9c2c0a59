"""The parts of the supervisor: its line to a worker, the waits after deaths, its sockets, and how it writes."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest

from switchboard.cli.serve import listen
from switchboard.cli.supervisor.line import Line
from switchboard.cli.supervisor.places import Sockets, listeners
from switchboard.cli.supervisor.slot import LONGEST, STEADY, BackOff, Slot, how
from switchboard.cli.supervisor.system import Direct
from switchboard.config.tree import Settings
from switchboard.net.line import HEADER

# ---- the line


def lines(most: int = 1 << 24) -> tuple[Line, Line]:
    a, b = socket.socketpair()
    return Line(a, most), Line(b, most)


def test_both_sides_speak() -> None:
    one, two = lines()
    one.send(b"S", b"settings")
    one.send(b"E", b"drain")
    assert two.receive() == [(b"S", b"settings"), (b"E", b"drain")]
    assert two.receive() == [] and not two.ended
    two.send(b"O")
    assert one.receive() == [(b"O", b"")]
    two.send(b"X", b"last words")
    two.close()
    one.send(b"E", b"now")  # nobody hears it, and nothing is raised
    assert one.receive() == [(b"X", b"last words")] and one.ended
    assert one.receive() == []
    one.send(b"E", b"now")
    one.close()


def test_what_does_not_fit_waits() -> None:
    one, two = lines()
    large = os.urandom(3 << 20)
    one.send(b"S", large)
    one.send(b"E")
    assert one.waiting
    got: list[tuple[bytes, bytes]] = []
    while len(got) < 2:
        got += two.receive()
        one.send_on()
    assert got == [(b"S", large), (b"E", b"")] and not one.waiting
    one.close()
    two.close()


def test_who_never_reads_is_given_up() -> None:
    one, two = lines(1 << 20)
    for _ in range(64):
        one.send(b"S", bytes(100_000))
    assert one.ended
    one.close()
    two.close()


def test_nonsense_is_the_end() -> None:
    one, two = lines()
    one.socket.sendall(HEADER.pack(b"S", 1 << 30))
    assert two.receive() == [] and two.ended
    one.close()
    two.close()


# ---- deaths


def test_waits_grow_and_are_forgotten() -> None:
    b = BackOff()
    assert [b.died(0.1) for _ in range(9)] == [0, 1, 2, 4, 8, 16, LONGEST, LONGEST, LONGEST]
    assert b.died(STEADY) == 0
    assert [b.died(1), b.died(None), b.died(STEADY + 1)] == [1, 2, 0]
    assert [BackOff().died(STEADY - 1), BackOff().died(None)] == [0, 1]
    b = BackOff()
    assert [b.died(None) for _ in range(7)] == [1, 2, 4, 8, 16, LONGEST, LONGEST]


def test_a_place_from_one_worker_to_the_next() -> None:
    s = Slot(3)
    ours, theirs = lines()
    s.filled(1234, ours)
    s.reason = "why"
    s.begun(100.0)
    assert (s.ready, s.tried, s.listens) == (100.0, True, True)
    assert s.left(100.0 + STEADY) == 0
    assert (s.pid, s.line, s.ready, s.due) == (0, None, None, 100.0 + STEADY)
    assert ours.ended
    ours, other = lines()
    s.filled(1235, ours)
    assert (s.due, s.reason, s.tried) == (None, "", True)
    for line in (ours, theirs, other):
        line.close()


def test_how_a_process_ended() -> None:
    assert how(0) == "ended with status 0"
    assert how(-signal.SIGSEGV) == "was killed by SIGSEGV"
    assert how(-60) == "was killed by signal 60"


# ---- sockets


def test_one_port_and_a_socket_for_each() -> None:
    sockets = listeners(Settings(port=0, workers=4))
    assert len(sockets) == 4 and len({s.getsockname() for s in sockets}) == 1
    port = sockets[0].getsockname()[1]
    # nobody comes in between, not with the same option either
    with pytest.raises(SystemExit) as raised:
        listeners(Settings(port=port, workers=4))
    assert raised.value.code == 1
    for s in sockets:
        s.close()
    for s in listeners(Settings(port=port, workers=2)):
        s.close()


def test_two_servers_that_start_at_the_same_moment_do_not_share_a_port() -> None:
    other = listen(Settings(port=0))  # bound only, as this one and the next may both be
    sockets = listeners(Settings(port=other.getsockname()[1], workers=2))
    with pytest.raises(OSError, match="in use"):
        other.listen()
    for s in (other, *sockets):
        s.close()


def test_a_worker_knows_where_the_others_are(tmp_path: Path) -> None:
    sockets = Sockets(Settings(data_dir=str(tmp_path / "data"), workers=3), 8000)
    run = tmp_path / "data" / "run"
    assert sockets.process.socket_of(2) == run / "8000.2.sock"
    assert run.stat().st_mode & 0o777 == 0o700
    second = sockets.of(2)
    assert (second.worker, second.workers, second.boot) == (2, 3, sockets.process.boot)
    assert second.control == sockets.process.control
    other = Sockets(Settings(data_dir=str(tmp_path / "data"), workers=3), 8001)
    assert len(other.process.boot) == 16 and other.process.boot != second.boot
    (run / "8000.1.sock").write_text("")
    (run / "8001.1.sock").write_text("")
    sockets.close()
    assert [p.name for p in run.iterdir()] == ["8001.1.sock"]
    other.close()


# ---- the log


def test_what_the_supervisor_says_never_holds_it_up() -> None:
    reader, writer = os.pipe()
    out = Direct(writer)
    out.write(b"first\n")
    assert os.read(reader, 100) == b"first\n"
    out.write(b"x" * 10_000)
    assert len(os.read(reader, 20_000)) == 10_000
    os.set_blocking(writer, False)
    while select.select([], [writer], [], 0)[1]:
        os.write(writer, b"y" * 4096)
    os.set_blocking(writer, True)
    began = time.monotonic()
    out.write(b"nobody reads this\n")
    assert 0.9 < time.monotonic() - began < 2 and out.lost == 1
    os.close(reader)
    out.write(b"nor this\n")
    os.close(writer)
    out.close()
