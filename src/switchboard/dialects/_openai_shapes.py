"""OpenAI's chat objects as msgspec reads and writes them; shared by the dialects that are made of them.

Source: the OpenAI API reference, "Chat completions" (request, chat.completion, chat.completion.chunk).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

#: The most answers to one request: OpenAI's own limit.
MOST_CHOICES: Final = 128
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class ChatMessage(Struct):
    """A message as far as it is checked; members that are not named here pass."""

    role: Role
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class StreamOptions(Struct):
    include_usage: bool | None = None


class ChatRequest(Struct):
    """A chat request as far as it is checked; other members pass to the provider."""

    messages: list[ChatMessage]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    tools: list[dict[str, Any]] | None = None
    user: str | None = None


class FunctionDelta(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: FunctionDelta | None = None


class Delta(Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(Struct, gc=False):
    index: int = 0
    delta: Delta | None = None
    finish_reason: str | None = None
    text: str | None = None  # of a completion that is no chat


class TokenDetails(Struct, gc=False):
    cached_tokens: int | None = None
    audio_tokens: int | None = None


class SpentDetails(Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class TokenUsage(Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: SpentDetails | None = None


class Chunk(Struct):
    choices: list[ChunkChoice] | UnsetType | None = UNSET
    usage: TokenUsage | None = None
    error: Raw | UnsetType = UNSET


class FunctionCall(Struct):
    name: str
    arguments: str = ""


class WholeToolCall(Struct):
    id: str = ""
    function: FunctionCall | None = None


class WholeMessage(Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[WholeToolCall] | None = None


class WholeChoice(Struct):
    index: int = 0
    message: WholeMessage | None = None
    finish_reason: str | None = None
    text: str | None = None  # of a completion that is no chat


class Completion(Struct):
    choices: list[WholeChoice] | UnsetType = UNSET
    model: str = ""
    usage: TokenUsage | None = None
    error: Raw | UnsetType = UNSET


decode_chunk: Final = msgspec.json.Decoder(Chunk).decode
decode_completion: Final = msgspec.json.Decoder(Completion).decode
decode_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
decode_any: Final = msgspec.json.Decoder().decode
encode: Final = msgspec.json.Encoder().encode


class TokenDetailsOut(Struct):
    cached_tokens: int


class SpentDetailsOut(Struct):
    reasoning_tokens: int


class UsageOut(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetailsOut
    completion_tokens_details: SpentDetailsOut | UnsetType = UNSET


def text_of(value: Any) -> str | None:
    """`value` if it is a string or a number, as text; some servers send numbers for codes."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
