"""Anthropic's Messages wire, both halves: ``POST /v1/messages``.

Source: the types of the official ``anthropic`` SDK. A stream is named events, each with JSON data that repeats the name
as ``type``: ``message_start``, for each block of content ``content_block_start``, ``…_delta`` and ``…_stop``, then
``message_delta`` with the reason it stopped and cumulative usage, and ``message_stop``; ``ping`` anywhere; ``error``
in place of the rest.
"""

from __future__ import annotations

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import Answer
from switchboard.core.ports import Context, Meter
from switchboard.core.types import Generate, Headers, Lines
from switchboard.dialects.anthropic_messages.call import build_body, meter_answer, read_answer, read_error
from switchboard.dialects.anthropic_messages.encoder import AnthropicEncoder, error_type
from switchboard.dialects.anthropic_messages.request import NAME, read_request
from switchboard.dialects.anthropic_messages.stream import AnthropicDecoder, AnthropicTap

__all__ = ["AnthropicDecoder", "AnthropicEncoder", "AnthropicMessages", "AnthropicTap", "error_type", "read_request"]


class AnthropicMessages:
    """The dialect itself: both halves. It has no state."""

    name = NAME

    def encoder(self, context: Context) -> AnthropicEncoder:
        return AnthropicEncoder(context)

    def build(self, op: Generate, model: str, capabilities: Capabilities) -> bytes:
        return build_body(op, model, capabilities)

    def decoder(self, context: Context) -> AnthropicDecoder:
        return AnthropicDecoder(context)

    def answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def headers(self, op: Generate) -> Lines:
        native = op.native_to(NAME)
        return b"" if native is None else native.headers

    def passed(self, op: Generate, body: bytes, meter: Meter) -> bytes:
        meter_answer(body, meter)
        return body

    def tap(self, context: Context, meter: Meter) -> AnthropicTap:
        return AnthropicTap(context, meter)

    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        retry_after = headers.get(b"retry-after", b"").decode("latin-1") or None
        return read_error(body, Fault.STATUS, status, retry_after)
