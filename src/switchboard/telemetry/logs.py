"""The log: one line a request and whatever else has to be said, as JSON or for people, on standard error.

Lines go out in batches from a thread of their own, so that a blocked terminal or pipe never blocks an answer; at most
`_BACKLOG` bytes wait, what is over that is thrown away and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from switchboard.core.clock import wall_iso
from switchboard.core.masking import mask_secrets, spellings
from switchboard.telemetry.line import Line
from switchboard.telemetry.records import Record

_BACKLOG: Final = 8 * 1024 * 1024
_encode: Final = msgspec.json.Encoder().encode
_LEVELS: Final = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
_COLORS: Final = {"ERROR": "31", "CRITICAL": "31", "WARNING": "33", "DEBUG": "2"}


def _milliseconds(seconds: float) -> float:
    """To a tenth of one; `round` costs ten times as much."""
    return int(seconds * 1e4 + 0.5) / 10


class Output:
    """Writes bytes to a file descriptor from a thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: list[bytes] = []
        self._size = 0
        self._wake = threading.Condition()
        self._closing = False
        self.lost = 0
        self._writing = threading.Thread(target=self._run, name="log", daemon=True)
        self._writing.start()

    def write(self, data: bytes) -> None:
        """Have `data` written soon."""
        with self._wake:
            if self._size + len(data) > _BACKLOG:
                self.lost += data.count(b"\n")
                return
            self._waiting.append(data)
            self._size += len(data)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                data = b"".join(self._waiting)
                self._waiting.clear()
            if not data:
                return
            with contextlib.suppress(OSError):  # nobody reads the log any more; there is nowhere to say so
                self._write_out(data)
            with self._wake:
                self._size = sum(map(len, self._waiting))

    def _write_out(self, data: bytes) -> None:
        """Whole lines at a time, as many as a pipe takes in one piece: other processes write to it too."""
        view, at = memoryview(data), 0
        while at < len(data):
            end = len(data)
            if end - at > select.PIPE_BUF:
                end = data.rfind(b"\n", at, at + select.PIPE_BUF) + 1 or data.find(b"\n", at) + 1 or end
            at += os.write(self._fd, view[at:end])

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, but no longer than `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._writing.join(timeout)


class Log:
    """Formats records and log messages. `style` is "json" or "human"; `secrets` never show, whoever says them."""

    def __init__(self, output: Output, *, level: str, style: str, secrets: Iterable[str] = ()) -> None:
        self.output = output
        self._human = style == "human"
        self.configure(level=level, secrets=secrets)

    def configure(self, *, level: str, secrets: Iterable[str]) -> None:
        """From now on write by `level`, and show none of `secrets`."""
        self.debug = level == "DEBUG"
        self._secrets = spellings(secrets)
        self._masked = lru_cache(1024)(self._mask)  # what clients name comes again and again
        self._requests = _LEVELS[level] <= logging.INFO
        self._threshold = _LEVELS[level]

    def records(self, batch: list[Record]) -> None:
        """Write one line a request."""
        lines = [self._record(r) for r in batch if self._requests or r.status >= 500]
        if lines:
            self.output.write(b"".join(lines))

    def _mask(self, text: str) -> str:
        return mask_secrets(text, self._secrets)

    def _record(self, r: Record) -> bytes:
        detail = self._mask(r.detail) if r.detail else ""
        if self._human:
            return self._human_record(r, detail)
        u = r.usage
        return (
            _encode(
                Line(
                    wall_iso(r.at),
                    "error" if r.status >= 500 else "warning" if r.error else "info",
                    "request",
                    r.request_id,
                    r.method,
                    self._masked(r.path),
                    r.status,
                    r.outcome,
                    None if r.first_byte is None else _milliseconds(r.first_byte),
                    _milliseconds(r.duration),
                    r.caller,
                    r.profile,
                    r.dialect,
                    r.provider,
                    self._masked(r.model),
                    u.input,
                    u.output,
                    u.estimated,
                    r.attempts,
                    r.error,
                    detail,
                    u.characters,
                    round(u.seconds, 3) if u.seconds else None,
                    u.images,
                    None if r.cost is None else round(r.cost, 8),
                )
            )
            + b"\n"
        )

    def _human_record(self, r: Record, detail: str) -> bytes:
        color = "31" if r.status >= 500 else "33" if r.error else "32"
        text = f"{wall_iso(r.at)[11:23]} \x1b[{color}m{r.status}\x1b[0m {r.method} {_printable(self._masked(r.path))}"
        if r.dialect:
            about = "~" if r.tokens_estimated else ""
            text += (
                f" {r.provider}/{self._masked(r.model)} ({r.dialect}) {about}{r.tokens_in}→{about}{r.tokens_out} tokens"
            )
            text += _units(r)
        if r.first_byte is not None and r.streamed:
            text += f" first {r.first_byte * 1e3:.0f} ms,"
        text += f" {r.duration * 1e3:.0f} ms {r.outcome}"
        if r.attempts > 1:
            text += f" after {r.attempts} attempts"
        if r.error:
            text += f" {r.error}"
        if detail:
            text += f": {_printable(detail)}"
        return f"{text} \x1b[2m{r.request_id}\x1b[0m\n".encode(errors="backslashreplace")

    def say(self, level: str, message: str, logger: str = "switchboard", **fields: object) -> None:
        """Write one message."""
        if _LEVELS.get(level, logging.ERROR) < self._threshold:
            return
        message = self._mask(message)
        if self._human:
            color = _COLORS.get(level, "36")
            more = "".join(f" {k}={v}" for k, v in fields.items())
            text = f"{wall_iso()[11:23]} \x1b[{color}m{level.lower()}\x1b[0m {message}{self._mask(more)}\n"
            self.output.write(text.encode(errors="backslashreplace"))
            return
        line = {"ts": wall_iso(), "level": level.lower(), "event": "message", "logger": logger, "message": message}
        masked = {k: self._mask(v) if isinstance(v, str) else v for k, v in fields.items()}
        self.output.write(_encode(line | masked) + b"\n")

    def body(self, direction: str, request_id: str, data: bytes) -> None:
        """At ``DEBUG``: what was sent or received, secrets masked, at most 4 KB of it."""
        if self.debug:
            # more is masked than is shown: a secret may stand across the edge
            text = self._mask(data[:8192].decode("utf-8", "replace"))[:4096]
            self.say("DEBUG", f"{direction}: {_printable(text)}", request_id=request_id, bytes=len(data))


def _units(r: Record) -> str:
    """What was used besides tokens, and what it cost."""
    u = r.usage
    parts = [
        (u.characters, f"{u.characters} characters"),
        (u.seconds, f"{u.seconds:.1f} s of sound"),
        (u.images, f"{u.images} images"),
        (r.cost, f"${r.cost or 0:.6f}"),
    ]
    return "".join(f" {text}" for value, text in parts if value)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class Handler(logging.Handler):
    """Brings the messages of Python's `logging` into the log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        level = record.levelname if record.levelname in _LEVELS else "ERROR"
        self._log.say(level, message, record.name)


def attach(log: Log, level: str) -> Handler:
    """Send the messages of `logging` to `log`; libraries speak up from WARNING on."""
    handler = Handler(log)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("switchboard").setLevel(_LEVELS[level])
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # what it says of a form, its sender is told
    return handler


def style_for(setting: str) -> str:
    """ "json" or "human" for the setting "auto": human on a terminal."""
    if setting != "auto":
        return setting
    return "human" if sys.stderr.isatty() else "json"
