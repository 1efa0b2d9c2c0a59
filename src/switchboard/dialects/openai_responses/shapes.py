"""The Responses API's objects as msgspec reads them, and what both halves of the dialect agree on.

Source: the types of the official ``openai`` SDK (``types/responses``).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from switchboard.core.events import ReasoningEnd
from switchboard.core.types import Usage

# ---- requests


class ResponsesRequest(Struct):
    """A request, as far as it is checked; other members go along untouched where the provider speaks this dialect."""

    input: str | list[dict[str, Any]] | None = None
    model: str | None = None
    stream: bool | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    top_logprobs: int | None = None
    max_tool_calls: int | None = None
    truncation: str | None = None
    include: list[Any] | None = None
    stream_options: dict[str, Any] | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None


class FunctionTool(Struct):
    """A function that the client has the model call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class MessageItem(Struct):
    """A message of the input; `content` as text is the SDK's "easy" form."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[dict[str, Any]]


class CallItem(Struct):
    call_id: str
    name: str
    arguments: str


class CallOutputItem(Struct):
    output: str | list[dict[str, Any]]
    call_id: str | None = None


class ReasoningItem(Struct):
    summary: list[dict[str, Any]] | None = None
    encrypted_content: str | None = None


class TextPart(Struct):
    text: str


class RefusalPart(Struct):
    refusal: str


class ImagePart(Struct):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class FilePart(Struct):
    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None
    file_url: str | None = None


# ---- answers


class CachedTokens(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class SpentTokens(Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class TokenUsage(Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: CachedTokens | None = None
    output_tokens_details: SpentTokens | None = None


class OutputPart(Struct):
    """A part of a message, of a summary, or of a reasoning item's content."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


class OutputItem(Struct):
    """An item of an answer's output, whichever it is."""

    type: str = ""
    content: list[OutputPart] | None = None
    summary: list[OutputPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class Incomplete(Struct):
    reason: str | None = None


class ResponseHead(Struct):
    """What is looked at in a whole answer that passes, and in the events that carry one."""

    object: str = ""
    status: str | None = None
    model: str = ""
    usage: TokenUsage | None = None
    incomplete_details: Incomplete | None = None
    error: Raw | UnsetType = UNSET


class Response(ResponseHead):
    """A whole answer that is read."""

    output: list[OutputItem] | None = None


class StreamEvent(Struct):
    """One event of a stream, as far as it is looked at when it passes."""

    type: str = ""
    delta: Any = None
    response: ResponseHead | None = None
    error: Raw | UnsetType = UNSET


class DecodedEvent(StreamEvent):
    """One event of a stream that is decoded."""

    item: OutputItem | None = None
    output_index: int = 0
    summary_index: int = 0


decode_event: Final = msgspec.json.Decoder(StreamEvent).decode
decode_whole_event: Final = msgspec.json.Decoder(DecodedEvent).decode
decode_head: Final = msgspec.json.Decoder(ResponseHead).decode
decode_response: Final = msgspec.json.Decoder(Response).decode
decode_any: Final = msgspec.json.Decoder().decode
decode_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
encode: Final = msgspec.json.Encoder().encode

NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

#: Why an answer is incomplete, by the reason that OpenAI's chat gives.
INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
#: … and the other way.
FINISH: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


def is_null(value: Raw | UnsetType | None) -> bool:
    """Whether a member that was read raw says nothing."""
    return value is None or value is UNSET or bytes(value) == b"null"


def usage_of(usage: TokenUsage) -> Usage:
    """OpenAI's counts as ours."""
    counted = Usage(usage.input_tokens or 0, usage.output_tokens or 0)
    if (read := usage.input_tokens_details) is not None:
        counted.cached = read.cached_tokens or 0
        counted.cache_written = read.cache_write_tokens or 0
        counted.audio_input = read.audio_tokens or 0
    if (spent := usage.output_tokens_details) is not None:
        counted.reasoning = spent.reasoning_tokens or 0
        counted.audio_output = spent.audio_tokens or 0
    return counted


def usage_out(usage: Usage) -> dict[str, Any]:
    """`usage` as OpenAI writes it."""
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


# ---- thinking that its provider signed, on its way through a client

#: How the ids of reasoning items begin that were written here: no provider of this dialect knows them.
OWN_REASONING: Final = "rs_sb_"
_SIGNED: Final = "signature:"
_REDACTED: Final = "redacted:"


def seal(end: ReasoningEnd) -> str | None:
    """What stands as ``encrypted_content``, so that a client brings it back; None where there is nothing to keep."""
    if end.redacted:
        return _REDACTED + end.redacted
    return _SIGNED + end.signature if end.signature else None


def unseal(sealed: str | None, text: str) -> dict[str, Any] | None:
    """The passage of thinking in what `seal` gave, as `Generate` holds it; None for anything else."""
    if sealed is None:
        return None
    if sealed.startswith(_REDACTED):
        return {"type": "redacted_thinking", "data": sealed.removeprefix(_REDACTED)}
    if sealed.startswith(_SIGNED):
        return {"type": "thinking", "thinking": text, "signature": sealed.removeprefix(_SIGNED)}
    return None
