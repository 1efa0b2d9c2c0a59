"""Workers: child processes of this machine, for work that would hold up the server's own process (a library that keeps
the interpreter's lock) or must not be part of it (its licence, its trust in what it reads).

What they say to each other, and the worker's end of it, is in `net.line`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Flow, UpstreamSink
from switchboard.core.types import Call, Headers, Upload
from switchboard.net.line import HEADER, MOST, PIECE, frame

_REAP_EVERY: Final = 0.01  # seconds
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
_head: Final = msgspec.msgpack.Decoder(tuple[int, Headers])


class _Job:
    """One job on its way through the pool; a `core.ports.Flow`."""

    __slots__ = ("_pool", "begun", "child", "job", "over", "paused", "sink", "upload")

    def __init__(self, pool: WorkerPool, job: bytes, upload: Upload | None, sink: UpstreamSink) -> None:
        self._pool = pool
        self.job = job
        self.upload = upload
        self.sink = sink
        self.child: _Child | None = None  # None while it waits for one
        self.paused = False
        self.begun = False  # the sink knows the head
        self.over = False

    def pause(self) -> None:
        self.paused = True
        if self.child is not None:
            self.child.hold()

    def resume(self) -> None:
        self.paused = False
        if self.child is not None:
            self.child.go_on()

    def abort(self) -> None:
        if not self.over:
            self.over = True
            self._pool.abandoned(self)

    def failed(self, error: UpstreamError) -> None:
        """Tell the sink, unless it was told of an end or has turned away."""
        if not self.over:
            self.over = True
            self.sink.on_error(error)

    def broken(self, why: str) -> None:
        """Tell the sink that its worker is gone, or gave up."""
        self.failed(UpstreamError(Fault.CUT if self.begun else Fault.RESET, why))

    def frames(self) -> Iterator[bytes]:
        """What the worker is told. Raises what reading the upload's file does."""
        yield frame(b"J", self.job)
        for chunk in self.upload.chunks(PIECE) if self.upload is not None else ():
            for at in range(0, len(chunk), PIECE):
                yield frame(b"U", chunk[at : at + PIECE])
        yield frame(b"E")


