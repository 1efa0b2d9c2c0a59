"""Settings become an immutable `Runtime`: providers, policies, routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from switchboard.app.policies import issuers_of, own_check, quotas_of, session_of
from switchboard.app.storage import Storage
from switchboard.config.check import identified, provider_type
from switchboard.config.tree import Chat, ProfileSettings, ProviderSettings, Settings
from switchboard.core.counting import Counters
from switchboard.core.ports import Provider, Surface, Transport
from switchboard.core.types import Operation, Timeouts
from switchboard.engine.catalog import Catalog
from switchboard.engine.conversations import Conversations
from switchboard.engine.exchange import Kit, Limits
from switchboard.engine.gate import Gate
from switchboard.engine.identity import Doors, Identity
from switchboard.engine.prices import PriceBook
from switchboard.engine.registry import Registry
from switchboard.engine.targets import Targets
from switchboard.net.address import Networks, is_loopback, split_host
from switchboard.policy.authenticate import AccessKeys, digest
from switchboard.policy.profile import Default, Profile
from switchboard.policy.retirement import Retirements
from switchboard.policy.routing import Routing
from switchboard.policy.target import Entry
from switchboard.providers import kinds
from switchboard.providers.base import Kind, Row
from switchboard.shell.routes import Routes
from switchboard.surface import access_key_service, openai_v1
from switchboard.surface.anthropic_v1 import Messages
from switchboard.surface.envelope import Envelopes
from switchboard.surface.envelope_settings import EnvelopeSettings
from switchboard.surface.speech import Transcripts, Tts
from switchboard.surface.web_chat import WebChat
from switchboard.telemetry.ledger import Ledger
from switchboard.telemetry.logs import Log


class Runtime(Struct, frozen=True):
    """What one reading of the settings makes. `chat_paths` are where the web chat is served."""

    settings: Settings
    providers: dict[str, Provider]
    profile: Profile
    catalog: Catalog
    routes: Routes
    chat_paths: list[str]
    conversations: Conversations | None


class Parts(Struct, frozen=True):
    """What a runtime is given of the process. `pool` gives the transport for a file of certificates, `studio` is that of the offline provider's worker processes, `counters` are what callers' uses are counted in,
    `doors` how they are known, `storage` what is kept of them (None: nothing)."""

    registry: Registry
    ledger: Ledger
    log: Log
    targets: Targets
    pool: Callable[[str | None], Transport]
    studio: Transport
    counters: Counters
    prices: PriceBook
    doors: Doors
    storage: Storage | None


def build(settings: Settings, parts: Parts) -> Runtime:
    """Everything that the settings say, ready to serve."""
    chosen = default_provider(settings)
    rows = dict(settings.providers)
    for name in (chosen, "openai", *named_providers(settings)):
        rows.setdefault(name, ProviderSettings())
    providers = {name: make_provider(name, row, settings, parts.pool, parts.studio) for name, row in rows.items()}
    entries = {
        name: [Entry(e.target, e.weight, frozenset(e.lacks)) for e in targets]
        for name, targets in settings.routes.items()
    }
    retirements = Retirements(settings.retired_models)
    routing = Routing(providers, entries, retirements, parts.targets.found)
    chat_paths = ["/api/chat", "/api/v1/chat", *settings.chat.paths]
    closed = identified(settings)
    kept = parts.storage
    conversations = (
        None if kept is None else Conversations(kept.conversations, kept.journals, kept.keeping, trusting=not closed)
    )

    def routes(name: str, chat: Chat, own: ProfileSettings | None = None) -> Routes:
        provider = chat.provider or chosen
        profile = profile_of(name, chat, provider, providers, settings, own)
        keys = [*settings.auth.access_key, *(own.access_key if own is not None else ())]
        origins = (own.origins if own is not None else []) or settings.cors.origins
        envelopes = Envelopes(_envelope_settings(settings, origins))
        callers = settings.auth if own is None or own.auth is None else own.auth
        identity = Identity(
            name,
            AccessKeys([k.get_secret_value() for k in keys], profile=name, act_as=settings.auth.act_as),
            parts.doors,
            closed=closed,
            api_keys=settings.auth.api_keys,
            issuers=issuers_of(callers),
            own=own_check(callers),
            public=frozenset(settings.auth.public),
            origins=envelopes.own_origins,
            users="" if own is None or own.auth is None else name,
        )
        quotas = quotas_of(name, settings, own)
        gate = Gate(identity, quotas, parts.counters, profile, routing, parts.prices)
        shared = (parts.registry, parts.ledger, parts.log, parts.targets, conversations)
        kit = Kit(gate, _limits(settings), *shared, None if kept is None else kept.voice)
        return Routes(_hot(settings, chat, chat_paths, profile.sound), kit, envelopes, session_of(settings, own))

    profiles = {name: routes(name, merged(settings.chat, p), p) for name, p in settings.profiles.items()}
    by_key, by_origin = _choosers(settings.profiles, profiles)
    base = replace(routes("default", settings.chat), profiles=profiles, by_key=by_key, by_origin=by_origin)
    catalog = Catalog(providers.values(), routing.routes, retirements)
    return Runtime(settings, providers, base.kit.gate.profile, catalog, base, chat_paths, conversations)


def default_provider(settings: Settings) -> str:
    """The name of the provider that answers: as set, else the first that has what it needs, else offline; but offline
    only while nobody else can reach this server, so that a deployment that lost its key never answers with echoes."""
    if settings.chat.provider is not None:
        return settings.chat.provider
    for name, p in settings.providers.items():
        kind = kinds()[provider_type(name, p.type)]
        if kind.network and kind.chats and (p.api_key or not kind.key_needed):
            return name
    asked_for = "offline" in settings.providers and len(settings.providers) == 1
    return "offline" if asked_for or is_loopback(settings.host) else "openai"


def named_providers(settings: Settings) -> list[str]:
    """Providers that are spoken of without a row of their own."""
    chats = [settings.chat, *settings.profiles.values()]
    targets = [e.target.partition("/")[0] for entries in settings.routes.values() for e in entries]
    sections = [getattr(s, n) for s in (settings, *settings.profiles.values()) for n in SECTIONS.values()]
    media = [s.provider for s in sections if s is not None]
    return [name for name in [*(c.provider for c in chats), *media, *targets] if name is not None]


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Every secret of the settings; none of them may show anywhere."""
    keys = [*settings.auth.access_key, *(k for p in settings.profiles.values() for k in p.access_key)]
    for p in settings.providers.values():
        keys += [*p.api_key, *p.headers.values()]
    keys += settings.traces.headers.values()
    callers = [settings.auth, *(p.auth for p in settings.profiles.values() if p.auth is not None)]
    keys += [issuer.secret for section in callers for issuer in section.jwt if issuer.secret is not None]
    keys += [k for k in (settings.auth.secret, settings.database.url, settings.redis.url) if k is not None]
    return tuple(k.get_secret_value() for k in keys)


