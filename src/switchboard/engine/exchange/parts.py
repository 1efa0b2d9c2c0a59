"""What an Exchange is made with, and where it stands."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from switchboard.engine.conversations import Conversations
from switchboard.engine.gate import Gate
from switchboard.engine.registry import Registry
from switchboard.engine.targets import Targets
from switchboard.engine.voice import Voice
from switchboard.telemetry.ledger import Ledger
from switchboard.telemetry.logs import Log


class Limits:
    """Bytes: `body` of a request, `upload` of one that brings files, `event` of a stream, `answer` that is not streamed. Seconds: `head_after`, when a
    stream's head goes out though nothing has come; `quiet`, after which a comment is sent."""

    def __init__(
        self,
        body: int = 32 * 1024 * 1024,
        upload: int = 25 * 1024 * 1024,
        event: int = 16 * 1024 * 1024,
        answer: int = 64 * 1024 * 1024,
        head_after: float = 15.0,
        quiet: float = 15.0,
    ) -> None:
        self.body: Final = body
        self.upload: Final = upload
        self.event: Final = event
        self.answer: Final = answer
        self.head_after: Final = head_after
        self.quiet: Final = quiet


class Kit:
    """What an exchange works with: parts of one immutable runtime, and the process's registry, ledger and log, and what
    it remembers of its targets, of conversations and of voice sessions (None: the server holds none)."""

    def __init__(
        self,
        gate: Gate,
        limits: Limits,
        registry: Registry,
        ledger: Ledger,
        log: Log,
        targets: Targets,
        conversations: Conversations | None = None,
        voice: Voice | None = None,
    ) -> None:
        self.gate: Final = gate
        self.limits: Final = limits
        self.registry: Final = registry
        self.ledger: Final = ledger
        self.log: Final = log
        self.targets: Final = targets
        self.conversations: Final = conversations
        self.voice: Final = voice


class State(IntEnum):
    READING = 0  # the request's body
    CALLING = 1  # the upstream has not answered yet
    COLLECTING = 2  # an answer that goes out whole, or an error's body
    STREAMING = 3
    DRAINING = 4  # the client has all; the upstream's HTTP is still to end
    OVER = 5
    WAITING = 6  # to ask once more
