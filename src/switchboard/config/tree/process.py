"""What the process stands on: where it listens, what it writes, where things are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from switchboard.config.tree.types import UPPER, BaseUrl, Count, Origin, Seconds, Section


class Tls(Section):
    """TLS on the server's own socket; both or neither."""

    certificate: str | None = Field(None, description="File with the certificate chain (PEM).")
    key: str | None = Field(None, description="File with the private key (PEM).")


class LogSettings(Section):
    """What is written to standard error."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], UPPER] = Field(
        "INFO", description="At DEBUG bodies are logged too, with secrets masked."
    )
    format: Literal["auto", "json", "human"] = Field("auto", description="auto: human on a terminal, else JSON.")


class Traces(Section):
    """Spans of requests, for OpenTelemetry; needs the extra `otel`."""

    endpoint: BaseUrl | None = Field(
        None, description="The collector, OTLP over HTTP: http://localhost:4318. Without it nothing is traced."
    )
    service: str = Field("switchboard", description="The name of this service in the traces.")
    sample: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="The share of requests that begin a trace; one that belongs to a trace goes by that."
    )
    headers: dict[str, SecretStr] = Field({}, description="Headers for the collector.")


class Cors(Section):
    """Browsers' pages that may ask."""

    origins: list[Origin] = Field(
        ["http://localhost:5173", "http://localhost:3000"],
        description='Origins allowed, with credentials. "*" allows every page, without credentials.',
    )


class DatabaseSettings(Section):
    """Where keys, usage, conversations and sessions are kept."""

    url: SecretStr | None = Field(
        None, description="postgresql://user:password@host/name; by default a file in the data folder (SQLite)."
    )
    connections: Annotated[int, Field(ge=1, le=64)] = Field(4, description="Connections to PostgreSQL of each process.")
    migrate: bool | None = Field(
        None, description="Whether tables are brought up to date at the start; by default for SQLite only."
    )


class RedisSettings(Section):
    """Where several hosts count together what their callers do."""

    url: SecretStr | None = Field(None, description="redis://host:6379/0; without it each host counts for itself.")
    prefix: str = Field("switchboard:", description="What its keys begin with.")


class Retention(Section):
    """Days after which what is kept is thrown away."""

    usage: Count | None = Field(90, description="Records of single requests.")
    usage_days: Count | None = Field(800, description="Sums by day.")
    conversations: Count | None = Field(365, description="Conversations in which nobody has said anything since.")
    voice: Count | None = Field(365, description="Voice sessions and their transcripts.")


class Shutdown(Section):
    """How the server ends on SIGTERM."""

    accept: Seconds = Field(5, description="Seconds for which it still accepts, while /health/ready says 503.")
    streams: Seconds = Field(30, description="Seconds that open answers have to end.")
