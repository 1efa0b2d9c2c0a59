"""What the workers of one server share: made before the first of them, gone after the last."""

from __future__ import annotations

from switchboard.config.tree import Settings
from switchboard.core.process import Process


class Shared:
    """What workers have in common. It is the supervisor's, and its workers have it by being forked."""

    def forget_worker(self, worker: int) -> None:
        """The worker with this index is dead, and another one is about to take its place: free what it held."""

    def close(self) -> None:
        """The last worker has ended."""


def prepare(settings: Settings, process: Process) -> Shared:
    """Make what the workers share, and bring what is stored up to date. Called once, in a process without threads and event loop,
    which is about to be forked: no thread may be left behind, and nothing open that only one process may have (a database).

    `process` is the first worker's; all have its `boot`. What this raises ends the start: `OSError` with its text.
    """
    del settings, process  # nothing is shared yet
    return Shared()
