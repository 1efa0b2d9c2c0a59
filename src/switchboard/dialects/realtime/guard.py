"""What a server allows its clients to change of a session, in either shape.

Members are named as in `SessionFields`, whatever shape they come in; those that have no name there, by the wire's own.
"""

from __future__ import annotations

from typing import Any, Final

from switchboard.dialects.realtime.frames import JsonObject, dump_event, event_type, load_event, type_is_plain

_BODIES: Final = {
    "session.update": "session",
    "transcription_session.update": "session",
    "response.create": "response",
}
#: The names of members that the shapes call otherwise, or each in its own way.
_NAMES: Final = {
    "output_modalities": "modalities",
    "input_audio_format": "input_format",
    "output_audio_format": "output_format",
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "max_response_output_tokens": "max_output_tokens",
    "audio.input.format": "input_format",
    "audio.input.transcription": "transcription",
    "audio.input.noise_reduction": "noise_reduction",
    "audio.input.turn_detection": "turn_detection",
    "audio.output.format": "output_format",
    "audio.output.voice": "voice",
    "audio.output.speed": "speed",
}


def field_guard(frame: bytes, allowed: frozenset[str]) -> tuple[bytes, list[str]]:
    """A client's frame without the members of a session, or of a response that is asked for, that are not in `allowed`, and the
    names of those that were taken out (``session.audio.output.voice``).

    `allowed` holds names of `SessionFields`, of other members of a session (``tracing``) or of a response (``input``,
    ``conversation``, ``metadata``). What is not known is not allowed; ``session.type`` is. Other events pass as they are, unless two
    readers of JSON could take them for different ones: then as they are read here. Raises `RealtimeFrameError`.
    """
    where = _BODIES.get(event_type(frame))
    if where is None:
        return (frame if type_is_plain(frame) else dump_event(load_event(frame))), []
    event = load_event(frame)
    removed: list[str] = []
    body = event.get(where)
    if isinstance(body, dict):
        event[where] = _allowed(body, where, allowed, removed)
    return dump_event(event), removed


def _allowed(body: JsonObject, where: str, allowed: frozenset[str], removed: list[str]) -> JsonObject:
    out: JsonObject = {}
    for name, value in body.items():
        if name == "audio" and isinstance(value, dict):
            audio = {side: _side(side, members, where, allowed, removed) for side, members in value.items()}
            if kept := {side: members for side, members in audio.items() if members}:
                out[name] = kept
        elif (name == "type" and where == "session") or _NAMES.get(name, name) in allowed:
            out[name] = value
        else:
            removed.append(f"{where}.{name}")
    return out


def _side(side: str, members: Any, where: str, allowed: frozenset[str], removed: list[str]) -> JsonObject:
    """One of ``audio.input`` and ``audio.output`` without what is not allowed."""
    if not isinstance(members, dict):
        removed.append(f"{where}.audio.{side}")
        return {}
    out: JsonObject = {}
    for name, value in members.items():
        path = f"audio.{side}.{name}"
        if _NAMES.get(path, path) in allowed:
            out[name] = value
        else:
            removed.append(f"{where}.{path}")
    return out


def clamp_truncate(frame: bytes, played_ms: int) -> bytes:
    """A client's frame, which, if it truncates what the model said, does so no later than at `played_ms` milliseconds of it: who asks
    for more than there is gets an error. Raises `RealtimeFrameError`."""
    if event_type(frame) != "conversation.item.truncate":
        return frame
    event = load_event(frame)
    end = event.get("audio_end_ms")
    if not isinstance(end, int | float) or end <= played_ms:
        return frame
    event["audio_end_ms"] = max(played_ms, 0)
    return dump_event(event)
