"""The pool of worker processes: real processes that do as a script says, and nothing is left of them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.gateway import until
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Flow
from switchboard.core.types import Headers, Segment, Upload
from switchboard.net.worker import WorkerPool

pytestmark = pytest.mark.anyio

SCRIPTED = """
import hashlib, json, os, resource, sys, time
from switchboard.net.line import Line

line = Line(int(sys.argv[1]))
line.send(b"R")
while True:
    try:
        kind, job = line.receive()
        sha, size, read = hashlib.sha256(), 0, False
        for step, value in json.loads(job):
            if step == "read":
                while True:
                    kind, data = line.receive()
                    if kind == b"E":
                        break
                    sha.update(data)
                    size += len(data)
                read = True
            elif step == "head":
                line.head(value, {b"content-type": b"text/plain"})
            elif step == "data":
                line.send(b"D", value.encode())
            elif step == "many":
                for n in range(value):
                    line.send(b"D", b"%08d" % n * 1024)
            elif step == "digest":
                line.send(b"D", f"{size} {sha.hexdigest()}".encode())
            elif step == "self":
                line.send(b"D", json.dumps({
                    "fds": sorted(int(n) for n in os.listdir("/proc/self/fd")), "env": sorted(os.environ),
                    "nice": os.nice(0), "memory": resource.getrlimit(resource.RLIMIT_AS), "fd": int(sys.argv[1]),
                }).encode())
            elif step == "wait":
                time.sleep(value)
            elif step == "die":
                os._exit(value)
            elif step == "raw":
                line._socket.sendall(bytes.fromhex(value))
            elif step == "fail":
                line.send(b"F", value.encode())
                break
        else:
            line.send(b"E")
    except EOFError:
        break
"""
CANNOT = """
import sys
from switchboard.net.line import Line
Line(int(sys.argv[1])).send(b"X", b"it lacks a part: pip install part")
"""


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops: the pool reads and writes sockets by itself."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scripted_worker.py").write_text(SCRIPTED)
    (tmp_path / "cannot_worker.py").write_text(CANNOT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


class Sink:
    """Notes what a job tells it, and that it is told of one end only."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = {}
        self.body = bytearray()
        self.pieces = 0
        self.ended = 0
        self.errors: list[UpstreamError] = []
        self.over = asyncio.Event()
        self.sent = False
        self.flow: Flow | None = None
        self.on_each: Callable[[str], None] = lambda _: None

    def on_head(self, status: int, headers: Headers) -> None:
        assert self.sent and not self.over.is_set()
        self.status, self.headers = status, headers
        self.on_each("head")

    def on_data(self, data: bytes) -> None:
        assert self.status and not self.over.is_set()
        self.body += data
        self.pieces += 1
        self.on_each("data")

    def on_end(self) -> None:
        self.ended += 1
        self.over.set()

    def on_error(self, error: UpstreamError) -> None:
        assert self.sent
        self.errors.append(error)
        self.over.set()

    async def whole(self) -> bytes:
        """The body, once it is whole; raises what the job failed with."""
        async with asyncio.timeout(20):
            await self.over.wait()
        await asyncio.sleep(0)
        assert self.ended + len(self.errors) == 1
        if self.errors:
            raise self.errors[0]
        return bytes(self.body)

    async def error(self) -> UpstreamError:
        """What it failed with."""
        with pytest.raises(UpstreamError) as e:
            await self.whole()
        return e.value


def send(pool: WorkerPool, *steps: tuple[str, Any], upload: Upload | None = None, sink: Sink | None = None) -> Sink:
    sink = sink or Sink()
    sink.flow = pool.send(json.dumps(steps).encode(), upload, sink)
    sink.sent = True
    return sink


