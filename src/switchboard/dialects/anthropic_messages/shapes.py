"""Anthropic's objects as msgspec reads them.

Source: the types of the official ``anthropic`` SDK (Messages, streaming events, errors).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from switchboard.core.types import Usage


class Turn(Struct):
    """A message of a request, as far as it is checked."""

    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class MessagesRequest(Struct):
    """A request, as far as it is checked; other members go along untouched where the provider speaks this dialect."""

    messages: list[Turn]
    max_tokens: int
    model: str | None = None
    stream: bool | None = None
    system: str | list[dict[str, Any]] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class Spent(Struct, gc=False):
    thinking_tokens: int | None = None


class TokenUsage(Struct, gc=False):
    """Counts; in a stream each is cumulative, and those that are missing stay as they were."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: Spent | None = None


class Block(Struct):
    """A block of an answer's content, whichever it is."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw | UnsetType = UNSET


class Delta(Struct, gc=False):
    """What a ``content_block_delta`` or a ``message_delta`` adds."""

    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class Begun(Struct):
    """The message as it is when it begins."""

    usage: TokenUsage | None = None


class StreamEvent(Struct):
    """One event of a stream, whichever it is."""

    type: str
    index: int = 0
    message: Begun | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: TokenUsage | None = None
    error: Raw | UnsetType = UNSET


class Answered(Struct):
    """A whole answer."""

    content: list[Block] | UnsetType = UNSET
    model: str = ""
    stop_reason: str | None = None
    usage: TokenUsage | None = None
    type: str = ""
    error: Raw | UnsetType = UNSET


decode_event: Final = msgspec.json.Decoder(StreamEvent).decode
decode_answer: Final = msgspec.json.Decoder(Answered).decode
decode_any: Final = msgspec.json.Decoder().decode
decode_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
encode: Final = msgspec.json.Encoder().encode

NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

#: Why an answer ended, in OpenAI's words.
FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
#: … and in Anthropic's.
STOP: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


class Counter:
    """Puts cumulative counts together."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = TokenUsage()

    def add(self, usage: TokenUsage) -> Usage:
        """What was used in all, now that `usage` has come. Input is what was read anew and what came from the cache."""
        seen = self._seen
        for name in TokenUsage.__struct_fields__:
            value = getattr(usage, name)
            if value is not None:
                setattr(seen, name, value)
        read, written = seen.cache_read_input_tokens or 0, seen.cache_creation_input_tokens or 0
        spent = seen.output_tokens_details
        return Usage(
            (seen.input_tokens or 0) + read + written,
            seen.output_tokens or 0,
            read,
            cache_written=written,
            reasoning=(spent.thinking_tokens or 0) if spent is not None else 0,
        )


def usage_out(usage: Usage) -> dict[str, Any]:
    """`usage` as Anthropic writes it: input without what came from the cache."""
    return {
        "input_tokens": max(0, usage.input - usage.cached - usage.cache_written),
        "cache_creation_input_tokens": usage.cache_written,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    }
