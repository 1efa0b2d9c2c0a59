"""The documents' wire for transcriptions, the server's half: ``{"text", "language"?, "duration"?}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from switchboard.core.errors import Problem
from switchboard.core.events import Event, Transcription
from switchboard.core.ports import Context
from switchboard.core.types import Lines
from switchboard.dialects import _openai_shapes as shapes


class TranscriptEncoder:
    """Writes a transcription whole."""

    content_type = whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b""

    def encode(self, events: Sequence[Event]) -> bytes:
        """It is not streamed."""
        raise NotImplementedError

    def whole(self, answer: Transcription) -> bytes:
        """The transcription; what the provider does not tell is left out."""
        body: dict[str, Any] = {"text": answer.text}
        if answer.language:
            body["language"] = answer.language
        if answer.duration is not None:
            body["duration"] = answer.duration
        return shapes.encode(body)

    def error(self, problem: Problem) -> bytes:
        """It is not streamed."""
        return b""


class PlainTranscript:
    """The dialect itself. It has no state."""

    name = "plain_transcript"

    def encoder(self, context: Context) -> TranscriptEncoder:
        return TranscriptEncoder()
