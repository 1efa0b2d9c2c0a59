"""What was said in voice sessions, as the relay heard it or as a client posted it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from switchboard.store.database import Database
from switchboard.store.text import key, to_json


class Source(StrEnum):
    """Who wrote a transcript."""

    RELAY = "relay"
    POSTED = "posted"


class Transcript(Struct, frozen=True):
    """A transcript; `updated` is in milliseconds since the epoch."""

    session: str
    source: Source
    messages: list[dict[str, Any]]
    updated: int


class Transcripts:
    """Transcripts, one of each source for a session."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, profile: str, owner: str, session: str, messages: list[dict[str, Any]], at: int) -> bool:
        """Keep what the client posts of a session of that owner, in place of what it posted before. False: there is no such session.
        (What the relay heard is kept by `VoiceSessions.tend`.)"""
        sql = (
            "INSERT INTO transcripts (session, source, messages, updated)"
            " SELECT id, ?, ?, ? FROM voice_sessions WHERE id = ? AND profile = ? AND owner = ?"
            " ON CONFLICT (session, source) DO UPDATE SET messages = excluded.messages, updated = excluded.updated"
        )

        def values() -> tuple[str | int, ...]:
            return (Source.POSTED.value, to_json(messages), at, key(session), key(profile), key(owner))

        return await self._database.run(lambda db: db.change(sql, values()) == 1, write=True)

    async def get(self, session: str) -> list[Transcript]:
        """The transcripts of a session, the newest first."""
        sql = (
            "SELECT session, source, messages, updated FROM transcripts WHERE session = ? ORDER BY updated DESC, source"
        )
        rows = await self._database.run(lambda db: db.rows(sql, (key(session),)), write=False)
        return [Transcript(s, Source(source), msgspec.json.decode(m), at) for s, source, m, at in rows]
