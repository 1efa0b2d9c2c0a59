"""The worker processes of one module: begun when there is work, ended when nobody wants what they do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
import sys
from collections import deque
from typing import Final

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Flow, UpstreamSink
from switchboard.core.types import Call, Upload
from switchboard.net.worker.child import Child, Job

_REAP_EVERY: Final = 0.01  # seconds
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")


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
        self._children: list[Child] = []
        self._idle: list[Child] = []  # the last one in is the first one out
        self._waiting: deque[Job] = deque()
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
        one = Job(self, job, upload, sink)
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

    def abandoned(self, job: Job) -> None:
        """Nobody wants `job` any more."""
        child, job.child = job.child, None
        if child is None:
            with contextlib.suppress(ValueError):
                self._waiting.remove(job)
            return
        child.job = None
        child.kill(replace=True)

    def free(self, child: Child) -> None:
        """`child` is there for the next job."""
        loop = asyncio.get_running_loop()
        child.idle_since = loop.time()
        self._idle.append(child)
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_for, self._sweep)
        self._dispatch()

    def gone(self, child: Child, replace: bool) -> None:
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
        self._children.append(Child(self, process, ours))
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
