"""Tool calls put together from their pieces, for dialects that tell whole ones, or have to know which are."""

from __future__ import annotations

import msgspec

from switchboard.core.events import Done, Event, Finish, ToolCall, ToolCallArguments, ToolCallBegin
from switchboard.dialects import _openai_shapes as shapes


def is_whole(arguments: str) -> bool:
    """Whether a tool call's arguments, as far as they have come, are JSON."""
    try:
        shapes.decode_any(arguments)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


class ToolCalls:
    """Gathers the first choice's tool calls until they are whole.

    Pieces of several calls may come mixed, so none counts as whole before the choice is finished.
    """

    def __init__(self) -> None:
        self._open: dict[int, ToolCall] = {}

    def whole_with(self, event: Event) -> list[ToolCall]:
        """The calls that are known to be whole now that `event` has come."""
        if isinstance(event, ToolCallBegin) and event.choice == 0:
            self._open[event.index] = ToolCall(event.id, event.name, "")
        elif isinstance(event, ToolCallArguments) and event.choice == 0:
            call = self._open.get(event.index)
            if call is not None:
                call.arguments += event.json
        elif isinstance(event, Done) or (isinstance(event, Finish) and event.choice == 0):
            calls = list(self._open.values())
            self._open.clear()
            return calls
        return []
