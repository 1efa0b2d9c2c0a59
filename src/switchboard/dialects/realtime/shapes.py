"""The two shapes of the Realtime interface, and how to tell which of them a client speaks."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from switchboard.dialects.realtime.frames import event_type, load_event


class Shape(StrEnum):
    """BETA: flat sessions, asked for with ``OpenAI-Beta: realtime=v1``. GA: what came after it."""

    BETA = "beta"
    GA = "ga"


_BETA_SESSION: Final = frozenset(
    {
        "modalities",
        "voice",
        "speed",
        "input_audio_format",
        "output_audio_format",
        "input_audio_transcription",
        "input_audio_noise_reduction",
        "turn_detection",
        "max_response_output_tokens",
        "temperature",
        "client_secret",
    }
)
_GA_SESSION: Final = frozenset(
    {
        "type",
        "audio",
        "output_modalities",
        "max_output_tokens",
        "include",
        "prompt",
        "truncation",
        "reasoning",
        "parallel_tool_calls",
    }
)
_BODIES: Final = {"session.update": "session", "response.create": "response", "conversation.item.create": "item"}


def guess(frame: bytes) -> Shape | None:
    """Which shape a client's event is of; None where it could be either. Raises `RealtimeFrameError`."""
    kind = event_type(frame)
    if kind == "transcription_session.update":
        return Shape.BETA
    where = _BODIES.get(kind)
    if where is None:
        return None
    body = load_event(frame).get(where)
    if not isinstance(body, dict):
        return None
    beta, ga = False, False
    items = [body] if where == "item" else body.get("input")
    if where != "item":
        names = body.keys()
        beta, ga = not _BETA_SESSION.isdisjoint(names), not _GA_SESSION.isdisjoint(names)
    if isinstance(items, list):
        found = {_shape_of_item(i) for i in items}
        beta, ga = beta or Shape.BETA in found, ga or Shape.GA in found
    if beta == ga:  # no sign of either, or of both
        return None
    return Shape.BETA if beta else Shape.GA


def _shape_of_item(item: Any) -> Shape | None:
    if not isinstance(item, dict):
        return None
    if str(item.get("type")).startswith("mcp_"):
        return Shape.GA
    content = item.get("content")
    kinds = {str(p.get("type")) for p in content if isinstance(p, dict)} if isinstance(content, list) else set()
    if kinds & {"output_text", "output_audio", "input_image"}:
        return Shape.GA
    return Shape.BETA if kinds & {"text", "audio"} else None
