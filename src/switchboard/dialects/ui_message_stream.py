"""The UI message stream of the Vercel AI SDK, which ``useChat`` speaks.

Source: AI SDK documentation, "Stream protocols", UI message stream protocol (header
``x-vercel-ai-ui-message-stream: v1``). A request is ``{id, messages: [{id, role, parts}], trigger}``; a stream is one
JSON object an event, each with ``type``, and ends with ``data: [DONE]``. The SDK refuses members that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from switchboard.core.errors import Problem
from switchboard.core.events import (
    Answer,
    Done,
    Event,
    Finish,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.ports import Context
from switchboard.core.types import Generate, Lines
from switchboard.dialects._openai_shapes import decode_any, encode
from switchboard.dialects._tool_calls import ToolCalls
from switchboard.dialects.openai_chat import check_request, invalid

#: Members of a useChat body that are the transport's own and say nothing to a model.
_OWN = frozenset({"id", "messages", "trigger", "messageId", "model", "stream", "conversation_id", "audio"})


_PARAMETERS = frozenset({"temperature", "top_p", "max_tokens", "tools", "tool_choice"})


class _UIMessage(Struct):
    role: Literal["system", "user", "assistant"]
    parts: list[dict[str, Any]]


class _Request(Struct):
    messages: list[_UIMessage]
    model: str | None = None
    stream: bool | None = None


def read_request(body: dict[str, Any]) -> Generate:
    """The operation a ``useChat`` body asks for: UI messages become OpenAI's. Raises `Problem`."""
    try:
        request = msgspec.convert(body, _Request)
    except msgspec.ValidationError as e:
        raise invalid(str(e), "system, user, assistant") from None
    messages: list[dict[str, Any]] = []
    op = Generate(request.model or "", request.stream is not False, messages=messages, params={})
    for i, m in enumerate(request.messages):
        messages += _assistant(m.parts) if m.role == "assistant" else [_spoken(m, op, f"messages[{i}]")]
    if not messages:
        raise Problem("INVALID_REQUEST", "messages: at least one message is needed.", param="messages")
    known = {n: v for n, v in body.items() if n in _PARAMETERS}
    check_request({"messages": [{"role": "user", "content": ""}]} | known)
    for name in body:
        if name not in _OWN and name not in _PARAMETERS:
            op.drop(name)
    op.params.update(known)
    return op


def _spoken(message: _UIMessage, op: Generate, place: str) -> dict[str, Any]:
    """A user's or system's message; plain text stays a plain string."""
    parts: list[dict[str, Any]] = []
    for j, p in enumerate(message.parts):
        where = f"{place}.parts[{j}]"
        kind = p.get("type")
        if kind == "text":
            if not isinstance(p.get("text"), str):
                raise Problem("INVALID_REQUEST", f"{where}.text: a string is required.", param=f"{where}.text")
            parts.append({"type": "text", "text": p["text"]})
        elif kind == "file":
            parts.append(_file(p, where))
        elif not isinstance(kind, str):
            raise Problem("INVALID_REQUEST", f"{where}.type: a string is required.", param=f"{where}.type")
        else:
            op.drop(where)
    if all(p["type"] == "text" for p in parts):
        return {"role": message.role, "content": "".join(p["text"] for p in parts)}
    return {"role": message.role, "content": parts}


def _file(part: dict[str, Any], where: str) -> dict[str, Any]:
    url, media = part.get("url"), part.get("mediaType")
    if not isinstance(url, str) or not isinstance(media, str):
        raise Problem("INVALID_REQUEST", f"{where}: url and mediaType are required.", param=where)
    if media.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    name = part.get("filename")
    return {"type": "file", "file": {"filename": name if isinstance(name, str) else "file", "file_data": url}}


