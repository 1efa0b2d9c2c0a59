"""What can go wrong with the database, by name."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """How the database failed."""

    UNAVAILABLE = "unavailable"  # not reached, broken off, an old schema, or closed: later it may do
    LOCKED = "locked"  # somebody else held what was needed for longer than we wait
    FULL = "full"  # no room on its disk
    BUSY = "busy"  # too much waits already, or a statement took too long
    FAILED = "failed"  # it did not accept what it was told: trying again is of no use


class StoreError(Exception):
    """A transaction that did not happen; where `kind` is UNAVAILABLE it may have, if the connection broke at its very end.

    The message is for the log and for operators; it holds no password, and nothing of what was to be stored.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
