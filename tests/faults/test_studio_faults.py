"""The offline studio under clients that leave, workers that are killed, and more work than it takes; over both shells."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.client import Connection, chat, request
from support.forms import FORM, File, form
from support.gateway import Gateway, gateway, until
from switchboard.core.clock import now

pytestmark = pytest.mark.anyio

SENTENCE = "The children are playing in the garden behind the house. "
#: More sound than all buffers on the way hold, 9 MB, spoken in about half a second.
LONG = (SENTENCE * 100)[:4000]
#: The promise: so soon is a worker killed that nobody waits for. The system may take longer to clear it away, where it has more
#: to do than it can: workers are nice.
WITHIN = 0.1
#: How long a chat's stream may stand still while four recordings are listened to. On two cores 3 to 30 ms were seen.
GAP = 0.25
PACE = 0.02


@asynccontextmanager
async def studio(shell: str, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway with two workers, however many cores there are."""
    async with gateway(shell, **settings) as g:
        g.app.workers._size = 2
        yield g


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def spoken(path: str, text: str = LONG, format_: str = "pcm") -> bytes:
    """A request for speech."""
    if path == "/api/tts":
        return request(path, {"text": text, "format": format_})
    return request(path, {"model": "espeak", "input": text, "voice": "alloy", "response_format": format_})


async def a_worker(g: Gateway) -> int:
    """The one process that waits for work."""
    await until(lambda: len(g.app.workers._idle) == 1)
    (pid,) = g.app.workers.pids
    return pid


async def recording(g: Gateway, sentences: int) -> bytes:
    """A form with speech, which takes a second or so for every sentence to be written down."""
    a = await g.ask("/api/tts", {"text": SENTENCE * sentences, "format": "mp3"})
    assert (a.status, a.whole) == (200, True)
    file: File = ("file", "a.mp3", "audio/mpeg", a.body)
    return form({"model": "pocketsphinx"}, file)


async def blocked(g: Gateway, path: str) -> Connection:
    """A client that asked for speech, read its beginning, and reads no more of it."""
    c = await Connection.open(g.port, limit=4096)
    before = set(g.app.registry.open)
    await c.send(spoken(path))
    status, headers = await c.head()
    assert (status, headers["content-type"]) == (200, "audio/pcm")
    assert await c.chunk()
    (exchange,) = set(g.app.registry.open) - before
    await until(lambda: exchange._paused)  # type: ignore[attr-defined]
    return c


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/tts"])
async def test_who_leaves_in_the_middle_of_a_speech_is_not_waited_for(shell: str, path: str, how: str) -> None:
    async with studio(shell) as g:
        for n in range(3):
            pid = await a_worker(g)
            c = await blocked(g, path)
            assert g.app.workers.pids == [pid]
            left = now()
            if how == "reset":
                c.reset()
            else:
                c.close()
            await until(lambda pid=pid: pid not in g.app.workers.pids)
            assert now() - left < WITHIN
            await until(lambda pid=pid: not alive(pid))
            r = await g.record(n + 1)
            assert (r.path, r.outcome, r.status) == (path, "client_left", 200)
        assert not g.app.registry.open
        await a_worker(g)


async def test_a_slow_reader_gets_all_of_it(shell: str) -> None:
    """Its worker waits for it; others do not."""
    async with studio(shell) as g:
        slow = await blocked(g, "/v1/audio/speech")
        quick = await g.ask("/api/tts", {"text": "Hello.", "format": "wav"})
        assert (quick.status, quick.whole) == (200, True)
        size = 0
        while data := await asyncio.wait_for(slow.chunk(), 5):
            size += len(data)
        assert data == b"" and size > 9_000_000
        slow.close()
        assert {r.outcome for r in g.records} == {"complete"}


