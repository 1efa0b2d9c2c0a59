"""Which of a server's processes this one is."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class Process(Struct, frozen=True):
    """One of the `workers` processes that serve one port: the one with the index `worker`, from 0 on.

    A process that takes a dead one's place has its index. `boot` names this start of the server: the same in all of its
    workers, and another one after a restart. `control` is what the paths of their control sockets begin with; "" where they
    have none, and know nothing of each other.
    """

    worker: int = 0
    workers: int = 1
    boot: str = ""
    control: str = ""

    def socket_of(self, worker: int) -> Path:
        """The path of a worker's control socket."""
        return Path(f"{self.control}.{worker}.sock")
