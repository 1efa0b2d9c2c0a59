"""Conversations that the server keeps for its callers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from switchboard.store.connection import Connection, Value, statement
from switchboard.store.database import Database
from switchboard.store.text import key, label, to_json

#: The newest messages of a conversation that are kept, and the characters that they may have together.
MOST_MESSAGES: Final = 1000
MOST_CHARACTERS: Final = 4 * 1024 * 1024
_LOOK: Final = 16  # messages after which it is looked whether there are more
_LARGE: Final = 64 * 1024  # … or so many characters at once
#: Bytes of a title that are kept.
TITLE: Final = 400

_COLUMNS: Final = "profile, owner, id, user_label, title, created, updated, messages"
_MINE: Final = "profile = ? AND owner = ? AND id = ?"
_PAGE: Final = 50  # conversations that are exported, or pruned, in one transaction

_message: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Conversation(Struct, frozen=True):
    """What a conversation is, without what was said; `messages` is their number. Times are milliseconds since the epoch."""

    profile: str
    owner: str
    id: str
    user: str
    title: str
    created: int
    updated: int
    messages: int


class Held(Struct, frozen=True):
    """What was said in a conversation, as far as it is kept; when it was last changed; how many messages it has had; and its
    number, which no conversation that is begun later under the same name has."""

    messages: list[dict[str, Any]]
    updated: int
    count: int
    number: int


class Page(Struct, frozen=True):
    """Some of a list; `next` is the cursor for what follows, "" where nothing does."""

    items: list[Conversation]
    next: str


class Conversations:
    """The conversations; one is known by profile, owner and id together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, profile: str, owner: str, id: str) -> Held | None:  # noqa: A002
        """The messages of a conversation, in order."""

        def work(db: Connection) -> Held | None:
            found = db.rows(
                statement("SELECT updated, messages, number FROM conversations WHERE", _MINE), _keys(profile, owner, id)
            )
            return Held(_messages(db, found[0][-1]), *found[0]) if found else None

        return await self._database.run(work, write=False)

    async def append(
        self,
        profile: str,
        owner: str,
        id: str,  # noqa: A002
        expected_count: int,
        messages: Sequence[dict[str, Any]],
        at: int,
        title: str = "",
        user: str = "",
        *,
        number: int | None = None,
    ) -> bool:
        """Add messages to a conversation that has `expected_count` of them, 0 for one that is not there yet. False, and
        nothing added: it has more or fewer, or is not the one with that `number`. `title` is taken where it has none so far."""
        mine = _keys(profile, owner, id)
        name = label(title, TITLE)
        which, values = _numbered(number)

        def work(db: Connection) -> bool:
            if expected_count == 0:
                made = db.rows(
                    statement(
                        "INSERT INTO conversations (",
                        _COLUMNS,
                        ") VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING RETURNING number",
                    ),
                    (*mine, key(user), name, at, at, len(messages)),
                )
                if made:
                    _write(db, made[0][0], 0, messages)
                    return True
            found = db.rows(
                statement(
                    "UPDATE conversations",
                    "SET messages = messages + ?, updated = ?, title = CASE title WHEN '' THEN ? ELSE title END",
                    "WHERE",
                    _MINE,
                    "AND messages = ?",
                    which,
                    "RETURNING number",
                ),
                (len(messages), at, name, *mine, expected_count, *values),
            )
            if not found:
                return False
            _write(db, found[0][0], expected_count, messages)
            return True

        return await self._database.run(work, write=True)

    async def replace(
        self,
        profile: str,
        owner: str,
        id: str,  # noqa: A002
        messages: Sequence[dict[str, Any]],
        at: int,
        title: str = "",
        user: str = "",
        *,
        number: int | None = None,
    ) -> bool:
        """Begin a conversation afresh, whether it is there or not. With a `number` only that one is: False, and nothing done,
        where it is gone."""
        mine = _keys(profile, owner, id)
        values = (key(user), label(title, TITLE), at, at, len(messages))
        known, which = _numbered(number)
        columns = ("user_label", "title", "created", "updated", "messages")

        def work(db: Connection) -> bool:
            if number is None:
                anew = ", ".join(f"{c} = excluded.{c}" for c in columns)
                sql = statement(
                    "INSERT INTO conversations (",
                    _COLUMNS,
                    ") VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (profile, owner, id) DO UPDATE SET",
                    anew,
                    "RETURNING number",
                )
                found = db.rows(sql, (*mine, *values))
            else:
                anew = ", ".join(f"{c} = ?" for c in columns)
                sql = statement("UPDATE conversations SET", anew, "WHERE", _MINE, known, "RETURNING number")
                found = db.rows(sql, (*values, *mine, *which))
            if not found:
                return False
            db.change("DELETE FROM conversation_messages WHERE conversation = ?", (found[0][0],))
            _write(db, found[0][0], 0, messages)
            return True

        return await self._database.run(work, write=True)

    async def get(self, profile: str, owner: str, id: str) -> Conversation | None:  # noqa: A002
        """What a conversation is."""
        sql = statement("SELECT", _COLUMNS, "FROM conversations WHERE", _MINE)
        rows = await self._database.run(lambda db: db.rows(sql, _keys(profile, owner, id)), write=False)
        return Conversation(*rows[0]) if rows else None

    async def delete(self, profile: str, owner: str, id: str) -> bool:  # noqa: A002
        """Forget a conversation; whether there was one."""
        sql = statement("DELETE FROM conversations WHERE", _MINE)
        return await self._database.run(lambda db: db.change(sql, _keys(profile, owner, id)) == 1, write=True)

    async def prune(self, before: int, profile: str | None = None) -> int:
        """Forget what was last changed before `before` (in one profile, or all); how many. Goes in small steps, so that
        others get their turn."""
        where, values = ("", ()) if profile is None else (" AND profile = ?", (key(profile),))
        sql = statement(
            "DELETE FROM conversations WHERE number IN (SELECT number FROM conversations WHERE updated < ?",
            where,
            "ORDER BY updated LIMIT",
            str(_PAGE),
            ") AND updated < ?",
        )
        total = 0
        while True:
            gone = await self._database.run(lambda db: db.change(sql, (before, *values, before)), write=True)
            total += gone
            if gone < _PAGE:
                return total

    async def erase(self, user: str) -> int:
        """Forget all conversations of a user (by the label, or the caller's id), in all profiles; how many."""
        if not user:  # that is everybody without a name
            return 0
        sql = "DELETE FROM conversations WHERE user_label = ? OR owner = ?"
        return await self._database.run(lambda db: db.change(sql, (key(user), key(user))), write=True)

    async def export(self, user: str) -> AsyncIterator[tuple[Conversation, list[dict[str, Any]]]]:
        """All conversations of a user (as for `erase`) with their messages, in the order in which they were begun."""
        if not user:  # that is everybody without a name
            return
        sql = statement(
            "SELECT",
            _COLUMNS,
            ", number FROM conversations WHERE (user_label = ? OR owner = ?) AND number > ? ORDER BY number LIMIT",
            str(_PAGE),
        )
        after = 0

        def work(db: Connection) -> list[tuple[int, Conversation, list[dict[str, Any]]]]:
            rows = db.rows(sql, (key(user), key(user), after))
            return [(r[-1], Conversation(*r[:-1]), _messages(db, r[-1])) for r in rows]

        while found := await self._database.run(work, write=False):
            for number, conversation, messages in found:
                after = number
                yield conversation, messages

    async def list(self, profile: str, owner: str, limit: int = 50, before: str = "") -> Page:
        """Conversations of an owner, those changed last first; `before` is the cursor of the page before. Raises ValueError
        for a cursor that is none."""
        where = "profile = ? AND owner = ?"
        values: list[Value] = [key(profile), key(owner)]
        if before:
            where += " AND (updated, number) < (?, ?)"
            values += _read_cursor(before)
        sql = statement(
            "SELECT", _COLUMNS, ", number FROM conversations WHERE", where, "ORDER BY updated DESC, number DESC LIMIT ?"
        )
        rows = await self._database.run(lambda db: db.rows(sql, (*values, limit + 1)), write=False)
        items = [Conversation(*r[:-1]) for r in rows[:limit]]
        more = len(rows) > limit and items
        return Page(items, _cursor(items[-1].updated, rows[limit - 1][-1]) if more else "")


