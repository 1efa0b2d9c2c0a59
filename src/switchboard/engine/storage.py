"""What a client is told of the database's troubles."""

from __future__ import annotations

from switchboard.core.errors import Problem
from switchboard.store import Kind, StoreError


def problem_of(error: StoreError) -> Problem:
    """The `Problem` for `error`; what happened stands in the log."""
    code = "STORE_FULL" if error.kind is Kind.FULL else "STORE_UNAVAILABLE"
    return Problem(code, detail=str(error))
