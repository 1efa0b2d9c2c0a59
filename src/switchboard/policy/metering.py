"""What a request used."""

from __future__ import annotations

from typing import Any

from switchboard.core.types import Outcome, Usage, message_text

#: Characters of text that are taken for one token where nobody counted.
CHARACTERS_PER_TOKEN = 4


class TokenMeter:
    """Counts the tokens of one request: the provider's figures where there are some, else an estimate from the length
    of the text. `messages` are what was asked, with the server's `prompt` before them."""

    __slots__ = ("_characters", "_counted", "_messages", "_prompt", "_settled")

    def __init__(self, messages: list[dict[str, Any]], prompt: str = "") -> None:
        self._messages = messages
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
            self._settled = self._counted or self._estimate()
        return self._settled

    def _estimate(self) -> Usage:
        asked = len(self._prompt) + sum([len(message_text(m)) for m in self._messages])
        return Usage(-(-asked // CHARACTERS_PER_TOKEN), -(-self._characters // CHARACTERS_PER_TOKEN), estimated=True)
