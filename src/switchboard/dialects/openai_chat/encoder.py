"""Writing an answer: the server's half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET
from mypy_extensions import mypyc_attr

from switchboard.core.errors import Problem
from switchboard.core.events import (
    Answer,
    Choice,
    Done,
    Event,
    Finish,
    Metered,
    Reasoning,
    ReasoningEnd,
    Refusal,
    Text,
    Thinking,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.masking import mask_all
from switchboard.core.ports import Context
from switchboard.core.types import Lines, Usage
from switchboard.dialects import _openai_shapes as shapes

DONE_EVENT: Final = b"data: [DONE]\n\n"


@mypyc_attr(allow_interpreted_subclasses=True)
class OpenAIEncoder:
    """Writes `chat.completion` and `chat.completion.chunk` objects."""

    content_type = b"text/event-stream"
    whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b": keep-alive\n\n"

    def __init__(self, context: Context) -> None:
        self._c = context
        self._started: set[int] = set()
        self._passages: dict[int, str] = {}  # of thinking, by choice, until they are signed
        self._usage: Usage | None = None

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        c = self._c
        body = {"id": c.id, "object": "chat.completion.chunk", "created": c.created, "model": c.model}
        return b"data: " + shapes.encode(body | {"choices": choices} | more) + b"\n\n"

    def _delta(self, choice: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        if choice not in self._started:
            self._started.add(choice)
            delta = {"role": "assistant"} | delta
        return self._chunk([{"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}])

    def _one(self, e: Event) -> bytes:
        match e:
            case Text():
                return self._delta(e.choice, {"content": e.text})
            case Reasoning():
                self._passages[e.choice] = self._passages.get(e.choice, "") + e.text
                return self._delta(e.choice, {"reasoning_content": e.text})
            case ReasoningEnd():
                text = "" if e.redacted else self._passages.pop(e.choice, "")
                return self._delta(e.choice, {"thinking_blocks": [_block(Thinking(text, e.signature, e.redacted))]})
            case Refusal():
                return self._delta(e.choice, {"refusal": e.text})
            case ToolCallBegin():
                function = {"name": e.name, "arguments": ""}
                call = {"index": e.index, "id": e.id, "type": "function", "function": function}
                return self._delta(e.choice, {"tool_calls": [call]})
            case ToolCallArguments():
                return self._delta(e.choice, {"tool_calls": [{"index": e.index, "function": {"arguments": e.json}}]})
            case Finish():
                return self._delta(e.choice, {}, e.reason)
            case Metered():
                self._usage = e.usage
                return b""
            case Done():
                usage = b""
                if self._c.include_usage and self._usage is not None:
                    usage = self._chunk([], usage=usage_out(self._usage))
                return usage + DONE_EVENT
            case _:
                return b""

    def encode(self, events: Sequence[Event]) -> bytes:
        """Chunks for `events`; usage, where it was asked for, and ``[DONE]`` on `Done`."""
        return b"".join([self._one(e) for e in events])

    def whole(self, answer: Answer) -> bytes:
        """A ``chat.completion``."""
        c = self._c
        body: dict[str, Any] = {"id": c.id, "object": "chat.completion", "created": c.created, "model": c.model}
        body["choices"] = [
            {"index": i, "message": _message_out(x), "logprobs": None, "finish_reason": x.finish or "stop"}
            for i, x in enumerate(answer.choices)
        ]
        if answer.usage is not None:
            body["usage"] = usage_out(answer.usage)
        return shapes.encode(body)

    def error(self, problem: Problem) -> bytes:
        """A ``data:`` frame with ``error``, as the SDKs expect it in the middle of a stream."""
        return b"data: " + shapes.encode({"error": error_body(problem)}) + b"\n\n"


def _message_out(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text or None, "refusal": choice.refusal or None}
    if choice.text == "" and not choice.tool_calls and not choice.refusal:
        message["content"] = ""
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.thinking:
        message["thinking_blocks"] = [_block(t) for t in choice.thinking]
    if choice.tool_calls:
        message["tool_calls"] = [
            {"id": t.id, "type": "function", "function": {"name": t.name, "arguments": t.arguments}}
            for t in choice.tool_calls
        ]
    return message


def _block(passage: Thinking) -> dict[str, str]:
    """A passage of thinking as Anthropic writes it; a client that sends it back keeps its signature."""
    if passage.redacted:
        return {"type": "redacted_thinking", "data": passage.redacted}
    return {"type": "thinking", "thinking": passage.text, "signature": passage.signature}


def usage_out(usage: Usage) -> shapes.UsageOut:
    """`usage` as OpenAI writes it."""
    details = shapes.TokenDetailsOut(usage.cached)
    spent = shapes.SpentDetailsOut(usage.reasoning) if usage.reasoning else UNSET
    return shapes.UsageOut(usage.input, usage.output, usage.input + usage.output, details, spent)


def _masked(text: str | None) -> str | None:
    """A provider's word without what looks like a key or a host."""
    return None if text is None else mask_all(text)


def error_body(problem: Problem) -> dict[str, Any]:
    """OpenAI's error object for `problem`: the provider's own type and code where its refusal is passed on."""
    u = problem.upstream
    code: str | None = problem.code.lower()
    return {
        "message": problem.message,
        "type": (u and _masked(u.type)) or problem.type,
        "param": _masked(u.param) if u else problem.param,
        "code": _masked(u.code) if u else code,
    }