HELLO = (("read", None), ("head", 200), ("data", "hello"))


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@asynccontextmanager
async def workers(module: str = "scripted_worker", **more: Any) -> AsyncIterator[WorkerPool]:
    """A pool; at the end nothing may be left of it."""
    pool = WorkerPool(module, **more)
    fds = len(os.listdir("/proc/self/fd"))
    try:
        yield pool
    finally:
        pids = pool.pids
        pool.close()
        assert not pool.pids and not any(alive(p) for p in pids)
        assert len(os.listdir("/proc/self/fd")) <= fds


# ---- answers


async def test_an_answer() -> None:
    async with workers(size=1) as pool:
        pids: set[int] = set()
        for upload in (None, Upload((b"x",)), Upload((b"x" * 300_000,))) * 5:
            sink = send(pool, *HELLO, upload=upload)
            assert await sink.whole() == b"hello"
            assert (sink.status, sink.headers) == (200, {b"content-type": b"text/plain"})
            pids |= set(pool.pids)
        assert len(pids) == 1


async def test_an_upload_comes_whole() -> None:
    data = os.urandom(3_000_000)
    upload = Upload((b"a" * 200_000, Segment(io.BytesIO(data), 1000, 2_900_000), b"", b"z"))
    expected = hashlib.sha256(b"a" * 200_000 + data[1000:2_901_000] + b"z").hexdigest()
    async with workers(size=1) as pool:
        sink = send(pool, ("read", None), ("head", 200), ("digest", None), upload=upload)
        assert await sink.whole() == f"3100001 {expected}".encode()


async def test_an_upload_is_read_no_faster_than_it_is_taken() -> None:
    class Counting(io.BytesIO):
        given = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.given += len(data)
            return data

    file = Counting(b"x" * 8_000_000)
    upload = Upload((Segment(file, 0, 8_000_000),))
    async with workers(size=1) as pool:
        await send(pool, *HELLO).whole()
        sink = send(pool, ("wait", 0.5), ("read", None), ("head", 200), ("digest", None), upload=upload)
        await asyncio.sleep(0.25)
        assert 0 < file.given < 1_000_000
        assert (await sink.whole()).startswith(b"8000000 ")


async def test_pause_and_resume() -> None:
    async with workers(size=1) as pool:
        sink = Sink()

        def hold(_: str) -> None:
            assert sink.flow is not None
            sink.flow.pause()

        sink.on_each = hold
        send(pool, ("read", None), ("head", 200), ("many", 500), sink=sink)
        await until(lambda: sink.status == 200)
        for expected in (1, 2, 3):
            assert sink.flow is not None
            sink.flow.resume()
            await until(lambda n=expected: sink.pieces == n)
            await asyncio.sleep(0.02)
            assert sink.pieces == expected
        sink.on_each = lambda _: None
        assert sink.flow is not None
        sink.flow.resume()
        assert await sink.whole() == b"".join(b"%08d" % n * 1024 for n in range(500))


async def test_paused_before_there_is_a_process() -> None:
    async with workers(size=1) as pool:
        sink = send(pool, *HELLO)
        assert sink.flow is not None
        sink.flow.pause()
        await until(lambda: len(pool.pids) == 1)
        await asyncio.sleep(0.4)
        assert not sink.status
        sink.flow.resume()
        assert await sink.whole() == b"hello"


# ---- aborts


async def test_abort_kills_and_the_next_job_finds_a_process() -> None:
    async with workers(size=2) as pool:
        sink = send(pool, ("read", None), ("head", 200), ("wait", 60))
        await until(lambda: sink.status == 200)
        (pid,) = pool.pids
        assert sink.flow is not None
        sink.flow.abort()
        sink.flow.abort()
        await until(lambda: not alive(pid), within=1)
        await until(lambda: len(pool.pids) == 1)  # the spare one
        assert pool.pids != [pid]
        assert await send(pool, *HELLO).whole() == b"hello"
        assert not sink.over.is_set()
        sink.flow.resume()
        sink.flow.pause()


