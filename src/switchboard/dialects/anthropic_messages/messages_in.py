"""Anthropic's messages as OpenAI's: what a request says, for a provider that speaks the other wire."""

from __future__ import annotations

from typing import Any

from switchboard.dialects.anthropic_messages import shapes


class Losses:
    """Names what the translation lacks, each once."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def add(self, name: str) -> None:
        """`name` is not carried over."""
        if name not in self.names:
            self.names.append(name)


def read_messages(request: shapes.MessagesRequest, losses: Losses) -> list[dict[str, Any]]:
    """The conversation with its system prompt, as OpenAI writes it. `losses` is told what cannot be said there."""
    out: list[dict[str, Any]] = []
    if request.system:
        out.append({"role": "system", "content": _text(request.system, losses)})
    for message in request.messages:
        content = message.content
        if message.role == "system":
            out.append({"role": "system", "content": _text(content, losses)})
        elif isinstance(content, str):
            out.append({"role": message.role, "content": content})
        elif message.role == "assistant":
            out.append(_assistant(content, losses))
        else:
            out += _user(content, losses)
    return out


def _text(content: str | list[dict[str, Any]], losses: Losses) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for block in content:
        if block["type"] == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
            _extras(block, losses)
        else:
            losses.add(block["type"])
    return "\n\n".join(texts)


def _extras(block: dict[str, Any], losses: Losses) -> None:
    """Note what hangs on a block and has no counterpart."""
    for name in ("cache_control", "citations", "context"):
        if block.get(name) is not None:
            losses.add(name)


def _user(content: list[dict[str, Any]], losses: Losses) -> list[dict[str, Any]]:
    """Results of tools first, as OpenAI wants them right behind their calls; then what the user says, with the pictures
    that the tools gave."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in content:
        if block["type"] == "tool_result":
            results.append(_result(block, parts, losses))
        else:
            part = _part(block, losses)
            if part is not None:
                parts.append(part)
    if not parts:
        return results
    if all(p["type"] == "text" for p in parts):
        said: Any = parts[0]["text"] if len(parts) == 1 else parts
    else:
        said = parts
    return [*results, {"role": "user", "content": said}]


def _result(block: dict[str, Any], parts: list[dict[str, Any]], losses: Losses) -> dict[str, Any]:
    content = block.get("content") or ""
    if block.get("is_error"):
        losses.add("is_error")
    _extras(block, losses)
    texts = [content] if isinstance(content, str) else []
    for inner in content if isinstance(content, list) else ():
        part = _part(inner, losses) if isinstance(inner, dict) and isinstance(inner.get("type"), str) else None
        if part is None:
            continue
        if part["type"] == "text":
            texts.append(part["text"])
        else:
            parts.append(part)  # a tool's message holds text only
    return {"role": "tool", "tool_call_id": str(block.get("tool_use_id", "")), "content": "\n".join(texts)}


def _part(block: dict[str, Any], losses: Losses) -> dict[str, Any] | None:
    """One block of what a user says; None where OpenAI has nothing like it."""
    _extras(block, losses)
    kind = block["type"]
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    form = source.get("type")
    if kind == "text" and isinstance(block.get("text"), str):
        return {"type": "text", "text": block["text"]}
    if kind == "image" and form == "base64":
        return {"type": "image_url", "image_url": {"url": _data_url(source)}}
    if kind == "image" and form == "url":
        return {"type": "image_url", "image_url": {"url": source.get("url")}}
    if kind == "document" and form == "text":
        return {"type": "text", "text": str(source.get("data", ""))}
    if kind == "document" and form == "base64":
        name = block.get("title") if isinstance(block.get("title"), str) else "document.pdf"
        return {"type": "file", "file": {"filename": name, "file_data": _data_url(source)}}
    losses.add(f"{kind}.{form}" if form else kind)
    return None


def _data_url(source: dict[str, Any]) -> str:
    return f"data:{source.get('media_type', '')};base64,{source.get('data', '')}"


def _assistant(content: list[dict[str, Any]], losses: Losses) -> dict[str, Any]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    thinking: list[dict[str, Any]] = []
    for block in content:
        kind = block["type"]
        if kind == "text":
            texts.append(str(block.get("text", "")))
            _extras(block, losses)
        elif kind == "tool_use":
            arguments = shapes.encode(block.get("input") or {}).decode()
            function = {"name": str(block.get("name", "")), "arguments": arguments}
            calls.append({"id": str(block.get("id", "")), "type": "function", "function": function})
            _extras(block, losses)
        elif kind in ("thinking", "redacted_thinking"):
            thinking.append(block)
        else:
            losses.add(kind)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    if calls:
        message["tool_calls"] = calls
    if thinking:
        message["thinking_blocks"] = thinking
    return message
