"""The tree of settings. Every key, its type, its default and what it means; `docs/settings.md` is made from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from switchboard.core.capabilities import FEATURES
from switchboard.net.address import Networks
from switchboard.policy.profile import LOCKABLE
from switchboard.policy.routing import MODEL_NAME
from switchboard.providers import kinds
from switchboard.providers.base import endpoint
from switchboard.surface.web_chat import FORMATS

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]


def _plain_origin(origin: str) -> str:
    if origin == "*":
        return origin
    scheme, found, host = origin.partition("://")
    if not found or not host or "/" in host or scheme not in ("http", "https", "app", "capacitor", "ionic", "tauri"):
        raise ValueError("an origin is a scheme and a host, without a path: https://app.example.com")
    return origin.lower()


def _networks(names: list[str]) -> list[str]:
    Networks(names)
    return names


def _base_url(url: str) -> str:
    endpoint(url)
    return url


def _socket_url(url: str) -> str:
    if not url.startswith(("ws://", "wss://")):
        raise ValueError("a realtime URL begins with ws:// or wss://")
    return url


def _kind(name: str) -> str:
    if name not in kinds():
        raise ValueError(f"there is no such type of provider; there are {', '.join(kinds())}")
    return name


def _feature(name: str) -> str:
    if name not in FEATURES:
        raise ValueError(f"there is no such feature; there are {', '.join(FEATURES)}")
    return name


def _model(name: str) -> str:
    if MODEL_NAME.fullmatch(name) is None:
        raise ValueError("a model's name is 1 to 256 letters, digits and . _ : / @ -")
    return name


def _entry(value: Any) -> Any:
    return {"target": value} if isinstance(value, str) else value


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _one_or_many_sections(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _printable(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.strip() or any(ord(c) < 33 or ord(c) > 126 for c in text):
        raise ValueError("a key is made of printable ASCII characters, without blanks")
    return secret


Feature = Annotated[str, AfterValidator(_feature)]
Model = Annotated[str, AfterValidator(_model)]
Key = Annotated[SecretStr, AfterValidator(_printable)]
#: One secret or a list of them.
Keys = Annotated[list[Key], BeforeValidator(_one_or_many)]


def fields_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a section, as they are written."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (wanted, *get_args(wanted)):
            raise ValueError("yes or no is not expected here")
        return value


class Tls(_Section):
    """TLS on the server's own socket; both or neither."""

    certificate: str | None = Field(None, description="File with the certificate chain (PEM).")
    key: str | None = Field(None, description="File with the private key (PEM).")


class LogSettings(_Section):
    """What is written to standard error."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "INFO", description="At DEBUG bodies are logged too, with secrets masked."
    )
    format: Literal["auto", "json", "human"] = Field("auto", description="auto: human on a terminal, else JSON.")


class Traces(_Section):
    """Spans of requests, for OpenTelemetry; needs the extra `otel`."""

    endpoint: Annotated[str, AfterValidator(_base_url)] | None = Field(
        None, description="The collector, OTLP over HTTP: http://localhost:4318. Without it nothing is traced."
    )
    service: str = Field("switchboard", description="The name of this service in the traces.")
    sample: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="The share of requests that begin a trace; one that belongs to a trace goes by that."
    )
    headers: dict[str, SecretStr] = Field({}, description="Headers for the collector.")


class Cors(_Section):
    """Browsers' pages that may ask."""

    origins: list[Annotated[str, AfterValidator(_plain_origin)]] = Field(
        ["http://localhost:5173", "http://localhost:3000"],
        description='Origins allowed, with credentials. "*" allows every page, without credentials.',
    )


class Jwt(_Section):
    """An issuer of JSON Web Tokens whose users may ask."""

    issuer: str = Field(description="What its tokens carry as iss: https://login.example.com/.", min_length=1)
    audience: Annotated[list[str], BeforeValidator(_one_or_many)] = Field(
        description="Whom its tokens are for (aud): one, or any of several.", min_length=1
    )
    jwks_url: Annotated[str, AfterValidator(_base_url)] | None = Field(
        None, description="Where its public keys are; by default what the issuer's OpenID configuration says."
    )
    algorithms: Annotated[list[str], BeforeValidator(_one_or_many)] = Field(
        [], description="Signatures that are accepted; by default RS256 and ES256, or with a secret HS256."
    )
    secret: Key | None = Field(None, description="A shared secret, for HS256, HS384 or HS512, in place of public keys.")
    user_claim: str = Field("sub", description="The claim that names the user.")
    leeway: Seconds = Field(60, description="Seconds by which clocks may differ.")


