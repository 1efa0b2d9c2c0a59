"""One worker process, and the job that it has."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import UpstreamSink
from switchboard.core.types import Headers, Upload
from switchboard.net.line import HEADER, MOST, PIECE, frame

if TYPE_CHECKING:
    from switchboard.net.worker.pool import WorkerPool

_head: Final = msgspec.msgpack.Decoder(tuple[int, Headers])


class Job:
    """One job on its way through the pool; a `core.ports.Flow`."""

    __slots__ = ("_pool", "begun", "child", "job", "over", "paused", "sink", "upload")

    def __init__(self, pool: WorkerPool, job: bytes, upload: Upload | None, sink: UpstreamSink) -> None:
        self._pool = pool
        self.job = job
        self.upload = upload
        self.sink = sink
        self.child: Child | None = None  # None while it waits for one
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


class Child:
    """One worker process, from its start to its end."""

    def __init__(self, pool: WorkerPool, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self.process = process
        self.ready = False
        self.job: Job | None = None
        self.idle_since = 0.0
        self.why = "the worker process ended as it started"
        self._in = bytearray()
        self._eof = False
        self._frames: Iterator[bytes] | None = None  # still to be sent
        self._out = memoryview(b"")  # the rest of the one that is being sent
        self._alive = True
        self._loop.add_reader(sock, self._readable)

    def carry(self, job: Job) -> None:
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

    def _over(self, job: Job, why: str | None) -> None:
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
