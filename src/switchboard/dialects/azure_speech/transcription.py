"""Azure's wires for transcription: one for short recordings, and the fast one for all others.

Source: Microsoft's documentation, "Speech to text REST API for short audio" (at most 60 s, WAV with PCM or Ogg with
Opus, one result), "Fast transcription API" (version 2024-11-15: a form with the file, phrases and words with times).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import replace

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.events import Passage, Transcription
from switchboard.core.ports import Context, Meter, Pipe
from switchboard.core.types import FilePart, Lines, Transcribe, Upload, Usage
from switchboard.dialects import _openai_shapes as shapes
from switchboard.dialects._openai_media import NoDecoder, OpenAIErrors, decode
from switchboard.dialects.openai_transcription import filename_of
from switchboard.wire.multipart import FormWriter, form_type

#: The model that is the service for short recordings; every other one is the fast service.
SHORT: Final = "azure-stt-short"

_SHORT_PATH: Final = "/speech/recognition/conversation/cognitiveservices/v1"
_FAST_PATH: Final = "/speechtotext/transcriptions:transcribe?api-version=2024-11-15"
_WAV: Final[Lines] = b"content-type: audio/wav; codecs=audio/pcm; samplerate=16000\r\n"
_OGG: Final[Lines] = b"content-type: audio/ogg; codecs=opus\r\n"
_TAKEN: Final = frozenset({"model", "language", "response_format", "stream", "timestamp_granularities"})
_TICKS: Final = 10_000_000  # in a second
#: What is spoken where nobody says.
_DEFAULT: Final = "en-US"
_LOCALE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,16}){1,2}")
_COMMON: Final = (
    "af-ZA am-ET ar-SA as-IN az-AZ bg-BG bn-IN bs-BA ca-ES cs-CZ cy-GB da-DK de-DE el-GR en-US es-ES et-EE eu-ES fa-IR "
    "fi-FI fil-PH fr-FR ga-IE gl-ES gu-IN he-IL hi-IN hr-HR hu-HU hy-AM id-ID is-IS it-IT ja-JP jv-ID ka-GE kk-KZ "
    "km-KH kn-IN ko-KR lo-LA lt-LT lv-LV mk-MK ml-IN mn-MN mr-IN ms-MY mt-MT my-MM nb-NO ne-NP nl-NL or-IN pa-IN "
    "pl-PL ps-AF pt-BR ro-RO ru-RU si-LK sk-SK sl-SI so-SO sq-AL sr-RS sv-SE sw-KE ta-IN te-IN th-TH tr-TR uk-UA "
    "ur-IN uz-UZ vi-VN wuu-CN yue-CN zh-CN zu-ZA"
)
#: The locale that a language without a country stands for.
_LOCALES: Final = {x.partition("-")[0]: x for x in _COMMON.split(" ")} | {"no": "nb-NO", "tl": "fil-PH"}


class Recording(Upload, kw_only=True):
    """Sound on its way to Azure, with what of its request goes by the model, the language and the file: `service` is
    "stt" for short recordings and "api" for the fast service, `target` is path and query, `kind` the content-type line."""

    service: str
    target: str
    kind: Lines


class _Best(Struct):
    display: str = field(default="", name="Display")


class _Piece(Struct, rename={"start": "offsetMilliseconds", "length": "durationMilliseconds"}):
    """A word or a phrase of the fast service; times are in milliseconds."""

    text: str = ""
    start: float = 0.0
    length: float = 0.0
    locale: str = ""
    words: list[_Piece] | None = None

    def passage(self) -> Passage:
        """The same in seconds."""
        return Passage(self.text, self.start / 1000, (self.start + self.length) / 1000)


class _Answer(Struct):
    """What either service answers: the first four are those of the one for short recordings, times in ticks."""

    status: str | UnsetType = field(default=UNSET, name="RecognitionStatus")
    display: str | None = field(default=None, name="DisplayText")
    best: list[_Best] | None = field(default=None, name="NBest")
    offset: int | str | None = field(default=None, name="Offset")
    duration: int | str | None = field(default=None, name="Duration")
    milliseconds: float | None = field(default=None, name="durationMilliseconds")
    combined: list[_Piece] | UnsetType = field(default=UNSET, name="combinedPhrases")
    phrases: list[_Piece] | None = None


_decoder: Final = msgspec.json.Decoder(_Answer)


class AzureTranscription(OpenAIErrors):
    """Both wires: `build` chooses by the model, `answer` by what came. It has no state."""

    name = "azure_transcription"

    def build(self, op: Transcribe, model: str, capabilities: Capabilities) -> Recording:
        """See `core.ports.ProviderDialect`."""
        locale = locale_of(op.language)
        short = model == SHORT
        body = _short(op, locale) if short else _fast(op, locale)
        for field_name, _ in op.form.fields:
            name = field_name.removesuffix("[]")
            if name not in _TAKEN:
                op.drop(name)
        if short and op.words:
            op.drop("timestamp_granularities")
        if op.format == "diarized_json":
            op.drop("response_format")
        return body

    def headers(self, op: Transcribe) -> Lines:
        """See `core.ports.ProviderDialect`; the content type goes by the model, and so it is the body's (`Recording`)."""
        return b"accept: application/json\r\n"

    def decoder(self, context: Context) -> NoDecoder:
        """See `core.ports.ProviderDialect`; neither service streams."""
        return NoDecoder()

    def answer(self, body: bytes) -> Transcription:
        """See `core.ports.ProviderDialect`."""
        a = decode(_decoder, body, "a transcription")
        if a.status is not UNSET:
            return _recognized(a, a.status)
        if a.combined is UNSET:
            raise UpstreamError(Fault.PROTOCOL, f"not a transcription: {body[:200]!r}")
        phrases = a.phrases or []
        duration = None if a.milliseconds is None else a.milliseconds / 1000
        return Transcription(
            " ".join([c.text for c in a.combined]),  # one for each channel that was asked for
            next((p.locale for p in phrases), ""),
            duration,
            [p.passage() for p in phrases],
            [w.passage() for p in phrases for w in p.words or ()],
            Usage(seconds=duration) if duration else None,
        )

    def passed(self, op: Transcribe, body: bytes, meter: Meter) -> bytes:
        """See `core.ports.ProviderDialect`."""
        meter.saw(1, self.answer(body).size())
        return body

    def tap(self, context: Context, meter: Meter) -> Pipe:
        """Never called."""
        raise AssertionError("no client speaks this wire, so that no stream passes as it came")


