"""What is sent while the frames of one piece are read goes out together, in order, and nothing of it is lost."""

from __future__ import annotations

import pytest

from support.sockets import Heard, closing, frame, served, until

pytestmark = pytest.mark.anyio


async def test_answers_wait_for_the_end_of_the_turn() -> None:
    waiting: list[int] = []

    def answer(heard: Heard, kind: str, data: bytes) -> None:
        heard.open.send_text(data)
        waiting.append(heard.open.waiting)

    async with served(then=answer) as s:
        raw = await s.connect()
        raw.send(*(frame(0x81, b"%03d" % n) for n in range(100)))
        assert [(await raw.frame())[1] for n in range(100)] == [b"%03d" % n for n in range(100)]
        # one frame by itself goes at once; of many that came together each waited for the last
        assert max(waiting) > 300 and s.heard.open.waiting == 0
        raw.close()


async def test_a_close_comes_behind_what_waits() -> None:
    def answer(heard: Heard, kind: str, data: bytes) -> None:
        heard.open.send_text(data)
        if data == b"end":
            heard.open.close(4000, "enough")

    async with served(then=answer) as s:
        raw = await s.connect()
        raw.send(frame(0x81, b"one"), frame(0x81, b"two"), frame(0x81, b"end"), frame(0x81, b"late"))
        assert [(await raw.frame())[1] for _ in range(3)] == [b"one", b"two", b"end"]
        assert await raw.close_frame() == (4000, "enough")
        raw.close()


async def test_what_waits_is_told_before_a_violation() -> None:
    async with served() as s:
        raw = await s.connect()
        raw.send(frame(0x81, b"one"), frame(0x81, b"two"), frame(0x83, b"nonsense"))
        assert [(await raw.frame())[1] for _ in range(2)] == [b"one", b"two"]
        assert (await raw.close_frame())[0] == 1002
        assert await raw.ended()


async def test_large_messages_keep_their_place() -> None:
    large = b"x" * 20_000
    async with served() as s:
        raw = await s.connect()
        raw.send(frame(0x81, b"one"), frame(0x81, large), frame(0x81, b"two"), frame(0x82, large), closing(1000))
        assert [(await raw.frame())[1] for _ in range(4)] == [b"one", large, b"two", large]
        assert await raw.close_frame() == (1000, "")
        await until(lambda: s.heard.closed)


async def test_one_that_is_broken_off_says_nothing_more() -> None:
    def answer(heard: Heard, kind: str, data: bytes) -> None:
        heard.open.send_text(data)
        if data == b"break":
            heard.open.abort()

    async with served(then=answer) as s:
        raw = await s.connect()
        raw.send(frame(0x81, b"one"), frame(0x81, b"break"), frame(0x81, b"two"))
        assert await raw.ended()
        # and the next one is served as ever
        other = await s.connect()
        other.send(frame(0x81, b"hello"))
        assert (await other.frame())[1] == b"hello"
        other.close()
