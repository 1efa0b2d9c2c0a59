"""Sound in events: base64 on the wire, bytes to who works with it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

import msgspec
from msgspec import Struct

from switchboard.dialects.realtime.frames import dump_event, event_type, load_event

AUDIO_DELTAS: Final = frozenset({"response.audio.delta", "response.output_audio.delta"})


class _Append(Struct):
    audio: bytes
    type: Any = ""


class _Delta(Struct):
    delta: bytes
    type: Any = ""


_decode_append: Final = msgspec.json.Decoder(_Append).decode
_decode_delta: Final = msgspec.json.Decoder(_Delta).decode


def binary_to_append(pcm: bytes) -> bytes:
    """The event, the same in both shapes, that adds `pcm` to what the provider hears."""
    return b'{"type":"input_audio_buffer.append","audio":"%b"}' % b64encode(pcm)


def append_to_pcm(frame: bytes) -> bytes | None:
    """The sound in an `input_audio_buffer.append`; None where `frame` is another event, or its sound is no base64. Raises
    `RealtimeFrameError` where it is no event."""
    try:
        event = _decode_append(frame)
    except (ValueError, RecursionError):
        event_type(frame)  # raises where it is no event at all
        return None
    return event.audio if event.type == "input_audio_buffer.append" else None


def delta_to_pcm(frame: bytes) -> bytes | None:
    """The sound in an audio delta of either shape; None where `frame` is another event, or its sound is no base64. Raises
    `RealtimeFrameError` where it is no event."""
    try:
        event = _decode_delta(frame)
    except (ValueError, RecursionError):
        event_type(frame)
        return None
    return event.delta if isinstance(event.type, str) and event.type in AUDIO_DELTAS else None


def with_sound(frame: bytes, pcm: bytes) -> bytes:
    """An audio delta with `pcm` for its sound. Raises `RealtimeFrameError`."""
    return dump_event(load_event(frame) | {"delta": b64encode(pcm).decode()})