def make_provider(
    name: str,
    row: ProviderSettings,
    settings: Settings,
    pool: Callable[[str | None], Transport],
    studio: Transport,
) -> Provider:
    """The provider of a row of the settings. `pool` gives what reaches a network, `studio` does without."""
    kind = kinds()[provider_type(name, row.type)]
    made = Row(
        name=name,
        base_url=row.base_url or kind.base_url,
        keys=tuple(k.get_secret_value() for k in row.api_key),
        title=row.title or (kind.title or name),
        models=tuple(row.models),
        headers={k: v.get_secret_value() for k, v in row.headers.items()},
        timeouts=_timeouts(settings, row),
        lacks=frozenset(row.lacks),
        defaults=default_models(kind, row),
        apis=None if row.apis is None else tuple(row.apis),
        chunked_uploads=row.chunked_uploads,
        region=row.region or "",
        api_version=row.api_version,
        key_style=row.key_style,
        realtime_url=row.realtime_url,
        realtime_shape=row.realtime_dialect,
        pace=row.pace,
    )
    return kind.make(made, pool(row.ca_file) if kind.network else studio)


def default_models(kind: Kind, row: ProviderSettings) -> dict[Operation, str]:
    """The models that answer where nobody names one."""
    said = {
        Operation.EMBED: row.embeddings_model,
        Operation.DRAW: row.image_model,
        Operation.SPEAK: row.speech_model,
        Operation.TRANSCRIBE: row.transcription_model,
        Operation.CONVERSE: row.realtime_model,
    }
    chat = row.models[0] if row.models else kind.model
    return {Operation.GENERATE: chat, **kind.models, **{op: m for op, m in said.items() if m is not None}}


def merged(chat: Chat, profile: ProfileSettings) -> Chat:
    """`chat` with what `profile` sets in its place. A model goes with its provider: another one has its own."""
    own = {n: getattr(profile, n) for n in profile.model_fields_set if n in Chat.model_fields}
    if "provider" in own:
        own.setdefault("model", None)
    return chat.model_copy(update=own)


