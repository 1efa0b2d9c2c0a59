"""OpenAI's Realtime interface over WebSocket, in its two shapes, and the translation between them, both ways.

Source: the types of the official ``openai`` SDK (``types.beta.realtime``, ``types.realtime``). The *beta* has flat sessions
and one event for an item of the conversation; *GA*, what it became, has sound under ``session.audio``, says of what the
model puts out that it does (``output_text``), and tells of an item when it begins and when it is whole. All of this works
on frames, one JSON event each; it has no input and output of its own and no clock.
"""

from __future__ import annotations

from switchboard.dialects.realtime.audio import (
    AUDIO_DELTAS,
    append_to_pcm,
    binary_to_append,
    delta_to_pcm,
    with_sound,
)
from switchboard.dialects.realtime.frames import (
    JsonObject,
    RealtimeFrameError,
    dump_event,
    event_type,
    load_event,
    plain_type,
    sound_of,
    unambiguous,
)
from switchboard.dialects.realtime.guard import clamp_truncate, field_guard
from switchboard.dialects.realtime.session_update import Format, SessionFields, session_update
from switchboard.dialects.realtime.shapes import Shape, guess
from switchboard.dialects.realtime.translator import Translator

__all__ = [
    "AUDIO_DELTAS",
    "Format",
    "JsonObject",
    "RealtimeFrameError",
    "SessionFields",
    "Shape",
    "Translator",
    "append_to_pcm",
    "binary_to_append",
    "clamp_truncate",
    "delta_to_pcm",
    "dump_event",
    "event_type",
    "field_guard",
    "guess",
    "load_event",
    "plain_type",
    "session_update",
    "sound_of",
    "unambiguous",
    "with_sound",
]