def _assistant(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An assistant's UI message is one OpenAI message a step, each followed by its tool results."""
    out: list[dict[str, Any]] = []
    text, calls, results = "", list[dict[str, Any]](), list[dict[str, Any]]()

    def flush() -> None:
        nonlocal text, calls, results
        if text or calls:
            out.append({"role": "assistant", "content": text or None} | ({"tool_calls": calls} if calls else {}))
        out.extend(results)
        text, calls, results = "", [], []

    for p in parts:
        kind = p.get("type")
        if kind == "step-start":
            flush()
        elif kind == "text" and isinstance(p.get("text"), str):
            text += p["text"]
        elif isinstance(kind, str) and (kind.startswith("tool-") or kind == "dynamic-tool"):
            _tool_part(p, kind, calls, results)
    flush()
    return out


def _tool_part(p: dict[str, Any], kind: str, calls: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
    name = p.get("toolName") if kind == "dynamic-tool" else kind.removeprefix("tool-")
    state, call_id = p.get("state"), p.get("toolCallId")
    if state not in ("output-available", "output-error") or not isinstance(call_id, str):
        return  # a call without its result cannot go to a model
    if not isinstance(name, str) or not name:
        return  # nor can one of a tool without a name
    result = p.get("output") if state == "output-available" else {"error": p.get("errorText")}
    function = {"name": name, "arguments": encode(p.get("input") or {}).decode()}
    calls.append({"id": call_id, "type": "function", "function": function})
    content = result if isinstance(result, str) else encode(result).decode()
    results.append({"role": "tool", "tool_call_id": call_id, "content": content})


def _input(arguments: str) -> Any:
    """A tool call's arguments as a value; a model may have written what is not JSON."""
    try:
        return decode_any(arguments.encode() or b"{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return arguments


class UIEncoder:
    """Writes UI message chunks. Only the first choice is told."""

    content_type = b"text/event-stream"
    whole_type = b"application/json"
    headers: Lines = b"x-vercel-ai-ui-message-stream: v1\r\n"
    keepalive = b": keep-alive\n\n"

    def __init__(self, context: Context) -> None:
        self._id = context.id
        self._started = False
        self._open = ""  # the kind of part that is open: "text", "reasoning" or ""
        self._part = 0
        self._calls = ToolCalls()
        self._names: dict[int, str] = {}  # call ids by index

    def _chunk(self, kind: str, **members: Any) -> bytes:
        return b"data: " + encode({"type": kind} | members) + b"\n\n"

    def _close(self) -> bytes:
        if not self._open:
            return b""
        kind, self._open = self._open, ""
        return self._chunk(f"{kind}-end", id=f"{kind}-{self._part}")

    def _delta(self, kind: str, text: str) -> bytes:
        begin = b""
        if self._open != kind:
            begin = self._close()
            self._part += 1
            self._open = kind
            begin += self._chunk(f"{kind}-start", id=f"{kind}-{self._part}")
        return begin + self._chunk(f"{kind}-delta", id=f"{kind}-{self._part}", delta=text)

    def _available(self, calls: list[ToolCall]) -> bytes:
        named = [(c, _input(c.arguments)) for c in calls]
        return b"".join(
            [self._chunk("tool-input-available", toolCallId=c.id, toolName=c.name, input=value) for c, value in named]
        )

    def _one(self, e: Event) -> bytes:
        available = self._available(self._calls.whole_with(e))
        match e:
            case Text(choice=0) | Refusal(choice=0):
                return self._delta("text", e.text) if e.text else b""
            case Reasoning(choice=0):
                return self._delta("reasoning", e.text)
            case ToolCallBegin(choice=0):
                self._names[e.index] = e.id
                start = self._chunk("tool-input-start", toolCallId=e.id, toolName=e.name)
                return available + self._close() + start
            case ToolCallArguments(choice=0):
                call = self._names.get(e.index)
                return self._chunk("tool-input-delta", toolCallId=call, inputTextDelta=e.json) if call else b""
            case Finish(choice=0):
                return self._close() + available
            case Done():
                end = self._chunk("finish-step") + self._chunk("finish") + b"data: [DONE]\n\n"
                return self._close() + available + end
            case _:
                return b""

    def encode(self, events: Sequence[Event]) -> bytes:
        """Chunks for `events`; the first call opens the message and its step."""
        begin = b""
        if not self._started:
            self._started = True
            begin = self._chunk("start", messageId=self._id) + self._chunk("start-step")
        return begin + b"".join([self._one(e) for e in events])

    def whole(self, answer: Answer) -> bytes:
        """A whole UI message."""
        first = answer.choices[0]
        parts: list[dict[str, Any]] = []
        if first.text or first.refusal:
            parts.append({"type": "text", "text": first.text or first.refusal})
        for c in first.tool_calls:
            part = {
                "type": f"tool-{c.name}",
                "toolCallId": c.id,
                "state": "input-available",
                "input": _input(c.arguments),
            }
            parts.append(part)
        return encode({"id": self._id, "role": "assistant", "parts": parts})

    def error(self, problem: Problem) -> bytes:
        return self._chunk("error", errorText=problem.message)


class UIMessageStream:
    """The dialect; the server's half only."""

    name = "ui_message_stream"

    def encoder(self, context: Context) -> UIEncoder:
        return UIEncoder(context)
