"""What the front door holds clients to, and what it asks of the app behind it."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from switchboard.core.errors import Problem
from switchboard.core.types import Lines, RequestHead
from switchboard.net.front.request import Intake, Request


class FrontLimits(Struct, frozen=True):
    """What a client may send, and how slowly.

    Bytes: `head` (all of it), `url`, `body` (JSON), `pipeline` (sent ahead while an answer is under way). Seconds:
    `head_time`, `idle_time` (between requests), `write_time` (a client that reads nothing),
    `opening_time` (until a WebSocket is open, or refused). `body_rate` is the least
    bytes a second after `body_grace` seconds. `connections` is how many there may be at a time.
    """

    head: int = 64 * 1024
    headers: int = 100
    url: int = 8 * 1024
    body: int = 32 * 1024 * 1024
    pipeline: int = 64 * 1024
    head_time: float = 10.0
    idle_time: float = 75.0
    write_time: float = 60.0
    body_grace: float = 10.0
    body_rate: int = 1024
    connections: int = 10_000
    opening_time: float = 20.0


class Door(Protocol):
    """What the app gives the front door."""

    limits: FrontLimits

    def enter(self, head: RequestHead, down: Request) -> Intake | None:
        """Take a request the hot way, or None for the ordinary one."""

    def reject(self, problem: Problem, head: RequestHead | None) -> tuple[int, Lines, bytes]:
        """Status, header lines and body for a request that is not even HTTP as it should be; logs it."""