@pytest.mark.parametrize("when", ["listening", "waiting"])
@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/api/transcribe"])
async def test_who_leaves_a_transcription_is_not_waited_for(shell: str, path: str, when: str) -> None:
    """A recogniser ends with its client, and what only waits for one is forgotten."""
    async with studio(shell) as g:
        body = await recording(g, 12)
        if when == "waiting":
            busy = [await blocked(g, "/api/tts") for _ in range(g.app.workers._size)]
        c = await g.connect()
        await c.send(request(path, body, FORM))
        if when == "listening":
            await until(lambda: any(x.job is not None for x in g.app.workers._children))
            await asyncio.sleep(0.3)
            pids = {x.process.pid for x in g.app.workers._children if x.job is not None}
            left = now()
            c.close()
            await until(lambda: not pids & set(g.app.workers.pids))
            assert now() - left < WITHIN
            await until(lambda: not any(alive(p) for p in pids))
        else:
            await until(lambda: g.app.workers.waiting == 1)
            left = now()
            c.close()
            await until(lambda: g.app.workers.waiting == 0)
            assert now() - left < WITHIN
            for client in busy:
                client.reset()
        await until(lambda: not g.app.registry.open)
        assert (await g.ask("/api/tts", {"text": "Hello."})).status == 200


async def gaps(g: Gateway, over: asyncio.Event) -> list[float]:
    """Seconds between the chunks of a chat's stream, until `over`."""
    c = await g.connect()
    await c.send(request("/v1/chat/completions", chat("word " * 5000, model="echo", stream=True)))
    await c.head()
    times = []
    while not over.is_set():
        assert await asyncio.wait_for(c.chunk(), 5)
        times.append(now())
    c.reset()
    return [later - earlier for earlier, later in pairwise(times)]


async def test_a_chat_goes_on_while_four_recordings_are_listened_to() -> None:
    """The shell has no part in it."""
    async with studio("splice", providers={"offline": {"pace": PACE}}) as g:
        body = await recording(g, 1)
        over = asyncio.Event()
        watching = asyncio.create_task(gaps(g, over))
        answers = await asyncio.gather(*[g.ask("/api/transcribe", body, FORM) for _ in range(4)])
        over.set()
        found = await watching
        assert [a.status for a in answers] == [200] * 4
        assert all("garden behind" in a.json["text"] for a in answers)
        assert len(found) > 20
        worst = max(found)
        print(f"the stream stood still for {worst * 1000:.0f} ms at most")
        assert worst < PACE + GAP
        assert len(g.app.workers.pids) <= g.app.workers._size


@pytest.mark.parametrize(("shell", "path"), [("splice", "/v1/audio/transcriptions"), ("asgi", "/api/transcribe")])
async def test_a_worker_that_is_killed_while_it_listens(shell: str, path: str) -> None:
    async with studio(shell, retry={"attempts": 1}) as g:
        body = await recording(g, 12)
        pid = await a_worker(g)
        asking = asyncio.create_task(g.ask(path, body, FORM))
        await until(lambda: any(x.job is not None for x in g.app.workers._children))
        await asyncio.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        killed = now()
        a = await asyncio.wait_for(asking, 5)
        assert now() - killed < 0.5
        error = a.json["error"]
        # before or behind the head of its answer, which goes out once it knows how long the recording is
        assert error["code"].lower() in ("provider_unreachable", "provider_cut")
        assert error["message"] in ("Offline could not be reached.", "Offline's answer was cut off.")
        assert (a.status, a.json["request_id"]) == (502, a.headers["x-request-id"])
        assert ("type" in error, error["code"].islower()) == (path.startswith("/v1"),) * 2
        again = await g.ask(path, await recording(g, 1), FORM)
        assert again.status == 200 and "garden" in again.json["text"]
        assert pid not in g.app.workers.pids
        assert [r.outcome for r in g.records if r.path == path] == ["upstream_error", "complete"]


async def test_a_worker_that_is_killed_is_not_missed(shell: str) -> None:
    """Another one does what it was asked for, as nothing of an answer has gone out."""
    async with studio(shell) as g:
        body = await recording(g, 1)
        pid = await a_worker(g)
        asking = asyncio.create_task(g.ask("/v1/audio/transcriptions", body, FORM))
        await until(lambda: any(x.job is not None for x in g.app.workers._children))
        await asyncio.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        a = await asking
        assert a.status == 200 and "garden" in a.json["text"]
        r = g.records[-1]
        assert (r.attempts, r.outcome) == (2, "complete")


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/tts"])
async def test_a_worker_that_is_killed_while_it_speaks(shell: str, path: str) -> None:
    """Half a speech never looks like a whole one."""
    async with studio(shell) as g:
        c = await blocked(g, path)
        (pid,) = g.app.workers.pids
        os.kill(pid, signal.SIGKILL)
        while data := await asyncio.wait_for(c.chunk(), 5):
            pass
        assert data is None
        c.close()
        r = await g.record()
        assert (r.status, r.outcome, r.error) == (200, "upstream_cut", "PROVIDER_CUT")
        assert (await g.ask("/api/tts", {"text": "Hello."})).status == 200


