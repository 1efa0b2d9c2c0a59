"""``switchboard data``: what is kept of a user, to be handed over or forgotten."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from msgspec.structs import asdict

from switchboard.cli.settings import read
from switchboard.cli.store import with_database
from switchboard.store import Database
from switchboard.store.conversations import Conversations
from switchboard.store.transcripts import Transcripts
from switchboard.store.usage import UsageLog
from switchboard.store.voice_sessions import VoiceSessions

Flags = Mapping[tuple[str, ...], Any]


def export(flags: Flags, config: str | None, user: str) -> None:
    """Print all that is kept of `user`, as one JSON object a line: ``{"kind": "conversation" | "voice_session" | "usage", …}``."""
    settings, _ = read(flags, config)
    _named(user)

    async def work(database: Database) -> int:
        n = 0
        async for conversation, messages in Conversations(database).export(user):
            n += _print("conversation", {**asdict(conversation), "messages": messages})
        for session in await VoiceSessions(database).export(user):
            transcripts = [asdict(t) for t in await Transcripts(database).get(session.id)]
            n += _print("voice_session", {**asdict(session), "transcripts": transcripts})
        async for row in UsageLog(database).export(user):
            n += _print("usage", asdict(row))
        return n

    found = with_database(settings, work)
    print(f"{found} records of '{user}'.", file=sys.stderr)


def erase(flags: Flags, config: str | None, user: str, *, sure: bool) -> None:
    """Forget all that is kept of `user`. Exits with 2 where nobody said that this is meant."""
    settings, _ = read(flags, config)
    _named(user)
    if not sure:
        if not sys.stdin.isatty():
            print("switchboard: what is erased is gone: say --yes", file=sys.stderr)
            raise SystemExit(2)
        if input(f"Erase all that is kept of '{user}'? It cannot be undone. [y/N] ").strip().lower() not in (
            "y",
            "yes",
        ):
            raise SystemExit("Nothing was erased.")

    async def work(database: Database) -> tuple[int, int, int]:
        return (
            await Conversations(database).erase(user),
            await VoiceSessions(database).erase(user),
            await UsageLog(database).erase(user),
        )

    conversations, sessions, rows = with_database(settings, work)
    print(f"Erased of '{user}': {conversations} conversations, {sessions} voice sessions, {rows} records of usage.")


def _named(user: str) -> None:
    """Nobody is called "": that is what a variable gives that is not set, and everybody without a name."""
    if not user.strip():
        print("switchboard: --user is empty: name a user", file=sys.stderr)
        raise SystemExit(2)


def _print(kind: str, fields: dict[str, Any]) -> int:
    print(json.dumps({"kind": kind, **fields}, ensure_ascii=False))
    return 1
