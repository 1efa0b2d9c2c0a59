"""What a translation could not carry over."""

from __future__ import annotations

from typing import Any


class Losses(dict[str, int]):
    """How often what was dropped, by name. Names are those of the wires' own tables, so there are not many."""

    def add(self, name: str, value: Any = True) -> None:
        """Count the loss of `name`, unless its `value` is None: nothing is lost then."""
        if value is not None:
            self[name] = self.get(name, 0) + 1
