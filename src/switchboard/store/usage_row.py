"""What is kept of a request."""

from __future__ import annotations

from msgspec import Struct


class UsageRow(Struct, frozen=True, gc=False):
    """What one request used. `at` is in milliseconds since the epoch, `seconds_ms` (of sound) and `duration_ms` in
    milliseconds, `cost_nano` in billionths of a dollar, None where the price is not known; `estimated` is 0 or 1."""

    at: int
    request_id: str
    caller: str
    user: str
    profile: str
    provider: str
    model: str
    dialect: str
    status: int
    outcome: str
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    estimated: int = 0
    characters: int = 0
    seconds_ms: int = 0
    images: int = 0
    cost_nano: int | None = None
    duration_ms: int = 0
