"""What is wrong with a section of conversations by voice that is right by itself: what the provider, which is told of it first, would refuse."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Final

from switchboard.config.tree import RealtimeSettings
from switchboard.dialects.realtime import SessionFields
from switchboard.engine.converse.tools import load

#: Members of sessions and responses that have no name of ours.
_OTHERS: Final = ("include", "mcp", "parallel_tool_calls", "prompt", "reasoning", "tracing", "truncation")
_SERVER_VAD: Final = ("threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms")
_BOTH: Final = ("create_response", "interrupt_response")
_TAKES: Final = {"server_vad": (*_SERVER_VAD, *_BOTH), "semantic_vad": ("eagerness", *_BOTH), "none": ()}


def check_realtime(
    said: RealtimeSettings, path: tuple[str, ...], origin: Callable[[tuple[str, ...]], str]
) -> Iterator[str]:
    """Complaints, each with its place (`origin` finds it) and what to do."""
    try:
        load(said.tools)
    except ValueError as e:
        yield f"{origin((*path, 'tools'))}: {e}"
    known = (*SessionFields.__struct_fields__, *_OTHERS)
    for name in said.client_fields:
        # what the provider learns tomorrow may stand here, what is mistyped may not
        close = difflib.get_close_matches(name, known, 1, 0.8)
        if name not in known and close:
            yield f"{origin((*path, 'client_fields'))}: there is no member '{name}'; did you mean {close[0]}?"
    turns = said.turn_detection
    kind = turns.type or ("server_vad" if turns.eagerness is None else "semantic_vad")
    for name in sorted(turns.model_fields_set - {"type", *_TAKES[kind]}):
        yield f"{origin((*path, 'turn_detection', name))}: it has no place in {kind}; take it out, or set another type"
