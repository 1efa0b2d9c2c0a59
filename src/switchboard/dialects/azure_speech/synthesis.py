"""Azure's wire for speech: SSML out, sound in.

Source: Microsoft's documentation, "Text to speech REST API", "Speech Synthesis Markup Language".
"""

from __future__ import annotations

import re
from typing import Final

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.ports import Context, Meter, Pipe, Whole
from switchboard.core.types import Lines, Speak
from switchboard.dialects._openai_media import OpenAIErrors
from switchboard.dialects.openai_speech import SoundDecoder, SoundTap

#: Azure's names of our formats; it has neither AAC nor FLAC.
_FORMATS: Final = {
    "mp3": b"audio-24khz-96kbitrate-mono-mp3",
    "opus": b"ogg-24khz-16bit-mono-opus",
    "wav": b"riff-24khz-16bit-mono-pcm",
    "pcm": b"raw-24khz-16bit-mono-pcm",
}
_AVA: Final = "en-US-AvaMultilingualNeural"
_EMMA: Final = "en-US-EmmaMultilingualNeural"
_ANDREW: Final = "en-US-AndrewMultilingualNeural"
_BRIAN: Final = "en-US-BrianMultilingualNeural"
#: Who speaks for OpenAI's voices. These four find out the language of a text and speak all that Azure has; other voices
#: of that kind are there in a few regions only, or know fewer languages.
_VOICES: Final = {
    "alloy": _AVA,
    "ash": _ANDREW,
    "ballad": _BRIAN,
    "coral": _EMMA,
    "echo": _BRIAN,
    "fable": _EMMA,
    "onyx": _ANDREW,
    "nova": _EMMA,
    "sage": _AVA,
    "shimmer": _AVA,
    "verse": _BRIAN,
    "marin": _EMMA,
    "cedar": _ANDREW,
}
#: A locale and a name: en-US-AvaMultilingualNeural, sr-Latn-RS-SophieNeural, en-US-Ava:DragonHDLatestNeural.
_VOICE: Final = re.compile(r"([A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,16}){1,3})-[A-Za-z0-9]{1,64}(?::[A-Za-z0-9-]{1,64})?")
#: What XML 1.0 has no place for, escaped or not: most control characters, halves of surrogate pairs, U+FFFE, U+FFFF.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: A carriage return is one of them, for a parser reads it as a line feed.
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", "\r": "&#13;"},
)
_SLOWEST, _FASTEST = 0.5, 2.0  # times the voice's own speed
_TAKEN: Final = frozenset({"input", "voice", "response_format", "speed", "stream_format"})


class AzureSynthesis(OpenAIErrors):
    """The dialect itself. It has no state. Errors have a JSON body, a text or nothing; `OpenAIErrors` reads them all."""

    name = "azure_synthesis"

    def build(self, op: Speak, model: str, capabilities: Capabilities) -> bytes:
        """See `core.ports.ProviderDialect`."""
        if op.format not in _FORMATS:
            text = f"response_format: {op.format} is not made by the model that speaks here; {', '.join(_FORMATS)} are."
            raise Problem("INVALID_REQUEST", text, param="response_format")
        speed = min(max(op.speed, _SLOWEST), _FASTEST)
        body = ssml(op.text, voice_of(op), speed)
        if speed != op.speed:
            op.drop("speed")
        for name, value in op.members.items():
            if name not in _TAKEN and bytes(value) != b"null":
                op.drop(name)
        return body

    def headers(self, op: Speak) -> Lines:
        """See `core.ports.ProviderDialect`; the format was looked at in `build`."""
        return b"content-type: application/ssml+xml\r\nx-microsoft-outputformat: %b\r\n" % _FORMATS[op.format]

    def decoder(self, context: Context) -> SoundDecoder:
        """See `core.ports.ProviderDialect`."""
        context.kind = b""  # Azure's name for raw PCM is that of another format; what was asked for is what comes
        return SoundDecoder()

    def answer(self, body: bytes) -> Whole:
        """Sound is always streamed."""
        raise UpstreamError(Fault.PROTOCOL, f"not sound: {body[:200]!r}")

    def passed(self, op: Speak, body: bytes, meter: Meter) -> bytes:
        """Sound is always streamed."""
        raise UpstreamError(Fault.PROTOCOL, f"not sound: {body[:200]!r}")

    def tap(self, context: Context, meter: Meter) -> Pipe:
        """See `core.ports.ProviderDialect`."""
        return SoundTap()


def voice_of(op: Speak) -> str:
    """The name of the Azure voice that is asked for. Raises `Problem` for what cannot be one."""
    own = op.members.get("voice")
    if own is not None and bytes(own)[:1] == b"{":
        raise Problem("INVALID_REQUEST", "voice: the model that speaks here has no custom voices.", param="voice")
    asked = op.voice or "alloy"
    voice = _VOICES.get(asked, asked)
    if _VOICE.fullmatch(voice) is None:
        text = (
            f"voice: '{asked[:64]}' is neither one of {', '.join(_VOICES)} nor the name of an Azure voice, like {_AVA}."
        )
        raise Problem("INVALID_REQUEST", text, param="voice")
    return voice


def ssml(text: str, voice: str, speed: float) -> bytes:
    """`text` as SSML, in which it is never anything but text. `voice` is an Azure voice's name, `speed` a factor.

    Raises `Problem` for a text that has nothing to be spoken.
    """
    named = _VOICE.fullmatch(voice)
    assert named is not None
    said = _FORBIDDEN.sub("", text)
    if not said.strip():
        raise Problem("INVALID_REQUEST", "input: there is nothing in it that can be spoken.", param="input")
    said = said.translate(_ESCAPES)
    percent = round((speed - 1) * 100)
    if percent:
        said = f'<prosody rate="{percent:+d}%">{said}</prosody>'
    head = f'<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="{named[1]}">'
    return f'{head}<voice name="{voice}">{said}</voice></speak>'.encode()
