"""What outlives the process: API keys, usage, conversations and sessions, in SQLite or PostgreSQL.

`Database` runs transactions beside the event loop; each kind of thing that is kept has a file of its own here.
"""

from __future__ import annotations

from switchboard.store.database import Database
from switchboard.store.errors import Kind, StoreError

__all__ = ["Database", "Kind", "StoreError"]
