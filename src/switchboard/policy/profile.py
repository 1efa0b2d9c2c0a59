"""The settings that the server holds for an app, and how a request is brought under them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from switchboard.core.types import Generate
from switchboard.policy.conversation import trim

#: What a profile's `locked` may name.
LOCKABLE = ("model", "temperature", "top_p", "max_tokens", "stream", "tools")

_LENGTHS = ("max_tokens", "max_completion_tokens")


class Profile(Struct, frozen=True):
    """One app's settings.

    `format` is what ``POST /api/chat`` answers with. `provider` and `model` answer where a request names no model that
    is served; `models` are the names that a request may choose from (empty: any). `temperature`, `top_p` and
    `max_tokens` are defaults; `locked` names those that a request may not change. `max_tokens_cap` bounds what it may
    ask for. `max_conversation_length` is in messages; on ``/v1`` it counts only with `trim_v1`.
    """

    name: str = "default"
    format: str = "auto"
    provider: str = "offline"
    model: str = ""
    models: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_tokens_cap: int | None = None
    system_prompt: str | None = None
    max_conversation_length: int = 50
    trim_v1: bool = False
    locked: frozenset[str] = frozenset()

    @property
    def sets_parameters(self) -> bool:
        """Whether any parameter of a request may have to be changed."""
        values = (self.temperature, self.top_p, self.max_tokens, self.max_tokens_cap)
        return bool(self.locked) or any(v is not None for v in values)


def apply(op: Generate, profile: Profile, *, documents: bool) -> None:
    """Bring `op` under `profile`. `documents`: it came on one of the documents' paths, not on ``/v1``.

    What is not taken over is noted in ``op.dropped``.
    """
    if profile.sets_parameters:
        _parameters(op, profile)
    prompt = profile.system_prompt
    if prompt:
        if documents:
            own = [m for m in op.messages if m.get("role") not in ("system", "developer")]
            if len(own) != len(op.messages):
                op.drop("system")
        else:
            own = op.messages
        op.replace_messages([{"role": "system", "content": prompt}, *own])
    if (documents or profile.trim_v1) and len(op.messages) > profile.max_conversation_length:
        kept = trim(op.messages, profile.max_conversation_length)
        if kept is not op.messages:
            op.replace_messages(kept)


def _parameters(op: Generate, profile: Profile) -> None:
    params, locked = op.params, profile.locked
    for name in locked:
        if name in params:
            op.drop(name)
            del params[name]
    if "max_tokens" in locked and params.pop("max_completion_tokens", None) is not None:
        op.drop("max_completion_tokens")
    if profile.temperature is not None:
        params.setdefault("temperature", profile.temperature)
    if profile.top_p is not None:
        params.setdefault("top_p", profile.top_p)
    if profile.max_tokens is not None and not any(n in params for n in _LENGTHS):
        params["max_tokens"] = profile.max_tokens
    cap = profile.max_tokens_cap
    if cap is not None:
        over = False
        for name in _LENGTHS:
            asked = _plain(params.get(name))
            if isinstance(asked, int) and asked > cap:
                params[name] = cap
                op.drop(name)
                over = True
        if not over and not any(n in params for n in _LENGTHS):
            params["max_tokens"] = cap


def _plain(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, Raw) else value
