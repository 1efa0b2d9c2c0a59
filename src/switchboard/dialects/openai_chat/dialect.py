"""OpenAI's chat dialect: both halves of it put together."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import Answer
from switchboard.core.ports import Context, Meter
from switchboard.core.types import Generate, Headers, Lines
from switchboard.dialects.openai_chat.call import build_body, meter_answer, read_answer, read_error
from switchboard.dialects.openai_chat.encoder import OpenAIEncoder
from switchboard.dialects.openai_chat.stream import OpenAIDecoder, OpenAITap


@mypyc_attr(allow_interpreted_subclasses=True)
class OpenAIChat:
    """The dialect itself: both halves. It has no state."""

    name = "openai_chat"

    def encoder(self, context: Context) -> OpenAIEncoder:
        return OpenAIEncoder(context)

    def build(self, op: Generate, model: str, capabilities: Capabilities) -> bytes:
        return build_body(op, model, capabilities)

    def decoder(self, context: Context) -> OpenAIDecoder:
        return OpenAIDecoder(context)

    def answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def headers(self, op: Generate) -> Lines:
        return b""

    def passed(self, op: Generate, body: bytes, meter: Meter) -> bytes:
        meter_answer(body, meter)
        return body

    def tap(self, context: Context, meter: Meter) -> OpenAITap:
        return OpenAITap(context, meter)

    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        retry_after = headers.get(b"retry-after", b"").decode("latin-1") or None
        return read_error(body, Fault.STATUS, status, retry_after)
