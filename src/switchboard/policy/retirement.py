"""Models that their providers have switched off, or will, and what answers in their place.

``retired_models.toml`` says so by kind of provider, each with the day; settings add to it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct

#: Days before a model's end from which on it is warned of.
NOTICE: Final = 90
_DAY: Final = 86_400.0
_NEVER: Final = float("inf")
_CHAIN: Final = 8  # successors that have a successor


class Retirement(Struct, frozen=True):
    """A model's end: from `on` (seconds since the epoch) the provider answers for it no more. `successor` answers in its
    place; "" where nothing does."""

    model: str
    on: float
    successor: str

    @property
    def day(self) -> date:
        """The day, in UTC."""
        return datetime.fromtimestamp(self.on, UTC).date()


@cache
def table() -> dict[str, tuple[Retirement, ...]]:
    """The retirements that are known here, by `Capabilities.lifecycle`."""
    data = tomllib.loads(files("switchboard.policy").joinpath("retired_models.toml").read_text())
    return {
        kind: tuple(Retirement(model, _epoch(row["on"]), row.get("successor", "")) for model, row in rows.items())
        for kind, rows in data.items()
    }


def _epoch(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()


class Retirements:
    """Answers what has succeeded a model. `aliases` (old name → new name, of any provider) hold at once."""

    def __init__(
        self, aliases: Mapping[str, str] | None = None, known: Mapping[str, tuple[Retirement, ...]] | None = None
    ) -> None:
        self._aliases = aliases or {}
        self._known = table() if known is None else known

    def find(self, lifecycle: str, model: str) -> Retirement | None:
        """The end of `model`, past or to come."""
        for r in self._known.get(lifecycle, ()):
            if model == r.model or (r.model.endswith("*") and model.startswith(r.model[:-1])):
                return r
        return None

    def successor(self, lifecycle: str, model: str, at: float) -> str | None:
        """What answers for `model` at `at` (seconds since the epoch), or None while it answers itself."""
        name = model
        for _ in range(_CHAIN):
            further = self._aliases.get(name)
            if further is None:
                end = self.find(lifecycle, name)
                further = end.successor if end is not None and end.on <= at else None
            if not further or further == name:
                break
            name = further
        return None if name == model else name

    def soon(self, lifecycle: str, model: str, at: float) -> Retirement | None:
        """The end of `model`, if it comes within `NOTICE` days after `at` (seconds since the epoch)."""
        end = self.find(lifecycle, model)
        return end if end is not None and at < end.on <= at + NOTICE * _DAY else None

    def next_change(self, at: float) -> float:
        """When, after `at`, the next model retires or is about to."""
        days = [d for rows in self._known.values() for r in rows for d in (r.on - NOTICE * _DAY, r.on)]
        return min((d for d in days if d > at), default=_NEVER)
