"""``switchboard doctor``: looks at everything that a server needs, and says of each fault what to do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from switchboard import compiled
from switchboard.app import default_provider
from switchboard.app.runtime import SECTIONS, default_models, make_provider, named_providers
from switchboard.cli.doctor_kept import kept
from switchboard.cli.findings import Check, State
from switchboard.cli.run_file import data_folder, find
from switchboard.config.check import provider_type
from switchboard.config.load import SettingsError, load
from switchboard.config.names import variable
from switchboard.config.tree import ProviderSettings, Settings
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Provider
from switchboard.core.types import Headers
from switchboard.engine.fetch import fetch
from switchboard.net.dial import TcpDialer
from switchboard.net.http import UpstreamPool
from switchboard.net.worker import WorkerPool, WorkerTransport
from switchboard.policy.retirement import NOTICE, Retirements
from switchboard.providers import kinds
from switchboard.providers.offline.studio import jobs

_TIMEOUT: Final = 15.0
_LITTLE: Final = 1 << 30  # bytes free on a disk
_SKEW: Final = 60.0  # seconds that the clock may be off
_REACH: Final = (Fault.REFUSED, Fault.DNS, Fault.CONNECT_TIMEOUT, Fault.TIMEOUT, Fault.RESET, Fault.PROXY)


def run(flags: Mapping[tuple[str, ...], Any], config: str | None, *, as_json: bool, offline: bool) -> None:
    """Look, and tell. Exits with 1 if anything has failed."""
    checks = asyncio.run(examine(flags, os.environ, config, offline=offline))
    if as_json:
        print(json.dumps([{n: getattr(c, n) for n in Check.__struct_fields__} for c in checks], indent=2))
    else:
        for c in checks:
            print(f"{c.state:<9}{c.what:<32}{c.text}")
            if c.fix:
                print(f"{'':<41}→ {c.fix}")
    raise SystemExit(1 if any(c.state == "failed" for c in checks) else 0)


async def examine(
    flags: Mapping[tuple[str, ...], Any], environment: Mapping[str, str], config: str | None, *, offline: bool
) -> list[Check]:
    """All checks, in order. Without `offline` every provider that is set up is asked for its models."""
    try:
        settings, sources = load(flags, environment, config=config)
    except SettingsError as e:
        return [Check("settings", "failed", text, "correct this; nothing else was looked at") for text in e.complaints]
    checks = [Check("settings", "ok", sources.file or "defaults and environment"), _port(settings)]
    clocks: list[float] = []
    checks += await _providers(settings, environment, clocks, offline=offline)
    checks += [
        *_models(settings),
        *_voice(settings),
        *_folder(settings),
        *await kept(settings, offline=offline),
        _clock(clocks),
        _code(),
    ]
    return checks


# ---- port, folder, clock


def _port(settings: Settings) -> Check:
    what = f"port {settings.port}"
    for running in find(settings):
        if running.port == settings.port:
            return Check(what, "ok", f"a Switchboard server has it (process {running.pid})")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(address)
    except OSError as e:
        if e.errno == errno.EADDRINUSE:
            return Check(what, "failed", "another program has it", "choose another one with --port or PORT, or end it")
        return Check(what, "failed", f"cannot be listened on: {e.strerror or e}", "choose another --host or --port")
    return Check(what, "ok", f"free, on {settings.host}")


def _code() -> Check:
    what = "compiled modules"
    if compiled.fresh():
        return Check(what, "ok", "used")
    text = "not there, or older than the sources: requests cost about twice the processor's time"
    return Check(what, "warning", text, "`make compile`; it needs gcc and Python's headers (Debian: python3-dev)")


def _folder(settings: Settings) -> Iterator[Check]:
    folder = data_folder(settings)
    fix = "make it writable for this user, or choose another with SWITCHBOARD_DATA_DIR"
    try:
        there = _nearest(folder)
    except OSError as e:
        yield Check("data folder", "failed", f"{folder} cannot be looked into: {e.strerror}", fix)
        return
    if not there.is_dir():
        yield Check("data folder", "failed", f"{there} is not a folder", fix)
        return
    if not _writable(there):
        yield Check("data folder", "failed", f"{there} cannot be written", fix)
    else:
        made = "" if there == folder else ", made when it is needed"
        yield Check("data folder", "ok", f"{folder}{made}")
    free = shutil.disk_usage(there).free
    text = f"{free / (1 << 30):.1f} GiB free"
    if free < _LITTLE:
        yield Check("disk", "warning", text, "make room: conversations and transcripts are kept there")
    else:
        yield Check("disk", "ok", text)


def _nearest(folder: Path) -> Path:
    """The part of a path that is there. Raises `OSError` where that cannot be told."""
    for path in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
            return path
    return folder


def _writable(folder: Path) -> bool:
    """Whether a file can be made there; modes alone do not tell of file systems that are mounted read-only."""
    probe = folder / f".switchboard-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def _clock(clocks: list[float]) -> Check:
    if not clocks:
        return Check("clock", "skipped", "nobody was asked for the time")
    skew = sorted(clocks)[len(clocks) // 2]
    if abs(skew) > _SKEW:
        text = f"{abs(skew):.0f} s {'fast' if skew > 0 else 'slow'}, by the providers' clocks"
        return Check("clock", "failed", text, "set the clock (timedatectl set-ntp true): tokens and TLS depend on it")
    return Check("clock", "ok", "as the providers have it")


# ---- providers


async def _providers(
    settings: Settings, environment: Mapping[str, str], clocks: list[float], *, offline: bool
) -> list[Check]:
    chosen = default_provider(settings)
    rows = dict(settings.providers)
    for name in (chosen, *named_providers(settings)):
        rows.setdefault(name, ProviderSettings())
    pools: dict[str | None, UpstreamPool] = {}
    studio = WorkerTransport(WorkerPool(jobs.MODULE))  # no process is begun

    def pool(ca_file: str | None) -> UpstreamPool:
        return pools.setdefault(ca_file, UpstreamPool(TcpDialer(environment, ca_file)))

    out = []
    for name, row in rows.items():
        kind = kinds()[provider_type(name, row.type)]
        provider = make_provider(name, row, settings, pool, studio)
        what = f"provider {name}" + (" (default)" if name == chosen else "")
        if not kind.network:
            fix = "set OPENAI_API_KEY, ANTHROPIC_API_KEY or another provider's key" if name == chosen else ""
            state: State = "warning" if name == chosen else "ok"
            out.append(Check(what, state, "answers by itself, with echoes: no provider has a key", fix))
        elif not provider.configured:
            key = variable(("providers", name, "api_key"))
            out.append(Check(what, "failed", "it has no key", f"set {key}, or {key}_FILE to a file that holds it"))
        elif offline:
            out.append(Check(what, "skipped", "not asked (--offline)"))
        else:
            out.append(await ask(what, provider, clocks))
    for p in pools.values():
        p.close()
    return out


async def ask(what: str, provider: Provider, clocks: list[float]) -> Check:
    """Whether a provider can be reached, is one, and takes its key; the skew of our clock goes into `clocks`."""
    place = f"provider {provider.name}"
    base = f"providers.{provider.name}.base_url"
    call = provider.probe()
    if call is None:
        return Check(what, "skipped", "it cannot be asked without cost")
    try:
        status, headers, body = await fetch(provider.transport, call, timeout=_TIMEOUT)
    except UpstreamError as e:
        if e.fault is Fault.TLS:
            return Check(
                what, "failed", f"TLS fails: {e.message}", "check its certificate; providers.….ca_file adds one"
            )
        if e.fault in _REACH:
            fix = f"check {base}, the network, and HTTPS_PROXY where one is needed"
            return Check(what, "failed", f"it cannot be reached: {e.message or e.fault}", fix)
        return Check(what, "failed", f"it does not answer as it should: {e}", f"check {base}")
    _note_time(headers, clocks)
    if status in (401, 403):
        key = variable(("providers", provider.name, "api_key"))
        return Check(what, "failed", f"it does not accept the key ({status})", f"check {key}")
    if status == 429 or status >= 500:
        return Check(what, "warning", f"it answers {status} at the moment", "try again later")
    if not _is_json(body):
        kind = "HTML" if b"<html" in body[:2048].lower() or b"<!doctype" in body[:2048].lower() else "something else"
        fix = f"check {base}: it is the API's address, most end with /v1, not a web page's"
        return Check(what, "failed", f"it answers with {kind}, not with JSON ({status})", fix)
    if status == 404:
        return Check(what, "failed", "nothing answers under its path (404)", f"check {base}: most end with /v1")
    if status != 200:
        return Check(what, "warning", f"it answers {status} to {place}'s list of models", f"check {base}")
    return Check(what, "ok", "reachable, and accepts the key" if provider.secrets else "reachable")


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict | list)
    except ValueError:
        return False


def _note_time(headers: Headers, clocks: list[float]) -> None:
    try:
        clocks.append(time.time() - parsedate_to_datetime(headers[b"date"].decode("latin-1")).timestamp())
    except (KeyError, ValueError, TypeError):
        return  # it does not say


# ---- models


def _models(settings: Settings) -> Iterator[Check]:
    """Models in use that are gone, or will be within `NOTICE` days."""
    retirements = Retirements(settings.retired_models)
    today = datetime.now(UTC).date()
    found = False
    for name, lifecycle, place in sorted(set(_in_use(settings))):
        end = retirements.find(lifecycle, name)
        if end is None or end.day > today + timedelta(days=NOTICE):
            continue
        found = True
        fix = f"name {end.successor or 'another'} in {place}"
        if end.day <= today:
            text = f"it is retired since {end.day}; {end.successor or 'nothing'} answers in its place"
        else:
            text = f"it retires on {end.day}; from then on {end.successor or 'nothing'} answers in its place"
        yield Check(f"model {name}", "warning", text, fix)
    if not found:
        yield Check("models", "ok", f"none in use retires within {NOTICE} days")


def _voice(settings: Settings) -> Iterator[Check]:
    """Voice sessions of which nothing passes here."""
    sections = [("voice", settings.voice), *((f"profiles.{n}.voice", p.voice) for n, p in settings.profiles.items())]
    for place, said in sections:
        if said is not None and said.connect == "direct":
            text = "clients converse with the provider itself: expiry, end, transcripts and budgets do not hold"
            yield Check(place, "warning", text, f"set {place}.connect to relay, unless that is meant")


def _in_use(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Models, the table of retirements that holds for each, and where it is named."""

    def lifecycle(provider: str) -> str:
        row = settings.providers.get(provider)
        return provider_type(provider, row.type if row is not None else None)

    chosen = default_provider(settings)
    for place, chat in [("chat", settings.chat), *((f"profiles.{n}", p) for n, p in settings.profiles.items())]:
        provider = chat.provider or chosen
        model = chat.model or (kinds()[lifecycle(provider)].model if place == "chat" else "")
        for name in [model, *chat.models]:
            if name and name not in settings.routes:
                where = f"{place}.model" if name == model else f"{place}.models"
                row = settings.providers.get(provider)
                own, slash, rest = name.partition("/")  # a model may be named with its provider
                if slash and rest and own in settings.providers and name not in (row.models if row else ()):
                    yield rest, lifecycle(own), where
                else:
                    yield name, lifecycle(provider), where
    for name, row in settings.providers.items():
        for model in row.models:
            yield model, lifecycle(name), f"providers.{name}.models"
        if row.api_key:  # what is neither asked for nor set is not in use, but what answers by itself is
            for operation, model in default_models(kinds()[lifecycle(name)], row).items():
                if operation in SECTIONS:
                    yield model, lifecycle(name), f"{SECTIONS[operation]}.model"
    for route, entries in settings.routes.items():
        for e in entries:
            provider, _, model = e.target.partition("/")
            yield model, lifecycle(provider), f"routes.{route}"
