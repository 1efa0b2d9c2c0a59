"""How the studio's models are asked: OpenAI's wires, with jobs for bodies."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Problem
from switchboard.core.events import Done, Event, Metered, Picture
from switchboard.core.ports import Context
from switchboard.core.types import Draw, Lines, Speak, Transcribe, Upload, Usage
from switchboard.dialects._streams import EventDecoder
from switchboard.dialects.openai_images import OpenAIImages
from switchboard.dialects.openai_speech import OpenAISpeech, check_voice
from switchboard.dialects.openai_transcription import OpenAITranscription
from switchboard.providers.offline.studio import jobs
from switchboard.wire.sse import SSEvent


class OfflineSpeech(OpenAISpeech):
    """The synthesiser. Its sound passes as it is."""

    def build(self, op: Speak, model: str, capabilities: Capabilities) -> bytes:
        voice = op.voice or "alloy"
        check_voice(voice, capabilities)
        if not op.voice and "voice" in op.members:  # an object: a voice that somebody made at OpenAI
            op.drop("voice")
        for name in op.members:
            if name not in _SPOKEN:
                op.drop(name)
        return jobs.encode(jobs.Speak(op.text, voice, op.format, op.speed, model))


class OfflineTranscription(OpenAITranscription):
    """The recogniser: it always tells all that it knows, and the client is told what it asked for."""

    name = "offline_transcription"

    def build(self, op: Transcribe, model: str, capabilities: Capabilities) -> Upload:
        if op.format == "diarized_json":
            text = "response_format: the offline recogniser cannot tell who speaks."
            raise Problem("INVALID_REQUEST", text, param="response_format")
        for name, _ in op.form.fields:
            if name.removesuffix("[]") not in _HEARD:
                op.drop(name)
        job = jobs.Transcribe(op.language, model=model, stream=op.stream, max_bytes=op.file.data.size)
        return Upload((jobs.encode(job), op.file.data))

    def headers(self, op: Transcribe) -> Lines:
        return b""


class _Drawn(Struct):
    b64_json: str
    partial_image_index: int | None = None


_drawn = msgspec.json.Decoder(_Drawn).decode


class PictureDecoder(EventDecoder):
    """The draughtsman's events in, `Picture` out."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._whole = 0  # images

    def _frame(self, frame: SSEvent, out: list[Event]) -> None:
        if frame.data == b"[DONE]":
            self._ended = True
            out.append(Done())
        elif frame.data is not None:
            drawn = _drawn(frame.data)
            out.append(Picture(drawn.b64_json, drawn.partial_image_index))
            if drawn.partial_image_index is None:
                self._whole += 1
                out.append(Metered(Usage(images=self._whole)))


class OfflineImages(OpenAIImages):
    """The draughtsman."""

    name = "offline_images"

    def build(self, op: Draw, model: str, capabilities: Capabilities) -> bytes:
        if op.form is not None:
            raise Problem("INVALID_REQUEST", f"The model '{model}' edits no images.")
        for name in op.members:
            if name not in _KNOWN and not (op.stream and name == "partial_images"):
                op.drop(name)
        partials = msgspec.json.decode(op.members.get("partial_images", b"0")) if op.stream else 0
        return jobs.encode(jobs.Draw(op.prompt, op.size, op.choices, op.stream, partials or 0))

    def decoder(self, context: Context) -> PictureDecoder:
        return PictureDecoder(context)


_SPOKEN = frozenset({"input", "voice", "response_format", "speed", "stream_format"})
_HEARD = frozenset({"model", "language", "response_format", "stream", "timestamp_granularities"})
_KNOWN = frozenset({"prompt", "n", "size", "stream", "response_format"})
