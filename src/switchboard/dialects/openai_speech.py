"""OpenAI's wire for speech, both halves: ``POST /v1/audio/speech``.

Source: the OpenAI API reference, "Create speech". The answer is sound, as it is made; with ``stream_format: sse`` it is
events with pieces of sound in base64 (``speech.audio.delta``), the last with the usage (``speech.audio.done``).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.events import Done, Event, Metered, Sound
from switchboard.core.ports import Context, Meter, Phase, Pipe, Whole
from switchboard.core.types import Lines, Speak, Usage
from switchboard.dialects import _openai_shapes as shapes
from switchboard.dialects._encoders import StreamedOnly
from switchboard.dialects._openai_media import (
    NoDecoder,
    OpenAIErrors,
    TypedTap,
    read_members,
    required_text,
    typed_event,
)
from switchboard.dialects.openai_chat import error_body

#: The most characters that are spoken at once.
LONGEST: Final = 4096
#: Content types by format. ``pcm`` is 24 kHz, 16 bits little-endian, one channel.
FORMATS: Final = {
    "mp3": b"audio/mpeg",
    "opus": b"audio/ogg",
    "aac": b"audio/aac",
    "flac": b"audio/flac",
    "wav": b"audio/wav",
    "pcm": b"audio/pcm",
}
_SOUND: Final = re.compile(rb"audio/[a-z0-9.+-]+(?:; ?[a-z]+=[\w\"]+)*")


class SpeechRequest(Struct):
    """A request as far as it is checked; other members pass to the provider."""

    input: str
    model: str | None = None
    voice: str | dict[str, Any] | None = None
    response_format: str | None = None
    speed: float | None = None
    instructions: str | None = None
    stream_format: Literal["audio", "sse"] | None = None


def read_request(body: Any, raw: bytes) -> Speak:
    """The operation that a speech request asks for. Raises `Problem` that names the field at fault."""
    request, members = read_members(body, raw, SpeechRequest)
    if request.voice is None:
        members.pop("voice", None)
    return Speak(
        request.model or "",
        True,
        members=members,
        text=required_text(request.input, "input", LONGEST),
        voice=request.voice.strip() if isinstance(request.voice, str) else "",
        format=checked_format(request.response_format, "response_format"),
        speed=checked_speed(request.speed),
        events=request.stream_format == "sse",
    )


def checked_format(name: str | None, field: str) -> str:
    """The format `name`; mp3 where none is named. Raises `Problem`."""
    if name is None:
        return "mp3"
    if name not in FORMATS:
        text = f"{field}: '{name[:32]}' is not one of {', '.join(FORMATS)}."
        raise Problem("INVALID_REQUEST", text, param=field)
    return name


def checked_speed(speed: float | None) -> float:
    """The speed; 1 where none is named. Raises `Problem`."""
    if speed is not None and not 0.25 <= speed <= 4:
        raise Problem("INVALID_REQUEST", "speed: must be between 0.25 and 4.", param="speed")
    return 1.0 if speed is None else speed


class SpeechEncoder(StreamedOnly):
    """Writes sound as it is. Its type is that of the format, unless the provider says that it sends another one."""

    keepalive = b""
    headers: Lines = b""

    def __init__(self, context: Context, format: str) -> None:  # noqa: A002  the field's name on the wire
        self.content_type = context.kind if _SOUND.fullmatch(context.kind) else FORMATS[format]
        self.whole_type = self.content_type

    def encode(self, events: Sequence[Event]) -> bytes:
        """The sound of `events`."""
        return b"".join([e.data for e in events if isinstance(e, Sound)])

    def error(self, problem: Problem) -> bytes:
        """There are no words in a sound: it is cut off."""
        return b""


class SpeechEventsEncoder(StreamedOnly):
    """Writes ``speech.audio.delta`` and ``speech.audio.done``."""

    content_type = b"text/event-stream"
    whole_type = b"text/event-stream"
    keepalive = b": keep-alive\n\n"
    headers: Lines = b""

    def __init__(self) -> None:
        self._usage = Usage()

    def encode(self, events: Sequence[Event]) -> bytes:
        """Events for `events`."""
        out = b""
        for e in events:
            if isinstance(e, Sound):
                out += typed_event({"type": "speech.audio.delta", "audio": b64encode(e.data).decode()})
            elif isinstance(e, Metered):
                self._usage = e.usage
            elif isinstance(e, Done):
                u = self._usage
                usage = {"input_tokens": u.input, "output_tokens": u.output, "total_tokens": u.input + u.output}
                out += typed_event({"type": "speech.audio.done", "usage": usage})
        return out

    def error(self, problem: Problem) -> bytes:
        """An event in place of the last one."""
        return b"data: " + shapes.encode({"type": "error", "error": error_body(problem)}) + b"\n\n"


class SoundTap:
    """Leaves sound as it is; a `core.ports.Pipe`."""

    def __init__(self) -> None:
        self.phase = Phase.PREAMBLE
        self.error: UpstreamError | None = None

    def feed(self, data: bytes) -> bytes:
        """`data`."""
        if data:
            self.phase = Phase.CONTENT
        return data

    def eof(self) -> bytes:
        """Whole as HTTP sees it, and so for good."""
        if self.phase is Phase.CONTENT:
            self.phase = Phase.DONE
        else:
            self.phase = Phase.FAILED
            self.error = UpstreamError(Fault.CUT, "an answer without sound")
        return b""


class SoundDecoder:
    """Sound in, `Sound` out."""

    def __init__(self) -> None:
        self._began = False

    def feed(self, data: bytes) -> list[Event]:
        """The sound in `data`."""
        self._began = self._began or bool(data)
        return [Sound(data)] if data else []

    def eof(self) -> list[Event]:
        """The sound is whole. Raises `UpstreamError` where there was none."""
        if not self._began:
            raise UpstreamError(Fault.CUT, "an answer without sound")
        return [Done()]


class OpenAISpeech(OpenAIErrors):
    """The wire with sound as the answer. As a client's half it is made for one `format`."""

    name = "openai_speech"
    stream_format = "audio"

    def __init__(self, format: str = "mp3") -> None:  # noqa: A002  the field's name on the wire
        self._format = format

    def encoder(self, context: Context) -> SpeechEncoder | SpeechEventsEncoder:
        return SpeechEncoder(context, self._format)

    def build(self, op: Speak, model: str, capabilities: Capabilities) -> bytes:
        members: dict[str, Any] = {"model": model, **op.members}
        if op.voice:
            check_voice(op.voice, capabilities)
            members["voice"] = op.voice
        members.pop("stream_format", None)
        if self.stream_format != "audio":
            members["stream_format"] = self.stream_format
        return shapes.encode(members)

    def headers(self, op: Speak) -> Lines:
        return b""

    def decoder(self, context: Context) -> SoundDecoder | NoDecoder:
        return SoundDecoder()

    def answer(self, body: bytes) -> Whole:
        raise UpstreamError(Fault.PROTOCOL, f"not sound: {body[:200]!r}")

    def passed(self, op: Speak, body: bytes, meter: Meter) -> bytes:
        raise UpstreamError(Fault.PROTOCOL, f"not sound: {body[:200]!r}")

    def tap(self, context: Context, meter: Meter) -> Pipe:
        return SoundTap()


class OpenAISpeechEvents(OpenAISpeech):
    """The wire with events as the answer."""

    name = "openai_speech_events"
    stream_format = "sse"

    def encoder(self, context: Context) -> SpeechEventsEncoder:
        return SpeechEventsEncoder()

    def decoder(self, context: Context) -> NoDecoder:
        return NoDecoder()

    def tap(self, context: Context, meter: Meter) -> Pipe:
        return TypedTap(context, meter, frozenset({"speech.audio.done"}))


def check_voice(voice: str, capabilities: Capabilities) -> None:
    """Raises `Problem` for a voice that there is not."""
    if capabilities.voices is not None and voice not in capabilities.voices:
        text = f"voice: '{voice[:64]}' is not one of {', '.join(sorted(capabilities.voices))}."
        raise Problem("INVALID_REQUEST", text, param="voice")