def _numbered(number: int | None) -> tuple[str, tuple[int, ...]]:
    """What more a statement asks of a conversation, that is to be the one with `number`, and the values for it."""
    return ("", ()) if number is None else ("AND number = ?", (number,))


def _keys(profile: str, owner: str, id: str) -> tuple[str, str, str]:  # noqa: A002
    return key(profile), key(owner), key(id)


def _messages(db: Connection, number: int) -> list[dict[str, Any]]:
    rows = db.rows("SELECT message FROM conversation_messages WHERE conversation = ? ORDER BY position", (number,))
    return [_message(r[0]) for r in rows]


def _write(db: Connection, number: int, first: int, messages: Sequence[dict[str, Any]]) -> None:
    rows = [(number, i, to_json(m)) for i, m in enumerate(messages, first)]
    if rows:
        db.add("conversation_messages", "conversation, position, message", rows)
        if first // _LOOK != (first + len(rows)) // _LOOK or sum(len(r[2]) for r in rows) > _LARGE:
            _bound(db, number)


def _bound(db: Connection, number: int) -> None:
    """Let go of the oldest messages of a conversation that has grown too long; the last one always stays."""
    sql = "SELECT position, LENGTH(message) FROM conversation_messages WHERE conversation = ? ORDER BY position DESC"
    left = MOST_CHARACTERS
    for many, (position, size) in enumerate(db.rows(sql, (number,)), 1):
        left -= size
        if many > 1 and (left < 0 or many > MOST_MESSAGES):
            sql = "DELETE FROM conversation_messages WHERE conversation = ? AND position <= ?"
            db.change(sql, (number, position))
            return


def _cursor(updated: int, number: int) -> str:
    return base64.urlsafe_b64encode(f"{updated}.{number}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[int, int]:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        updated, _, number = data.decode("ascii").partition(".")
        place = int(updated), int(number)
    except (ValueError, binascii.Error):
        raise ValueError("not a cursor") from None
    if not all(0 <= n < 2**63 for n in place):
        raise ValueError("not a cursor")
    return place
