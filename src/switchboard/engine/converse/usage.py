"""What a conversation uses, as its provider tells with each response and each transcription; or about what, where it does not."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from switchboard.core.types import Usage, estimated_tokens
from switchboard.dialects.realtime import JsonObject

#: Milliseconds of sound of the model's that are taken for one token, where nobody counted.
_MS_PER_TOKEN = 50


class _Details(Struct):
    audio_tokens: int = 0
    cached_tokens: int = 0


class _Usage(Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_token_details: _Details | None = None
    output_token_details: _Details | None = None
    seconds: float = 0.0


class _Response(Struct):
    usage: _Usage | None = None


class _Told(Struct):
    response: _Response | None = None
    usage: _Usage | None = None


def usage_of(event: JsonObject) -> Usage | None:
    """What a ``response.done``, or a transcription that is complete, says was used; None where it says nothing that can be read."""
    try:
        event_told = msgspec.convert(event, _Told, strict=False)
    except msgspec.ValidationError:
        return None
    told = event_told.usage if event_told.response is None else event_told.response.usage
    if told is None:
        return None
    asked, said = told.input_token_details or _Details(), told.output_token_details or _Details()
    return Usage(
        told.input_tokens,
        told.output_tokens,
        asked.cached_tokens,
        seconds=told.seconds,
        audio_input=asked.audio_tokens,
        audio_output=said.audio_tokens,
    )


def estimated(context: int, characters: int, ms: float) -> Usage:
    """About what a response used that was broken off: `context` characters were said before, so many `characters` and `ms` of sound were
    made."""
    sound = round(ms / _MS_PER_TOKEN)
    return Usage(estimated_tokens(context), estimated_tokens(characters) + sound, estimated=True, audio_output=sound)