@pytest.mark.parametrize("when", ["head", "data"])
async def test_abort_by_what_is_told(when: str) -> None:
    async with workers(size=1) as pool:
        sink = Sink()

        def leave(what: str) -> None:
            if what == when:
                assert sink.flow is not None
                sink.flow.abort()

        sink.on_each = leave
        send(pool, *HELLO, ("data", "more"), sink=sink)
        assert await send(pool, *HELLO).whole() == b"hello"
        assert sink.status == 200 and not sink.over.is_set()
        assert bytes(sink.body) == (b"hello" if when == "data" else b"")


async def test_abort_of_what_waits() -> None:
    async with workers(size=1) as pool:
        first = send(pool, *HELLO, ("wait", 0.2))
        second, third = send(pool, *HELLO), send(pool, *HELLO)
        assert second.flow is not None
        second.flow.abort()
        assert await first.whole() == await third.whole() == b"hello"
        assert not second.status and not second.over.is_set()


# ---- bounds


async def test_jobs_wait_in_turn_up_to_a_bound() -> None:
    async with workers(size=2, queue=3) as pool:
        sinks = [send(pool, ("read", None), ("head", 200), ("wait", 0.1), ("data", str(n))) for n in range(7)]
        assert [e.fault for s in sinks[5:] for e in [await s.error()]] == [Fault.FULL] * 2
        assert [await s.whole() for s in sinks[:5]] == [b"0", b"1", b"2", b"3", b"4"]
        assert len(pool.pids) == 2 and pool.waiting == 0
        assert await send(pool, *HELLO).whole() == b"hello"


async def test_a_process_has_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with workers(size=2, memory=1 << 30, nice=7) as pool:
        one, other = (send(pool, ("read", None), ("head", 200), ("wait", 0.1), ("self", None)) for _ in range(2))
        for sink in (one, other):
            found = json.loads(await sink.whole())
            assert [fd for fd in found["fds"] if fd > 2 and fd != found["fd"]][1:] == []  # listing opens one
            assert (found["nice"], found["memory"]) == (os.nice(0) + 7, [1 << 30, 1 << 30])
            assert "OPENAI_API_KEY" not in found["env"]


async def test_idle_processes_are_ended() -> None:
    async with workers(size=2, idle=0.2) as pool:
        await asyncio.gather(*(send(pool, *HELLO, ("wait", 0.1)).whole() for _ in range(2)))
        pids = pool.pids
        assert len(pids) == 2
        await until(lambda: not pool.pids and not any(alive(p) for p in pids))
        assert await send(pool, *HELLO).whole() == b"hello"


async def test_prewarm_starts_one() -> None:
    async with workers(size=3) as pool:
        pool.prewarm()
        pool.prewarm()
        assert len(pool.pids) == 1
        pids = pool.pids
        assert await send(pool, *HELLO).whole() == b"hello"
        pool.prewarm()
        assert pool.pids == pids


async def test_close() -> None:
    async with workers(size=1) as pool:
        busy = send(pool, ("read", None), ("head", 200), ("wait", 60))
        waits = send(pool, *HELLO)
        await until(lambda: busy.status == 200)
        pool.close()
        late = send(pool, *HELLO)
        faults = [(await s.error()).fault for s in (busy, waits, late)]
        assert faults == [Fault.CUT, Fault.RESET, Fault.REFUSED]
        pool.prewarm()
        assert not pool.pids


# ---- processes that fail


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([("read", None), ("die", 3)], Fault.RESET),
        ([("read", None), ("head", 200), ("data", "some"), ("die", 0)], Fault.CUT),
        ([("read", None), ("data", "no head")], Fault.RESET),
        ([("read", None), ("head", 200), ("raw", "44ffffffff")], Fault.CUT),
        ([("read", None), ("raw", "4800000001c1")], Fault.RESET),
        ([("read", None), ("raw", "5a00000000")], Fault.RESET),
        ([("read", None)], Fault.RESET),
    ],
)
async def test_a_process_that_fails_is_replaced(steps: list[tuple[str, Any]], fault: Fault) -> None:
    async with workers(size=1) as pool:
        await send(pool, *HELLO).whole()
        pids = pool.pids
        failing, waiting = send(pool, *steps), send(pool, *HELLO)
        assert (await failing.error()).fault == fault
        assert await waiting.whole() == b"hello"
        assert pool.pids != pids


