"""What a request used."""

from __future__ import annotations

from typing import Final

from switchboard.core.types import Op, Outcome, Speak, Usage, estimated_tokens

_UNANSWERED: Final = (Outcome.REFUSED, Outcome.UPSTREAM_ERROR)


class UsageMeter:
    """Counts one request: the provider's figures where there are some, else an estimate from the length of the text."""

    __slots__ = ("_characters", "_counted", "_op", "_settled")

    def __init__(self, op: Op) -> None:
        self._op = op
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
            if self._counted is None and why in _UNANSWERED:
                self._settled = Usage(estimated=True)  # nobody has done anything
                return self._settled
            self._settled = self._counted or self._estimate()
            if isinstance(self._op, Speak):
                self._settled.characters = len(self._op.text)
        return self._settled

    def _estimate(self) -> Usage:
        usage = self._op.asked()
        usage.output = estimated_tokens(self._characters)
        return usage
