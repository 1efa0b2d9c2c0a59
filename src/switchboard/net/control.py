"""The workers of one server ask each other: what they count, say, or to end what one of them has open.

Each listens on a Unix socket of its own, which nobody but the server's user may open. A connection carries one question
and its answer, as frames of `net.line`:

==== ========== ==================================================
kind from       payload
==== ========== ==================================================
Q    who asks   the operation's name, a zero byte, what is asked
A    the asked  the answer
X    the asked  why there is none, as text
==== ========== ==================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Final, cast

from switchboard.core.process import Process
from switchboard.net.line import HEADER, MOST, frame

#: Bytes of a question, at most.
QUESTION: Final = 1024 * 1024
#: Bytes of an answer, at most.
ANSWER: Final = MOST
#: Seconds that a question and its answer may take.
LIMIT: Final = 1.0
_CONNECTIONS: Final = 64  # questions that one worker answers at a time
_OP: Final = re.compile(r"[a-z0-9_.-]{1,64}")
_log: Final = logging.getLogger("switchboard.control")

#: Answers an operation, at once or later. What it raises, who asks is told as a failure without the reason; but for a
#: `ControlError`, whose text is passed on.
Handler = Callable[[bytes], "bytes | Awaitable[bytes]"]


class ControlError(Exception):
    """A question was not answered, or what came is no question and no answer."""


# ---- the wire


class Frames:
    """Takes bytes as they come and gives the frames that are whole. A payload may have `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._in = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Kind and payload of each frame that `data` completes. Raises `ControlError` for one that is too large."""
        self._in += data
        out: list[tuple[bytes, bytes]] = []
        while len(self._in) >= HEADER.size:
            kind, size = HEADER.unpack_from(self._in)
            if size > self._most:
                raise ControlError(f"a frame of {size} bytes, where {self._most} are allowed")
            end = HEADER.size + size
            if len(self._in) < end:
                break
            out.append((kind, bytes(self._in[HEADER.size : end])))
            del self._in[:end]
        return out


def question(op: str, payload: bytes) -> bytes:
    """The bytes that ask for `op`. Raises `ControlError` where that is no name of an operation, or `payload` is too large."""
    if _OP.fullmatch(op) is None:
        raise ControlError("an operation's name is 1 to 64 of a-z, 0-9 and _ . -")
    if len(op) + 1 + len(payload) > QUESTION:
        raise ControlError(f"the question is larger than {QUESTION} bytes")
    return frame(b"Q", op.encode() + b"\0" + payload)


def asked(kind: bytes, payload: bytes) -> tuple[str, bytes]:
    """The operation of a question, and what is asked. Raises `ControlError` for a frame that is none."""
    name, found, rest = payload.partition(b"\0")
    op = name.decode("latin-1")
    if kind != b"Q" or not found or _OP.fullmatch(op) is None:
        raise ControlError("this is no question")
    return op, rest


def answered(kind: bytes, payload: bytes) -> bytes:
    """What an answer says. Raises `ControlError` for a frame that is none, or says why there is none."""
    if kind == b"X":
        raise ControlError(payload.decode(errors="replace"))
    if kind != b"A":
        raise ControlError("this is no answer")
    return payload


# ---- the worker that is asked


class Control:
    """What one worker answers, and the socket on which it is asked.

    Made anywhere; `open` is called inside the event loop, where the handlers run too.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._handlers: dict[str, Handler] = {}
        self._server: asyncio.Server | None = None
        self.conversations: set[_Conversation] = set()

    def on(self, op: str, handler: Handler) -> None:
        """From now on `handler` answers `op`. Raises `ValueError` for a name that is none or is taken."""
        if _OP.fullmatch(op) is None or op in self._handlers:
            raise ValueError(f"{op!r} is no name of an operation, or is answered already")
        self._handlers[op] = handler

    async def answer(self, op: str, payload: bytes) -> bytes:
        """The answer to a question. Raises `ControlError` where there is none."""
        handler = self._handlers.get(op)
        if handler is None:
            raise ControlError(f"there is no operation {op}")
        try:
            value = handler(payload)
            out = await value if isawaitable(value) else value
        except ControlError:
            raise
        except Exception:
            _log.exception("the operation %s failed", op)
            raise ControlError(f"the operation {op} failed") from None
        if len(out) > ANSWER:
            raise ControlError(f"the answer is larger than {ANSWER} bytes")
        return out

    async def open(self) -> None:
        """Listen, where there are siblings. What was left behind by a process before is removed. Raises `OSError`."""
        if not self._process.control:
            return
        path = self._process.socket_of(self._process.worker)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mask = os.umask(0o177)  # the file is never anybody else's, not for a moment
            try:
                listener.bind(str(path))
            finally:
                os.umask(mask)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(lambda: _Conversation(self), sock=listener)
        except BaseException:
            listener.close()
            raise

    def close(self) -> None:
        """Listen no more, and remove the socket's file."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with contextlib.suppress(OSError):
                self._process.socket_of(self._process.worker).unlink()
        for conversation in list(self.conversations):
            conversation.abort()


class _Conversation(asyncio.Protocol):
    """One connection: a question, its answer, and the end."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._frames = Frames(QUESTION)
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        conversations = self._control.conversations
        conversations.add(self)
        self._end = asyncio.get_running_loop().call_later(LIMIT, self._transport.abort)
        if len(conversations) > _CONNECTIONS:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._task is not None:
            return
        try:
            for kind, payload in self._frames.feed(data)[:1]:
                op, rest = asked(kind, payload)
                self._task = asyncio.get_running_loop().create_task(self._answer(op, rest))
        except ControlError as e:
            self._say(b"X", str(e).encode())

    async def _answer(self, op: str, payload: bytes) -> None:
        try:
            self._say(b"A", await self._control.answer(op, payload))
        except ControlError as e:
            self._say(b"X", str(e).encode())

    def _say(self, kind: bytes, payload: bytes) -> None:
        self._transport.write(frame(kind, payload))
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._control.conversations.discard(self)
        self._end.cancel()
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        """Break it off."""
        self._transport.abort()


# ---- the worker that asks


class Siblings:
    """The workers of this server, asked from one of them; its own answers are had without a socket."""

    def __init__(self, process: Process, control: Control) -> None:
        self._process = process
        self._control = control

    @property
    def count(self) -> int:
        """How many there are, this one included."""
        return self._process.workers

    async def ask(self, worker: int, op: str, payload: bytes = b"", *, limit: float = LIMIT) -> bytes:
        """What `worker` answers to `op` within `limit` seconds. Raises `ControlError` where it does not."""
        try:
            async with asyncio.timeout(limit):
                if worker == self._process.worker:
                    return await self._control.answer(op, payload)
                return await self._over_its_socket(worker, question(op, payload))
        except OSError as e:  # a time limit too
            raise ControlError(f"worker {worker} does not answer: {e or 'too slow'}") from None

    async def ask_all(self, op: str, payload: bytes = b"", *, limit: float = LIMIT) -> list[tuple[int, bytes]]:
        """Each worker's index and answer, by index. Those that do not answer within `limit` seconds are left out."""

        async def one(worker: int) -> tuple[int, bytes] | None:
            try:
                return worker, await self.ask(worker, op, payload, limit=limit)
            except ControlError:
                return None

        found = await asyncio.gather(*[one(n) for n in range(self._process.workers)])
        return [pair for pair in found if pair is not None]

    async def _over_its_socket(self, worker: int, data: bytes) -> bytes:
        if not self._process.control or not 0 <= worker < self._process.workers:
            raise ControlError(f"there is no worker {worker} to ask")
        reader, writer = await asyncio.open_unix_connection(self._process.socket_of(worker))
        try:
            writer.write(data)
            frames = Frames(ANSWER)
            while piece := await reader.read(65536):
                for kind, payload in frames.feed(piece):
                    return answered(kind, payload)
            raise ControlError(f"worker {worker} hung up")
        finally:
            writer.transport.abort()
