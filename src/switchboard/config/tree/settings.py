"""The whole tree."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from switchboard.config.tree.apps import (
    Chat,
    EmbeddingSettings,
    ImageSettings,
    ProfileSettings,
    RealtimeSettings,
    SpeechSettings,
    TranscriptionSettings,
    VoiceSettings,
)
from switchboard.config.tree.callers import Auth, LimitSettings
from switchboard.config.tree.process import (
    Cors,
    DatabaseSettings,
    LogSettings,
    RedisSettings,
    Retention,
    Shutdown,
    Tls,
    Traces,
)
from switchboard.config.tree.providers import (
    CircuitSettings,
    ProviderSettings,
    RetrySettings,
    RouteEntry,
    StreamSettings,
    TimeoutSettings,
)
from switchboard.config.tree.types import ENTRY, ONE_OR_MANY, Model, NetworkNames, Section


class Settings(Section):
    """Everything that can be set."""

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="The port to listen on; 0: any free one.")
    workers: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Processes that serve, on the one port.")
    data_dir: str | None = Field(None, description="Where data is kept; by default in the user's data folder.")
    public_url: str | None = Field(
        None, description="The address by which clients reach this server.", pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$"
    )
    hosts: list[str] = Field([], description="Host names that are answered to, besides public_url's and loopback.")
    trusted_proxies: NetworkNames = Field(
        [], description="Addresses or networks whose X-Forwarded-* headers are believed."
    )
    https: Literal["allow", "require"] = Field("allow", description="require: plain requests are redirected.")
    tls: Tls = Tls()
    log: LogSettings = LogSettings()
    traces: Traces = Traces()
    cors: Cors = Cors()
    auth: Auth = Auth()
    limits: LimitSettings = LimitSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    stream: StreamSettings = StreamSettings()
    shutdown: Shutdown = Shutdown()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    retention: Retention = Retention()
    providers: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], ProviderSettings] = Field(
        {}, description="The providers, by name."
    )
    routes: dict[Model, Annotated[list[Annotated[RouteEntry, ENTRY]], ONE_OR_MANY]] = Field(
        {},
        description="Models of your own naming, each with its target or targets in order: fast: [openai/gpt-4o, local/llama3.2].",
    )
    retired_models: dict[Model, Model] = Field(
        {},
        description="Names that are answered by others, besides those that providers have retired: old name: new name. "
        "One that succeeds itself is never taken for retired.",
    )
    retry: RetrySettings = RetrySettings()
    circuit: CircuitSettings = CircuitSettings()
    chat: Chat = Chat()
    embeddings: EmbeddingSettings = EmbeddingSettings()
    images: ImageSettings = ImageSettings()
    speech: SpeechSettings = SpeechSettings()
    transcription: TranscriptionSettings = TranscriptionSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    voice: VoiceSettings = VoiceSettings()
    profiles: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], ProfileSettings] = Field(
        {}, description="Further apps, by name."
    )
