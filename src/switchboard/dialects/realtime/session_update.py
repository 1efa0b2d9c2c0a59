"""The session that a server holds: what it has the provider do, whatever its clients ask for."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from switchboard.dialects.realtime.fields import SESSION_PATHS, TRANSCRIPTION, session_to_ga
from switchboard.dialects.realtime.frames import JsonObject, dump_event
from switchboard.dialects.realtime.losses import Losses
from switchboard.dialects.realtime.shapes import Shape

Format = Literal["pcm16", "g711_ulaw", "g711_alaw"]


class SessionFields(Struct, frozen=True, kw_only=True):
    """What is said of a session, in neither shape; what is UNSET is not said. None switches off what can be off.

    `model` is for the provider; `modalities` is ``["text"]``, or ``["audio"]``, which brings its text. `pcm16` is 24 kHz, mono, little-endian.
    `transcription` (of what the user says: ``model``, ``language``, ``prompt``), `noise_reduction`, `turn_detection`, `tools` and
    `tool_choice` hold what both shapes hold. `temperature` is for the beta only.
    """

    type: Literal["realtime", "transcription"] = "realtime"
    model: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    modalities: list[str] | UnsetType = UNSET
    voice: str | UnsetType = UNSET
    speed: float | UnsetType = UNSET
    input_format: Format | UnsetType = UNSET
    output_format: Format | UnsetType = UNSET
    transcription: dict[str, Any] | UnsetType | None = UNSET
    noise_reduction: dict[str, Any] | UnsetType | None = UNSET
    turn_detection: dict[str, Any] | UnsetType | None = UNSET
    tools: list[dict[str, Any]] | UnsetType = UNSET
    tool_choice: str | dict[str, Any] | UnsetType = UNSET
    max_output_tokens: int | Literal["inf"] | UnsetType = UNSET
    temperature: float | UnsetType = UNSET


_BETA_NAMES: Final = {
    "input_format": "input_audio_format",
    "output_format": "output_audio_format",
    "transcription": "input_audio_transcription",
    "noise_reduction": "input_audio_noise_reduction",
    "max_output_tokens": "max_response_output_tokens",
}


def session_update(shape: Shape, fields: SessionFields, event_id: str = "") -> bytes:
    """The event that makes a session of `shape` what `fields` say. `event_id`, where given, is what an error names that
    refuses it."""
    session = {_BETA_NAMES.get(n, n): v for n, v in msgspec.structs.asdict(fields).items() if v is not UNSET}
    kind = session.pop("type")
    event: JsonObject = {"type": "session.update"}
    if event_id:
        event["event_id"] = event_id
    if kind == TRANSCRIPTION:  # it takes nothing that concerns answers
        session = {n: v for n, v in session.items() if SESSION_PATHS.get(n, ())[:2] == ("audio", "input")}
    if shape is Shape.GA:
        session = session_to_ga(session, kind, Losses())
    elif kind == TRANSCRIPTION:
        event["type"] = "transcription_session.update"
    elif session.get("modalities") == ["audio"]:
        session["modalities"] = ["audio", "text"]
    event["session"] = session
    return dump_event(event)
