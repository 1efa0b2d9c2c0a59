"""The nouns of the house: what a request, an operation, a target and a call are."""

from switchboard.core.types.bodies import FilePart, Form, Segment, Upload
from switchboard.core.types.callers import Caller
from switchboard.core.types.calls import Call, SocketCall, Timeouts
from switchboard.core.types.operations import (
    CHARACTERS_PER_TOKEN,
    Converse,
    Draw,
    Embed,
    Generate,
    Native,
    Op,
    Operation,
    Outcome,
    Speak,
    Transcribe,
    Usage,
    estimated_tokens,
    message_text,
)
from switchboard.core.types.requests import Envelope, Headers, Lines, RequestHead, SpanIds, header, header_pairs

__all__ = [
    "CHARACTERS_PER_TOKEN",
    "Call",
    "Caller",
    "Converse",
    "Draw",
    "Embed",
    "Envelope",
    "FilePart",
    "Form",
    "Generate",
    "Headers",
    "Lines",
    "Native",
    "Op",
    "Operation",
    "Outcome",
    "RequestHead",
    "Segment",
    "SocketCall",
    "SpanIds",
    "Speak",
    "Timeouts",
    "Transcribe",
    "Upload",
    "Usage",
    "estimated_tokens",
    "header",
    "header_pairs",
    "message_text",
]
