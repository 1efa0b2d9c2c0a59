"""A Realtime server of GA's shape: what concerns sound is under ``audio``, and a session says of which type it is. What is the beta's only
it refuses, as the service does.

Source: the official SDK's `types.realtime`; how clients of the beta are turned away, the source of
``@copilotkit/aimock``, which noted it from the service.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from openai.types.realtime import RealtimeSessionCreateResponse, SessionCreatedEvent, SessionUpdatedEvent
from openai.types.realtime.realtime_client_event import RealtimeClientEvent
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from websockets.http11 import Request

from support.realtime_conversation import Conversation
from support.realtime_types import Json, RefusalError, Types, by_type

_PCM = {"type": "audio/pcm", "rate": 24000}
_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")


class _Created(SessionCreatedEvent):
    """As the service tells it: with what the answers of HTTP have of a session."""

    session: RealtimeSessionCreateResponse  # type: ignore[assignment]


class _Updated(SessionUpdatedEvent):
    """As the service tells it."""

    session: RealtimeSessionCreateResponse  # type: ignore[assignment]


class Ga(Conversation):
    """A conversation in GA's shape."""

    CLIENT: ClassVar[Types] = by_type(RealtimeClientEvent)
    SERVER: ClassVar[Types] = by_type(RealtimeServerEvent) | {"session.created": _Created, "session.updated": _Updated}
    TEXT: ClassVar[str] = "output_text"
    AUDIO: ClassVar[str] = "output_audio"

    @classmethod
    def refused(cls, head: Request) -> tuple[str, str, int] | None:
        if "realtime=v1" not in head.headers.get("openai-beta", ""):
            return None
        message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
        return "beta_api_shape_disabled", message, 4000

    def fresh(self, model: str) -> Json:
        turns = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
        turns |= {"create_response": True, "interrupt_response": True, "idle_timeout_ms": None}
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self.notes.id("sess"),
            "model": model,
            "expires_at": int(time.time()) + 1800,
            "output_modalities": ["audio"],
            "instructions": "Your knowledge cutoff is 2023-10.",
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "include": None,
            "audio": {
                "input": {"format": _PCM, "transcription": None, "noise_reduction": None, "turn_detection": turns},
                "output": {"format": _PCM, "voice": "marin", "speed": 1.0},
            },
        }

    def updated(self, update: Json) -> Json:
        if update["type"] != "realtime":
            raise RefusalError("This server only converses.", "invalid_value", "session.type")
        self._one(update, "session")
        audio = update.get("audio") or {}
        for side in ("input", "output"):
            if ((audio.get(side) or {}).get("format") or _PCM) != _PCM:
                raise RefusalError("Only audio/pcm is spoken here.", "invalid_value", f"session.audio.{side}.format")
        voice = (audio.get("output") or {}).get("voice", "marin")
        if voice not in _VOICES:
            message = f"Invalid value: '{voice}'. Supported values are: {', '.join(map(repr, _VOICES))}."
            raise RefusalError(message, "invalid_value", "session.audio.output.voice")
        merged = {side: {**self.session["audio"][side], **(audio.get(side) or {})} for side in ("input", "output")}
        return {**self.session, **update, "audio": merged}

    def _one(self, body: Json, at: str) -> None:
        wanted: Any = body.get("output_modalities")
        if wanted is not None and len(wanted) != 1:
            message = f"Invalid modalities: {wanted}. Supported combinations are: ['text'] and ['audio']."
            raise RefusalError(message, "invalid_value", f"{at}.output_modalities")

    def turn_detection(self) -> Json | None:
        found: Json | None = self.session["audio"]["input"]["turn_detection"]
        return found

    def transcription(self) -> Json | None:
        found: Json | None = self.session["audio"]["input"]["transcription"]
        return found

    def speaks(self, asked: Json) -> bool:
        self._one(asked, "response")
        return "audio" in (asked.get("output_modalities") or self.session["output_modalities"])

    def response(self, asked: Json) -> Json:
        output = self.session["audio"]["output"] | ((asked.get("audio") or {}).get("output") or {})
        return {
            "conversation_id": None if asked.get("conversation") == "none" else "conv_1",
            "output_modalities": asked.get("output_modalities") or self.session["output_modalities"],
            "max_output_tokens": asked.get("max_output_tokens") or self.session["max_output_tokens"],
            "audio": {"output": {"format": output["format"], "voice": output["voice"]}},
            "metadata": asked.get("metadata"),
        }

    async def tell_item(self, item: Json, before: str | None, *, whole: bool) -> None:
        await self.say("conversation.item.added", previous_item_id=before, item=item)
        if whole:
            await self.say("conversation.item.done", previous_item_id=before, item=item)

    async def told_whole(self, item: Json) -> None:
        n = self.items.index(item)
        await self.say("conversation.item.done", previous_item_id=self.items[n - 1]["id"] if n else None, item=item)
