"""What a conversation uses, as its provider tells with each response."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from switchboard.core.types import Usage
from switchboard.dialects.realtime import JsonObject


class _Details(Struct):
    audio_tokens: int = 0
    cached_tokens: int = 0


class _Usage(Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_token_details: _Details | None = None
    output_token_details: _Details | None = None


class _Response(Struct):
    usage: _Usage | None = None


class _Done(Struct):
    response: _Response | None = None


def usage_of(event: JsonObject) -> Usage | None:
    """What a ``response.done`` says was used; None where it says nothing that can be read."""
    try:
        done = msgspec.convert(event, _Done, strict=False)
    except msgspec.ValidationError:
        return None
    told = None if done.response is None else done.response.usage
    if told is None:
        return None
    asked, said = told.input_token_details or _Details(), told.output_token_details or _Details()
    return Usage(
        told.input_tokens,
        told.output_tokens,
        asked.cached_tokens,
        audio_input=asked.audio_tokens,
        audio_output=said.audio_tokens,
    )
