"""Voice sessions: their endpoints, with what the settings of the moment say of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import APIRouter
from msgspec.structs import replace

from switchboard.app.runtime import Runtime
from switchboard.dialects.realtime import Shape
from switchboard.engine.converse import HeldSession
from switchboard.engine.voice import Voice
from switchboard.surface import realtime_secrets, voice_sessions
from switchboard.surface.voice_sessions import VoiceRules


def routers(voice: Voice, runtime: Callable[[], Runtime], address: Callable[[], str]) -> list[APIRouter]:
    """The endpoints of voice sessions, and of client secrets. `address` is the server's own."""
    rules = lambda profile: rules_of(runtime(), profile)  # noqa: E731
    return [voice_sessions.router(voice, rules, address), realtime_secrets.router(voice)]


def rules_of(runtime: Runtime, profile: str) -> VoiceRules:
    """What holds of the voice sessions of a profile."""
    own = runtime.settings.profiles.get(profile)
    said = (own.voice if own is not None else None) or runtime.settings.voice
    held = runtime.routes.profiles.get(profile, runtime.routes).session.written_down()
    # nobody here would hear that a tool is called
    update = replace(held, tools=HeldSession().tools).update(Shape.GA)
    session: dict[str, Any] = {} if update is None else msgspec.json.decode(update)["session"]
    return VoiceRules(said.connect == "direct", said.session_seconds, session)
