"""Voice sessions: whose each is, the tokens that open it, and which process carries it.

A session is carried by a process for as long as that renews its lease; what a died process left is found by `sweep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from switchboard.store.connection import Connection, Value, statement
from switchboard.store.database import Database
from switchboard.store.text import key

_COLUMNS: Final = "id, owner, user_label, profile, status, created, expires, ended, end_reason, boot, lease"


class EndReason(StrEnum):
    """Why a session is over."""

    ENDED = "ended"
    EXPIRED = "expired"
    LOST = "lost"  # with the process that carried it


class VoiceSession(Struct, frozen=True):
    """A session, ``active`` or ``ended``. Times are milliseconds since the epoch; `lease` is until when the process `boot`
    answers for it."""

    id: str
    owner: str
    user: str
    profile: str
    status: str
    created: int
    expires: int
    ended: int | None
    end_reason: str
    boot: str
    lease: int


class Swept(Struct, frozen=True):
    """How many sessions were found expired, and how many lost."""

    expired: int
    lost: int


class VoiceSessions:
    """The sessions and their tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def connect(
        self,
        id: str,  # noqa: A002
        owner: str,
        user: str,
        profile: str,
        *,
        at: int,
        expires: int,
        boot: str,
        lease: int,
    ) -> bool:
        """Begin the session `id`, or go on with it in the process `boot` where the same owner has it active. False: the id
        is somebody else's, or its session is over."""
        sql = statement(
            "INSERT INTO voice_sessions (",
            _COLUMNS,
            ")",
            "VALUES (?,?,?,?,'active',?,?,NULL,'',?,?)",
            "ON CONFLICT (id)",
            "DO UPDATE",
            "SET boot = excluded.boot, lease = excluded.lease",
            "WHERE voice_sessions.owner = excluded.owner AND voice_sessions.profile = excluded.profile AND voice_sessions.status = 'active' AND voice_sessions.expires > excluded.created",
        )
        values = (key(id), key(owner), key(user), key(profile), at, expires, key(boot), lease)
        return await self._database.run(lambda db: db.change(sql, values) == 1, write=True)

    async def add_token(self, token_hash: bytes, session: str, expires: int) -> bool:
        """Let a token open an active session once. False: there is no such session, or the token is known."""
        sql = (
            "INSERT INTO voice_tokens (hash, session, expires, used)"
            " SELECT ?, id, ?, NULL FROM voice_sessions"
            " WHERE id = ? AND status = 'active' ON CONFLICT DO NOTHING"
        )
        values = (token_hash, expires, key(session))
        return await self._database.run(lambda db: db.change(sql, values) == 1, write=True)

    async def use(self, token_hash: bytes, at: int) -> VoiceSession | None:
        """Use a token up; the session that it opens. Of many uses at once one gets it, all others None."""

        def work(db: Connection) -> VoiceSession | None:
            used = db.rows(
                "UPDATE voice_tokens SET used = ? WHERE hash = ? AND used IS NULL AND expires > ? AND EXISTS"
                " (SELECT 1 FROM voice_sessions s WHERE s.id = session AND s.status = 'active' AND s.expires > ?)"
                " RETURNING session",
                (at, token_hash, at, at),
            )
            return _one(db, used[0][0]) if used else None

        return await self._database.run(work, write=True)

    async def renew(self, boot: str, lease: int) -> int:
        """The process `boot` answers for its active sessions until `lease`; how many there are."""
        sql = "UPDATE voice_sessions SET lease = ? WHERE boot = ? AND status = 'active'"
        return await self._database.run(lambda db: db.change(sql, (lease, key(boot))), write=True)

    async def end(self, id: str, at: int, reason: EndReason = EndReason.ENDED) -> bool:  # noqa: A002
        """A session is over. False: it was not active."""
        sql = "UPDATE voice_sessions SET status = 'ended', ended = ?, end_reason = ? WHERE id = ? AND status = 'active'"
        return await self._database.run(lambda db: db.change(sql, (at, reason.value, key(id))) == 1, write=True)

    async def get(self, profile: str, owner: str, id: str) -> VoiceSession | None:  # noqa: A002
        """A session of that owner."""
        mine = (key(profile), key(owner))
        found = await self._database.run(lambda db: _one(db, key(id)), write=False)
        return found if found is not None and (found.profile, found.owner) == mine else None

    async def delete(self, profile: str, owner: str, id: str) -> bool:  # noqa: A002
        """Forget a session with its tokens and transcripts; whether there was one."""
        sql = "DELETE FROM voice_sessions WHERE profile = ? AND owner = ? AND id = ?"
        values = (key(profile), key(owner), key(id))
        return await self._database.run(lambda db: db.change(sql, values) == 1, write=True)

    async def erase(self, user: str) -> int:
        """Forget all sessions of a user (by the label, or the caller's id), with what was said in them; how many."""
        if not user:  # that is everybody without a name
            return 0
        sql = "DELETE FROM voice_sessions WHERE user_label = ? OR owner = ?"
        return await self._database.run(lambda db: db.change(sql, (key(user), key(user))), write=True)

    async def export(self, user: str) -> list[VoiceSession]:
        """All sessions of a user (as for `erase`), the oldest first. What was said is in `Transcripts`."""
        if not user:  # that is everybody without a name
            return []
        sql = statement(
            "SELECT", _COLUMNS, "FROM voice_sessions WHERE user_label = ? OR owner = ? ORDER BY created, id"
        )
        rows = await self._database.run(lambda db: db.rows(sql, (key(user), key(user))), write=False)
        return [VoiceSession(*r) for r in rows]

    async def sweep(self, now: int) -> Swept:
        """Mark what has expired, and what no process answers for any more; forget tokens that open nothing."""

        def work(db: Connection) -> Swept:
            mark = "UPDATE voice_sessions SET status = 'ended', ended = ?, end_reason = ? WHERE status = 'active' AND "
            expired = db.change(mark + "expires <= ?", (now, EndReason.EXPIRED.value, now))
            lost = db.change(mark + "lease <= ?", (now, EndReason.LOST.value, now))
            db.change("DELETE FROM voice_tokens WHERE expires <= ?", (now,))
            return Swept(expired, lost)

        return await self._database.run(work, write=True)

    async def lose(self, boots: Sequence[str], at: int) -> int:
        """Mark the active sessions of processes that died; how many."""
        mark = statement(
            "UPDATE voice_sessions SET status = 'ended', ended = ?, end_reason = 'lost'",
            "WHERE status = 'active' AND boot = ?",
        )

        def work(db: Connection) -> int:
            return sum(db.change(mark, (at, key(boot))) for boot in boots)

        return await self._database.run(work, write=True)

    async def prune(self, before: int) -> int:
        """Forget sessions that ended before `before`, with their transcripts; how many."""
        sql = "DELETE FROM voice_sessions WHERE ended < ?"
        return await self._database.run(lambda db: db.change(sql, (before,)), write=True)

    async def list(
        self, profile: str, *, owner: str | None = None, user: str | None = None, limit: int = 100
    ) -> list[VoiceSession]:
        """Sessions of a profile, or of an owner or user in it; the newest first."""
        where = ["profile = ?"]
        values: list[Value] = [key(profile)]
        for column, value in (("owner", owner), ("user_label", user)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(key(value))
        sql = statement(
            "SELECT", _COLUMNS, "FROM voice_sessions WHERE", " AND ".join(where), "ORDER BY created DESC, id LIMIT ?"
        )
        rows = await self._database.run(lambda db: db.rows(sql, (*values, limit)), write=False)
        return [VoiceSession(*r) for r in rows]


def _one(db: Connection, id: str) -> VoiceSession | None:  # noqa: A002
    rows = db.rows(statement("SELECT", _COLUMNS, "FROM voice_sessions WHERE id = ?"), (id,))
    return VoiceSession(*rows[0]) if rows else None
