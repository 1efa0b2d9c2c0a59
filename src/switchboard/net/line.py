"""What the server and a worker process (`net.worker`) say to each other, and the worker's end of it.

A worker is a module that `python -m` runs. Its one argument is the number of a connected Unix stream socket, over which
both sides send frames: a byte for the kind, four bytes for the payload's length (big-endian), the payload.

==== ========== =======================================================================
kind from       payload
==== ========== =======================================================================
J    the pool   a job, as it was given to `WorkerPool.send`: begins one
U    the pool   a piece of the job's upload, at most 64 KiB
E    both       nothing; the job (the upload is whole), or the answer, ends here
R    the worker nothing; it has started and takes jobs
X    the worker why it cannot start, as text
H    the worker status and headers of the answer, as MessagePack `[status, {name: value}]`
D    the worker some bytes of the answer's body
F    the worker why the job failed, as text; the worker takes further jobs
==== ========== =======================================================================

A worker does one job at a time, reads all of a job before it says `E` or `F`, and ends itself when the socket does.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final

import msgspec

from switchboard.core.types import Headers

#: What stands before each payload: its kind and its length.
HEADER: Final = struct.Struct("!cI")
#: Bytes of an upload in one frame, at most.
PIECE: Final = 64 * 1024
#: Bytes of any frame, at most.
MOST: Final = 16 * 1024 * 1024


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(kind, len(payload)) + payload


class Line:
    """The worker's end of its socket `fd`. Blocks; raises `EOFError` once the server is gone."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def receive(self) -> tuple[bytes, bytes]:
        """The next frame's kind and payload."""
        kind, size = HEADER.unpack(self._exactly(HEADER.size))
        return kind, self._exactly(size)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send one frame."""
        try:
            self._socket.sendall(frame(kind, payload))
        except OSError as e:
            raise EOFError from e

    def head(self, status: int, headers: Headers) -> None:
        """Send the answer's head."""
        self.send(b"H", msgspec.msgpack.encode((status, headers)))

    def check(self) -> None:
        """Raise `EOFError` if the server is gone: for work that is long and says nothing."""
        with contextlib.suppress(BlockingIOError):
            if not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise EOFError

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                piece = self._socket.recv(min(size - len(data), 1 << 20))
            except OSError as e:
                raise EOFError from e
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)
