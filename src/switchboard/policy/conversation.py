"""How much of a conversation goes to the model."""

from __future__ import annotations

from typing import Any

_RESULTS = ("tool", "function")
_GUIDES = ("system", "developer")


def trim(messages: list[dict[str, Any]], newest: int) -> list[dict[str, Any]]:
    """The `newest` messages, after the system messages that begin the conversation; those are not counted.

    A tool call is never split from its result: results whose call would be cut off are left out with it, unless
    nothing else would remain; then the call is kept too.
    """
    first = 0
    while first < len(messages) and messages[first].get("role") in _GUIDES:
        first += 1
    cut = len(messages) - newest
    if cut <= first:
        return messages
    start = cut
    while start < len(messages) and messages[start].get("role") in _RESULTS:
        start += 1
    if start == len(messages):
        start = cut
        while start > first and messages[start].get("role") in _RESULTS:
            start -= 1
    return messages[:first] + messages[start:]
