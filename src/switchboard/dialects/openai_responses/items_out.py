"""Messages of OpenAI's chat as items of a request: for one that came as items, and of which some were left out since."""

from __future__ import annotations

from typing import Any


def build_items(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The input that says what `messages` say, which are as `items_in` makes them."""
    items: list[dict[str, Any]] = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "tool":
            output = {"call_id": message.get("tool_call_id"), "output": _parts(content)}
            items.append({"type": "function_call_output"} | output)
            continue
        if role != "assistant" or content or "tool_calls" not in message:
            items.append({"role": role, "content": _parts(content)})
        for call in message.get("tool_calls") or ():
            items.append({"type": "function_call", "call_id": call.get("id")} | call["function"])
    return items


def _parts(content: Any) -> str | list[dict[str, Any]]:
    if not isinstance(content, list):
        return content or ""
    return [_part(p) for p in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind: str = part["type"]
    inner: Any = part[kind]
    match kind:
        case "text":
            return {"type": "input_text", "text": inner}
        case "image_url":
            return {"type": "input_image", "image_url": inner["url"], "detail": inner.get("detail", "auto")}
        case "file":
            return {"type": "input_file", **inner}
    return part  # sound, which is the same here


def build_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A function that OpenAI's chat could have called."""
    return {"type": "function", **tool["function"]}
