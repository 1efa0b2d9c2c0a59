"""API keys: who may come in, as what, and how much of it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from switchboard.store.connection import Connection, statement
from switchboard.store.database import Database
from switchboard.store.text import key, label

#: Milliseconds for which a key's last use is not written again.
TOUCH: Final = 60_000

_COLUMNS: Final = "id, hash, name, profile, created, expires, revoked, last_used, quota, models, surfaces, act_as"
_REMEMBERED: Final = 10_000


class ApiKey(Struct, frozen=True):
    """A key; of the key itself only a `hash` is kept. Times are milliseconds since the epoch, None for never.

    `quota` is JSON text, `models` and `surfaces` are JSON lists as text; `act_as` is what its holder may say on behalf of
    whom. What these mean is decided above.
    """

    id: str
    hash: bytes
    name: str
    profile: str
    created: int
    expires: int | None = None
    revoked: int | None = None
    last_used: int | None = None
    quota: str = "{}"
    models: str = "[]"
    surfaces: str = "[]"
    act_as: str = ""

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id!r}, name={self.name!r}, profile={self.profile!r})"


class Keys:
    """The keys that were made."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._touched: dict[str, int] = {}  # when the last use of a key was written by this process

    async def add(self, new: ApiKey) -> bool:
        """Keep a key. False: there is one with that id or hash already."""
        values = (
            *(key(new.id), new.hash, label(new.name), key(new.profile), new.created, new.expires, new.revoked),
            *(new.last_used, new.quota, new.models, new.surfaces, label(new.act_as)),
        )
        sql = statement("INSERT INTO api_keys (", _COLUMNS, ") VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING")
        return await self._database.run(lambda db: db.change(sql, values) == 1, write=True)

    async def by_hash(self, digest: bytes) -> ApiKey | None:
        """The key with that hash, also if it was revoked or has expired."""
        sql = statement("SELECT", _COLUMNS, "FROM api_keys WHERE hash = ?")
        rows = await self._database.run(lambda db: db.rows(sql, (digest,)), write=False)
        return ApiKey(*rows[0]) if rows else None

    async def list(self, profile: str | None = None) -> list[ApiKey]:
        """All keys, or those of a profile; the newest first."""
        where, values = ("", ()) if profile is None else (" WHERE profile = ?", (key(profile),))
        sql = statement("SELECT", _COLUMNS, "FROM api_keys", where, "ORDER BY created DESC, id")
        return [ApiKey(*r) for r in await self._database.run(lambda db: db.rows(sql, values), write=False)]

    async def revoke(self, which: str, at: int) -> ApiKey | None:
        """Revoke the key with the id `which`, or the only one that has the name and is neither revoked nor expired. None: there is
        none, or there are several. What was revoked before stays as it is."""

        def work(db: Connection) -> ApiKey | None:
            found = db.rows("SELECT id FROM api_keys WHERE id = ?", (key(which),))
            if not found:
                named = (
                    "SELECT id FROM api_keys WHERE name = ? AND revoked IS NULL AND (expires IS NULL OR expires > ?)"
                )
                found = db.rows(named, (label(which), at))
            if len(found) != 1:
                return None
            (name,) = found[0]
            db.change("UPDATE api_keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (at, name))
            return ApiKey(*db.rows(statement("SELECT", _COLUMNS, "FROM api_keys WHERE id = ?"), (name,))[0])

        return await self._database.run(work, write=True)

    async def expire(self, id: str, at: int) -> bool:  # noqa: A002  the column's name
        """Have a key end at `at`, if it does not end before; whether it does now."""
        sql = "UPDATE api_keys SET expires = ? WHERE id = ? AND (expires IS NULL OR expires > ?)"
        return await self._database.run(lambda db: db.change(sql, (at, key(id), at)) == 1, write=True)

    async def touch(self, id: str, at: int) -> bool:  # noqa: A002  the column's name
        """The key was used at `at`; whether that was written, which it is at most once a minute."""
        if at - self._touched.get(id, -TOUCH) < TOUCH:
            return False
        if len(self._touched) >= _REMEMBERED:
            self._touched.clear()
        self._touched[id] = at
        sql = "UPDATE api_keys SET last_used = ? WHERE id = ? AND (last_used IS NULL OR last_used <= ?)"
        values = (at, key(id), at - TOUCH)
        return await self._database.run(lambda db: db.change(sql, values) == 1, write=True)
