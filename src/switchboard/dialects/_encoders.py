"""Halves of encoders, for operations of which a client gets streams alone, or never one.

An exchange asks for `encode` where the operation is to be streamed (`core.types.Op.stream`) and for `whole` where it is
not; that is settled when the request is read, so that the other method is never called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from switchboard.core.errors import Problem
from switchboard.core.events import Event
from switchboard.core.ports import Whole
from switchboard.core.types import Lines


class WholeOnly:
    """Of an encoder whose answers always come whole, as JSON: all but `whole`."""

    content_type = whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b""

    def encode(self, events: Sequence[Event]) -> NoReturn:
        """Never called."""
        raise AssertionError("no request for this asks for a stream")

    def error(self, problem: Problem) -> bytes:
        """Nothing has begun that could end with an error."""
        return b""


class StreamedOnly:
    """Of an encoder whose answers are always streamed: its `whole`."""

    def whole(self, answer: Whole) -> NoReturn:
        """Never called."""
        raise AssertionError("every request for this asks for a stream")
