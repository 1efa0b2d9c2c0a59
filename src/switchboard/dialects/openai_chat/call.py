"""Asking a provider, and reading an answer that is not streamed: the client's half."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import Answer, Choice, ToolCall
from switchboard.core.ports import Meter
from switchboard.core.types import Generate, Usage
from switchboard.dialects import _openai_shapes as shapes

_SAMPLING: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def build_body(op: Generate, model: str, capabilities: Capabilities) -> bytes:
    """The body of a chat request for `op`: members as they came, `model` replaced, usage asked for in streams."""
    members: dict[str, Any] = {"model": model}
    members["messages"] = _messages(op)
    members.update(op.params)
    if op.native is not None:
        _only_openai(members, op, model, capabilities)
    if capabilities.completion_tokens is not None and capabilities.completion_tokens.fullmatch(model):
        limit = members.pop("max_tokens", None)
        if not _is_null(limit) and _is_null(members.get("max_completion_tokens")):
            members["max_completion_tokens"] = limit
    if capabilities.fixed_sampling is not None and capabilities.fixed_sampling.fullmatch(model):
        for name in _SAMPLING:
            if not _is_null(members.pop(name, None)):
                op.drop(name)
    options = members.pop("stream_options", None)
    if op.stream:
        members["stream"] = True
        if capabilities.stream_usage:
            members["stream_options"] = with_usage(options)
        elif options is not None:
            members["stream_options"] = options
    return shapes.encode(members)


def _messages(op: Generate) -> Any:
    """The conversation, the server's prompt first; as bytes where nobody changed it."""
    messages = op.messages if op.native is None else [_without_thinking(m, op) for m in op.messages]
    if not op.prompt:
        return messages if op.raw_messages is None else op.raw_messages
    prompt = {"role": "system", "content": op.prompt}
    if op.raw_messages is None:
        return [prompt, *messages]
    rest = bytes(op.raw_messages).lstrip()[1:]  # behind the bracket; there is at least one message
    return Raw(b"[" + shapes.encode(prompt) + b"," + rest)


def _without_thinking(message: dict[str, Any], op: Generate) -> dict[str, Any]:
    """Thinking is of use to the provider that signed it, and no other takes it."""
    if "thinking_blocks" not in message:
        return message
    op.drop("thinking")
    return {k: v for k, v in message.items() if k != "thinking_blocks"}


def _only_openai(members: dict[str, Any], op: Generate, model: str, capabilities: Capabilities) -> None:
    """Take out what came from another dialect and this provider would refuse; tell what was lost on the way."""
    assert op.native is not None
    for name in op.native.lost:
        op.drop(name)
    if not capabilities.top_k and members.pop("top_k", None) is not None:
        op.drop("top_k")
    reasons = capabilities.reasoning is not None and capabilities.reasoning.fullmatch(model) is not None
    if not reasons and members.pop("reasoning_effort", None) is not None:
        op.drop("thinking")


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, Raw) and bytes(value) == b"null")


_USAGE_ASKED: Final = Raw(b'{"include_usage":true}')


def with_usage(options: Any) -> Any:
    """``stream_options`` with usage asked for."""
    if options is None:
        return _USAGE_ASKED
    own = shapes.decode_any(options) if isinstance(options, Raw) else options
    return {**own, "include_usage": True} if isinstance(own, dict) else _USAGE_ASKED


def usage_of(usage: shapes.TokenUsage) -> Usage:
    """OpenAI's counts as ours."""
    counted = Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0)
    if (read := usage.prompt_tokens_details) is not None:
        counted.cached = read.cached_tokens or 0
        counted.audio_input = read.audio_tokens or 0
    if (spent := usage.completion_tokens_details) is not None:
        counted.reasoning = spent.reasoning_tokens or 0
        counted.audio_output = spent.audio_tokens or 0
    return counted


def read_error(raw: bytes | Raw, fault: Fault, status: int = 0, retry_after: str | None = None) -> UpstreamError:
    """OpenAI's error object (or whatever stands in its place) as an `UpstreamError`."""
    value: Any = None
    with contextlib.suppress(*NOT_JSON):
        value = shapes.decode_any(raw)
    if isinstance(value, dict) and isinstance(value.get("error"), dict | str):
        value = value["error"]
    if isinstance(value, dict):
        code = shapes.text_of(value.get("code"))
        if not status and code and len(code) == 3 and code.isascii() and code.isdigit():
            status = int(code)
        kind = shapes.text_of(value.get("type"))
        return UpstreamError(
            fault,
            shapes.text_of(value.get("message")) or "",
            status=status,
            type=kind,
            param=shapes.text_of(value.get("param")),
            code=code,
            retry_after=retry_after,
        )
    message = value if isinstance(value, str) else bytes(raw)[:500].decode("utf-8", "replace")
    return UpstreamError(fault, message, status=status, retry_after=retry_after)


def read_completion(body: bytes) -> tuple[shapes.Completion, list[shapes.WholeChoice]]:
    """A completion and its choices. Raises `UpstreamError` when it is something else."""
    try:
        completion = shapes.decode_completion(body)
    except NOT_JSON as e:
        raise UpstreamError(Fault.PROTOCOL, f"not a chat completion ({e}): {body[:200]!r}") from None
    if completion.error is not UNSET and bytes(completion.error) != b"null":
        raise read_error(completion.error, Fault.EVENT)
    if completion.choices is UNSET:
        raise UpstreamError(Fault.PROTOCOL, f"not a chat completion: {body[:200]!r}")
    if not completion.choices:
        raise UpstreamError(Fault.PROTOCOL, f"a chat completion without a choice: {body[:200]!r}")
    return completion, completion.choices


def read_answer(body: bytes) -> Answer:
    """A ``chat.completion``. Raises `UpstreamError` when it is something else."""
    completion, whole = read_completion(body)
    choices = []
    for c in whole:
        m = c.message or shapes.WholeMessage()
        calls = [ToolCall(t.id, t.function.name, t.function.arguments) for t in m.tool_calls or () if t.function]
        thought = m.reasoning_content or m.reasoning or ""
        choices.append(Choice(m.content or "", thought, m.refusal or "", calls, c.finish_reason or "stop"))
    usage = usage_of(completion.usage) if completion.usage is not None else None
    return Answer(choices, completion.model, usage)


def meter_answer(body: bytes, meter: Meter) -> None:
    """Look into a whole answer that passes as it is. Raises `UpstreamError` when it is not one."""
    completion, choices = read_completion(body)
    if completion.usage is not None:
        meter.usage(usage_of(completion.usage))
    else:
        meter.saw(1, sum([len((c.message.content if c.message is not None else c.text) or "") for c in choices]))
