"""What the server keeps: the database, what is read from it and written to it beside the requests, and the secret that keys are
hashed and cookies signed with."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Final

from switchboard.config.folder import data_folder, database_url
from switchboard.config.tree import Settings
from switchboard.core.counting import Change, Counters, Window
from switchboard.engine.conversations import Keeping
from switchboard.engine.journal import Journals
from switchboard.engine.keyring import KeyRing
from switchboard.engine.page_sessions import PageSessions
from switchboard.engine.voice import Voice
from switchboard.policy.quotas import caller_key, counter, profile_key
from switchboard.store import Database, StoreError
from switchboard.store.batch import UsageWriter
from switchboard.store.conversations import Conversations
from switchboard.store.keys import Keys
from switchboard.store.schema import upgrade
from switchboard.store.urls import is_postgres
from switchboard.store.usage import Spent, UsageLog
from switchboard.store.usage_rows import day_of, row_of
from switchboard.store.web_sessions import WebSessions
from switchboard.telemetry.records import Record

_log: Final = logging.getLogger("switchboard.storage")
_DAY: Final = 86_400_000
_PRUNE_EVERY: Final = 3600.0  # seconds
_RETRY: Final = 1.0


class Storage:
    """The database of `settings` and what is in it. `start` begins to connect, and says nothing if that does not go; `trouble` does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.database = Database.open(database_url(settings), connections=settings.database.connections)
        self.usage = UsageLog(self.database)
        self.writer = UsageWriter(self.usage)
        self.keys = Keys(self.database)
        self.conversations = Conversations(self.database)
        self.journals = Journals()
        self.keeping = Keeping()
        self.sessions = WebSessions(self.database)
        self.seeded = False
        self._keeping_house: asyncio.Task[None] | None = None
        self._told = ""  # what the log was last told of the database
        secret = _secret_or_other(settings)
        self.keyring = KeyRing(self.keys, secret)
        self.voice = Voice(self.database, secret)
        self.page_sessions = PageSessions(self.sessions, secret, tls=_over_tls(settings))

    def start(self, counters: Counters) -> None:
        """Begin; `counters` are told what was used before."""
        self.database.start()
        self.writer.start()
        self.voice.start()
        self._keeping_house = asyncio.create_task(self._keep_house(counters))

    def settings_changed(self, settings: Settings) -> None:
        """Hold by `settings` from now on, as far as that can be."""
        self._settings = settings
        self.page_sessions.tls = _over_tls(settings)

    @property
    def trouble(self) -> str:
        """What is wrong with it at the moment; "" where nothing is."""
        return self.database.trouble if not self.database.ready else "" if self.seeded else "it is being read"

    def records(self, batch: list[Record]) -> None:
        """Keep what requests used, once they are over: those of callers who are known."""
        rows = [row_of(r) for r in batch if r.dialect and r.caller]
        if rows:
            self.writer.put(rows)

    def tick(self, at: float) -> None:
        """It is `at` (seconds, monotonic)."""
        self.keyring.tick(at)
        found = "" if self.database.ready else self.database.trouble
        if found != self._told and (self.seeded or not self.database.opening):
            self._told = found
            if found:
                _log.error("the database cannot be used: %s", found)
            else:
                _log.warning("the database can be used again")

    async def _keep_house(self, counters: Counters) -> None:
        await self._seed(counters)
        await self._prune()

    async def _seed(self, counters: Counters) -> None:
        """Tell `counters` what was used today and in this month, as soon as the database can be asked."""
        while not self.seeded:
            try:
                at = time.time()
                day = day_of(int(at * 1000))
                spent = await self.usage.spent(day, day // 100)
                counters.raise_to(floors(spent, at))
                self.seeded = True
            except StoreError:
                await asyncio.sleep(_RETRY)

    async def _prune(self) -> None:
        """Throw away what was kept long enough, now and then."""
        while True:
            try:
                await self._prune_once()
            except StoreError as e:
                _log.warning("what is old could not be thrown away: %s", e)
            await asyncio.sleep(_PRUNE_EVERY)

    async def _prune_once(self) -> None:
        kept, at = self._settings.retention, int(time.time() * 1000)
        if kept.usage is not None:
            await self.usage.prune(at - kept.usage * _DAY)
        if kept.usage_days is not None:
            await self.usage.prune_days(day_of(at - kept.usage_days * _DAY))
        if kept.conversations is not None:
            await self.conversations.prune(at - kept.conversations * _DAY)
        if kept.voice is not None:
            await self.voice.sessions.prune(at - kept.voice * _DAY)
        await self.sessions.prune(at)

    async def close(self) -> None:
        """Write what is to be written, and close the database."""
        if self._keeping_house is not None:
            self._keeping_house.cancel()
            await asyncio.gather(self._keeping_house, return_exceptions=True)
        await self.voice.close()
        await self.keeping.close()
        await self.keyring.close()
        await self.writer.close()
        await self.database.close()


def _over_tls(settings: Settings) -> bool:
    """Whether browsers reach the server over TLS."""
    return settings.tls.certificate is not None or (settings.public_url or "").startswith("https:")


def migrate(settings: Settings) -> None:
    """Bring the tables of a PostgreSQL up to date where the settings say so (those of SQLite are made by themselves). Blocks. What
    does not go is logged, and stays the database's trouble."""
    if settings.database.migrate and is_postgres(database_url(settings)):
        try:
            upgrade(database_url(settings))
        except StoreError as e:
            _log.warning("%s", e)


def floors(spent: list[Spent], at: float) -> list[Change]:
    """What counters are to be raised to, at least, for what callers and profiles have `spent` by `at`."""
    sums: dict[tuple[str, str, Window], int] = {}
    for s in spent:
        for who in (caller_key(s.profile, s.caller), profile_key(s.profile)):
            for measure, window, amount in (
                ("tokens", Window.DAY, s.day_tokens),
                ("tokens", Window.MONTH, s.month_tokens),
                ("dollars", Window.DAY, s.day_cost_nano),
                ("dollars", Window.MONTH, s.month_cost_nano),
            ):
                key = (who, measure, window)
                sums[key] = sums.get(key, 0) + amount
    return [Change(counter(who, m, w), w, n, at) for (who, m, w), n in sums.items() if n]


def secret_of(settings: Settings) -> bytes:
    """What keys are hashed and cookies signed with: as set, else from a file in the data folder, which is made where there is none.
    Raises `OSError`."""
    if settings.auth.secret is not None:
        return settings.auth.secret.get_secret_value().encode()
    return _read_or_make(data_folder(settings) / "secret")


def _secret_or_other(settings: Settings) -> bytes:
    try:
        return secret_of(settings)
    except OSError as e:
        folder = data_folder(settings)
        _log.warning(
            "no secret can be kept in %s (%s): API keys are not known, cookies end with this process", folder, e
        )
        return secrets.token_bytes(32)


def _read_or_make(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = path.with_name(f".{path.name}.{os.getpid()}")
    if not path.exists():
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        try:
            os.link(made, path)  # whoever comes first has made it
        except FileExistsError:
            pass
        finally:
            made.unlink()
    text = path.read_text().strip()
    if len(text) < 32:
        raise OSError(0, "it is too short")
    return text.encode()