async def test_a_process_that_is_killed_is_replaced() -> None:
    async with workers(size=1) as pool:
        sink = send(pool, ("read", None), ("head", 200), ("wait", 60))
        await until(lambda: sink.status == 200)
        os.kill(pool.pids[0], signal.SIGKILL)
        assert (await sink.error()).fault == Fault.CUT
        assert await send(pool, *HELLO).whole() == b"hello"


async def test_a_process_that_dies_idle_is_not_missed() -> None:
    async with workers(size=1) as pool:
        await send(pool, *HELLO).whole()
        os.kill(pool.pids[0], signal.SIGKILL)
        await until(lambda: not pool.pids)
        assert await send(pool, *HELLO).whole() == b"hello"


@pytest.mark.parametrize("head", [True, False])
async def test_a_job_that_fails_leaves_its_process(head: bool) -> None:
    async with workers(size=1) as pool:
        steps = [("read", None), *([("head", 200)] if head else []), ("fail", "no such voice")]
        error = await send(pool, *steps).error()
        assert (error.fault, error.message) == (Fault.CUT if head else Fault.RESET, "no such voice")
        pids = pool.pids
        assert await send(pool, *HELLO).whole() == b"hello"
        assert pool.pids == pids


async def test_an_answer_before_the_end_of_its_upload() -> None:
    async with workers(size=1) as pool:
        upload = Upload((Segment(io.BytesIO(b"x" * 4_000_000), 0, 4_000_000),))
        sink = send(pool, ("head", 200), ("data", "early"), upload=upload)
        assert await sink.whole() == b"early"
        assert await send(pool, *HELLO).whole() == b"hello"


@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_an_upload_that_cannot_be_read(size: int) -> None:
    async with workers(size=1) as pool:
        short = Upload((Segment(io.BytesIO(b"x" * (size - 5)), 0, size),))
        closed = io.BytesIO(b"x" * size)
        closed.close()
        for upload in (short, Upload((Segment(closed, 0, size),))):
            error = await send(pool, *HELLO, upload=upload).error()
            assert error.fault == Fault.RESET and "upload" in error.message
            assert await send(pool, *HELLO).whole() == b"hello"


@pytest.mark.parametrize(
    ("module", "says"), [("cannot_worker", "it lacks a part: pip install part"), ("no_such_worker", "as it started")]
)
async def test_a_process_that_cannot_start(module: str, says: str) -> None:
    async with workers(module, size=2) as pool:
        for sink in [send(pool, *HELLO) for _ in range(3)]:
            error = await sink.error()
            assert error.fault == Fault.REFUSED and says in error.message
        assert not pool.pids


async def test_no_process_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    async with workers(size=2) as pool:
        pool.prewarm()
        error = await send(pool, *HELLO).error()
        assert error.fault == Fault.REFUSED and "No such file" in error.message


@pytest.mark.parametrize("busy", [True, False])
async def test_processes_end_with_the_server(busy: bool) -> None:
    job = json.dumps([["read", None], ["head", 200], ["many", 1_000_000]] if busy else list(HELLO))
    server = f"""
import asyncio, os
from switchboard.net.worker import WorkerPool
class Sink:
    def on_head(self, *_):
        print(*pool.pids, flush=True)
        os.kill(os.getpid(), 9)
    def on_data(self, _): pass
    def on_error(self, e): raise e
async def main():
    global pool
    pool = WorkerPool("scripted_worker", size=1)
    pool.send({job.encode()!r}, None, Sink())
    await asyncio.sleep(20)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", server, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    pid = int(out)
    await until(lambda: not alive(pid) or "zombie" in Path(f"/proc/{pid}/status").read_text())