def locale_of(language: str) -> str:
    """The locale of a language code or a locale; the default one of "". Raises `Problem` for anything else."""
    if not language:
        return _DEFAULT
    known = _LOCALES.get(language.lower())
    if known is not None:
        return known
    if _LOCALE.fullmatch(language) is None:
        text = f"language: '{language[:32]}' is not a language that is known here; a code (de) or a locale (de-AT) is expected."
        raise Problem("INVALID_REQUEST", text, param="language")
    return language


def _short(op: Transcribe, locale: str) -> Recording:
    target = f"{_SHORT_PATH}?language={locale}&format=detailed"
    return Recording((op.file.data,), service="stt", target=target, kind=_kind_of(op.file))


def _kind_of(file: FilePart) -> Lines:
    """The content-type line of a short recording, by what it begins with. Raises `Problem` for what is not taken."""
    head = next(Upload((file.data,)).chunks(64), b"")
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _WAV
    if head[:4] == b"OggS" and b"OpusHead" in head:
        return _OGG
    text = f"file: {SHORT} takes WAV (16 kHz) and Ogg with Opus; Azure's other model takes this, too."
    raise Problem("INVALID_REQUEST", text, param="file")


def _fast(op: Transcribe, locale: str) -> Recording:
    writer = FormWriter(op.form.boundary)
    writer.file(replace(op.file, name="audio"), filename_of(op.file))
    locales = [locale] if op.language else []  # without any, the service finds out
    writer.field("definition", shapes.encode({"locales": locales}).decode())
    kind = form_type(op.form.boundary)
    return Recording(writer.body().pieces, service="api", target=_FAST_PATH, kind=kind)


def _recognized(a: _Answer, status: str) -> Transcription:
    """What the service for short recordings has understood. Raises `UpstreamError` where it failed."""
    if status in ("NoMatch", "InitialSilenceTimeout"):
        return Transcription("")
    if status == "BabbleTimeout":  # it would be the same again
        raise UpstreamError(Fault.EVENT, "There is only noise at the start of the file.", status=422, code=status)
    if status == "Error":
        raise UpstreamError(Fault.EVENT, "the service could not go on", status=500, code=status)
    if status != "Success":
        raise UpstreamError(Fault.PROTOCOL, f"a status that is not known: {status[:64]!r}")
    text = a.display if a.display is not None else next((b.display for b in a.best or ()), "")
    start, length = _seconds(a.offset), _seconds(a.duration)
    passages = [Passage(text, start or 0.0, (start or 0.0) + length)] if text and length else []
    return Transcription(text, "", length, passages, usage=Usage(seconds=length) if length else None)


def _seconds(ticks: int | str | None) -> float | None:
    """Ticks of 100 ns, which come as a number or as its digits, in seconds."""
    try:
        return None if ticks is None else int(ticks) / _TICKS
    except (ValueError, OverflowError):
        return None
