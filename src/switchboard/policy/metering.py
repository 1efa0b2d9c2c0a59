"""What a request used."""

from __future__ import annotations

from switchboard.core.types import Outcome, Usage

#: Characters of text that are taken for one token where nobody counted.
CHARACTERS_PER_TOKEN = 4


class TokenMeter:
    """Counts the tokens of one request: the provider's figures where there are some, else an estimate from the length
    of the text. `prompt` is the length of what was asked, in characters."""

    __slots__ = ("_characters", "_counted", "_prompt", "_settled")

    def __init__(self, prompt: int) -> None:
        self._prompt = prompt
        self._characters = 0
        self._counted: Usage | None = None
        self._settled: Usage | None = None

    def saw(self, events: int, size: int) -> bool:
        """`size` characters of content went by. There is no budget yet that could be gone."""
        self._characters += size
        return True

    def usage(self, usage: Usage) -> None:
        self._counted = usage

    def settle(self, why: Outcome) -> Usage:
        if self._settled is None:
            self._settled = self._counted or Usage(
                -(-self._prompt // CHARACTERS_PER_TOKEN), -(-self._characters // CHARACTERS_PER_TOKEN), estimated=True
            )
        return self._settled