async def test_there_is_room_for_so_many(shell: str) -> None:
    """As many as there are workers are at work, and sixteen wait; the next one is told to come later."""
    async with studio(shell, retry={"attempts": 1}) as g:
        size = g.app.workers._size
        room = size + g.app.workers._queue
        clients = [await blocked(g, "/v1/audio/speech") for _ in range(size)]
        for n in range(1, room - size + 1):
            clients.append(await g.connect())
            await clients[-1].send(spoken("/v1/audio/speech", "Hello.", "mp3"))
            await until(lambda n=n: g.app.workers.waiting == n)
        for path, body, headers in (
            ("/v1/audio/speech", {"model": "espeak", "input": "Hello.", "voice": "alloy"}, {}),
            ("/v1/audio/transcriptions", form({"model": "pocketsphinx"}, ("file", "a.wav", "audio/wav", b"x")), FORM),
            ("/v1/images/generations", {"prompt": "a fox"}, {}),
            ("/api/tts", {"text": "Hello."}, {}),
            ("/images/generate", {"prompt": "a fox"}, {}),
        ):
            began = now()
            a = await g.ask(path, body, headers)
            assert (a.status, a.json["error"]["code"].lower()) == (503, "overloaded"), a.text
            assert int(a.headers["retry-after"]) >= 1
            assert now() - began < 1
        assert (await g.ask("/v1/embeddings", {"input": "Hello"})).status == 200  # needs no worker
        for c in clients[:size]:
            c.reset()
        for c in clients[size:]:
            async with asyncio.timeout(20):
                a = await c.answer()
            assert (a.status, a.whole, a.headers["content-type"]) == (200, True, "audio/mpeg")
            c.close()
        assert g.app.workers.waiting == 0


async def test_what_is_said_before_the_queue_is_full_is_said_in_turn(shell: str) -> None:
    """A dozen at once, with two workers."""
    async with studio(shell) as g:
        answers = await asyncio.gather(
            *[g.ask("/api/tts", {"text": f"Number {n}.", "format": "wav"}) for n in range(12)]
        )
        assert [(a.status, a.whole) for a in answers] == [(200, True)] * 12
        assert len(g.app.workers.pids) <= g.app.workers._size


async def test_a_studio_that_lacks_a_part_says_so(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask for it, and whenever: nobody waits for a process that never comes."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['lameenc'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with studio(shell, retry={"attempts": 1}) as g:
        asking = []
        for _ in range(8):
            asking.append(asyncio.create_task(g.ask("/api/tts", {"text": "Hello."})))
            await asyncio.sleep(0.04)
        answers = await asyncio.wait_for(asyncio.gather(*asking), 10)
        assert {(a.status, a.json["error"]["code"]) for a in answers} == {(502, "PROVIDER_UNREACHABLE")}
        assert "pip install 'switchboard[offline]'" in await g.log()
        await until(lambda: not g.app.workers.pids)  # and none is started for nobody


async def test_the_server_stops_while_it_speaks_and_listens(shell: str) -> None:
    async with studio(shell) as g:
        body = await recording(g, 12)
        speech = await blocked(g, "/api/tts")
        listening = await g.connect()
        await listening.send(request("/api/transcribe", body, FORM))
        await until(lambda: sum(x.job is not None for x in g.app.workers._children) == 2)
        pids = g.app.workers.pids
    assert not any(alive(p) for p in pids)
    a = await asyncio.wait_for(listening.answer(), 5)
    assert (a.status, json.loads(a.body)["error"]["code"]) == (503, "SERVER_RESTARTING")
    while data := await asyncio.wait_for(speech.chunk(), 5):
        pass
    assert data is None
    listening.close()
    speech.close()
