"""``switchboard keys``: the API keys of a server's callers."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from switchboard.app.storage import secret_of
from switchboard.cli.settings import read
from switchboard.cli.store import later, milliseconds, shown, table, with_database
from switchboard.config.tree import Settings
from switchboard.core.counting import Allowance
from switchboard.policy import api_keys
from switchboard.store import Database
from switchboard.store.keys import ApiKey, Keys

Flags = Mapping[tuple[str, ...], Any]
#: What a key may be for.
SURFACES: Final = ("web_chat", "openai_v1", "anthropic_v1", "speech", "access_key_service", "operations")


class Wanted(Struct, frozen=True):
    """A key that is to be made."""

    name: str
    profile: str
    allowance: Allowance
    expires: str | None
    models: list[str]
    surfaces: list[str]
    act_as: bool


def create(flags: Flags, config: str | None, wanted: Wanted, *, as_json: bool) -> None:
    """Make a key and show it, once. Exits with 2 for what cannot be, with 1 where it cannot be kept."""
    settings, _ = read(flags, config)
    if not wanted.name.strip():
        _refuse("a key needs a name")
    for name in wanted.surfaces:
        if name not in SURFACES:
            _refuse(f"there is no surface '{name}'; there are {', '.join(SURFACES)}")
    if wanted.profile not in ("default", *settings.profiles):
        names = ", ".join(["default", *settings.profiles])
        _refuse(f"there is no profile '{wanted.profile}'; there are {names}")
    at = datetime.now(UTC)
    row = ApiKey(
        id="",
        hash=b"",
        name=wanted.name,
        profile=wanted.profile,
        created=milliseconds(at),
        expires=None if wanted.expires is None else milliseconds(later(wanted.expires, at)),
        quota=msgspec.json.encode(wanted.allowance).decode(),
        models=json.dumps(wanted.models),
        surfaces=json.dumps(wanted.surfaces),
        act_as="any" if wanted.act_as else "",
    )
    made, row = _made(settings, row)

    async def work(database: Database) -> bool:
        keys = Keys(database)
        if any(k.name == wanted.name and _state(k) == "good" for k in await keys.list()):
            return False
        return await keys.add(row)

    if not with_database(settings, work):
        _refuse(f"there is a key with the name '{wanted.name}' already; revoke or rotate it, or choose another name")
    _show(settings, made, row, as_json=as_json)


def listed(flags: Flags, config: str | None, profile: str | None, *, as_json: bool) -> None:
    """Show all keys, without the keys themselves."""
    settings, _ = read(flags, config)
    found = with_database(settings, lambda d: Keys(d).list(profile))
    if as_json:
        print(json.dumps([_about(k) for k in found], indent=2))
        return
    if not found:
        print("There are no API keys. Make one: switchboard keys create NAME")
        return
    rows = [["ID", "NAME", "PROFILE", "STATE", "CREATED", "EXPIRES", "LAST USED", "LIMITS"]]
    for k in found:
        quota = ", ".join(f"{n}={v}" for n, v in json.loads(k.quota).items()) or "-"
        times = [shown(t) for t in (k.created, k.expires, k.last_used)]
        rows.append([k.id, k.name, k.profile, _state(k), *times, quota])
    print(table(rows))


def revoke(flags: Flags, config: str | None, which: str) -> None:
    """End a key. Exits with 1 where there is none."""
    settings, _ = read(flags, config)
    at = milliseconds(datetime.now(UTC))
    found = with_database(settings, lambda d: Keys(d).revoke(which, at))
    if found is None:
        raise SystemExit(
            f"switchboard: there is no good key '{which}', or several have that name: say which by its id, see switchboard keys list"
        )
    print(f"The key {found.id} ({found.name}) is revoked; a running server refuses it within two seconds.")


def rotate(flags: Flags, config: str | None, which: str, grace: str | None, *, as_json: bool) -> None:
    """Put a new key in the place of another, which ends at once or after `grace`."""
    settings, _ = read(flags, config)
    at = datetime.now(UTC)
    ends = None if grace is None else milliseconds(later(grace, at))

    async def work(database: Database) -> tuple[api_keys.ApiKey, ApiKey] | None:
        keys = Keys(database)
        good = [k for k in await keys.list() if _state(k) == "good" and which in (k.id, k.name)]
        if len(good) != 1:
            return None
        made, row = _made(settings, replace(good[0], created=milliseconds(at), last_used=None))
        await keys.add(row)
        if ends is None:
            await keys.revoke(good[0].id, milliseconds(at))
        else:
            await keys.expire(good[0].id, ends)
        return made, row

    found = with_database(settings, work)
    if found is None:
        raise SystemExit(
            f"switchboard: there is no good key '{which}', or several have that name: say which by its id, see switchboard keys list"
        )
    _show(settings, *found, as_json=as_json)


def _made(settings: Settings, row: ApiKey) -> tuple[api_keys.ApiKey, ApiKey]:
    """A new key, and what of it is kept."""
    try:
        made = api_keys.make(row.profile)
    except ValueError as e:
        _refuse(str(e))
    try:
        secret = secret_of(settings)
    except OSError as e:
        raise SystemExit(f"switchboard: the secret that keys are hashed with cannot be kept: {e}") from None
    return made, replace(row, id=made.id, hash=api_keys.hash_of(made.text, secret))


def _show(settings: Settings, made: api_keys.ApiKey, row: ApiKey, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"key": made.text, **_about(row)}, indent=2))
    else:
        print(made.text)
        print(f"This is the key '{row.name}' (id {row.id}). It is shown this once and kept nowhere.", file=sys.stderr)
    if not settings.auth.api_keys:
        print("Keys are not asked for yet: set auth.api_keys: true (SWITCHBOARD_AUTH__API_KEYS=true).", file=sys.stderr)


def _about(k: ApiKey) -> dict[str, Any]:
    return {
        "id": k.id,
        "name": k.name,
        "profile": k.profile,
        "state": _state(k),
        "created": shown(k.created),
        "expires": None if k.expires is None else shown(k.expires),
        "last_used": None if k.last_used is None else shown(k.last_used),
        "limits": json.loads(k.quota),
        "models": json.loads(k.models),
        "surfaces": json.loads(k.surfaces),
        "act_as": bool(k.act_as),
    }


def _state(k: ApiKey) -> str:
    if k.revoked is not None:
        return "revoked"
    return "expired" if k.expires is not None and k.expires <= milliseconds(datetime.now(UTC)) else "good"


def _refuse(text: str) -> NoReturn:
    print(f"switchboard: {text}", file=sys.stderr)
    raise SystemExit(2)