def profile_of(
    name: str,
    chat: Chat,
    provider: str,
    providers: Mapping[str, Provider],
    settings: Settings,
    own: ProfileSettings | None = None,
) -> Profile:
    """The profile that a section of the settings describes, which is `own` where it is not the top one."""
    answering = providers[provider]
    speech = (own and own.speech) or settings.speech
    model = chat.model or ""
    if model in settings.routes:
        pass  # a route is a model of our own
    elif not model or not (answering.capabilities.any_model or model in answering.models):
        # the offline provider stands in for one whose key is not there yet, and AI_MODEL may be set already
        model = answering.default_model(Operation.GENERATE)
    return Profile(
        name=name,
        format=chat.format,
        provider=provider,
        model=model,
        models=tuple(chat.models),
        temperature=chat.temperature,
        top_p=chat.top_p,
        max_tokens=chat.max_tokens,
        max_tokens_cap=chat.max_tokens_cap,
        system_prompt=chat.system_prompt,
        max_conversation_length=chat.max_conversation_length,
        max_conversation_tokens=chat.max_conversation_tokens,
        conversation_timeout=chat.conversation_timeout,
        resumable=chat.resumable,
        trim_v1=chat.trim_v1,
        locked=frozenset(chat.locked),
        strict=chat.strict,
        media=_media(provider, providers, settings, own),
        voice=speech.voice,
        sound=speech.format,
        language=((own and own.transcription) or settings.transcription).language,
    )


#: The sections of the settings that name who does what.
SECTIONS: Final = {
    Operation.EMBED: "embeddings",
    Operation.DRAW: "images",
    Operation.SPEAK: "speech",
    Operation.TRANSCRIBE: "transcription",
    Operation.CONVERSE: "realtime",
}


def _answers(provider: Provider, operation: Operation) -> bool:
    """Whether `provider` answers `operation` by itself, without anybody naming a model."""
    return provider.serves(operation, "") and bool(provider.default_model(operation))


def _media(
    chatting: str, providers: Mapping[str, Provider], settings: Settings, own: ProfileSettings | None
) -> dict[Operation, Default]:
    """Who does what is no text: as set, else the provider of the chats, else the first one that has what it needs."""
    media = {}
    for operation, section in SECTIONS.items():
        said = (getattr(own, section) if own is not None else None) or getattr(settings, section)
        # offline answers only where it chats, or where it is named
        able = [p.name for p in providers.values() if _answers(p, operation) and p.configured]
        able = [name for name in able if name == chatting or name != "offline"]
        if said.provider is not None:
            name = said.provider
        elif chatting in able or (not able and providers[chatting].serves(operation, "")):
            name = chatting
        else:
            name = able[0] if able else "openai"
        media[operation] = Default(name, said.model or "", tuple(said.models))
    return media


def _choosers(
    settings: Mapping[str, ProfileSettings], profiles: Mapping[str, Routes]
) -> tuple[dict[bytes, Routes], dict[bytes, Routes]]:
    """Which key and which origin choose which profile."""
    by_key: dict[bytes, Routes] = {}
    by_origin: dict[bytes, Routes] = {}
    for name, p in settings.items():
        by_key |= {digest(k.get_secret_value().encode()): profiles[name] for k in p.access_key}
        by_origin |= {origin.encode(): profiles[name] for origin in p.origins if origin != "*"}
    return by_key, by_origin


def _hot(settings: Settings, chat: Chat, chat_paths: list[str], sound: str) -> dict[str, Surface]:
    nesting, secrets = settings.limits.nesting, secrets_of(settings)
    hot: dict[str, Surface] = dict.fromkeys(chat_paths, WebChat(format=chat.format, nesting=nesting))
    hot |= access_key_service.surfaces(nesting=nesting)
    hot |= openai_v1.surfaces(nesting=nesting, secrets=secrets)
    for prefix in ("/api", "/api/v1"):
        hot[f"{prefix}/tts"] = Tts(nesting=nesting, format=sound)
        hot[f"{prefix}/transcribe"] = Transcripts()
    hot["/v1/messages"] = Messages(nesting=nesting, secrets=secrets)
    return hot


def _limits(settings: Settings) -> Limits:
    limits, stream = settings.limits, settings.stream
    return Limits(limits.json_body, limits.upload, limits.event, limits.answer, stream.head_after, stream.quiet)


def _timeouts(settings: Settings, row: ProviderSettings) -> Timeouts:
    common, own = settings.timeouts, row.timeouts
    values = {
        k: getattr(own, k) if getattr(own, k) is not None else getattr(common, k) for k in Timeouts.__struct_fields__
    }
    return Timeouts(**values)


def _envelope_settings(settings: Settings, origins: list[str]) -> EnvelopeSettings:
    hosts = {h.lower() for h in settings.hosts}
    own = set()
    if settings.public_url is not None:
        scheme, _, rest = settings.public_url.partition("://")
        authority = rest.split("/")[0].lower()
        hosts.add(split_host(authority)[0])
        own.add(f"{scheme}://{authority}")
    return EnvelopeSettings(
        hosts=frozenset(hosts),
        loopback=is_loopback(settings.host),
        origins=frozenset(origins),
        own=frozenset(own),
        proxies=Networks(settings.trusted_proxies),
        https=settings.https == "require",
        public_url=settings.public_url or "",
        traced=settings.traces.sample if settings.traces.endpoint is not None else 0.0,
    )
