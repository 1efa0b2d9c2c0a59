"""Tickets: what is shown in place of a key to open a conversation by voice. Of each a hash is kept, and who it was given to."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from switchboard.store.connection import Connection, statement
from switchboard.store.database import Database
from switchboard.store.text import key

_COLUMNS: Final = "hash, session, profile, owner, user_label, api_key, caller, fields, expires, once, used"


class TicketRow(Struct, frozen=True):
    """A ticket. `session` is the voice session that it opens (None: whichever its holder begins), `owner` the caller's id and `user`
    the caller's name, by which it is erased. `api_key` is the id of the key that it was asked for with ("": none), without which it
    is worth nothing. `caller` and `fields` are JSON text. `expires` is in milliseconds since the epoch; `once`: it is used up by
    its first use.
    """

    hash: bytes
    session: str | None
    profile: str
    owner: str
    user: str
    api_key: str
    caller: str
    fields: str
    expires: int
    once: bool

    def __repr__(self) -> str:
        return f"TicketRow(session={self.session!r}, profile={self.profile!r}, owner={self.owner!r})"


class Tickets:
    """The tickets that were given out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, ticket: TicketRow, at: int, most: int) -> bool:
        """Keep a ticket that belongs to no session. False: its owner has `most` of them that are good at `at`."""

        def work(db: Connection) -> bool:
            sql = "SELECT COUNT(*) FROM tickets WHERE owner = ? AND session IS NULL AND expires > ?"
            if db.rows(sql, (key(ticket.owner), at))[0][0] >= most:
                return False
            insert(db, ticket)
            return True

        return await self._database.run(work, write=True)

    async def redeem(
        self, digest: bytes, profile: str, at: int, boot: str, carrier: str, lease: int
    ) -> TicketRow | None:
        """Use a ticket; the session that it opens, if any, is carried by the process `boot` until `lease`, in the conversation `carrier`.
        None: there is none with that hash in `profile`, it was used up, has expired, its session is not active, or its key is not
        good any more. Of many uses at once of one that is good `once`, one gets it."""

        def work(db: Connection) -> TicketRow | None:
            found = db.rows("SELECT session FROM tickets WHERE hash = ? AND profile = ?", (digest, key(profile)))
            if not found:
                return None
            session = found[0][0]
            # the session before its ticket, in which order `VoiceSessions.connect` and whatever deletes them go too
            held = "UPDATE voice_sessions SET lease = lease WHERE id = ? AND status = 'active' AND expires > ?"
            if session is not None and db.change(held, (session, at)) != 1:
                return None
            rows = db.rows(_USE, (at, digest, key(profile), at, at))
            if rows and session is not None:
                carry = "UPDATE voice_sessions SET boot = ?, carrier = ?, lease = ? WHERE id = ?"
                db.change(carry, (key(boot), key(carrier), lease, session))
            return _row(*rows[0]) if rows else None

        known = "SELECT 1 FROM tickets WHERE hash = ? AND profile = ?"
        # who only guesses keeps nobody from writing
        if not await self._database.run(lambda db: db.rows(known, (digest, key(profile))), write=False):
            return None
        return await self._database.run(work, write=True)


_USE: Final = statement(
    "UPDATE tickets SET used = ? WHERE hash = ? AND profile = ? AND expires > ? AND (once = 0 OR used IS NULL)",
    "AND (api_key = '' OR EXISTS (SELECT 1 FROM api_keys k WHERE k.id = tickets.api_key",
    "AND k.revoked IS NULL AND (k.expires IS NULL OR k.expires > ?)))",
    "RETURNING",
    _COLUMNS,
)


def _row(
    digest: bytes,
    session: str | None,
    profile: str,
    owner: str,
    user: str,
    api_key: str,
    caller: str,
    fields: str,
    expires: int,
    once: int,
    used: int | None,
) -> TicketRow:
    return TicketRow(bytes(digest), session, profile, owner, user, api_key, caller, fields, expires, bool(once))


def insert(db: Connection, ticket: TicketRow) -> None:
    """Keep a ticket, inside a transaction."""
    t = ticket
    sql = statement("INSERT INTO tickets (", _COLUMNS, ") VALUES (?,?,?,?,?,?,?,?,?,?,NULL)")
    session = None if t.session is None else key(t.session)
    names = (key(t.profile), key(t.owner), key(t.user), key(t.api_key))
    db.change(sql, (t.hash, session, *names, t.caller, t.fields, t.expires, int(t.once)))
