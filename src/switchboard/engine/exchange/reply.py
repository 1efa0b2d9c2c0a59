"""What goes to the client: an answer in its dialect, or an error in its surface's shape."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.ports import ClientDialect, Context, Downstream, Encoder, Surface
from switchboard.core.types import Envelope, Lines, Op, header

_STREAM: Final[Lines] = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"


class Reply:
    """The answer to one request. A stream's head is sent with its first piece.

    `dialect` is None until the body was read; `extra` are header lines of the attempt that answers. `status` is what was
    sent, 0 before; `first_byte` and `last_out` are times (monotonic): of the first content, and of the last bytes.
    """

    __slots__ = (
        "_context",
        "_down",
        "_encoder",
        "_envelope",
        "_surface",
        "dialect",
        "extra",
        "first_byte",
        "head_sent",
        "last_out",
        "status",
    )

    def __init__(self, down: Downstream, surface: Surface, envelope: Envelope, at: float) -> None:
        self._down = down
        self._surface = surface
        self._envelope = envelope
        self._context: Context | None = None
        self._encoder: Encoder | None = None
        self.dialect: ClientDialect | None = None
        self.extra: Lines = b""
        self.status = 0
        self.head_sent = False
        self.first_byte: float | None = None
        self.last_out = at

    def through(self, journal: Callable[[Downstream], Downstream]) -> None:
        """From now on what goes to the client goes through what `journal` makes of its connection."""
        self._down = journal(self._down)

    def about(self, op: Op, model: str, max_event: int) -> Context:
        """What dialects may know of this exchange, now that `model` answers `op`."""
        if self._context is None:
            self._context = Context(
                f"chatcmpl-{self._envelope.request_id}",
                model,
                int(time.time()),
                include_usage=op.include_usage,
                choices=op.choices,
                max_event=max_event,
            )
        return self._context

    def forget(self) -> None:
        """Another target is asked: what was known of the first holds no more, unless the stream has begun under its name."""
        if not self.head_sent:
            self._context = self._encoder = None

    @property
    def encoder(self) -> Encoder:
        """What writes the answer, once `about` was asked."""
        if self._encoder is None:
            assert self.dialect is not None and self._context is not None
            self._encoder = self.dialect.encoder(self._context)
        return self._encoder

    def begin(self) -> None:
        """Send the head of a stream, if that was not done."""
        if not self.head_sent:
            encoder = self.encoder
            kind = header(b"content-type", encoder.content_type) + encoder.headers
            self.head_sent = True
            self.status = 200
            self._down.head(200, kind + _STREAM + self._envelope.headers + self.extra)
        if self.first_byte is None:
            self.first_byte = now()

    def write(self, out: bytes, at: float) -> None:
        """Send a piece of a stream."""
        self.last_out = at
        self._down.write(out)

    def end(self, out: bytes = b"") -> None:
        """Send the last piece of a stream."""
        self._down.end(out)

    def whole(self, kind: Lines, body: bytes) -> None:
        """Send an answer that is not streamed; `kind` is its content-type line."""
        self._down.whole(200, kind + self._envelope.headers + self.extra, body)

    def failing(self, problem: Problem, out: bytes = b"") -> Callable[[], None]:
        """How to tell of `problem`: with its status while nothing was sent, else as the end of the stream, behind `out`.

        To be called when the exchange is over.
        """
        down = self._down
        if self._surface.documents:
            problem.upstream = None  # no provider's words there
        if self.head_sent:
            last = out + self.encoder.error(problem)
            return lambda: down.fail(last)
        status, headers, body = self._surface.problem(problem, self._envelope.request_id, self.dialect)
        self.status = status
        lines = headers + self._envelope.headers + (b"" if problem.headers else self.extra)
        return lambda: down.whole(status, lines, body)

    def cut(self) -> None:
        """End without a word."""
        self._down.fail(b"")

    def keep_alive(self, at: float, began: float, head_after: float, quiet: float) -> None:
        """A stream's head `head_after` seconds after it `began`, and a comment whenever nothing was sent for `quiet`
        seconds."""
        if self.head_sent:
            if at - self.last_out >= quiet:
                self.write(self.encoder.keepalive, at)
        elif at - began >= head_after:
            self.begin()
            self.first_byte = None  # of the answer there is none yet
            self.write(self.encoder.keepalive, at)
