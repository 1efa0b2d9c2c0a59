"""What ``switchboard doctor`` finds."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

State = Literal["ok", "warning", "failed", "skipped"]


class Check(Struct, frozen=True):
    """One line: what was looked at, how it is, what there is to say, and what to do."""

    what: str
    state: State
    text: str
    fix: str = ""
