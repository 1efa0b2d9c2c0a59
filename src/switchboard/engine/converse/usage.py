"""What a conversation uses, as its provider tells with each response."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from switchboard.core.types import Usage


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


_decode = msgspec.json.Decoder(_Done, strict=False).decode


def usage_of(frame: bytes) -> Usage | None:
    """What a ``response.done`` says was used; None where it says nothing that can be read."""
    try:
        done = _decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError):
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


def added(total: Usage, more: Usage) -> None:
    """Add `more` to `total`."""
    for name in ("input", "output", "cached", "audio_input", "audio_output"):
        setattr(total, name, getattr(total, name) + getattr(more, name))
