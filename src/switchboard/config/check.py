"""What is wrong with settings that are each right by themselves."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import ssl
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from switchboard.config.check_realtime import check_realtime
from switchboard.config.tree import Callers, Chat, Cors, ProfileSettings, ProviderSettings, Settings
from switchboard.net.address import is_loopback
from switchboard.policy.jwk_set import FAMILIES
from switchboard.policy.own_check import load
from switchboard.policy.profile import LOCKABLE
from switchboard.policy.routing import MODEL_NAME
from switchboard.providers import Kind, kinds
from switchboard.store.urls import sqlite_path
from switchboard.surface.web_chat import FORMATS

_BASE_URLS = {"azure": "https://NAME.openai.azure.com (AZURE_OPENAI_ENDPOINT)"}
_ALGORITHMS = (*FAMILIES, "HS256", "HS384", "HS512")
#: Characters that `auth.secret` needs.
LEAST_SECRET = 16
Origin = Callable[[tuple[str, ...]], str]
_REGION = re.compile(r"[A-Za-z0-9]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def provider_type(name: str, given: str | None) -> str:
    """A provider's type: as `given`, else by its name, else "compatible"."""
    return given or (name if name in kinds() else "compatible")


def check(settings: Settings, origin: Origin) -> list[str]:
    """Complaints, each with its place (`origin` finds it) and what to do."""
    out = [
        *check_listening(settings, origin),
        *_callers(settings, origin),
        *_chat(settings, settings.chat, ("chat",), origin),
    ]
    for name, profile in settings.profiles.items():
        out += _chat(settings, profile, ("profiles", name), origin)
        out += _media(settings, profile, ("profiles", name), origin)
        if profile.realtime is not None:
            out += check_realtime(profile.realtime, ("profiles", name, "realtime"), origin)
    out += _media(settings, settings, (), origin)
    out += check_realtime(settings.realtime, ("realtime",), origin)
    if settings.traces.endpoint is not None and importlib.util.find_spec("opentelemetry.sdk") is None:
        place = origin(("traces", "endpoint"))
        out.append(f"{place}: traces need OpenTelemetry, which is not installed: pip install 'switchboard[otel]'")
    return [*out, *_profiles(settings, origin), *_providers(settings, origin), *_routes(settings, origin)]


def check_listening(s: Settings, origin: Origin) -> list[str]:
    """Whether it may be listened as `s` say, and can be."""
    out = []
    if not is_loopback(s.host) and not identified(s):
        out.append(
            f"{origin(('host',))}: listening on {s.host} would open this server to the network without asking who calls; "
            "set ACCESS_KEY (or auth.access_key in the settings file) to a long random text, "
            "or listen on 127.0.0.1"
        )
    if (s.tls.certificate is None) != (s.tls.key is None):
        out.append(f"{origin(('tls',))}: tls.certificate and tls.key are needed together")
    for key in ("certificate", "key"):
        file = getattr(s.tls, key)
        if file is not None and not os.access(file, os.R_OK):
            out.append(f"{origin(('tls', key))}: the file {file} cannot be read")
    if s.tls.certificate is not None and s.tls.key is not None and not out:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(s.tls.certificate, s.tls.key)
        except (ssl.SSLError, OSError) as e:
            out.append(f"{origin(('tls', 'certificate'))}: tls.certificate and tls.key are no pair of PEM files: {e}")
    if s.https == "require" and s.tls.certificate is None and not s.trusted_proxies:
        out.append(
            f"{origin(('https',))}: with https: require, TLS must end here (tls.certificate, tls.key) or at a proxy "
            "that is named in trusted_proxies"
        )
    return out


def identified(s: Settings) -> bool:
    """Whether anybody is asked who they are."""
    callers = [s.auth, *(p.auth for p in s.profiles.values() if p.auth is not None)]
    known = any(c.jwt or c.firebase_project or c.validate_with for c in callers)
    keys = s.auth.access_key or s.auth.api_keys or any(p.access_key for p in s.profiles.values())
    return known or bool(keys)


