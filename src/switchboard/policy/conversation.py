"""How much of a conversation goes to the model, and what a question adds to one that is held."""

from __future__ import annotations

from typing import Any

from switchboard.core.types import estimated_tokens, message_text

_RESULTS = ("tool", "function")
_GUIDES = ("system", "developer")
#: What a message costs besides its text: its role, and what stands between messages.
_OVERHEAD = 4


def trim(messages: list[dict[str, Any]], newest: int, tokens: int | None = None) -> list[dict[str, Any]]:
    """The `newest` messages, and of them as many as have about `tokens` tokens, after the system messages that begin the
    conversation; those are not counted.

    A tool call is never split from its result: results whose call would be cut off are left out with it, unless
    nothing else would remain; then the call is kept too. The last message is always kept.
    """
    first = 0
    while first < len(messages) and messages[first].get("role") in _GUIDES:
        first += 1
    cut = max(len(messages) - newest, first)
    if tokens is not None:
        cut = max(cut, _cut_by_tokens(messages, cut, tokens))
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


def _cut_by_tokens(messages: list[dict[str, Any]], first: int, tokens: int) -> int:
    """Where the newest messages begin that have at most `tokens` tokens together; the last one is always among them."""
    start = len(messages)
    while start > first:
        tokens -= message_tokens(messages[start - 1])
        if tokens < 0 and start < len(messages):
            break
        start -= 1
    return start


def message_tokens(message: dict[str, Any]) -> int:
    """About how many tokens a message has, its tool calls included."""
    calls = message.get("tool_calls")
    size = len(message_text(message)) + (len(str(calls)) if calls else 0)
    return estimated_tokens(size) + _OVERHEAD


def merged(
    held: list[dict[str, Any]], asked: list[dict[str, Any]], *, whole: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], bool]:
    """The conversation with what a request says, and what of that is new in it.

    `asked` may begin with what is `held`: then only its tail is new. Else it is appended, or, where a client always sends
    its conversation `whole`, stands in the place of what was held. System messages guide this one request and are not
    part of the conversation. The third value says whether what was held is to be thrown away.
    """
    guides = [m for m in asked if m.get("role") in _GUIDES]
    said = [m for m in asked if m.get("role") not in _GUIDES]
    if len(said) > len(held) and all(_same(a, b) for a, b in zip(held, said, strict=False)):
        tail = said[len(held) :]
        return guides + (said if whole else held + tail), tail, False
    if whole:
        return guides + said, said, True
    return guides + held + said, said, False


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two messages say the same: a client may have lost what is no text."""
    return a.get("role") == b.get("role") and message_text(a) == message_text(b)


def title_of(messages: list[dict[str, Any]]) -> str:
    """What a list calls a conversation: the beginning of its first question."""
    first = next((m for m in messages if m.get("role") == "user"), None)
    text = " ".join(message_text(first).split()) if first is not None else ""
    return text if len(text) <= 80 else text[:79].rstrip() + "…"