class Callers(_Section):
    """Users who are known by somebody else."""

    jwt: Annotated[list[Jwt], BeforeValidator(_one_or_many_sections)] = Field(
        [], description="Issuers of tokens that are accepted: one, or a list."
    )
    firebase_project: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{3,62}$")] | None = Field(
        None, description="A Firebase project whose users are let in, by their ID tokens."
    )
    validate_with: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = Field(
        None, description="A function of yours that says who asks: package.module:function.", alias="validate"
    )
    validate_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        5, description="Seconds that your function may take."
    )


class Auth(Callers):
    """Who may ask."""

    access_key: Keys = Field([], description="Keys that open everything: one, or a list while one is being replaced.")
    token_seconds: Count = Field(86_400, description="Seconds for which a token of POST /auth stands for the key.")
    api_keys: bool = Field(False, description="Whether API keys (switchboard keys create) are asked for and taken.")
    act_as: bool = Field(
        False, description="Whether the holder of an access key acts for the userId that a call names."
    )
    secret: Key | None = Field(
        None,
        description="What API keys are hashed and cookies signed with; by default a file in the data folder. Several hosts need the same.",
    )
    session_seconds: Count = Field(1_209_600, description="Seconds for which the page's cookie is good.")
    failures_per_minute: Count = Field(30, description="Wrong keys and tokens that an address may show.")
    public: list[Literal["web_chat", "speech", "openai_v1", "anthropic_v1"]] = Field(
        [],
        description="Surfaces that ask nobody who they are; needs limits.address.requests_per_minute and cors.origins.",
    )


