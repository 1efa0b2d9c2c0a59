"""Sessions of people who signed in with a browser."""

from __future__ import annotations

from msgspec import Struct

from switchboard.store.database import Database
from switchboard.store.text import key


class WebSession(Struct, frozen=True):
    """A session. Of its cookie a hash is kept; `owner` is the caller's id, `caller` all of the caller as JSON text. Times
    are milliseconds since the epoch."""

    id_hash: bytes
    owner: str
    caller: str
    profile: str
    created: int
    expires: int

    def __repr__(self) -> str:
        return f"WebSession(owner={self.owner!r}, profile={self.profile!r}, expires={self.expires})"


class WebSessions:
    """The sessions that were begun."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, session: WebSession) -> bool:
        """Keep a session. False: there is one with that hash."""
        sql = (
            "INSERT INTO web_sessions (id_hash, owner, caller, profile, created, expires) VALUES (?,?,?,?,?,?)"
            " ON CONFLICT DO NOTHING"
        )
        s = session
        values = (s.id_hash, key(s.owner), s.caller, key(s.profile), s.created, s.expires)
        return await self._database.run(lambda db: db.change(sql, values) == 1, write=True)

    async def get(self, id_hash: bytes, at: int) -> WebSession | None:
        """The session, unless it has expired at `at`."""
        sql = (
            "SELECT id_hash, owner, caller, profile, created, expires FROM web_sessions"
            " WHERE id_hash = ? AND expires > ?"
        )
        rows = await self._database.run(lambda db: db.rows(sql, (id_hash, at)), write=False)
        return WebSession(*rows[0]) if rows else None

    async def delete(self, id_hash: bytes) -> bool:
        """End a session; whether there was one."""
        sql = "DELETE FROM web_sessions WHERE id_hash = ?"
        return await self._database.run(lambda db: db.change(sql, (id_hash,)) == 1, write=True)

    async def delete_for(self, owner: str) -> int:
        """End all sessions of a caller; how many."""
        sql = "DELETE FROM web_sessions WHERE owner = ?"
        return await self._database.run(lambda db: db.change(sql, (key(owner),)), write=True)

    async def prune(self, at: int) -> int:
        """Forget what has expired at `at`; how many."""
        sql = "DELETE FROM web_sessions WHERE expires <= ?"
        return await self._database.run(lambda db: db.change(sql, (at,)), write=True)
