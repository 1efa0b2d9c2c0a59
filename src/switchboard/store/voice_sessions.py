"""Voice sessions: whose each is, and which process carries it.

A session is carried by a process, which is known by what it drew at its start (`boot`), for as long as that renews its lease; what a
died process left is found by `sweep`. Each conversation in it has a name of its own (`carrier`), so that one that is over changes
nothing of the next. A session that was begun or taken up again, and nobody has opened yet, is carried by nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from switchboard.store.connection import Connection, Value, statement
from switchboard.store.database import Database
from switchboard.store.text import key, to_json
from switchboard.store.tickets import TicketRow, insert

_COLUMNS: Final = "id, owner, user_label, profile, status, created, expires, ended, end_reason, boot, carrier, lease"


class EndReason(StrEnum):
    """Why a session, or a conversation in it, is over. The last two are never kept."""

    ENDED = "ended"
    EXPIRED = "expired"
    LOST = "lost"  # with the process that carried it
    REPLACED = "replaced"  # another conversation goes on with the session
    DELETED = "deleted"


class VoiceSession(Struct, frozen=True):
    """A session, ``active`` or ``ended``. Times are milliseconds since the epoch; `lease` is until when the process `boot`
    ("": nobody) answers for it, in the conversation `carrier`. All texts are as they are stored (`store.text.key`)."""

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
    carrier: str
    lease: int


class Swept(Struct, frozen=True):
    """How many sessions were found expired, and how many lost."""

    expired: int
    lost: int


class Heard(Struct, frozen=True):
    """What was heard of a session so far in the conversation `carrier`, to be kept in place of what was kept before. `created` is the
    session's: what was said in one that was deleted belongs into no other of its name."""

    session: str
    created: int
    carrier: str
    messages: list[dict[str, Any]]


class Over(Struct, frozen=True):
    """The conversation `carrier` in a session is over."""

    session: str
    carrier: str
    reason: EndReason


