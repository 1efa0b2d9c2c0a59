"""Voice sessions and the ends of processes: SIGTERM, SIGKILL, and workers that are asked for what another one carries."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import websockets

from cli.conftest import Serving
from support.talkers import Talker
from support.voice_processes import Place, closed, conversing, ends_and_deletions, limits, taken_up, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("voice-processes")]

MANY = 50
#: Seconds until a session is found lost, with one for the looking.
LOST = 16.0


def children(pid: int) -> list[int]:
    """The processes that `pid` has forked."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def speaks(talker: Talker, n: int) -> None:
    """One turn that is whole, and one in the middle of whose answer it stays."""
    await talker.text(f"milk {n}")
    assert await talker.answer(10) == f"You said: milk {n}."
    await talker.text(f"at length {n}")
    await talker.hear("response.audio.delta", 10)


def heard(talker: Talker) -> str:
    """What it has heard of the last answer, in writing."""
    begun = max(k for k, e in enumerate(talker.heard) if e["type"] == "response.created")
    return "".join(e["delta"] for e in talker.heard[begun:] if e["type"] == "response.audio_transcript.delta")


async def test_a_server_that_is_told_to_end(serving: Serving, tmp_path: Path) -> None:
    """Fifty conversations: each is told so, and nothing that was said is lost."""
    async with conversing(tmp_path) as up:
        with serving() as (p, port):
            place = Place(port)
            await place.ready()
            talkers = [await place.open(f"s{n}", f"u{n}") for n in range(MANY)]
            await asyncio.gather(*[speaks(t, n) for n, t in enumerate(talkers)])
            p.process.send_signal(signal.SIGTERM)
            ends = await asyncio.gather(*[closed(t, 8) for t in talkers])
            assert set(ends) == {(1012, "The server is restarting.")}
            assert await asyncio.to_thread(p.process.wait, 8) == 0
            said = "".join(p.said)
            assert "Traceback" not in said and "could not be kept" not in said
        assert len(up.closed) == MANY
        with serving() as (_, port):
            place = Place(port)
            await place.ready()
            for n, talker in enumerate(talkers):
                (row,) = (await place.listed(f"u{n}")).values()
                assert (row["status"], row["endReason"]) == ("ended", "ended")
                *whole, last = await place.transcript(f"s{n}", f"u{n}")
                assert whole == [
                    ("user", f"milk {n}"),
                    ("assistant", f"You said: milk {n}."),
                    ("user", f"at length {n}"),
                ]
                assert last[0] == "assistant" and last[1].strip().startswith(heard(talker).strip())


async def test_a_server_that_is_killed(serving: Serving, tmp_path: Path) -> None:
    """The last second of what was said may be lost; that the sessions were is found by who comes next."""
    many = 5
    async with conversing(tmp_path):
        with serving() as (p, port):
            place = Place(port)
            await place.ready()
            talkers = [await place.open(f"s{n}") for n in range(many)]
            for n, talker in enumerate(talkers):
                await talker.text(f"milk {n}")
                await talker.answer()
            await asyncio.sleep(1.0)
            for talker in talkers:
                await talker.text("bread")
                await talker.answer()
            os.kill(p.process.pid, signal.SIGKILL)
            killed = time.monotonic()
            for talker in talkers:
                with suppress(websockets.ConnectionClosed):
                    await talker.hear("nothing")
        with serving() as (_, port):
            place = Place(port)
            await place.ready()
            rows = await place.listed()
            assert len(rows) == many
            # one of them is taken up again, although nobody has noticed yet that it was lost
            talker = await place.open("s0")
            await talker.text("butter")
            await talker.answer()
            for n in range(many):
                said = await place.transcript(f"s{n}")
                assert said[:2] == [("user", f"milk {n}"), ("assistant", f"You said: milk {n}.")]
            while any(row.get("endReason") != "lost" for name, row in rows.items() if name != "s0"):
                assert time.monotonic() - killed < LOST, rows
                await asyncio.sleep(0.1)
                rows = await place.listed()
            assert rows["s0"]["status"] == "active"
            await talker.ws.close()


async def test_a_worker_that_is_killed(serving: Serving, tmp_path: Path) -> None:
    """The conversations of the others go on, and those of the dead one may be taken up at once."""
    async with conversing(tmp_path, workers=2, limits={"voice_sessions": 2}):
        with serving() as (p, port):
            one, other = (Place(port, pid) for pid in children(p.process.pid))
            await one.ready()
            dead, lives = await one.open("dead"), await other.open("lives")
            os.kill(children(p.process.pid)[0], signal.SIGKILL)
            with pytest.raises(websockets.ConnectionClosed):
                await dead.hear("nothing")
            began = time.monotonic()
            while True:
                try:
                    talker = await other.open("dead")
                    break
                except (AssertionError, websockets.InvalidStatus):
                    assert time.monotonic() - began < 5, (await other.begin("dead")).text
                    await asyncio.sleep(0.1)
            for t in (talker, lives):
                await t.text("milk")
                assert await t.answer() == "You said: milk."
                await t.ws.close()
            p.process.terminate()
            assert await asyncio.to_thread(p.process.wait, 8) == 0


async def test_two_workers(serving: Serving, tmp_path: Path) -> None:
    """Whatever is asked of the one holds for what the other carries."""
    async with conversing(tmp_path, workers=2, limits={"voice_connects_per_minute": 10_000, "voice_sessions": 3}):
        with serving() as (p, port):
            places = [Place(port, pid) for pid in children(p.process.pid)]
            assert len(places) == 2
            for place in places:
                await place.ready()
            for n, (here, there) in enumerate([places, places[::-1]]):
                await ends_and_deletions(here, there, n)
                await tickets(here, there, n)
                await taken_up(here, there, n)
                await limits(here, there, n, 3)
            said = "".join(p.said)
            assert "Traceback" not in said and re.search(r"vt_\w+", said) is None


async def test_two_workers_that_are_told_to_end(serving: Serving, tmp_path: Path) -> None:
    async with conversing(tmp_path, workers=2):
        with serving() as (p, port):
            places = [Place(port, pid) for pid in children(p.process.pid)]
            await places[0].ready()
            talkers = [await places[n % 2].open(f"s{n}") for n in range(6)]
            await asyncio.gather(*[speaks(t, n) for n, t in enumerate(talkers)])
            p.process.terminate()
            assert set(await asyncio.gather(*[closed(t, 8) for t in talkers])) == {(1012, "The server is restarting.")}
            assert await asyncio.to_thread(p.process.wait, 8) == 0
        with serving("--workers", "1") as (_, port):
            place = Place(port)
            await place.ready()
            assert {r.get("endReason") for r in (await place.listed()).values()} == {"ended"}
            for n in range(6):
                assert len(await place.transcript(f"s{n}")) == 4
