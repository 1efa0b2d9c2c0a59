"""OpenAI's messages as Anthropic's: the system prompt apart, turns that alternate, results of tools in the user's turn."""

from __future__ import annotations

import base64
import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from switchboard.core.types import Generate
from switchboard.dialects.anthropic_messages import shapes

_ID: Final = re.compile(r"[^A-Za-z0-9_-]")
_DATA_URL: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*?)(;base64)?,(.*)", re.DOTALL)


class _Ids:
    """Names for tool calls that have none of their own (functions, as they once were), and calls that were left out."""

    def __init__(self) -> None:
        self._newest: dict[str, str] = {}
        self._taken: set[str] = set()
        self.left_out: set[str] = set()

    def call(self, name: str) -> str:
        """An id for a call of the function `name`."""
        made, n = tool_id(name), 1
        while made in self._taken:
            n += 1
            made = f"{tool_id(name)}_{n}"
        self._taken.add(made)
        self._newest[name] = made
        return made

    def result(self, name: str) -> str:
        """The id of the newest call of the function `name`."""
        return self._newest.get(name) or tool_id(name)


def build_messages(op: Generate) -> tuple[str | list[dict[str, Any]], list[dict[str, Any]]]:
    """System prompt and messages; `op.dropped` is told what Anthropic's wire has no place for."""
    system: list[dict[str, Any]] = [{"type": "text", "text": op.prompt}] if op.prompt.strip() else []
    turns: list[dict[str, Any]] = []
    ids = _Ids()
    for message in op.messages:
        role = message.get("role")
        if role in ("system", "developer"):
            system += _system(message)
        elif role == "assistant":
            _say(turns, "assistant", _assistant(message, op, ids))
        elif role in ("tool", "function"):
            if str(message.get("tool_call_id")) not in ids.left_out:
                _say(turns, "user", [_result(message, op, ids)])
        else:
            _say(turns, "user", _parts(message.get("content"), op))
    if turns and turns[-1]["role"] == "assistant":
        _trim_last(turns[-1]["content"])  # blanks at the end of what is to be gone on with are refused
        if not turns[-1]["content"]:
            turns.pop()
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
    """Add `blocks` to the turn of `role`: one turn holds all that was said in a row, and none holds nothing."""
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _system(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, list):
        texts = [p for p in content if p.get("type") == "text" and _says(p.get("text"))]
        return [_with_cache({"type": "text", "text": p["text"]}, p) for p in texts]
    return [{"type": "text", "text": content}] if _says(content) else []


def _says(text: Any) -> bool:
    """Whether `text` is one, and not of blanks alone: those are refused."""
    return isinstance(text, str) and bool(text.strip())


def _with_cache(block: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Clients that know what is behind the wire mark what is to be cached."""
    if part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    return block


def _parts(content: Any, op: Generate) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if _says(content) else []
    blocks = []
    for part in content if isinstance(content, list) else ():
        block = _part(part, op) if isinstance(part, dict) else None
        if block is not None:
            blocks.append(_with_cache(block, part))
    return blocks


def _part(part: dict[str, Any], op: Generate) -> dict[str, Any] | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(kind)
        return {"type": "text", "text": text} if _says(text) else None
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
    if found[1].startswith("text/"):
        text = _plain_text(found)
        if text is None:
            return None
        source = {"type": "text", "media_type": "text/plain", "data": text}
    block: dict[str, Any] = {"type": "document", "source": source}
    if isinstance(file.get("filename"), str):
        block["title"] = file["filename"]
    return block


def _plain_text(url: re.Match[str]) -> str | None:
    """The text in a data URL."""
    try:
        return (base64.b64decode(url[4], validate=True) if url[3] else unquote_to_bytes(url[4])).decode()
    except ValueError:
        return None


def tool_id(value: Any) -> str:
    """A tool call's id as Anthropic takes it: letters, digits, - and _."""
    return _ID.sub("_", str(value)) or "_"


def _result(message: dict[str, Any], op: Generate, ids: _Ids) -> dict[str, Any]:
    content = message.get("content")
    answer = content if isinstance(content, str) else _parts(content, op)
    call = message.get("tool_call_id")
    made = tool_id(call) if call else ids.result(str(message.get("name") or ""))
    return {"type": "tool_result", "tool_use_id": made, "content": answer}


def _assistant(message: dict[str, Any], op: Generate, ids: _Ids) -> list[dict[str, Any]]:
    thinking = message.get("thinking_blocks")
    blocks = [b for b in thinking if _is_signed(b)] if isinstance(thinking, list) else []
    blocks += _parts(message.get("content"), op) or _parts(message.get("refusal"), op)
    for call in message.get("tool_calls") or ():
        function = call.get("function")
        if isinstance(function, dict):
            blocks.append(_tool_use(tool_id(call.get("id")), function))
        else:
            ids.left_out.add(str(call.get("id")))
            op.drop(f"tool_calls.{call.get('type')}")
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        blocks.append(_tool_use(ids.call(str(legacy.get("name") or "")), legacy))
    return blocks


def _tool_use(call: str, function: dict[str, Any]) -> dict[str, Any]:
    name = str(function.get("name") or "")
    return {"type": "tool_use", "id": call, "name": name, "input": _arguments(function.get("arguments"))}


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
    while content and content[-1]["type"] == "text":
        content[-1]["text"] = content[-1]["text"].rstrip()
        if content[-1]["text"]:
            return
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
        legacy = message.get("function_call")
        if isinstance(legacy, dict) and isinstance(legacy.get("name"), str):
            names.append(legacy["name"])
    return list(dict.fromkeys(names))
