"""``switchboard doctor``: the database, Redis, and the secret that keys are hashed with."""

from __future__ import annotations

from typing import Final

from switchboard.cli.findings import Check
from switchboard.config.check import identified
from switchboard.config.folder import data_folder, database_url
from switchboard.config.tree import Settings

_WAIT: Final = 5.0  # seconds that either may take


async def kept(settings: Settings, *, offline: bool) -> list[Check]:
    """How all that is. With `offline` nothing is reached over a network."""
    found = [await _database(settings, offline=offline)]
    if settings.redis.url is not None:
        found.append(await _redis(settings, offline=offline))
    return found + _secret(settings)


async def _database(settings: Settings, *, offline: bool) -> Check:
    from switchboard.store import Database

    url, is_file = database_url(settings), settings.database.url is None
    if is_file:
        try:
            if not (data_folder(settings) / "switchboard.db").exists():
                return Check("database", "ok", "SQLite in the data folder, made at the first start")
        except OSError:
            return Check("database", "skipped", "the data folder cannot be looked into")
    if offline and not url.startswith("sqlite"):
        return Check("database", "skipped", "not reached with --offline")
    database = Database.open(url, connections=1)
    database.start()
    try:
        if await database.wait_ready(_WAIT):
            return Check(
                "database", "ok", "SQLite in the data folder" if is_file else "it is there, its tables are right"
            )
        fix = "see database.url; bring tables up to date with: switchboard db upgrade"
        return Check("database", "failed", database.trouble, fix)
    finally:
        await database.close()


async def _redis(settings: Settings, *, offline: bool) -> Check:
    if offline:
        return Check("redis", "skipped", "not reached with --offline")
    import redis.asyncio
    from redis.exceptions import RedisError

    assert settings.redis.url is not None
    fix = "see redis.url; without Redis each server counts its share of the limits for itself"
    url = settings.redis.url.get_secret_value()
    try:
        client = redis.asyncio.from_url(url, socket_timeout=_WAIT, socket_connect_timeout=_WAIT)
    except ValueError:  # whose words may hold some of a password
        return Check("redis", "failed", "redis.url is not a URL; in a password write # / ? @ : as %23 %2F …", fix)
    try:
        await client.ping()
    except (RedisError, OSError, ValueError) as e:
        return Check("redis", "failed", f"it cannot be used ({type(e).__name__})", fix)
    finally:
        await client.aclose()
    return Check("redis", "ok", "it is there")


def _secret(settings: Settings) -> list[Check]:
    """Several hosts with one database need the same secret."""
    if settings.auth.secret is not None or settings.database.url is None:
        return []
    if not identified(settings):
        return []
    text = "API keys and tokens of voice sessions are hashed, and cookies signed, with a file in the data folder"
    fix = "with several hosts set auth.secret, the same on each: their keys, tokens and cookies differ otherwise"
    return [Check("secret", "warning", text, fix)]
