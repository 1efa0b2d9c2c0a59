"""Workers: child processes of this machine, for work that would hold up the server's own process (a library that keeps
the interpreter's lock) or must not be part of it (its licence, its trust in what it reads).

What they say to each other, and the worker's end of it, is in `net.line`.
"""

from switchboard.net.worker.pool import WorkerPool, WorkerTransport

__all__ = ["WorkerPool", "WorkerTransport"]
