"""OpenAI's chat wire, both halves: ``POST /v1/chat/completions``.

Source: the OpenAI API reference, "Chat completions" and "Streaming". A stream is one ``data:`` line of JSON an event and
ends with ``data: [DONE]``; an error in the middle of it is a ``data:`` line with a top-level ``error``.
"""

from __future__ import annotations

from switchboard.dialects.openai_chat.call import build_body, meter_answer, read_answer, read_error, usage_of
from switchboard.dialects.openai_chat.dialect import OpenAIChat
from switchboard.dialects.openai_chat.encoder import OpenAIEncoder, error_body, usage_out
from switchboard.dialects.openai_chat.request import check_request, invalid, read_request
from switchboard.dialects.openai_chat.stream import OpenAIDecoder, OpenAITap

__all__ = [
    "OpenAIChat",
    "OpenAIDecoder",
    "OpenAIEncoder",
    "OpenAITap",
    "build_body",
    "check_request",
    "error_body",
    "invalid",
    "meter_answer",
    "read_answer",
    "read_error",
    "read_request",
    "usage_of",
    "usage_out",
]
