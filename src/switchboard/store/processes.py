"""The processes that serve, and when each was last seen alive."""

from __future__ import annotations

from msgspec import Struct

from switchboard.store.database import Database
from switchboard.store.text import key, label


class Process(Struct, frozen=True):
    """A process under the id that it drew at its start. Times are milliseconds since the epoch."""

    id: str
    host: str
    pid: int
    started: int
    seen: int


class Processes:
    """The table of processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, process: Process) -> None:
        """It is alive at `process.seen`; also the first thing that it says."""
        sql = (
            "INSERT INTO processes (id, host, pid, started, seen) VALUES (?,?,?,?,?)"
            " ON CONFLICT (id) DO UPDATE SET seen = excluded.seen"
        )
        values = (key(process.id), label(process.host), process.pid, process.started, process.seen)
        await self._database.run(lambda db: db.change(sql, values), write=True)

    async def silent(self, since: int) -> list[str]:
        """Ids of those that were not seen since `since`: they died, or cannot reach the database."""
        sql = "SELECT id FROM processes WHERE seen < ? ORDER BY id"
        return [r[0] for r in await self._database.run(lambda db: db.rows(sql, (since,)), write=False)]

    async def end(self, id: str) -> None:  # noqa: A002  the column's name
        """Forget one: it ended, or what it left was taken care of."""
        await self._database.run(lambda db: db.change("DELETE FROM processes WHERE id = ?", (key(id),)), write=True)

    async def list(self) -> list[Process]:
        """All that are known, the longest running first."""
        sql = "SELECT id, host, pid, started, seen FROM processes ORDER BY started, id"
        return [Process(*r) for r in await self._database.run(lambda db: db.rows(sql), write=False)]