def _callers(s: Settings, origin: Origin) -> list[str]:
    """Who may ask, and where what they do is counted and kept."""
    out = []
    sections: list[tuple[tuple[str, ...], Callers]] = [(("auth",), s.auth)]
    sections += [(("profiles", name, "auth"), p.auth) for name, p in s.profiles.items() if p.auth is not None]
    for path, section in sections:
        place = origin((*path, "jwt"))
        for issuer in section.jwt:
            shared = [a for a in issuer.algorithms if a.startswith("HS")]
            unknown = [a for a in issuer.algorithms if a not in _ALGORITHMS]
            if unknown:
                out.append(f"{place}: '{unknown[0]}' is not one of {', '.join(_ALGORITHMS)}")
            elif issuer.secret is not None and len(shared) != len(issuer.algorithms):
                out.append(f"{place}: with a secret, algorithms are HS256, HS384 or HS512 only")
            elif issuer.secret is None and shared:
                out.append(f"{place}: {shared[0]} needs a secret, and with a secret there are no public keys")
        if section.validate_with is not None:
            try:
                load(section.validate_with)
            except ValueError as e:
                out.append(f"{origin((*path, 'validate'))}: {str(e).removeprefix('auth.validate: ')}")
    if s.auth.public and (s.limits.address.requests_per_minute is None or not identified(s)):
        out.append(
            f"{origin(('auth', 'public'))}: what is open to everybody needs a limit for each address: "
            "set limits.address.requests_per_minute (and an identity for everything else)"
        )
    if s.auth.public and ("*" in s.cors.origins or s.cors.origins == Cors().origins):
        out.append(f"{origin(('auth', 'public'))}: what is open to everybody needs a list of origins: set cors.origins")
    if s.database.url is not None:
        scheme = s.database.url.get_secret_value().partition("://")[0]
        if scheme not in ("postgresql", "postgres", "sqlite"):
            out.append(f"{origin(('database', 'url'))}: it begins with postgresql:// (or sqlite:///)")
        elif scheme == "sqlite":
            try:
                sqlite_path(s.database.url.get_secret_value())
            except ValueError:
                out.append(f"{origin(('database', 'url'))}: it names no file; write sqlite:////srv/switchboard.db")
    if s.redis.url is not None:
        scheme = s.redis.url.get_secret_value().partition("://")[0]
        if scheme not in ("redis", "rediss", "unix"):
            out.append(f"{origin(('redis', 'url'))}: it begins with redis://, rediss:// (TLS) or unix://")
        elif not _has_place(s.redis.url.get_secret_value()):
            out.append(
                f"{origin(('redis', 'url'))}: its host or port is none; in a password # / ? @ : are %23 %2F %3F %40 %3A"
            )
    if s.auth.secret is not None and len(s.auth.secret.get_secret_value()) < LEAST_SECRET:
        out.append(
            f"{origin(('auth', 'secret'))}: it needs {LEAST_SECRET} characters at least; make one: openssl rand -hex 32"
        )
    return out


def _has_place(url: str) -> bool:
    """Whether a host and a port can be read from `url`."""
    try:
        parts = urlsplit(url)
        return parts.port is None or parts.port > 0
    except ValueError:  # whose words may hold some of a password
        return False


def _known_providers(s: Settings) -> list[str]:
    own = [kind.type for kind in kinds().values() if kind.base_url or not kind.network]
    return list(dict.fromkeys([*s.providers, *own]))


def _chat(s: Settings, chat: Chat, path: tuple[str, ...], origin: Origin) -> list[str]:
    out = []
    if chat.format not in FORMATS:
        out.append(f"{origin((*path, 'format'))}: it must be one of {', '.join(FORMATS)}")
    for name in chat.locked:
        if name not in LOCKABLE:
            out.append(f"{origin((*path, 'locked'))}: '{name}' cannot be locked; {', '.join(LOCKABLE)} can")
    if chat.provider is not None and chat.provider not in _known_providers(s):
        out.append(f"{origin((*path, 'provider'))}: {_no_provider(s, chat.provider)}")
    for place in ("model", "models"):
        value = getattr(chat, place)
        for name in value if isinstance(value, list) else [value] if value else []:
            if MODEL_NAME.fullmatch(name) is None:
                out.append(f"{origin((*path, place))}: '{name}' cannot be the name of a model")
    if chat.model is not None and chat.models and chat.model not in chat.models:
        out.append(f"{origin((*path, 'model'))}: '{chat.model}' is not among {'.'.join(path)}.models")
    return out


