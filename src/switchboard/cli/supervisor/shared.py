"""What the workers of one server share: made before the first of them, gone after the last."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from switchboard.app.storage import migrate
from switchboard.config.tree import Settings
from switchboard.core.process import Process
from switchboard.store.counters.shared import SharedCounters

_MEMORY: Final = Path("/dev/shm")  # noqa: S108  a folder of our own is made there


class Shared:
    """What workers have in common. It is the supervisor's, and its workers have it by being forked.

    `table` is where they count what callers use, None where that is done in Redis.
    """

    def __init__(self, table: Path | None) -> None:
        self.table = table

    def forget_worker(self, worker: int) -> None:
        """The worker with this index is dead, and another one is about to take its place: free what it held."""
        if self.table is not None:
            SharedCounters(self.table, worker=worker).close()

    def close(self) -> None:
        """The last worker has ended."""
        if self.table is not None:
            shutil.rmtree(self.table.parent, ignore_errors=True)


def prepare(settings: Settings, process: Process) -> Shared:
    """Make what the workers share, and bring what is stored up to date. Called once, in a process without threads and event loop,
    which is about to be forked: no thread may be left behind, and nothing open that only one process may have (a database).

    `process` is the first worker's; all have its `boot`. What this raises ends the start: `OSError` with its text.
    """
    migrate(settings)
    if settings.redis.url is not None:
        return Shared(None)
    folder = tempfile.mkdtemp(prefix="switchboard-", dir=_MEMORY if _MEMORY.is_dir() else None)
    table = Path(folder) / "counters"
    SharedCounters.create(table, workers=process.workers)
    return Shared(table)
