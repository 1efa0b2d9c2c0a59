"""A client's events, from either shape to the other. What is not named here is the same in both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from switchboard.dialects.realtime.fields import (
    ASKED_PATHS,
    TRANSCRIPTION,
    response_to_beta,
    response_to_ga,
    session_to_beta,
    session_to_ga,
)
from switchboard.dialects.realtime.frames import JsonObject
from switchboard.dialects.realtime.items import item_to_beta, item_to_ga, items_to_beta, items_to_ga
from switchboard.dialects.realtime.state import State

Reshape = Callable[[JsonObject, State], list[JsonObject] | None]
"""Gives the events that an event becomes, which it may change; None: it passes as it came."""


def _session_to_ga(event: JsonObject, state: State) -> list[JsonObject]:
    event["session"] = session_to_ga(event.get("session"), state.kind, state.losses)
    return [event]


def _transcription_to_ga(event: JsonObject, state: State) -> list[JsonObject]:
    event["type"] = "session.update"
    event["session"] = session_to_ga(event.get("session"), TRANSCRIPTION, state.losses)
    return [event]


def _session_to_beta(event: JsonObject, state: State) -> list[JsonObject]:
    event["session"], kind = session_to_beta(event.get("session"), state.losses)
    if (kind or state.kind) == TRANSCRIPTION:
        event["type"] = "transcription_session.update"
    return [event]


def _response_to_ga(event: JsonObject, state: State) -> list[JsonObject] | None:
    response = event.get("response")
    if not isinstance(response, dict):
        return None
    event["response"] = response = response_to_ga(response, ASKED_PATHS, state.losses)
    items_to_ga(response, "input", state.losses)
    return [event]


def _response_to_beta(event: JsonObject, state: State) -> list[JsonObject] | None:
    response = event.get("response")
    if not isinstance(response, dict):
        return None
    event["response"] = response = response_to_beta(response, ASKED_PATHS, state.losses)
    items_to_beta(response, "input", state.losses, told=False)
    return [event]


def _item_to_ga(event: JsonObject, state: State) -> list[JsonObject]:
    if "item" in event:
        event["item"] = item_to_ga(event["item"], state.losses)
    return [event]


def _item_to_beta(event: JsonObject, state: State) -> list[JsonObject]:
    if isinstance(event.get("item"), dict):
        event["item"] = item_to_beta(event["item"], state.losses, told=False)
        if event["item"] is None:
            return []
    return [event]


BETA_TO_GA: Final[dict[str, Reshape]] = {
    "session.update": _session_to_ga,
    "transcription_session.update": _transcription_to_ga,
    "response.create": _response_to_ga,
    "conversation.item.create": _item_to_ga,
}
GA_TO_BETA: Final[dict[str, Reshape]] = {
    "session.update": _session_to_beta,
    "response.create": _response_to_beta,
    "conversation.item.create": _item_to_beta,
}
