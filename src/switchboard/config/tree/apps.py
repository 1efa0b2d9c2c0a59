"""What apps get: chats, everything that is no text, and profiles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from switchboard.config.tree.callers import Callers, Quota
from switchboard.config.tree.types import Count, Keys, Model, Origin, Seconds, Section
from switchboard.policy.profile import LOCKABLE
from switchboard.surface.web_chat import FORMATS


class Chat(Section):
    """What the server holds for its chats."""

    format: str = Field("auto", description=f"What POST /api/chat answers with: {', '.join(FORMATS)}.")
    paths: list[Annotated[str, Field(pattern=r"^/[^\s?#]*$")]] = Field(
        [], description="Further paths that answer as /api/chat does."
    )
    provider: str | None = Field(None, description="The provider that answers; by default the one that has a key.")
    model: str | None = Field(None, description="The model that answers where a request names none that is served.")
    models: list[str] = Field([], description="The models that a request may name; by default any.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Count | None = None
    max_tokens_cap: Count | None = Field(None, description="The most that a request may ask for.")
    system_prompt: str | None = Field(None, description="Put before every conversation; no request can change it.")
    max_conversation_length: Count = Field(50, description="The newest messages that go to the model.")
    max_conversation_tokens: Count | None = Field(
        None, description="About how many tokens of them, the newest first; a tool call stays with its result."
    )
    conversation_timeout: Seconds = Field(
        3600, description="Seconds of silence after which a conversation that the server holds starts afresh."
    )
    resumable: bool = Field(
        False,
        description="Whether an answer in a conversation goes on for a minute after its client left, to be resumed.",
    )
    trim_v1: bool = Field(False, description="Whether max_conversation_length counts on /v1 too.")
    locked: list[str] = Field([], description=f"What a request may not change: {', '.join(LOCKABLE)}.")
    strict: bool = Field(False, description="Whether a request is refused that a model cannot take over whole.")


class Media(Section):
    """What an operation besides the chat has."""

    provider: str | None = Field(None, description="The provider; by default that of the chats, where it has this.")
    model: Model | None = Field(None, description="The model that answers where a request names none that is served.")
    models: list[str] = Field([], description="The models that a request may name; by default any.")


class EmbeddingSettings(Media):
    """Vectors of texts."""


class ImageSettings(Media):
    """Images."""


class SpeechSettings(Media):
    """Text to speech."""

    voice: str = Field("alloy", description="The voice where a request names none.")
    format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        "mp3", description="What POST /api/tts answers with."
    )


class TranscriptionSettings(Media):
    """Speech to text."""

    language: str = Field("", description="What is spoken where a request does not say: en.")


SoundFormat = Literal["pcm16", "g711_ulaw", "g711_alaw"]


Milliseconds = Annotated[int, Field(ge=0)]


class TurnDetection(Section):
    """When the model begins to answer; by default as the provider has it, or a client."""

    type: Literal["server_vad", "semantic_vad", "none"] | None = Field(
        None, description="By silence, by what is said, or (none) when it is asked."
    )
    threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(None, description="server_vad: how loud speech is.")
    prefix_padding_ms: Milliseconds | None = Field(None, description="server_vad: sound kept from before speech began.")
    silence_duration_ms: Milliseconds | None = Field(None, description="server_vad: silence that ends a turn.")
    idle_timeout_ms: Milliseconds | None = Field(None, description="server_vad: silence after which the model asks.")
    eagerness: Literal["low", "medium", "high", "auto"] | None = Field(
        None, description="semantic_vad: how soon a turn is taken to be over."
    )
    create_response: bool | None = Field(None, description="Whether an answer begins by itself.")
    interrupt_response: bool | None = Field(None, description="Whether the user may break in.")


class RealtimeSettings(Media):
    """Conversations by voice, over a WebSocket."""

    instructions: str | None = Field(None, description="What the model is told; no client can change it.")
    voice: str | None = Field(None, description="The voice that it has.")
    input_format: SoundFormat | None = Field(None, description="How clients send sound; by default PCM, 24 kHz.")
    output_format: SoundFormat | None = Field(None, description="How they get it.")
    transcription_model: str | None = Field(
        None,
        description="The model that writes down what the user says; in voice sessions whisper-1 where nothing is set.",
    )
    transcription_language: str | None = Field(None, description="What the user speaks: en.")
    turn_detection: TurnDetection = TurnDetection()
    noise_reduction: Literal["near_field", "far_field", "none"] | None = Field(
        None, description="How far away the microphone is; none: sound is taken as it is."
    )
    tools: list[str] = Field(
        [],
        description="Functions that the model may call and that run here (package.module:function); clients see nothing of it.",
    )
    tool_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        10, description="Seconds that a function may take."
    )
    client_fields: list[str] = Field(
        ["modalities", "voice", "speed", "input_format", "output_format", "turn_detection", "noise_reduction"],
        description="Members of a session, and of a response, that a client may set.",
    )
    idle_seconds: Seconds = Field(300, description="Seconds without anything said by either side.")
    max_seconds: Seconds = Field(7200, description="Seconds that a conversation may last.")
    renew: bool = Field(
        True, description="Whether a new session of the provider takes over where one ends or breaks off."
    )
    renew_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        3300, description="Seconds after which one takes over in any case; the service ends its own after an hour."
    )
    heartbeat_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = Field(
        None,
        description="Every how many seconds clients get an event that says nothing, for proxies that look at those only.",
    )


class VoiceSettings(Section):
    """Voice sessions: POST /api/voice/connect."""

    connect: Literal["relay", "direct"] = Field(
        "relay",
        description="direct: clients converse with the provider itself, with a secret of its own; nothing of that is seen here.",
    )
    session_seconds: Annotated[int, Field(ge=10, le=86_400)] = Field(
        1800, description="Seconds that a voice session may last."
    )


class ProfileSettings(Chat):
    """An app of its own beside the others: what is set here goes over `chat`. It is chosen by the path (/p/NAME/…), by
    one of its keys, or by the origin of the page."""

    access_key: Keys = Field([], description="Keys that choose this profile, and open nothing else.")
    origins: list[Origin] = Field([], description="Origins of pages that are let in and choose this profile.")
    auth: Callers | None = Field(None, description="Its own users; by default those of `auth`.")
    limits: Quota = Field(Quota(), description="For each of its callers; what is not set here is taken from `limits`.")
    everyone: Quota | None = Field(
        None, description="For all of its callers together; by default as in `limits.everyone`."
    )
    embeddings: EmbeddingSettings | None = Field(None, description="In place of `embeddings`.")
    images: ImageSettings | None = Field(None, description="In place of `images`.")
    speech: SpeechSettings | None = Field(None, description="In place of `speech`.")
    transcription: TranscriptionSettings | None = Field(None, description="In place of `transcription`.")
    realtime: RealtimeSettings | None = Field(None, description="In place of `realtime`.")
    voice: VoiceSettings | None = Field(None, description="In place of `voice`.")
