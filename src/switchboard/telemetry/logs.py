"""The log: one line a request and whatever else has to be said, as JSON or for people, on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from switchboard.core.clock import wall_iso
from switchboard.core.masking import mask_secrets, spellings
from switchboard.telemetry.line import Line
from switchboard.telemetry.output import Output
from switchboard.telemetry.records import Record

_encode: Final = msgspec.json.Encoder().encode
LEVELS: Final = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
_COLORS: Final = {"ERROR": "31", "CRITICAL": "31", "WARNING": "33", "DEBUG": "2"}


def _milliseconds(seconds: float) -> float:
    """To a tenth of one; `round` costs ten times as much."""
    return int(seconds * 1e4 + 0.5) / 10


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
        self._requests = LEVELS[level] <= logging.INFO
        self._threshold = LEVELS[level]

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
        if LEVELS.get(level, logging.ERROR) < self._threshold:
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


def style_for(setting: str) -> str:
    """ "json" or "human" for the setting "auto": human on a terminal."""
    if setting != "auto":
        return setting
    return "human" if sys.stderr.isatty() else "json"
