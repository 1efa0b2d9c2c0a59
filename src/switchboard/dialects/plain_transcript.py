"""The documents' wire for transcriptions, the server's half: ``{"text", "language"?, "duration"?}``."""

from __future__ import annotations

from typing import Any

from switchboard.core.events import Transcription
from switchboard.core.ports import Context
from switchboard.dialects import _openai_shapes as shapes
from switchboard.dialects._encoders import WholeOnly


class TranscriptEncoder(WholeOnly):
    """Writes a transcription whole."""

    def whole(self, answer: Transcription) -> bytes:
        """The transcription; what the provider does not tell is left out."""
        body: dict[str, Any] = {"text": answer.text}
        if answer.language:
            body["language"] = answer.language
        if answer.duration is not None:
            body["duration"] = answer.duration
        return shapes.encode(body)


class PlainTranscript:
    """The dialect itself. It has no state."""

    name = "plain_transcript"

    def encoder(self, context: Context) -> TranscriptEncoder:
        return TranscriptEncoder()
