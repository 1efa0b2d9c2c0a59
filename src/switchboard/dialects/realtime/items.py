"""The items of a conversation and the parts of their content, from either shape to the other.

What the model says is content of the types ``text`` and ``audio`` in the beta, ``output_text`` and ``output_audio`` in GA;
what it is told is ``input_*`` in both. GA has pictures, and items of tools that the provider calls itself (``mcp_*``).
"""

from __future__ import annotations

from typing import Any, Final

from switchboard.dialects.realtime.frames import JsonObject
from switchboard.dialects.realtime.losses import Losses

_PART_TO_GA: Final = {"text": "output_text", "audio": "output_audio"}
_PART_TO_BETA: Final = {v: k for k, v in _PART_TO_GA.items()}


def item_to_ga(item: Any, losses: Losses) -> Any:
    """A beta item as GA has it; `item` itself is changed."""
    if not isinstance(item, dict):
        return item
    if item.get("type") == "function_call":
        if item.get("arguments") is None:  # not told by some while it is in progress
            item["arguments"] = ""
    elif item.get("type") == "message":
        parts = item.get("content")
        if parts is None:
            item["content"] = []
        elif isinstance(parts, list):
            item["content"] = _parts_to_ga(parts, item.get("role") == "assistant", losses)
    return item


def _parts_to_ga(parts: list[Any], assistant: bool, losses: Losses) -> list[Any]:
    kept = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "item_reference":  # GA refers to items in the list of items only
            losses.add("content.item_reference")
            continue
        if assistant and isinstance(kind, str) and kind in _PART_TO_GA:
            part["type"] = _PART_TO_GA[kind]
        kept.append(part)
    return kept


def item_to_beta(item: Any, losses: Losses, *, told: bool) -> Any:
    """A GA item as the beta has it, None where it has none such; `item` itself is changed.

    Of an item that is `told` by a server, the parts keep their places, for other events name them: an empty text stands for what the beta
    has not.
    """
    if not isinstance(item, dict):
        return item
    if str(item.get("type")).startswith("mcp_"):
        losses.add("item.mcp")
        return None
    parts = item.get("content")
    if isinstance(parts, list):
        item["content"] = [p for p in (_part_in_item(p, losses, told) for p in parts) if p is not None]
    return item


def _part_in_item(part: Any, losses: Losses, told: bool) -> Any:
    if isinstance(part, dict) and part.get("type") == "input_image":
        losses.add("content.input_image")
        return {"type": "input_text", "text": ""} if told else None
    return part_to_beta(part)


def part_to_beta(part: Any) -> Any:
    """A part of content as the beta has it; `part` itself is changed."""
    if isinstance(part, dict):
        kind = part.get("type")
        if isinstance(kind, str) and kind in _PART_TO_BETA:
            part["type"] = _PART_TO_BETA[kind]
    return part


def items_to_ga(body: JsonObject, name: str, losses: Losses) -> None:
    """Have the list of items that `body` has under `name`, if any, as GA has it."""
    items = body.get(name)
    if isinstance(items, list):
        body[name] = [item_to_ga(i, losses) for i in items]


def items_to_beta(body: JsonObject, name: str, losses: Losses, *, told: bool) -> None:
    """Have the list of items that `body` has under `name`, if any, as the beta has it."""
    items = body.get(name)
    if isinstance(items, list):
        shaped = ((i, item_to_beta(i, losses, told=told)) for i in items)
        body[name] = [new for old, new in shaped if new is not None or old is None]
