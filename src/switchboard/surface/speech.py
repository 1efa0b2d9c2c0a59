"""``POST /api/tts`` and ``POST /api/transcribe``: speech for the documents' frontends."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from switchboard.core.errors import Problem
from switchboard.core.ports import ClientDialect
from switchboard.core.types import Form, Lines, Op, RequestHead, Speak, Transcribe
from switchboard.dialects._openai_media import read_members, required_text
from switchboard.dialects.openai_speech import LONGEST, OpenAISpeech, checked_format, checked_speed
from switchboard.dialects.openai_transcription import sound_of
from switchboard.dialects.plain_transcript import PlainTranscript
from switchboard.surface import problem as shapes
from switchboard.surface.json_surface import JsonSurface

_TRANSCRIPT = PlainTranscript()
_FIELDS = frozenset({"model", "language", "prompt"})


class TtsRequest(Struct):
    """A request for speech in the documents' style."""

    text: str
    voice: str | None = None
    model: str | None = None
    format: str | None = None
    speed: float | None = None


class Tts(JsonSurface):
    """``POST /api/tts``. `format` is that of the sound where a request names none."""

    name = "speech"

    def __init__(self, *, nesting: int, format: str) -> None:  # noqa: A002  the setting's name
        super().__init__(nesting=nesting)
        self._format = format

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        if isinstance(value, dict) and "text" not in value:
            raise Problem("INVALID_REQUEST", "text: this field is required.", param="text")
        request, members = read_members(value, body, TtsRequest)
        text = required_text(request.text, "text", LONGEST)
        format = checked_format(request.format or self._format, "format")  # noqa: A001
        asked: dict[str, Any] = {"input": text, "response_format": format}
        if request.speed is not None:
            asked["speed"] = checked_speed(request.speed)
        op = Speak(
            request.model or "",
            True,
            members={name: Raw(msgspec.json.encode(v)) for name, v in asked.items()},
            text=text,
            voice=(request.voice or "").strip(),
            format=format,
            speed=request.speed or 1.0,
        )
        for name in members:
            if name not in TtsRequest.__struct_fields__:
                op.drop(name)
        return OpenAISpeech(format), op


class Transcripts:
    """``POST /api/transcribe``: a form, or the sound by itself."""

    name = "speech"
    documents = True
    failure = "INTERNAL_ERROR"
    files = True
    bare = True

    def read(self, head: RequestHead, body: bytes | Form) -> tuple[ClientDialect, Op]:
        """See `core.ports.Surface`."""
        assert isinstance(body, Form)
        taken = Form(body.spool, body.boundary, [(n, v) for n, v in body.fields if n in _FIELDS], body.files)
        op = Transcribe(
            body.field("model") or "", form=taken, file=sound_of(body), language=body.field("language") or ""
        )
        for name, _ in body.fields:
            if name not in _FIELDS:
                op.drop(name)
        return _TRANSCRIPT, op

    def problem(self, problem: Problem, request_id: str, dialect: ClientDialect | None) -> tuple[int, Lines, bytes]:
        """See `core.ports.Surface`."""
        return shapes.common(problem, request_id)
