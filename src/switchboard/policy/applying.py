"""How a request is brought under the settings that the server holds for its app."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from switchboard.core.types import Generate, Op, Speak, Transcribe
from switchboard.policy.conversation import trim
from switchboard.policy.profile import Profile

_LENGTHS = ("max_tokens", "max_completion_tokens")
#: Members that are locked with another.
_BELONGING = {
    "max_tokens": _LENGTHS,
    "tools": ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "mcp_servers"),
}


def apply(op: Op, profile: Profile, *, documents: bool) -> None:
    """Bring `op` under `profile`. `documents`: it came on one of the documents' paths, not on ``/v1``.

    What is not taken over is noted in ``op.dropped``.
    """
    if isinstance(op, Generate):
        _chat(op, profile, documents)
    elif isinstance(op, Speak):
        if "voice" not in op.members:  # there it may be an object, which is for the provider to read
            op.voice = op.voice or profile.voice
    elif isinstance(op, Transcribe):
        op.language = op.language or profile.language


def _chat(op: Generate, profile: Profile, documents: bool) -> None:
    if profile.sets_parameters:
        _parameters(op, profile)
        if "stream" in profile.locked and op.stream is not documents:
            op.stream = documents  # as each streams where nothing is said
            op.drop("stream")
    prompt = profile.system_prompt
    if prompt:
        op.prompt = prompt
        if documents:
            own = [m for m in op.messages if m.get("role") not in ("system", "developer")]
            if len(own) != len(op.messages):
                op.drop("system")
                op.replace_messages(own)
    tokens = profile.max_conversation_tokens
    long = len(op.messages) > profile.max_conversation_length or tokens is not None
    if (documents or profile.trim_v1) and long:
        kept = trim(op.messages, profile.max_conversation_length, tokens)
        if kept is not op.messages:
            op.replace_messages(kept)


def _parameters(op: Generate, profile: Profile) -> None:
    params = op.params
    for name in profile.locked:
        for belonging in _BELONGING.get(name, (name,)):
            if op.asks_for(belonging):
                op.drop(belonging)
                op.set_param(belonging, None)
    for name in ("temperature", "top_p", *_LENGTHS):
        if name in params and _plain(params[name]) is None:
            del params[name]  # null is as good as nothing
    for name, value in (("temperature", profile.temperature), ("top_p", profile.top_p)):
        if value is not None and name not in params:
            op.set_param(name, value)
    cap = profile.max_tokens_cap
    asked = [name for name in _LENGTHS if name in params]
    for name in asked:
        if cap is not None and _plain(params[name]) > cap:
            op.set_param(name, cap)
            op.drop(name)
    default = profile.max_tokens if cap is None else min(profile.max_tokens or cap, cap)
    if not asked and default is not None:
        op.set_param("max_tokens", default)


def _plain(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, Raw) else value
