"""The providers, and how long and how often they are asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from switchboard.config.tree.types import (
    ONE_OR_MANY,
    BaseUrl,
    Count,
    Feature,
    Keys,
    KindName,
    Model,
    Seconds,
    Section,
    SocketUrl,
)
from switchboard.core.capabilities import FEATURES
from switchboard.providers import kinds


class TimeoutSettings(Section):
    """Seconds that a provider may take."""

    connect: Seconds = Field(5, description="To connect.")
    first_event: Seconds = Field(120, description="To the first event of a stream.")
    idle: Seconds = Field(60, description="Between two pieces of a stream.")
    total: Seconds = Field(600, description="For the whole answer.")


class StreamSettings(Section):
    """Streams to clients."""

    head_after: Seconds = Field(15, description="Seconds after which a stream begins though nothing has come.")
    quiet: Seconds = Field(15, description="Seconds without an event after which a comment is sent.")


class ProviderTimeouts(Section):
    """The same as `timeouts`, for one provider; what is not set here is taken from there."""

    connect: Seconds | None = None
    first_event: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None


class ProviderSettings(Section):
    """One provider, under a name of your choice."""

    type: KindName | None = Field(
        None,
        description=f"One of {', '.join(sorted(kinds()))}; by default the provider's name if that is one, else compatible.",
    )
    base_url: BaseUrl | None = Field(None, description="Where its API is, version included: http://localhost:11434/v1.")
    realtime_url: SocketUrl | None = Field(
        None, description="Where its Realtime API is; by default derived from `base_url`."
    )
    realtime_dialect: Literal["ga", "beta"] = Field(
        "ga", description="Which of OpenAI's Realtime interfaces is spoken there; beta for older servers."
    )
    realtime_model: str | None = Field(None, description="Its model that converses, where nobody names one.")
    api_key: Keys = Field([], description="Its key, or several.")
    models: list[str] = Field([], description="Its models; by default it is asked for them, and takes any name.")
    headers: dict[str, SecretStr] = Field({}, description="Headers to send with every call.")
    title: str | None = Field(None, description="What people call it, in messages.")
    timeouts: ProviderTimeouts = ProviderTimeouts()
    ca_file: str | None = Field(None, description="File with certificates to trust besides the system's (PEM).")
    lacks: list[Feature] = Field([], description=f"What its models cannot do, of {', '.join(FEATURES)}.")
    embeddings_model: str | None = Field(None, description="Its model for embeddings, where nobody names one.")
    image_model: str | None = Field(None, description="Its model that draws, where nobody names one.")
    speech_model: str | None = Field(None, description="Its model that speaks, where nobody names one.")
    transcription_model: str | None = Field(None, description="Its model that listens, where nobody names one.")
    apis: Annotated[list[Literal["responses", "completions"]], ONE_OR_MANY] | None = Field(
        None,
        description="OpenAI-like ones: what it has besides chat completions, embeddings, images and sound; the rest is translated.",
    )
    chunked_uploads: bool | None = Field(
        None,
        description="Whether it takes files whose length is not told when they begin, so that they go on while they come in; by default openai and azure do.",
    )
    region: str | None = Field(None, description="azure_speech: the region of the resource: westeurope.")
    api_version: str | None = Field(
        None, description="azure: a date asks by deployment (/openai/deployments/…); by default the v1 form is used."
    )
    key_style: Literal["api-key", "bearer"] = Field(
        "api-key", description="azure: bearer for an Entra token as the key."
    )
    pace: Seconds = Field(0.02, description="offline: seconds between two words of a stream.")


class RouteEntry(Section):
    """One target of a route; where only its name is needed, that can stand in place of it."""

    target: Model = Field(description="A provider and its model: openai/gpt-4o.")
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="Its share of the requests; a target without one steps in when others fail."
    )
    lacks: list[Feature] = Field([], description="What this model cannot do; as for a provider.")


class RetrySettings(Section):
    """Asking again when a provider fails before it has sent anything."""

    attempts: Count = Field(2, description="How often each target of a request is asked.")
    wait: Seconds = Field(0.5, description="Mean seconds before all are asked once more; doubled each time.")
    longest: Seconds = Field(3, description="The longest retry-after that is waited for.")


class CircuitSettings(Section):
    """Leaving a target alone that fails again and again."""

    failures: Count = Field(5, description="Failures in a row after which others are asked first.")
    rest: Seconds = Field(30, description="Seconds until it is tried again, by one request.")