class _Child:
    """One worker process, from its start to its end."""

    def __init__(self, pool: WorkerPool, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self.process = process
        self.ready = False
        self.job: _Job | None = None
        self.idle_since = 0.0
        self.why = "the worker process ended as it started"
        self._in = bytearray()
        self._eof = False
        self._frames: Iterator[bytes] | None = None  # still to be sent
        self._out = memoryview(b"")  # the rest of the one that is being sent
        self._alive = True
        self._loop.add_reader(sock, self._readable)

    def carry(self, job: _Job) -> None:
        """Begin `job`."""
        self.job = job
        job.child = self
        self._frames = job.frames()
        self._out = memoryview(next(self._frames))
        if job.paused:
            self.hold()
        self._loop.add_writer(self._socket, self._writable)

    def hold(self) -> None:
        """Read no more: the worker blocks when the socket is full."""
        if self._alive:
            self._loop.remove_reader(self._socket)

    def go_on(self) -> None:
        """Read again."""
        if self._alive:
            self._loop.add_reader(self._socket, self._readable)
            self._loop.call_soon(self._parse)  # for what was read already

    def kill(self, *, replace: bool = False) -> None:
        """End the process at once; `replace` has another one started, so that the next job finds it warm."""
        if self._alive:
            self._alive = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self.process.kill()
            self._frames = None
            self._pool.gone(self, replace)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._in += data
        self._eof = not data
        self._parse()

    def _parse(self) -> None:
        """Pass on the frames that are whole, until the job is paused."""
        while self._alive and not (self.job is not None and self.job.paused):
            if len(self._in) < HEADER.size:
                break
            kind, size = HEADER.unpack_from(self._in)
            if size > MOST:
                self._fail("the worker does not keep to the frames")
                return
            if len(self._in) < HEADER.size + size:
                break
            payload = bytes(self._in[HEADER.size : HEADER.size + size])
            del self._in[: HEADER.size + size]
            self._frame(kind, payload)
        else:
            return
        if self._eof:
            self._fail("the worker process ended in the middle of the job")

    def _frame(self, kind: bytes, payload: bytes) -> None:
        job = self.job
        if kind == b"R" and not self.ready:
            self.ready = True
            self._pool.free(self)
        elif kind == b"X" and not self.ready:
            self.why = payload.decode(errors="replace")
            self._fail(self.why)
        elif job is None or kind not in b"HDEF" or (kind in b"DE" and not job.begun):
            self._fail("the worker says what it was not asked for")
        elif kind == b"D":
            job.sink.on_data(payload)
        elif kind == b"H":
            try:
                status, headers = _head.decode(payload)
            except msgspec.MsgspecError:
                self._fail("the worker does not keep to the frames")
                return
            job.begun = True
            job.sink.on_head(status, headers)
        else:
            self._over(job, None if kind == b"E" else payload.decode(errors="replace"))

    def _over(self, job: _Job, why: str | None) -> None:
        """The job is done, or failed with `why`: the worker is free for the next one."""
        job.child = self.job = None
        if self._frames is not None:  # an answer before the end of its job leaves nothing to go on with
            self.kill(replace=True)
        else:
            self._pool.free(self)
        if why is not None:
            job.broken(why)
        elif not job.over:
            job.over = True
            job.sink.on_end()

    def _fail(self, why: str) -> None:
        """The process is of no more use."""
        job, self.job = self.job, None
        self.kill(replace=job is not None)
        if job is not None:
            job.child = None
            job.broken(why)

    def _writable(self) -> None:
        """Send as much of one frame as the socket takes."""
        try:
            self._out = self._out[self._socket.send(self._out) :]
            if not self._out:
                self._next()
        except (BlockingIOError, InterruptedError):
            pass
        except ValueError as e:
            self._fail(f"the upload cannot be read: {e}")
        except OSError as e:
            self._fail(f"the worker process takes no more of the job: {e}")

    def _next(self) -> None:
        """Have the next frame sent. The end is known as soon as the last one is gone: the answer may be there at once."""
        frame = next(self._frames, None) if self._frames is not None else None
        if frame is None:
            self._frames = None
            self._loop.remove_writer(self._socket)
        else:
            self._out = memoryview(frame)


class WorkerPool:
    """Runs jobs in at most `size` processes of `module` (default: as many as there are cores), each doing one at a time.

    Up to `queue` further jobs wait. A process that had nothing to do for `idle` seconds is ended. Each may have `memory`
    bytes of address space (where the system can limit another process: Linux), is `nice` to the server, and has nothing of the
    server's but that one socket: no other files, and no variables that may be secrets. Made anywhere, used inside one event loop.
    """

    def __init__(
        self,
        module: str,
        *,
        size: int | None = None,
        queue: int = 16,
        idle: float = 300.0,
        memory: int = 2 << 30,
        nice: int = 10,
    ) -> None:
        self._module = module
        self._size = size or os.cpu_count() or 1
        self._queue = queue
        self._idle_for = idle
        self._memory = memory
        self._nice = nice
        self._children: list[_Child] = []
        self._idle: list[_Child] = []  # the last one in is the first one out
        self._waiting: deque[_Job] = deque()
        self._dying: list[subprocess.Popen[bytes]] = []
        self._reaper: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """The processes that there are."""
        return [c.process.pid for c in self._children]

    @property
    def waiting(self) -> int:
        """How many jobs wait for a process."""
        return len(self._waiting)

    def send(self, job: bytes, upload: Upload | None, sink: UpstreamSink) -> Flow:
        """Have `job` done, with `upload`, whose file stays open and unchanged until the job is over.

        The sink is told `Fault.FULL` where no more jobs may wait, `REFUSED` where no process can be started, `RESET` and
        `CUT` where one failed before or in the middle of its answer; never before this returns."""
        one = _Job(self, job, upload, sink)
        loop = asyncio.get_running_loop()
        busy = sum(c.job is not None for c in self._children)
        if self._closed:
            loop.call_soon(one.failed, UpstreamError(Fault.REFUSED, "the workers are closed"))
        elif busy + len(self._waiting) >= self._size + self._queue:
            error = UpstreamError(Fault.FULL, f"all {self._size} workers are busy, and {len(self._waiting)} jobs wait")
            loop.call_soon(one.failed, error)
        else:
            self._waiting.append(one)
            loop.call_soon(self._dispatch)
        return one

    def prewarm(self) -> None:
        """Have a process ready for the next job."""
        room = len(self._children) < self._size
        if room and not self._closed and not self._idle and all(c.ready for c in self._children):
            self._start()

    def close(self) -> None:
        """End all processes; jobs under way fail."""
        self._closed = True
        loop = asyncio.get_running_loop()
        jobs = [*self._waiting, *(c.job for c in self._children if c.job is not None)]
        self._waiting.clear()
        for child in list(self._children):
            child.kill()
        for job in jobs:
            job.child = None
            loop.call_soon(job.broken, "the workers are closed")
        for timer in (self._reaper, self._sweeper):
            if timer is not None:
                timer.cancel()
        for process in self._dying:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)  # it was killed: milliseconds
        self._dying.clear()

    # -- what jobs and children tell

    def abandoned(self, job: _Job) -> None:
        """Nobody wants `job` any more."""
        child, job.child = job.child, None
        if child is None:
            with contextlib.suppress(ValueError):
                self._waiting.remove(job)
            return
        child.job = None
        child.kill(replace=True)

    def free(self, child: _Child) -> None:
        """`child` is there for the next job."""
        loop = asyncio.get_running_loop()
        child.idle_since = loop.time()
        self._idle.append(child)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_for, self._sweep)
        self._dispatch()

    def gone(self, child: _Child, replace: bool) -> None:
        """`child` was killed, or ended by itself."""
        self._children.remove(child)
        if child in self._idle:
            self._idle.remove(child)
        self._dying.append(child.process)
        loop = asyncio.get_running_loop()
        if self._reaper is None:
            self._reaper = loop.call_later(_REAP_EVERY, self._reap)
        if self._closed:
            return
        if not child.ready and not any(c.ready for c in self._children):
            self._refuse(child.why)
            for other in list(self._children):  # is just starting, and will do no better
                other.kill()
        loop.call_soon(self._fill, replace)

    # -- in turn

    def _dispatch(self) -> None:
        """Bring waiting jobs and processes together."""
        while self._waiting and self._idle:
            self._idle.pop().carry(self._waiting.popleft())
        starting = sum(not c.ready for c in self._children)
        while len(self._waiting) > starting and len(self._children) < self._size:
            if not self._start():
                return
            starting += 1

    def _fill(self, replace: bool) -> None:
        """There is room for a process."""
        if not self._closed:
            self._dispatch()
            if replace:
                self.prewarm()

    def _sweep(self) -> None:
        """End the processes that were idle too long; the oldest stand in front."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        while self._idle and loop.time() - self._idle[0].idle_since >= self._idle_for:
            self._idle[0].kill()
        if self._idle:
            self._sweeper = loop.call_at(self._idle[0].idle_since + self._idle_for, self._sweep)

    def _reap(self) -> None:
        self._dying = [p for p in self._dying if p.poll() is None]
        again = asyncio.get_running_loop().call_later(_REAP_EVERY, self._reap) if self._dying else None
        self._reaper = again

    def _refuse(self, why: str) -> None:
        """No process can be had: nobody is going to do what waits."""
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            asyncio.get_running_loop().call_soon(job.failed, UpstreamError(Fault.REFUSED, why))

    def _start(self) -> bool:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        variables = {k: os.environ[k] for k in _ENVIRONMENT if k in os.environ}
        variables |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            # -P: the directory that the server was started in may be anybody's
            process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                [sys.executable, "-P", "-m", self._module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C on the terminal is the server's
                env=variables,
            )
        except OSError as e:
            ours.close()
            if not self._children:
                self._refuse(f"no worker process can be started: {e}")
            return False
        finally:
            theirs.close()
        self._bind(process)
        self._children.append(_Child(self, process, ours))
        return True

    def _bind(self, process: subprocess.Popen[bytes]) -> None:
        """Limit what a process may take."""
        with contextlib.suppress(OSError):  # it may be over already
            os.setpriority(os.PRIO_PROCESS, process.pid, self._nice)
        if sys.platform == "linux":
            for what, most in ((resource.RLIMIT_AS, self._memory), (resource.RLIMIT_CORE, 0)):
                with contextlib.suppress(OSError):
                    resource.prlimit(process.pid, what, (most, most))


class WorkerTransport:
    """A `core.ports.Transport` over a pool: the body of a call is a job, or an upload whose first piece is one."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def send(self, call: Call, sink: UpstreamSink) -> Flow:
        """See `core.ports.Transport`."""
        if isinstance(call.body, bytes):
            return self._pool.send(call.body, None, sink)
        job, *rest = call.body.pieces
        assert isinstance(job, bytes) and not call.body.growing
        return self._pool.send(job, Upload(tuple(rest)), sink)
