"""OpenAI's messages as Anthropic's: the system prompt apart, turns that alternate, results of tools in the user's turn."""

from __future__ import annotations

import re
from typing import Any, Final

from switchboard.core.types import Generate
from switchboard.dialects.anthropic_messages import shapes

_ID: Final = re.compile(r"[^A-Za-z0-9_-]")
_DATA_URL: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*?)(;base64)?,(.*)", re.DOTALL)


def build_messages(op: Generate) -> tuple[str | list[dict[str, Any]], list[dict[str, Any]]]:
    """System prompt and messages; `op.dropped` is told what Anthropic's wire has no place for."""
    system: list[dict[str, Any]] = [{"type": "text", "text": op.prompt}] if op.prompt else []
    turns: list[dict[str, Any]] = []
    for message in op.messages:
        role = message.get("role")
        if role in ("system", "developer"):
            system += _system(message)
        elif role == "assistant":
            _say(turns, "assistant", _assistant(message, op))
        elif role in ("tool", "function"):
            _say(turns, "user", [_result(message, op)])
        else:
            _say(turns, "user", _parts(message.get("content"), op))
    if turns and turns[-1]["role"] == "assistant":
        _trim_last(turns[-1]["content"])  # blanks at the end of what is to be gone on with are refused
    turns = [t for t in turns if t["content"]]
    if not turns:
        turns = [{"role": "user", "content": [{"type": "text", "text": "…"}]}]  # there has to be one
    plain = len(system) == 1 and set(system[0]) == {"type", "text"}
    return (system[0]["text"] if plain else system), [_plain(t) for t in turns]


def _plain(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn of one text as a string."""
    content = turn["content"]
    if len(content) == 1 and set(content[0]) == {"type", "text"}:
        return {"role": turn["role"], "content": content[0]["text"]}
    return turn


def _say(turns: list[dict[str, Any]], role: str, blocks: list[dict[str, Any]]) -> None:
    """Add `blocks` to the turn of `role`: one turn holds all that was said in a row."""
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _system(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, list):
        texts = [p for p in content if p.get("type") == "text" and p.get("text")]
        return [_with_cache({"type": "text", "text": p["text"]}, p) for p in texts]
    return [{"type": "text", "text": content}] if content else []


def _with_cache(block: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Clients that know what is behind the wire mark what is to be cached."""
    if part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    return block


def _parts(content: Any, op: Generate) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    blocks = []
    for part in content or ():
        block = _part(part, op)
        if block is not None:
            blocks.append(_with_cache(block, part))
    return blocks


def _part(part: dict[str, Any], op: Generate) -> dict[str, Any] | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(kind)
        return {"type": "text", "text": text} if isinstance(text, str) and text else None
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if isinstance(url, str):
            return {"type": "image", "source": _source(url)}
    if kind == "file":
        block = _document(part.get("file"))
        if block is not None:
            return block
    op.drop(str(kind))
    return None


def _source(url: str) -> dict[str, Any]:
    found = _DATA_URL.fullmatch(url)
    if found is None:
        return {"type": "url", "url": url}
    media, data = found[1] or "image/png", found[4]
    return {"type": "base64", "media_type": "image/jpeg" if media == "image/jpg" else media, "data": data}


def _document(file: Any) -> dict[str, Any] | None:
    data = file.get("file_data") if isinstance(file, dict) else None
    found = _DATA_URL.fullmatch(data) if isinstance(data, str) else None
    if found is None:
        return None
    source = {"type": "base64", "media_type": found[1] or "application/pdf", "data": found[4]}
    block: dict[str, Any] = {"type": "document", "source": source}
    if isinstance(file.get("filename"), str):
        block["title"] = file["filename"]
    return block


def tool_id(value: Any) -> str:
    """A tool call's id as Anthropic takes it: letters, digits, - and _."""
    return _ID.sub("_", str(value)) or "_"


def _result(message: dict[str, Any], op: Generate) -> dict[str, Any]:
    content = message.get("content")
    answer = content if isinstance(content, str) else _parts(content, op)
    name = message.get("tool_call_id") or message.get("name") or ""
    return {"type": "tool_result", "tool_use_id": tool_id(name), "content": answer}


def _assistant(message: dict[str, Any], op: Generate) -> list[dict[str, Any]]:
    thinking = message.get("thinking_blocks")
    blocks = [b for b in thinking if _is_signed(b)] if isinstance(thinking, list) else []
    blocks += _parts(message.get("content"), op) or _parts(message.get("refusal"), op)
    calls = list(message.get("tool_calls") or ())
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        calls.append({"id": legacy.get("name"), "function": legacy})
    for call in calls:
        function = call.get("function")
        if not isinstance(function, dict):
            op.drop(f"tool_calls.{call.get('type')}")
            continue
        blocks.append(
            {
                "type": "tool_use",
                "id": tool_id(call.get("id")),
                "name": str(function.get("name") or ""),
                "input": _arguments(function.get("arguments")),
            }
        )
    return blocks


def _is_signed(block: Any) -> bool:
    """Whether the provider will know a passage of thinking again; one that it did not sign is refused."""
    if not isinstance(block, dict):
        return False
    return bool(block.get("data") if block.get("type") == "redacted_thinking" else block.get("signature"))


def _arguments(text: Any) -> dict[str, Any]:
    """What a tool was called with. Models write broken JSON at times: then it goes along as text."""
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        value = shapes.decode_any(text)
    except shapes.NOT_JSON:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}


def _trim_last(content: list[dict[str, Any]]) -> None:
    if content and content[-1]["type"] == "text":
        text = content[-1]["text"].rstrip()
        if text:
            content[-1]["text"] = text
        else:
            content.pop()


def awaits_thinking(messages: list[dict[str, Any]]) -> bool:
    """Whether the last turn of the model called tools without signed thinking: then thinking cannot be asked for."""
    for message in reversed(messages):
        role = message.get("role")
        if role in ("tool", "function"):
            continue
        if role != "assistant" or not (message.get("tool_calls") or message.get("function_call")):
            return False
        thinking = message.get("thinking_blocks")
        return not (isinstance(thinking, list) and any(_is_signed(b) for b in thinking))
    return False


def tools_spoken_of(messages: list[dict[str, Any]]) -> list[str]:
    """Names of the tools that were called in a conversation."""
    names = []
    for message in messages:
        for call in message.get("tool_calls") or ():
            function = call.get("function")
            if isinstance(function, dict) and isinstance(function.get("name"), str):
                names.append(function["name"])
    return list(dict.fromkeys(names))
