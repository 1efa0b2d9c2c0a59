"""The session that the server holds: what it has the provider do, and what of that a client may change."""

from __future__ import annotations

from msgspec import UNSET, Struct

from switchboard.dialects.realtime import SessionFields, Shape, session_update

#: Members of a response that a client may always set: what it is about, and not how.
_ALWAYS = frozenset({"input", "conversation", "metadata", "tool_choice", "max_output_tokens"})
#: The id of our own update: an error that names it ends the conversation.
UPDATE = "evt_switchboard_session"


class HeldSession(Struct, frozen=True):
    """What the settings say of conversations. `client_fields` are members of a session that a client may set; `idle` and
    `longest` are seconds."""

    instructions: str | None = None
    voice: str | None = None
    transcription_model: str | None = None
    client_fields: frozenset[str] = frozenset()
    idle: float = 300.0
    longest: float = 3600.0

    @property
    def allowed(self) -> frozenset[str]:
        """What a client may set of a session or a response. What the server does not say is the client's to say."""
        free = set() if self.instructions is not None else {"instructions"}
        if self.transcription_model is None:
            free.add("transcription")
        return self.client_fields | _ALWAYS | free | {"tools"}

    def update(self, shape: Shape) -> bytes | None:
        """What the provider is told first; None where there is nothing to say."""
        if self.instructions is None and self.voice is None and self.transcription_model is None:
            return None
        transcription = UNSET if self.transcription_model is None else {"model": self.transcription_model}
        fields = SessionFields(
            instructions=UNSET if self.instructions is None else self.instructions,
            voice=UNSET if self.voice is None else self.voice,
            transcription=transcription,
        )
        return session_update(shape, fields, UPDATE)
