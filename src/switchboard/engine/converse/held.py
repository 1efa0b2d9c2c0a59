"""The session that the server holds: what it has the provider do, and what of that a client may change."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Struct
from msgspec.structs import asdict, replace

from switchboard.dialects.realtime import (
    JsonObject,
    SessionFields,
    Shape,
    dump_event,
    field_guard,
    load_event,
    session_update,
)
from switchboard.engine.converse.renewal import merge
from switchboard.engine.converse.tools import ServerTools

#: Members of a response that a client may always set: what it is about, and not how.
_ALWAYS: Final = frozenset({"input", "conversation", "metadata", "max_output_tokens", "tools"})
#: The id of our own update: an error that names it ends the conversation.
UPDATE: Final = "evt_switchboard_session"
#: Who writes down what the user says where a transcript is kept and the settings name nobody.
SCRIBE: Final = "whisper-1"


class HeldSession(Struct, frozen=True):
    """What the settings say of conversations: the `fields` of the session (what is UNSET is the provider's to say, or the client's), the
    `tools` that run here, and members of a session that a client may set. `idle` and `longest` are seconds; `renew` is after how many
    a new session of the provider takes the place of the old one, None: never, nor when one breaks off. `heartbeat` is every how many seconds a client is
    told that the server lives, None: only by pings. `alone`: what the model is told is the server's alone, and no system message of a client's stands beside. `bound`: the
    caller may not choose models."""

    fields: SessionFields = SessionFields()
    tools: ServerTools = ServerTools([])
    client_fields: frozenset[str] = frozenset()
    idle: float = 300.0
    longest: float = 3600.0
    renew: float | None = 3300.0
    heartbeat: float | None = None
    alone: bool = False
    bound: bool = False

    @property
    def allowed(self) -> frozenset[str]:
        """What a client may set of a session or a response. What the server does not say is the client's to say."""
        free = {name for name in ("instructions", "transcription") if getattr(self.fields, name) is UNSET}
        if self.bound:  # who writes down is a model too
            free.discard("transcription")
        if self.tools.described():  # it could send for ours, or send them away
            free.discard("tool_choice")
        else:
            free.add("tool_choice")
        return self.client_fields | _ALWAYS | free

    def held_alone(self) -> HeldSession:
        """The same for a client whose system messages do not count, where the server has instructions of its own."""
        return self if self.fields.instructions is UNSET else replace(self, alone=True)

    def written_down(self) -> HeldSession:
        """The same where what the user says is to be written down, whoever is to do it."""
        if self.fields.transcription is not UNSET:
            return self
        return replace(self, fields=replace(self.fields, transcription={"model": SCRIBE}))

    def with_ours(self, tools: list[Any]) -> list[Any]:
        """A client's list of tools, which takes the place of the one before, with ours in it. Of its own, functions only: what a provider
        calls by itself, it calls in this server's name."""
        ours, others = self.tools, "mcp" in self.client_fields
        theirs = [t for t in tools if isinstance(t, dict) and str(t.get("name")) not in ours]
        return [*ours.described(), *(t for t in theirs if others or t.get("type", "function") == "function")]

    def whole(self, asked: JsonObject, model: str) -> JsonObject:
        """The session in GA's shape that a provider is asked for in one piece: ours, and of what the client `asked` for, in the same
        shape, what it may set."""
        update = self.update(Shape.GA)
        session: JsonObject = {} if update is None else load_event(update)["session"]
        guarded, _ = field_guard(dump_event({"type": "session.update", "session": asked}), self.allowed)
        allowed = load_event(guarded)["session"]
        if isinstance(allowed.get("tools"), list):
            allowed["tools"] = self.with_ours(allowed["tools"])
        merge(session, allowed)
        return session | {"type": "realtime", "model": model}

    def update(self, shape: Shape) -> bytes | None:
        """What the provider is told first; None where there is nothing to say."""
        fields = self.fields
        tools = self.tools.described()
        if tools:
            fields = replace(fields, tools=tools)
        said: list[Any] = [v for name, v in asdict(fields).items() if name != "type" and v is not UNSET]
        return session_update(shape, fields, UPDATE) if said else None
