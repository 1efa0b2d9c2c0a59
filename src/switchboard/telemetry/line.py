"""What the log says of a request, as JSON."""

from __future__ import annotations

from msgspec import Struct


class Line(Struct, gc=False, omit_defaults=True):
    """The log line of a request; times in milliseconds."""

    ts: str
    level: str
    event: str
    request_id: str
    method: str
    path: str
    status: int
    outcome: str
    ttfb_ms: float | None
    duration_ms: float
    caller: str
    profile: str
    dialect: str
    provider: str
    model: str
    tokens_in: int
    tokens_out: int
    tokens_estimated: bool
    attempts: int
    error: str
    detail: str
    characters: int = 0
    seconds: float | None = None  # of sound
    images: int = 0
    cost: float | None = None  # US dollars