def _media(s: Settings, section: Settings | ProfileSettings, path: tuple[str, ...], origin: Origin) -> list[str]:
    """Who does what is no text."""
    out = []
    for name in ("embeddings", "images", "speech", "transcription", "realtime"):
        said = getattr(section, name)
        if said is not None and said.provider is not None and said.provider not in _known_providers(s):
            out.append(f"{origin((*path, name, 'provider'))}: {_no_provider(s, said.provider)}")
    return out


def _no_provider(s: Settings, name: str) -> str:
    known = _known_providers(s)
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return f"there is no provider '{name}'; {hint}"


def _profiles(s: Settings, origin: Origin) -> list[str]:
    out = []
    keys = {k.get_secret_value(): "auth" for k in s.auth.access_key}
    origins: dict[str, str] = {}
    for name, profile in s.profiles.items():
        for key in profile.access_key:
            owner = keys.setdefault(key.get_secret_value(), name)
            if owner != name:
                out.append(f"{origin(('profiles', name, 'access_key'))}: the same key stands under {owner} already")
        for page in profile.origins:
            owner = origins.setdefault(page, name)
            if owner != name:
                out.append(f"{origin(('profiles', name, 'origins'))}: {page} chooses profile {owner} already")
        if profile.paths:
            out.append(f"{origin(('profiles', name, 'paths'))}: further paths stand under chat.paths only")
    return out


def _routes(s: Settings, origin: Origin) -> list[str]:
    out = []
    for name, entries in s.routes.items():
        if not entries:
            out.append(f"{origin(('routes', name))}: a route needs a target, for example openai/gpt-4o")
        for e in entries:
            provider, slash, model = e.target.partition("/")
            if not slash or not model:
                out.append(f"{origin(('routes', name))}: '{e.target}' is no target; write provider/model")
            elif provider not in _known_providers(s):
                out.append(f"{origin(('routes', name))}: {e.target}: {_no_provider(s, provider)}")
    return out


def _providers(s: Settings, origin: Origin) -> list[str]:
    out: list[str] = []
    for name, p in s.providers.items():
        kind = provider_type(name, p.type)
        out += _nowhere(name, p, kinds()[kind], origin)
        if not kinds()[kind].network and (p.base_url is not None or p.api_key):
            out.append(f"{origin(('providers', name))}: the offline provider has no base_url and no api_key")
        for model in p.models:
            if MODEL_NAME.fullmatch(model) is None:
                out.append(f"{origin(('providers', name, 'models'))}: '{model}' cannot be the name of a model")
        for header, value in p.headers.items():
            text = value.get_secret_value()
            if _HEADER_NAME.fullmatch(header) is None or any(ord(c) < 32 or ord(c) > 255 for c in text):
                out.append(f"{origin(('providers', name, 'headers'))}: '{header}' is not a header that can be sent")
        if p.ca_file is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(p.ca_file)
            except OSError as e:
                place = origin(("providers", name, "ca_file"))
                out.append(f"{place}: no certificate can be read from ca_file, {p.ca_file}: {e.strerror or e}")
    return out


def _nowhere(name: str, p: ProviderSettings, kind: Kind, origin: Origin) -> Iterator[str]:
    """What is missing for a provider to be found."""
    if not kind.network or kind.base_url or p.base_url is not None:
        return
    place = origin(("providers", name))
    by_region = next((variable for variable, key in kind.variables.items() if key == "region"), None)
    if by_region is None:
        example = _BASE_URLS.get(kind.type, "http://localhost:11434/v1")
        yield f"{place}: provider '{name}' needs a base_url, for example {example}"
    elif not p.region:
        yield f"{place}: provider '{name}' needs a region ({by_region}), for example westeurope, or a base_url"
    elif _REGION.fullmatch(p.region) is None:
        place = origin(("providers", name, "region"))
        yield f"{place}: '{p.region}' cannot be the name of a region; one is westeurope"
