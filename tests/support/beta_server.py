"""A Realtime server of the beta's shape, as the older ones of Azure and clones of OpenAI's speak it: flat sessions, and the names that
events had. What GA brought it does not know, and refuses.

Source: the official SDK's `types.beta.realtime`.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal

from openai.types.beta.realtime import Session, SessionCreatedEvent, SessionUpdatedEvent
from openai.types.beta.realtime.realtime_client_event import RealtimeClientEvent
from openai.types.beta.realtime.realtime_server_event import RealtimeServerEvent
from websockets.http11 import Request

from support.realtime_conversation import Conversation
from support.realtime_types import Json, RefusalError, Types, by_type

_MODALITIES = (["text"], ["audio", "text"])


class _Session(Session):
    """As the service told it, in the days when it did: what it is and how long, which the type has not."""

    object: Literal["realtime.session"]
    expires_at: int


class _Created(SessionCreatedEvent):
    """As the service told it."""

    session: _Session


class _Updated(SessionUpdatedEvent):
    """As the service told it."""

    session: _Session


class Beta(Conversation):
    """A conversation in the beta's shape."""

    CLIENT: ClassVar[Types] = by_type(RealtimeClientEvent)
    SERVER: ClassVar[Types] = by_type(RealtimeServerEvent) | {"session.created": _Created, "session.updated": _Updated}
    NAMES: ClassVar[dict[str, str]] = {
        "response.output_audio.delta": "response.audio.delta",
        "response.output_audio.done": "response.audio.done",
        "response.output_audio_transcript.delta": "response.audio_transcript.delta",
        "response.output_audio_transcript.done": "response.audio_transcript.done",
        "response.output_text.delta": "response.text.delta",
        "response.output_text.done": "response.text.done",
    }
    TEXT: ClassVar[str] = "text"
    AUDIO: ClassVar[str] = "audio"

    @classmethod
    def refused(cls, head: Request) -> tuple[str, str, int] | None:
        if "realtime=v1" in head.headers.get("openai-beta", ""):
            return None
        return "missing_beta_header", "You must provide the header 'OpenAI-Beta: realtime=v1'.", 4000

    def fresh(self, model: str) -> Json:
        turns = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
        return {
            "id": self.notes.id("sess"),
            "object": "realtime.session",
            "model": model,
            "expires_at": int(time.time()) + 1800,
            "modalities": ["audio", "text"],
            "instructions": "Your knowledge cutoff is 2023-10.",
            "voice": "alloy",
            "speed": 1.0,
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "input_audio_transcription": None,
            "input_audio_noise_reduction": None,
            "turn_detection": {**turns, "create_response": True, "interrupt_response": True},
            "tools": [],
            "tool_choice": "auto",
            "temperature": 0.8,
            "max_response_output_tokens": "inf",
            "tracing": None,
        }

    def updated(self, update: Json) -> Json:
        for name in ("input_audio_format", "output_audio_format"):
            if update.get(name, "pcm16") != "pcm16":
                raise RefusalError("Only pcm16 is spoken here.", "invalid_value", f"session.{name}")
        self._combined(update, "session")
        return {**self.session, **update}

    def _combined(self, body: Json, at: str) -> None:
        wanted: Any = body.get("modalities")
        if wanted is not None and sorted(wanted) not in _MODALITIES:
            message = f"Invalid modalities: {wanted}. Supported combinations are: ['text'] and ['audio', 'text']."
            raise RefusalError(message, "invalid_value", f"{at}.modalities")

    def turn_detection(self) -> Json | None:
        found: Json | None = self.session["turn_detection"]
        return found

    def transcription(self) -> Json | None:
        found: Json | None = self.session["input_audio_transcription"]
        return found

    def speaks(self, asked: Json) -> bool:
        self._combined(asked, "response")
        return "audio" in (asked.get("modalities") or self.session["modalities"])

    def response(self, asked: Json) -> Json:
        same = ("modalities", "voice", "output_audio_format", "temperature")
        told = {n: asked.get(n) or self.session[n] for n in same}
        limit = asked.get("max_response_output_tokens") or self.session["max_response_output_tokens"]
        conversation = None if asked.get("conversation") == "none" else "conv_1"
        return {
            **told,
            "conversation_id": conversation,
            "max_output_tokens": limit,
            "metadata": asked.get("metadata"),
        }

    async def tell_item(self, item: Json, before: str | None, *, whole: bool) -> None:
        await self.say("conversation.item.created", previous_item_id=before, item=item)
