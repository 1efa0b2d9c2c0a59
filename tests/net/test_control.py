"""Workers ask each other: the wire, whatever cuts it, and siblings that are dead, dumb or talk nonsense."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.gateway import until
from switchboard.core.clock import now
from switchboard.core.process import Process
from switchboard.net.control import (
    QUESTION,
    Control,
    ControlError,
    Frames,
    Siblings,
    answered,
    asked,
    question,
)
from switchboard.net.line import HEADER, frame

# ---- the wire

kinds = st.sampled_from([b"Q", b"A", b"X"])
frames = st.lists(st.tuples(kinds, st.binary(max_size=200)), max_size=8)


@given(frames, st.lists(st.integers(1, 50), max_size=30))
def test_frames_come_whole_however_they_are_cut(sent: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(k, p) for k, p in sent)
    reader, got = Frames(200), []
    for cut in cuts:
        got += reader.feed(data[:cut])
        data = data[cut:]
    got += reader.feed(data)
    assert got == sent


def test_a_frame_that_is_too_large_is_refused_before_it_has_come() -> None:
    assert Frames(10).feed(frame(b"Q", b"x" * 10)) == [(b"Q", b"x" * 10)]
    with pytest.raises(ControlError, match="11 bytes"):
        Frames(10).feed(HEADER.pack(b"Q", 11))


@given(st.text("abcxyz019_.-", min_size=1, max_size=64), st.binary(max_size=300))
def test_a_question_is_read_as_it_was_asked(op: str, payload: bytes) -> None:
    ((kind, data),) = Frames(QUESTION).feed(question(op, payload))
    assert asked(kind, data) == (op, payload)


@given(kinds, st.binary(max_size=100))
def test_what_is_no_question_is_told_apart(kind: bytes, payload: bytes) -> None:
    try:
        op, rest = asked(kind, payload)
    except ControlError:
        return
    assert kind == b"Q" and payload == op.encode() + b"\0" + rest


def test_questions_that_cannot_be_asked() -> None:
    for op in ("", "UPPER", "with blank", "x" * 65, "a\0b"):
        with pytest.raises(ControlError):
            question(op, b"")
    with pytest.raises(ControlError):
        question("op", b"x" * QUESTION)


def test_answers() -> None:
    assert answered(b"A", b"yes") == b"yes"
    with pytest.raises(ControlError, match=r"^no room$"):
        answered(b"X", b"no room")
    with pytest.raises(ControlError):
        answered(b"Q", b"")


# ---- workers


class House:
    """Workers of one server, in this process."""

    def __init__(self, folder: Path, workers: int = 3) -> None:
        self.processes = [Process(n, workers, "boot", str(folder / "8000")) for n in range(workers)]
        self.controls = [Control(p) for p in self.processes]
        self.siblings = [Siblings(p, c) for p, c in zip(self.processes, self.controls, strict=True)]

    async def open(self, *workers: int) -> None:
        for n in workers or range(len(self.controls)):
            await self.controls[n].open()

    def close(self) -> None:
        for c in self.controls:
            c.close()


@pytest.mark.anyio
async def test_each_asks_one_and_all(tmp_path: Path) -> None:
    house = House(tmp_path)
    for n, control in enumerate(house.controls):

        async def later(payload: bytes, n: int = n) -> bytes:
            await asyncio.sleep(0.01)
            return b"%d later %b" % (n, payload)

        control.on("now", lambda payload, n=n: b"%d %b" % (n, payload))  # type: ignore[misc]
        control.on("later", later)
    await house.open()
    for n, siblings in enumerate(house.siblings):
        assert siblings.count == 3
        assert await siblings.ask(1, "now", b"x") == b"1 x"
        assert await siblings.ask_all("now", b"y") == [(0, b"0 y"), (1, b"1 y"), (2, b"2 y")]
        assert [a for _, a in await siblings.ask_all("later", bytes([n]))] == [
            b"%d later %c" % (m, n) for m in range(3)
        ]
    large = bytes(range(256)) * 3000
    assert await house.siblings[0].ask(2, "now", large) == b"2 " + large
    assert not house.controls[1].conversations
    house.close()


@pytest.mark.anyio
async def test_the_only_worker_asks_itself(tmp_path: Path) -> None:
    control = Control(Process())
    control.on("op", lambda payload: payload * 2)
    await control.open()
    siblings = Siblings(Process(), control)
    assert await siblings.ask_all("op", b"a") == [(0, b"aa")]
    with pytest.raises(ControlError):
        await siblings.ask(1, "op")
    control.close()


@pytest.mark.anyio
async def test_what_cannot_be_answered_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house = House(tmp_path, 2)

    def no(payload: bytes) -> bytes:
        raise ControlError("there is no such stream")

    def broken(payload: bytes) -> bytes:
        raise ZeroDivisionError("a secret")

    for control in house.controls:
        control.on("no", no)
        control.on("broken", broken)
        control.on("huge", lambda _: bytes(17 << 20))
    await house.open()
    for siblings in house.siblings:
        for op, why in (
            ("no", r"^there is no such stream$"),
            ("broken", r"^the operation broken failed$"),
            ("unknown", r"^there is no operation unknown$"),
            ("huge", "larger than"),
        ):
            with pytest.raises(ControlError, match=why):
                await siblings.ask(1, op)
            assert await siblings.ask_all(op) == []
    assert "ZeroDivisionError" in caplog.text  # the log knows what who asks is not told
    with pytest.raises(ValueError, match="answered already"):
        house.controls[0].on("no", no)
    with pytest.raises(ValueError, match="no name"):
        house.controls[0].on("No Such", no)
    house.close()


@pytest.mark.anyio
async def test_the_dead_the_dumb_and_the_mad_are_left_out(tmp_path: Path) -> None:
    house = House(tmp_path, 6)
    for control in house.controls:
        control.on("op", lambda _: b"here")
    await house.open(0, 1)
    house.processes[2].socket_of(2).write_text("")  # what is no socket; of the third there is nothing
    dumb, killed = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    dumb.bind(str(house.processes[0].socket_of(4)))
    dumb.listen()
    killed.bind(str(house.processes[0].socket_of(5)))
    killed.close()  # its file is still there
    began = now()
    assert await house.siblings[0].ask_all("op", limit=0.3) == [(0, b"here"), (1, b"here")]
    assert 0.29 < now() - began < 0.8
    with pytest.raises(ControlError, match="worker 4 does not answer"):
        await house.siblings[0].ask(4, "op", limit=0.05)
    for worker in (-1, 6):
        with pytest.raises(ControlError, match="there is no worker"):
            await house.siblings[0].ask(worker, "op")
    for _ in range(2):  # those who asked, and have left
        dumb.accept()[0].close()
    for nonsense in (b"HTTP/1.1 400 Bad Request\r\n\r\n", frame(b"Q", b"op\0"), b"A\0", b""):
        conversation = asyncio.create_task(house.siblings[0].ask(4, "op"))
        peer, _ = await asyncio.to_thread(dumb.accept)
        peer.sendall(nonsense)
        peer.close()
        with pytest.raises(ControlError):
            await conversation
    dumb.close()
    house.close()


@pytest.mark.anyio
async def test_a_worker_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    house = House(tmp_path, 2)
    for control in house.controls:
        control.on("op", lambda _: b"here")
    await house.open()
    path = house.processes[1].socket_of(1)
    assert (stat.S_ISSOCK(path.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (True, 0o600)
    house.controls[1].close()
    assert not path.exists()
    assert await house.siblings[0].ask_all("op") == [(0, b"here")]
    left = socket.socket(socket.AF_UNIX)  # by one that was killed
    left.bind(str(path))
    left.close()
    await house.open(1)
    assert await house.siblings[0].ask_all("op") == [(0, b"here"), (1, b"here")]
    house.close()


@pytest.mark.anyio
async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    house = House(tmp_path / "nowhere")
    with pytest.raises(OSError, match="No such file"):
        await house.open()
    house.close()


@pytest.mark.anyio
async def test_who_asks_badly_hears_so_and_holds_nothing_up(tmp_path: Path) -> None:
    house = House(tmp_path, 2)
    house.controls[0].on("op", lambda _: b"here")
    await house.open()
    path = house.processes[0].socket_of(0)
    for nonsense, why in (
        (b"GET / HTTP/1.1\r\n\r\n", b"bytes"),
        (frame(b"A", b"x"), b"no question"),
        (HEADER.pack(b"Q", QUESTION + 1), b"are allowed"),
        (frame(b"Q", b"op"), b"no question"),
    ):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(nonsense)
        assert why in await reader.read()
        writer.close()
    # half a question holds its connection for a second, and no longer
    began = now()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(question("op", b"x" * 100)[:-1])
    many = [await asyncio.open_unix_connection(path) for _ in range(100)]
    assert await house.siblings[1].ask_all("op") in ([], [(0, b"here")])  # as many as may be there are
    assert await reader.read() == b""
    assert now() - began < 1.5
    await until(lambda: not house.controls[0].conversations)
    for _, w in (*many, (reader, writer)):
        w.close()
    assert await house.siblings[1].ask(0, "op") == b"here"
    house.close()


@pytest.mark.anyio
async def test_what_nobody_waits_for_is_given_up(tmp_path: Path) -> None:
    house = House(tmp_path, 2)
    ended = asyncio.Event()

    async def slow(_: bytes) -> bytes:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return b""

    house.controls[0].on("slow", slow)
    await house.open()
    with pytest.raises(ControlError, match="does not answer"):
        await house.siblings[1].ask(0, "slow", limit=0.05)
    async with asyncio.timeout(2):
        await ended.wait()
    house.close()
