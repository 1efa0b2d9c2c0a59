"""OpenAI's wire for transcription, both halves: ``POST /v1/audio/transcriptions``, a form.

Source: the OpenAI API reference, "Create transcription". The answer is JSON, or text in one of the formats of subtitles;
with ``stream: true`` it is events (``transcript.text.delta``), the last with the whole text (``transcript.text.done``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.events import Done, Event, Metered, Passage, Text, Transcription
from switchboard.core.ports import Context, Encoder, Meter, Pipe
from switchboard.core.types import FilePart, Form, Lines, Transcribe, Upload, Usage
from switchboard.dialects import _openai_shapes as shapes
from switchboard.dialects._openai_media import (
    MediaUsage,
    OpenAIErrors,
    TypedTap,
    decode,
    told_error,
    typed_event,
)
from switchboard.dialects._streams import EventDecoder
from switchboard.dialects.openai_chat import error_body, read_error
from switchboard.wire.multipart import FormWriter, form_type
from switchboard.wire.sse import SSEvent

#: Formats of an answer, with their content types.
FORMATS: Final = {
    "json": b"application/json",
    "verbose_json": b"application/json",
    "diarized_json": b"application/json",
    "text": b"text/plain; charset=utf-8",
    "srt": b"text/plain; charset=utf-8",
    "vtt": b"text/vtt; charset=utf-8",
}
_SUBTITLES: Final = frozenset({"text", "srt", "vtt"})
#: What a file is called whose client gave it no name: providers go by the ending.
_ENDINGS: Final = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/mp4": "mp4",
    "audio/x-m4a": "m4a",
    "audio/m4a": "m4a",
    "audio/aac": "m4a",
    "audio/ogg": "ogg",
    "application/ogg": "ogg",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/webm": "webm",
    "video/webm": "webm",
    "video/mp4": "mp4",
}


class _Segment(Struct):
    text: str = ""
    start: float = 0.0
    end: float = 0.0


class _Word(Struct):
    word: str = ""
    start: float = 0.0
    end: float = 0.0


class _Answer(Struct):
    text: str | UnsetType = UNSET
    language: str | None = None
    duration: float | str | None = None
    segments: list[_Segment] | None = None
    words: list[_Word] | None = None
    usage: MediaUsage | None = None
    error: Raw | UnsetType = UNSET


_decoder: Final = msgspec.json.Decoder(_Answer)


def read_form(form: Form) -> Transcribe:
    """The operation that a form asks for. Raises `Problem` that names the field at fault."""
    file = sound_of(form)
    format = form.field("response_format") or "json"  # noqa: A001  the field's name on the wire
    if format not in FORMATS:
        text = f"response_format: '{format[:32]}' is not one of {', '.join(FORMATS)}."
        raise Problem("INVALID_REQUEST", text, param="response_format")
    stream = form.field("stream") or "false"
    if stream.lower() not in ("true", "false", "1", "0"):
        raise Problem("INVALID_REQUEST", "stream: true or false is expected.", param="stream")
    return Transcribe(
        form.field("model") or "",
        stream.lower() in ("true", "1") and format not in _SUBTITLES,  # subtitles always come whole
        form=form,
        file=file,
        format=format,
        language=form.field("language") or "",
        words=any(n.startswith("timestamp_granularities") and v == "word" for n, v in form.fields),
    )


def sound_of(form: Form) -> FilePart:
    """The one file of a form. Raises `Problem`."""
    for f in form.files:
        if f.name != "file":
            raise Problem("INVALID_REQUEST", f"{f.name[:64]}: no file of this name is taken.", param=f.name[:64])
    if len(form.files) != 1:
        text = "file: one file is needed." if not form.files else "file: only one file is taken."
        raise Problem("INVALID_REQUEST", text, param="file")
    if not form.files[0].data.size:
        raise Problem("INVALID_REQUEST", "file: the file is empty.", param="file")
    return form.files[0]


def filename_of(file: FilePart) -> str:
    """The name of `file`; one that says its type where the client gave none."""
    kind = file.content_type.partition(";")[0].strip().lower()
    return file.filename or f"sound.{_ENDINGS.get(kind, 'wav')}"


def _clock(seconds: float, comma: str) -> str:
    whole = round(seconds * 1000)
    minutes, rest = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{comma}{rest % 1000:03}"


def subtitles(answer: Transcription, format: str) -> str:  # noqa: A002  the field's name on the wire
    """`answer` as text, srt or vtt."""
    if format == "text":
        return answer.text + "\n"
    passages = answer.passages or ([Passage(answer.text, 0.0, answer.duration or 0.0)] if answer.text else [])
    comma = "," if format == "srt" else "."
    blocks = []
    for n, p in enumerate(passages, 1):
        times = f"{_clock(p.start, comma)} --> {_clock(p.end, comma)}\n{p.text.strip()}\n"
        blocks.append(f"{n}\n{times}" if format == "srt" else times)
    return ("WEBVTT\n\n" if format == "vtt" else "") + "\n".join(blocks) + ("\n" if blocks else "")


class TranscriptionEncoder:
    """Writes a transcription in one of the `FORMATS`; streamed, as events."""

    content_type = b"text/event-stream"
    headers: Lines = b""
    keepalive = b": keep-alive\n\n"

    def __init__(self, op: Transcribe) -> None:
        self._op = op
        self.whole_type = FORMATS[op.format]
        self._text = ""
        self._usage: Usage | None = None

    def encode(self, events: Sequence[Event]) -> bytes:
        """Events for `events`."""
        out = b""
        for e in events:
            if isinstance(e, Text):
                self._text += e.text
                out += typed_event({"type": "transcript.text.delta", "delta": e.text})
            elif isinstance(e, Metered):
                self._usage = e.usage
            elif isinstance(e, Done):
                done: dict[str, Any] = {"type": "transcript.text.done", "text": self._text}
                if self._usage is not None:
                    done["usage"] = usage_out(self._usage)
                out += typed_event(done)
        return out

    def whole(self, answer: Transcription) -> bytes:
        """The transcription."""
        format = self._op.format  # noqa: A001  the field's name on the wire
        if format in _SUBTITLES:
            return subtitles(answer, format).encode()
        body: dict[str, Any] = {"text": answer.text}
        if format == "verbose_json":
            body = {"task": "transcribe", "language": answer.language, "duration": answer.duration or 0.0, **body}
            body["segments"] = [
                {"id": i, "seek": 0, "start": p.start, "end": p.end, "text": p.text, "tokens": []}
                | {"temperature": 0.0, "avg_logprob": 0.0, "compression_ratio": 1.0, "no_speech_prob": 0.0}
                for i, p in enumerate(answer.passages)
            ]
            if self._op.words:
                body["words"] = [{"word": w.text, "start": w.start, "end": w.end} for w in answer.words]
        if answer.usage is not None:
            body["usage"] = usage_out(answer.usage)
        return shapes.encode(body)

    def error(self, problem: Problem) -> bytes:
        """An event in place of the last one."""
        return typed_event({"type": "error", "error": error_body(problem)})


class _Event(Struct):
    type: str = ""
    delta: str = ""
    usage: MediaUsage | None = None
    error: Raw | UnsetType = UNSET


_events: Final = msgspec.json.Decoder(_Event)


class TranscriptDecoder(EventDecoder):
    """``transcript.text.delta`` and ``transcript.text.done`` in, events out."""

    def _frame(self, frame: SSEvent, out: list[Event]) -> None:
        if frame.data is None:
            return
        try:
            self._read(frame.data, out)
        except UpstreamError as e:
            self._fail(e, out)

    def _read(self, data: bytes, out: list[Event]) -> None:
        event = decode(_events, data, "an event of a transcription")
        if event.type == "error" and event.error is UNSET:
            raise read_error(data, Fault.EVENT)
        told_error(event.error)
        if event.type == "transcript.text.delta":
            out.append(Text(event.delta))
        elif event.type == "transcript.text.done":
            self._ended = True
            out += [Metered(event.usage.read()), Done()] if event.usage is not None else [Done()]


def usage_out(usage: Usage) -> dict[str, Any]:
    """`usage` as OpenAI writes it for transcriptions."""
    if usage.seconds:
        return {"type": "duration", "seconds": usage.seconds}
    counted: dict[str, Any] = {"type": "tokens", "input_tokens": usage.input, "output_tokens": usage.output}
    counted["total_tokens"] = usage.input + usage.output
    if usage.audio_input:
        text = max(0, usage.input - usage.audio_input)
        counted["input_token_details"] = {"text_tokens": text, "audio_tokens": usage.audio_input}
    return counted


class OpenAITranscription(OpenAIErrors):
    """The dialect itself; as a client's half it is made for one request."""

    name = "openai_transcription"

    def __init__(self, op: Transcribe | None = None) -> None:
        self._op = op

    def encoder(self, context: Context) -> Encoder:
        assert self._op is not None
        return TranscriptionEncoder(self._op)

    def build(self, op: Transcribe, model: str, capabilities: Capabilities) -> Upload:
        writer = FormWriter(op.form.boundary)
        writer.field("model", model)
        for name, value in op.form.fields:
            if name != "model":
                writer.field(name, value)
        if op.language and op.form.field("language") is None:
            writer.field("language", op.language)
        writer.file(op.file, filename_of(op.file))
        return writer.body()

    def headers(self, op: Transcribe) -> Lines:
        return form_type(op.form.boundary)

    def decoder(self, context: Context) -> TranscriptDecoder:
        return TranscriptDecoder(context)

    def answer(self, body: bytes) -> Transcription:
        a = decode(_decoder, body, "a transcription")
        told_error(a.error)
        if a.text is UNSET:
            raise UpstreamError(Fault.PROTOCOL, f"not a transcription: {body[:200]!r}")
        duration = _seconds(a.duration)
        usage = a.usage.read() if a.usage is not None else None
        if usage is None and duration:
            usage = Usage(seconds=duration)
        passages = [Passage(s.text, s.start, s.end) for s in a.segments or ()]
        words = [Passage(w.word, w.start, w.end) for w in a.words or ()]
        return Transcription(a.text, a.language or "", duration, passages, words, usage)

    def passed(self, op: Transcribe, body: bytes, meter: Meter) -> bytes:
        if op.format in _SUBTITLES:
            meter.saw(1, len(body))
            return body
        answer = self.answer(body)
        meter.saw(1, len(answer.text))
        if answer.usage is not None:
            meter.usage(answer.usage)
        return body

    def tap(self, context: Context, meter: Meter) -> Pipe:
        return TypedTap(context, meter, frozenset({"transcript.text.done"}))


def _seconds(duration: float | str | None) -> float | None:
    try:
        seconds = float(duration) if duration is not None else None
    except ValueError:
        return None
    return seconds if seconds is None or math.isfinite(seconds) else None