class Quota(_Section):
    """How much may be used; by default as much as one likes."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = Field(None, description="Tokens of questions and answers.")
    tokens_per_day: Count | None = None
    tokens_per_month: Count | None = None
    dollars_per_day: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="US dollars, by public prices."
    )
    dollars_per_month: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    streams: Count | None = Field(None, description="Streamed answers at a time.")
    voice_connects_per_minute: Count | None = None
    voice_sessions: Count | None = Field(None, description="Open voice sessions at a time.")


class LimitSettings(Quota):
    """How much, how many. What stands here of requests, tokens, dollars and streams holds for each caller: key, user, or
    address where nobody is known."""

    requests_per_minute: Count | None = Field(None, description="By caller.")
    voice_connects_per_minute: Count | None = 10
    voice_sessions: Count | None = Field(2, description="Open voice sessions of a caller at a time.")
    address: Quota = Field(Quota(), description="For each address.")
    everyone: Quota = Field(Quota(), description="For all callers of the app together.")
    json_body: Bytes = Field(32 * 1024 * 1024, description="Bytes of a JSON body.")
    upload: Bytes = Field(25 * 1024 * 1024, description="Bytes of a body that brings files.")
    nesting: Annotated[int, Field(ge=2, le=500)] = Field(64, description="Levels of a JSON body.")
    header_bytes: Bytes = Field(64 * 1024, description="Bytes of all headers of a request.")
    header_count: Count = Field(100, description="Headers of a request.")
    url_bytes: Bytes = Field(8 * 1024, description="Bytes of a URL.")
    header_seconds: Seconds = Field(10, description="Seconds in which all headers have to arrive.")
    body_seconds: Seconds = Field(10, description="Seconds after which a body has to keep to body_rate.")
    body_rate: Bytes = Field(1024, description="Least bytes a second of a body after body_seconds.")
    idle_seconds: Seconds = Field(75, description="Seconds that a connection may wait for its next request.")
    stall_seconds: Seconds = Field(60, description="Seconds that a client may read nothing of its answer.")
    connections: Count | None = Field(None, description="Open connections; by default what the system allows.")
    event: Bytes = Field(16 * 1024 * 1024, description="Bytes of one event of a provider's stream.")
    answer: Bytes = Field(64 * 1024 * 1024, description="Bytes of a provider's answer that is not streamed.")


class TimeoutSettings(_Section):
    """Seconds that a provider may take."""

    connect: Seconds = Field(5, description="To connect.")
    first_event: Seconds = Field(120, description="To the first event of a stream.")
    idle: Seconds = Field(60, description="Between two pieces of a stream.")
    total: Seconds = Field(600, description="For the whole answer.")


class StreamSettings(_Section):
    """Streams to clients."""

    head_after: Seconds = Field(15, description="Seconds after which a stream begins though nothing has come.")
    quiet: Seconds = Field(15, description="Seconds without an event after which a comment is sent.")


class ProviderTimeouts(_Section):
    """The same as `timeouts`, for one provider; what is not set here is taken from there."""

    connect: Seconds | None = None
    first_event: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None


class ProviderSettings(_Section):
    """One provider, under a name of your choice."""

    type: Annotated[str, AfterValidator(_kind)] | None = Field(
        None,
        description=f"One of {', '.join(sorted(kinds()))}; by default the provider's name if that is one, else compatible.",
    )
    base_url: Annotated[str, AfterValidator(_base_url)] | None = Field(
        None, description="Where its API is, version included: http://localhost:11434/v1."
    )
    realtime_url: Annotated[str, AfterValidator(_socket_url)] | None = Field(
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
    apis: Annotated[list[Literal["responses", "completions"]], BeforeValidator(_one_or_many)] | None = Field(
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


class RouteEntry(_Section):
    """One target of a route; where only its name is needed, that can stand in place of it."""

    target: Model = Field(description="A provider and its model: openai/gpt-4o.")
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="Its share of the requests; a target without one steps in when others fail."
    )
    lacks: list[Feature] = Field([], description="What this model cannot do; as for a provider.")


class RetrySettings(_Section):
    """Asking again when a provider fails before it has sent anything."""

    attempts: Count = Field(2, description="How often each target of a request is asked.")
    wait: Seconds = Field(0.5, description="Mean seconds before all are asked once more; doubled each time.")
    longest: Seconds = Field(3, description="The longest retry-after that is waited for.")


class CircuitSettings(_Section):
    """Leaving a target alone that fails again and again."""

    failures: Count = Field(5, description="Failures in a row after which others are asked first.")
    rest: Seconds = Field(30, description="Seconds until it is tried again, by one request.")


class Chat(_Section):
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


class _Media(_Section):
    provider: str | None = Field(None, description="The provider; by default that of the chats, where it has this.")
    model: Model | None = Field(None, description="The model that answers where a request names none that is served.")
    models: list[str] = Field([], description="The models that a request may name; by default any.")


class EmbeddingSettings(_Media):
    """Vectors of texts."""


class ImageSettings(_Media):
    """Images."""


class SpeechSettings(_Media):
    """Text to speech."""

    voice: str = Field("alloy", description="The voice where a request names none.")
    format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        "mp3", description="What POST /api/tts answers with."
    )


class TranscriptionSettings(_Media):
    """Speech to text."""

    language: str = Field("", description="What is spoken where a request does not say: en.")


SoundFormat = Literal["pcm16", "g711_ulaw", "g711_alaw"]


class RealtimeSettings(_Media):
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
    turn_detection: dict[str, Any] | Literal["off"] | None = Field(
        None,
        description="When the model begins to answer: {type: server_vad, silence_duration_ms: 500}; off: when it is asked.",
    )
    noise_reduction: Literal["near_field", "far_field", "off"] | None = Field(
        None, description="How far away the microphone is."
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


class VoiceSettings(_Section):
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
    origins: list[Annotated[str, AfterValidator(_plain_origin)]] = Field(
        [], description="Origins of pages that are let in and choose this profile."
    )
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


class DatabaseSettings(_Section):
    """Where keys, usage, conversations and sessions are kept."""

    url: SecretStr | None = Field(
        None, description="postgresql://user:password@host/name; by default a file in the data folder (SQLite)."
    )
    connections: Annotated[int, Field(ge=1, le=64)] = Field(4, description="Connections to PostgreSQL of each process.")
    migrate: bool | None = Field(
        None, description="Whether tables are brought up to date at the start; by default for SQLite only."
    )


class RedisSettings(_Section):
    """Where several hosts count together what their callers do."""

    url: SecretStr | None = Field(None, description="redis://host:6379/0; without it each host counts for itself.")
    prefix: str = Field("switchboard:", description="What its keys begin with.")


class Retention(_Section):
    """Days after which what is kept is thrown away."""

    usage: Count | None = Field(90, description="Records of single requests.")
    usage_days: Count | None = Field(800, description="Sums by day.")
    conversations: Count | None = Field(365, description="Conversations in which nobody has said anything since.")
    voice: Count | None = Field(365, description="Voice sessions and their transcripts.")


class Shutdown(_Section):
    """How the server ends on SIGTERM."""

    accept: Seconds = Field(5, description="Seconds for which it still accepts, while /health/ready says 503.")
    streams: Seconds = Field(30, description="Seconds that open answers have to end.")


class Settings(_Section):
    """Everything that can be set."""

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="The port to listen on; 0: any free one.")
    workers: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Processes that serve, on the one port.")
    data_dir: str | None = Field(None, description="Where data is kept; by default in the user's data folder.")
    public_url: str | None = Field(
        None, description="The address by which clients reach this server.", pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$"
    )
    hosts: list[str] = Field([], description="Host names that are answered to, besides public_url's and loopback.")
    trusted_proxies: Annotated[list[str], AfterValidator(_networks)] = Field(
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
    routes: dict[
        Model, Annotated[list[Annotated[RouteEntry, BeforeValidator(_entry)]], BeforeValidator(_one_or_many)]
    ] = Field(
        {},
        description="Models of your own naming, each with its target or targets in order: fast: [openai/gpt-4o, local/llama3.2].",
    )
    retired_models: dict[Model, Model] = Field(
        {},
        description="Names that are answered by others, besides those that providers have retired: old name: new name.",
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
