"""The text stream of the Vercel AI SDK: the answer's text and nothing else, as ``text/plain``.

Source: AI SDK documentation, "Stream protocols", text stream protocol. It has no way to tell an error but to end
without the last HTTP chunk.
"""

from __future__ import annotations

from collections.abc import Sequence

from switchboard.core.errors import Problem
from switchboard.core.events import Answer, Event, Refusal, Text
from switchboard.core.ports import Context
from switchboard.core.types import Lines


class TextEncoder:
    """Writes the first choice's text."""

    content_type = b"text/plain; charset=utf-8"
    whole_type = b"text/plain; charset=utf-8"
    headers: Lines = b""
    keepalive = b""

    def encode(self, events: Sequence[Event]) -> bytes:
        return "".join([e.text for e in events if isinstance(e, Text | Refusal) and e.choice == 0]).encode()

    def whole(self, answer: Answer) -> bytes:
        return (answer.choices[0].text or answer.choices[0].refusal).encode()

    def error(self, problem: Problem) -> bytes:
        """Nothing: the cut alone says it."""
        return b""


class TextStream:
    """The dialect; the server's half only. Bodies that are not streamed are text too."""

    name = "text_stream"

    def encoder(self, context: Context) -> TextEncoder:
        return TextEncoder()
