"""OpenAI's Responses wire, both halves: ``POST /v1/responses``.

Source: the types of the official ``openai`` SDK. A request is a list of items; so is the output of a response. A stream
is named events, each with JSON data that repeats the name as ``type`` and counts up ``sequence_number``: it begins with
``response.created``, tells of each item how it begins, grows and is whole, and ends with ``response.completed``,
``response.incomplete`` or ``response.failed``, which hold the whole response; ``error`` may stand in place of the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import Answer
from switchboard.core.ports import Context, Meter
from switchboard.core.types import Generate, Headers, Lines
from switchboard.dialects.openai_responses.call import build_body, meter_answer, read_answer, read_error
from switchboard.dialects.openai_responses.encoder import ResponsesEncoder
from switchboard.dialects.openai_responses.request import NAME, read_request
from switchboard.dialects.openai_responses.stream import ResponsesDecoder, ResponsesTap

__all__ = ["OpenAIResponses", "ResponsesDecoder", "ResponsesEncoder", "ResponsesTap", "read_request"]


class OpenAIResponses:
    """The dialect itself: both halves. `members` are those of a request that is answered (``Native.members``), of which
    the response says many again; a provider's half needs none. It has no other state."""

    name = NAME

    def __init__(self, members: Mapping[str, Raw] | None = None) -> None:
        self._members = members or {}

    def encoder(self, context: Context) -> ResponsesEncoder:
        return ResponsesEncoder(context, self._members)

    def build(self, op: Generate, model: str, capabilities: Capabilities) -> bytes:
        return build_body(op, model, capabilities)

    def headers(self, op: Generate) -> Lines:
        return b""

    def decoder(self, context: Context) -> ResponsesDecoder:
        return ResponsesDecoder(context)

    def answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def passed(self, op: Generate, body: bytes, meter: Meter) -> bytes:
        meter_answer(body, meter)
        return body

    def tap(self, context: Context, meter: Meter) -> ResponsesTap:
        return ResponsesTap(context, meter)

    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        retry_after = headers.get(b"retry-after", b"").decode("latin-1") or None
        return read_error(body, Fault.STATUS, status, retry_after)
