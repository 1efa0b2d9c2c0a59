"""What is wrong with settings that are each right by themselves."""

from __future__ import annotations

import difflib
import os
import re
import ssl
from collections.abc import Callable

from switchboard.config.tree import Settings
from switchboard.net.address import is_loopback
from switchboard.policy.profile import LOCKABLE
from switchboard.policy.routing import MODEL_NAME
from switchboard.surface.web_chat import FORMATS

Origin = Callable[[tuple[str, ...]], str]
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def provider_type(name: str, given: str | None) -> str:
    """A provider's type: as `given`, else by its name, else "compatible"."""
    return given or (name if name in ("openai", "offline") else "compatible")


def check(settings: Settings, origin: Origin) -> list[str]:
    """Complaints, each with its place (`origin` finds it) and what to do."""
    return [*_listening(settings, origin), *_chat(settings, origin), *_providers(settings, origin)]


def _listening(s: Settings, origin: Origin) -> list[str]:
    out = []
    if not is_loopback(s.host) and not s.auth.access_key:
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


def _chat(s: Settings, origin: Origin) -> list[str]:
    out = []
    if s.chat.format not in FORMATS:
        out.append(f"{origin(('chat', 'format'))}: it must be one of {', '.join(FORMATS)}")
    for name in s.chat.locked:
        if name not in LOCKABLE:
            out.append(f"{origin(('chat', 'locked'))}: '{name}' cannot be locked; {', '.join(LOCKABLE)} can")
    known = [*s.providers, "openai", "offline"]
    if s.chat.provider is not None and s.chat.provider not in known:
        close = difflib.get_close_matches(s.chat.provider, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(dict.fromkeys(known))}"
        out.append(f"{origin(('chat', 'provider'))}: there is no provider '{s.chat.provider}'; {hint}")
    for place in ("model", "models"):
        value = getattr(s.chat, place)
        for name in value if isinstance(value, list) else [value] if value else []:
            if MODEL_NAME.fullmatch(name) is None:
                out.append(f"{origin(('chat', place))}: '{name}' cannot be the name of a model")
    if s.chat.model is not None and s.chat.models and s.chat.model not in s.chat.models:
        out.append(f"{origin(('chat', 'model'))}: '{s.chat.model}' is not among chat.models")
    return out


def _providers(s: Settings, origin: Origin) -> list[str]:
    out = []
    for name, p in s.providers.items():
        kind = provider_type(name, p.type)
        if kind == "compatible" and p.base_url is None:
            place = origin(("providers", name))
            out.append(f"{place}: provider '{name}' needs a base_url, for example http://localhost:11434/v1")
        if kind == "offline" and (p.base_url is not None or p.api_key):
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