class VoiceSessions:
    """The sessions."""

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
        ticket: TicketRow | None = None,
    ) -> bool:
        """Begin the session `id`, or make one of the same owner active again, whether it was or not; `ticket` opens it, and none that
        was given out before. False: the id is somebody else's, or of another profile."""
        sql = statement(
            "INSERT INTO voice_sessions (",
            _COLUMNS,
            ") VALUES (?,?,?,?,'active',?,?,NULL,'','','',?) ON CONFLICT (id) DO UPDATE",
            "SET user_label = excluded.user_label, status = 'active', expires = excluded.expires, ended = NULL,",
            "end_reason = '', boot = '', carrier = '', lease = excluded.lease",
            "WHERE voice_sessions.owner = excluded.owner AND voice_sessions.profile = excluded.profile",
        )
        values = (key(id), key(owner), key(user), key(profile), at, expires, expires)

        def work(db: Connection) -> bool:
            if db.change(sql, values) != 1:
                return False
            db.change("DELETE FROM tickets WHERE session = ?", (key(id),))
            if ticket is not None:
                insert(db, ticket)
            return True

        return await self._database.run(work, write=True)

    async def carried(self, profile: str, owner: str, besides: str, at: int) -> int:
        """How many sessions of an owner are carried by some process at `at`, besides the one called `besides`."""
        sql = (
            "SELECT COUNT(*) FROM voice_sessions WHERE owner = ? AND profile = ? AND id <> ?"
            " AND status = 'active' AND boot <> '' AND lease > ? AND expires > ?"
        )
        values = (key(owner), key(profile), key(besides), at, at)
        return int((await self._database.run(lambda db: db.rows(sql, values), write=False))[0][0])

    async def tend(
        self,
        boot: str,
        carried: Sequence[tuple[str, str]],
        at: int,
        *,
        lease: int | None = None,
        heard: Sequence[Heard] = (),
        over: Sequence[Over] = (),
    ) -> dict[str, EndReason]:
        """What the process `boot` has to say of all its sessions, and to hear: keep what was `heard`, mark those that are `over`, renew
        the leases of those that are `carried` (ids as they are stored, with their conversations) until `lease` (None: leave them). Gives
        the conversations of `carried` that do not carry their sessions any more, and why. Of a session that somebody else carries
        nothing is changed."""

        def work(db: Connection) -> dict[str, EndReason]:
            for h in heard:
                db.change(_KEEP, (to_json(h.messages), at, h.session, h.created, h.carrier))
            for o in over:
                db.change(_END, (at, o.reason.value, o.session, o.carrier))
            if lease is not None:
                db.many(_RENEW, [(lease, session, carrier, at) for session, carrier in carried])
            if not carried:
                return {}
            mine = "SELECT carrier FROM voice_sessions WHERE status = 'active' AND boot = ? AND expires > ?"
            held = {r[0] for r in db.rows(mine, (key(boot), at))}
            return {c: _why(_one(db, session), at) for session, c in carried if c not in held}

        return await self._database.run(work, write=bool(heard or over or (lease is not None and carried)))

    async def opened(self, ticket: TicketRow) -> tuple[VoiceSession, list[dict[str, Any]]] | None:
        """The session that `ticket` has opened, and what was heard of it before; None where it is gone."""
        heard = "SELECT messages FROM transcripts WHERE session = ? AND source = 'relay'"

        def work(db: Connection) -> tuple[VoiceSession, list[tuple[str]]] | None:
            found = None if ticket.session is None else _one(db, ticket.session)
            return None if found is None else (found, db.rows(heard, (found.id,)))

        found = await self._database.run(work, write=False)
        if found is None:
            return None
        session, rows = found
        return session, msgspec.json.decode(rows[0][0]) if rows else []

    async def end(self, profile: str, owner: str, id: str, at: int) -> bool:  # noqa: A002
        """A session of that owner is over, if it was not before. False: there is none."""
        sql = "UPDATE voice_sessions SET status = 'ended', ended = ?, end_reason = 'ended' WHERE id = ? AND status = 'active'"

        def work(db: Connection) -> bool:
            found = _one(db, key(id))
            if found is None or (found.profile, found.owner) != (key(profile), key(owner)):
                return False
            db.change(sql, (at, key(id)))
            return True

        return await self._database.run(work, write=True)

    async def owner(self, profile: str, id: str) -> str:  # noqa: A002
        """Whose a session is, as it is stored; "" where there is none."""
        sql = "SELECT owner FROM voice_sessions WHERE id = ? AND profile = ?"
        rows = await self._database.run(lambda db: db.rows(sql, (key(id), key(profile))), write=False)
        return str(rows[0][0]) if rows else ""

    async def get(self, profile: str, owner: str, id: str) -> VoiceSession | None:  # noqa: A002
        """A session of that owner."""
        mine = (key(profile), key(owner))
        found = await self._database.run(lambda db: _one(db, key(id)), write=False)
        return found if found is not None and (found.profile, found.owner) == mine else None

    async def delete(self, profile: str, owner: str, id: str) -> bool:  # noqa: A002
        """Forget a session with its tickets and transcripts; whether there was one."""
        sql = "DELETE FROM voice_sessions WHERE profile = ? AND owner = ? AND id = ?"
        values = (key(profile), key(owner), key(id))
        return await self._database.run(lambda db: db.change(sql, values) == 1, write=True)

    async def delete_all(self, profile: str, owner: str, user: str | None = None) -> list[str]:
        """Forget all sessions of an owner, or those that `user` is named for; their ids."""
        sql = "DELETE FROM voice_sessions WHERE profile = ? AND owner = ? AND (? = 0 OR user_label = ?) RETURNING id"
        values = (key(profile), key(owner), int(user is not None), key(user or ""))
        return [r[0] for r in await self._database.run(lambda db: db.rows(sql, values), write=True)]

    async def erase(self, user: str) -> int:
        """Forget all sessions of a user (by the label, or the caller's id), with what was said in them, and what would open others; how
        many sessions."""
        if not user:  # that is everybody without a name
            return 0
        name = (key(user), key(user))

        def work(db: Connection) -> int:
            gone = db.change("DELETE FROM voice_sessions WHERE user_label = ? OR owner = ?", name)
            db.change("DELETE FROM tickets WHERE user_label = ? OR owner = ?", name)
            return gone

        return await self._database.run(work, write=True)

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
        """Mark what has expired, and what no process answers for any more; forget tickets that open nothing."""

        def work(db: Connection) -> Swept:
            mark = "UPDATE voice_sessions SET status = 'ended', ended = ?, end_reason = ? WHERE status = 'active' AND "
            expired = db.change(mark + "expires <= ?", (now, EndReason.EXPIRED.value, now))
            lost = db.change(mark + "lease <= ?", (now, EndReason.LOST.value, now))
            db.change("DELETE FROM tickets WHERE expires <= ?", (now,))
            return Swept(expired, lost)

        # most of the time there is nothing to mark, and who only reads waits for nobody
        due = (
            "SELECT 1 FROM voice_sessions WHERE status = 'active' AND (expires <= ? OR lease <= ?)"
            " UNION ALL SELECT 1 FROM tickets WHERE expires <= ? LIMIT 1"
        )
        if not await self._database.run(lambda db: db.rows(due, (now, now, now)), write=False):
            return Swept(0, 0)
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


# also of one that is over, or was made active again since and is carried by nobody yet: what was said before is not lost
_KEEP: Final = (
    "INSERT INTO transcripts (session, source, messages, updated)"
    " SELECT id, 'relay', ?, ? FROM voice_sessions WHERE id = ? AND created = ? AND carrier IN (?, '')"
    " ON CONFLICT (session, source) DO UPDATE SET messages = excluded.messages, updated = excluded.updated"
)
_END: Final = (
    "UPDATE voice_sessions SET status = 'ended', ended = ?, end_reason = ?"
    " WHERE id = ? AND carrier = ? AND status = 'active'"
)
_RENEW: Final = "UPDATE voice_sessions SET lease = ? WHERE id = ? AND carrier = ? AND status = 'active' AND expires > ?"


def _why(found: VoiceSession | None, at: int) -> EndReason:
    """Why a session is not carried any more by who asks."""
    if found is None:
        return EndReason.DELETED
    if found.status != "active":
        return EndReason(found.end_reason)
    return EndReason.EXPIRED if found.expires <= at else EndReason.REPLACED


def _one(db: Connection, id: str) -> VoiceSession | None:  # noqa: A002
    rows = db.rows(statement("SELECT", _COLUMNS, "FROM voice_sessions WHERE id = ?"), (id,))
    return VoiceSession(*rows[0]) if rows else None
