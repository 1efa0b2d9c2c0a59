"""A server's events, from either shape to the other. What is not named here is the same in both."""

from __future__ import annotations

from typing import Any, Final

from switchboard.dialects.realtime.client_events import Reshape
from switchboard.dialects.realtime.fields import (
    REALTIME,
    TOLD_PATHS,
    TRANSCRIPTION,
    response_to_beta,
    response_to_ga,
    session_to_beta,
    session_to_ga,
)
from switchboard.dialects.realtime.frames import JsonObject
from switchboard.dialects.realtime.items import (
    item_to_beta,
    item_to_ga,
    items_to_beta,
    items_to_ga,
    part_to_beta,
)
from switchboard.dialects.realtime.params import error_to_beta, error_to_ga
from switchboard.dialects.realtime.state import State

#: The beta's name → GA's, of events that are the same but for it.
RENAMED: Final = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
}

#: Events of GA that the beta has not, and how the names of more of them begin.
GA_ONLY: Final = frozenset(
    {
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.dtmf_event_received",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
    }
)
GA_ONLY_BEGIN: Final = ("mcp_", "response.mcp_")


def _id_of(item: Any) -> str:
    value = item.get("id") if isinstance(item, dict) else None
    return value if isinstance(value, str) else ""


# -- GA to beta


def _session_to_beta(event: JsonObject, state: State) -> list[JsonObject]:
    if "session" in event:
        event["session"], kind = session_to_beta(event["session"], state.losses)
        state.kind = kind or state.kind
    if state.kind == TRANSCRIPTION:
        event["type"] = f"transcription_{event['type']}"
    return [event]


def _created_once(event: JsonObject, state: State) -> list[JsonObject]:
    """GA tells of an item when it begins and when it is whole, and some servers also in the beta's way; the beta once."""
    item_id = _id_of(event.get("item"))
    if item_id:
        if item_id in state.announced:
            return []
        state.announced.put(item_id, None)
    event["type"] = "conversation.item.created"
    return _item_to_beta(event, state)


def _item_to_beta(event: JsonObject, state: State) -> list[JsonObject]:
    if isinstance(event.get("item"), dict):
        event["item"] = item_to_beta(event["item"], state.losses, told=True)
        if event["item"] is None:
            return []
    return [event]


def _part_to_beta(event: JsonObject, _state: State) -> list[JsonObject]:
    part_to_beta(event.get("part"))
    return [event]


def _response_to_beta(event: JsonObject, state: State) -> list[JsonObject] | None:
    response = event.get("response")
    if not isinstance(response, dict):
        return None
    event["response"] = response = response_to_beta(response, TOLD_PATHS, state.losses)
    items_to_beta(response, "output", state.losses, told=True)
    return [event]


def _error_to_beta(event: JsonObject, _state: State) -> list[JsonObject]:
    error_to_beta(event)
    return [event]


# -- beta to GA


def _session_to_ga(event: JsonObject, state: State) -> list[JsonObject]:
    name = str(event["type"])
    state.kind = TRANSCRIPTION if name.startswith("transcription_") else REALTIME
    event["type"] = name.removeprefix("transcription_")
    if "session" in event:
        event["session"] = session_to_ga(event["session"], state.kind, state.losses)
    return [event]


def _added_and_done(event: JsonObject, state: State) -> list[JsonObject]:
    """The beta tells of an item once; one that is whole by then is also told to be."""
    event["type"] = "conversation.item.added"
    if "item" not in event:
        return [event]
    item = event["item"] = item_to_ga(event["item"], state.losses)
    item_id = _id_of(item)
    if not item_id:
        return [event]
    before = event.get("previous_item_id")
    state.open.put(item_id, before if isinstance(before, str) else None)
    return [event] if item.get("status") == "in_progress" else [event, *_done(event, item, state)]


def _done(event: JsonObject, item: Any, state: State) -> list[JsonObject]:
    """The event that `item` is whole, where the client does not know it yet; its id is made of that of `event`."""
    item_id = _id_of(item)
    if item_id not in state.open:
        return []
    done = {"type": "conversation.item.done", "event_id": f"{event.get('event_id', 'event')}_done"}
    return [done | {"previous_item_id": state.open.pop(item_id), "item": item}]


def _item_to_ga(event: JsonObject, state: State) -> list[JsonObject]:
    if "item" in event:
        event["item"] = item_to_ga(event["item"], state.losses)
    return [event]


def _output_item_to_ga(event: JsonObject, state: State) -> list[JsonObject]:
    out = _item_to_ga(event, state)
    item = event.get("item")
    if isinstance(item, dict):
        name = item.get("name")
        if isinstance(name, str) and (item_id := _id_of(item)):
            state.functions.put(item_id, name)
        if event["type"] == "response.output_item.done":
            out = _done(event, item, state) + out
    return out


def _arguments_to_ga(event: JsonObject, state: State) -> list[JsonObject] | None:
    """GA says again which function is called."""
    if "name" in event:
        return None
    item_id = event.get("item_id")
    event["name"] = state.functions.get(item_id, "") if isinstance(item_id, str) else ""
    return [event]


def _response_to_ga(event: JsonObject, state: State) -> list[JsonObject] | None:
    response = event.get("response")
    if not isinstance(response, dict):
        return None
    event["response"] = response = response_to_ga(response, TOLD_PATHS, state.losses)
    items_to_ga(response, "output", state.losses)
    whole: list[JsonObject] = []
    items = response.get("output")
    if event["type"] == "response.done" and isinstance(items, list):
        for n, item in enumerate(items):
            whole += _done({"event_id": f"{event.get('event_id', 'event')}_{n}"}, item, state)
    return [*whole, event]


def _error_to_ga(event: JsonObject, _state: State) -> list[JsonObject]:
    error_to_ga(event)
    return [event]


# -- both


def _deleted(event: JsonObject, state: State) -> None:
    item_id = event.get("item_id")
    if isinstance(item_id, str):
        state.forget(item_id)


GA_TO_BETA: Final[dict[str, Reshape]] = {
    "session.created": _session_to_beta,
    "session.updated": _session_to_beta,
    "conversation.item.added": _created_once,
    "conversation.item.done": _created_once,
    "conversation.item.created": _created_once,
    "conversation.item.retrieved": _item_to_beta,
    "conversation.item.deleted": _deleted,
    "response.created": _response_to_beta,
    "response.done": _response_to_beta,
    "response.output_item.added": _item_to_beta,
    "response.output_item.done": _item_to_beta,
    "response.content_part.added": _part_to_beta,
    "response.content_part.done": _part_to_beta,
    "error": _error_to_beta,
}
BETA_TO_GA: Final[dict[str, Reshape]] = {
    "session.created": _session_to_ga,
    "session.updated": _session_to_ga,
    "transcription_session.created": _session_to_ga,
    "transcription_session.updated": _session_to_ga,
    "conversation.item.created": _added_and_done,
    "conversation.item.retrieved": _item_to_ga,
    "conversation.item.deleted": _deleted,
    "response.created": _response_to_ga,
    "response.done": _response_to_ga,
    "response.output_item.added": _output_item_to_ga,
    "response.output_item.done": _output_item_to_ga,
    "response.function_call_arguments.done": _arguments_to_ga,
    "error": _error_to_ga,
}
