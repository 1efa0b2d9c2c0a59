"""The settings that the server holds for an app."""

from __future__ import annotations

from msgspec import Struct

from switchboard.core.types import Operation

#: What a profile's `locked` may name.
LOCKABLE = ("model", "temperature", "top_p", "max_tokens", "stream", "tools")


class Default(Struct, frozen=True):
    """What answers an operation: `provider` and `model` where a request names no model ("": the provider's own), `models`
    the names that it may choose from (empty: any)."""

    provider: str
    model: str = ""
    models: tuple[str, ...] = ()


class Profile(Struct, frozen=True):
    """One app's settings.

    `format` is what ``POST /api/chat`` answers with. `provider` and `model` answer where a request names no model that
    is served; `models` are the names that a request may choose from (empty: any). `temperature`, `top_p` and
    `max_tokens` are defaults; `locked` names those that a request may not change. `max_tokens_cap` bounds what it may
    ask for. `media` are the defaults of operations other than text; `voice`, `sound` (the format of speech) and `language`
    (of what is transcribed) hold where a request names none. `max_conversation_length` is in messages; on ``/v1`` it counts only with `trim_v1`, `max_conversation_tokens` is about how many tokens they may have; a conversation that the server holds starts
    afresh after `conversation_timeout` seconds of silence, and its answers go on without their client where they are `resumable`. With `strict` a
    request is refused that a model cannot take over whole.
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
    max_conversation_tokens: int | None = None
    conversation_timeout: float = 3600.0
    resumable: bool = False
    trim_v1: bool = False
    locked: frozenset[str] = frozenset()
    strict: bool = False
    media: dict[Operation, Default] = {}
    voice: str = "alloy"
    sound: str = "mp3"
    language: str = ""

    def default(self, operation: Operation) -> Default:
        """What answers `operation`."""
        found = self.media.get(operation)
        return Default(self.provider, self.model, self.models) if found is None else found

    @property
    def sets_parameters(self) -> bool:
        """Whether any parameter of a request may have to be changed."""
        sampling = self.temperature is not None or self.top_p is not None
        return sampling or self.max_tokens is not None or self.max_tokens_cap is not None or bool(self.locked)
