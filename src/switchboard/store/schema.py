"""Which schema this program needs, and how a database gets it.

Migrations are Alembic's and run in a child process, so that the server never loads Alembic and SQLAlchemy.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from switchboard.store.errors import Kind, StoreError

#: The newest revision in ``migrations/versions``.
SCHEMA: Final = "0001"

_TIME: Final = 600.0  # seconds that a migration may take


def upgrade(url: str) -> None:
    """Bring the database at `url` to this program's schema; nothing happens where it has it. Waits for others that do the
    same. Blocks; raises `StoreError`."""
    try:
        child = subprocess.run(
            # -P: not what the current folder may hold under our name
            [sys.executable, "-P", "-m", "switchboard.store.migrate"],
            input=url,
            capture_output=True,
            text=True,
            timeout=_TIME,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise StoreError(Kind.UNAVAILABLE, f"the database's schema could not be made: {type(e).__name__}") from None
    if child.returncode != 0:
        said = child.stderr.strip().splitlines() or [f"exit status {child.returncode}"]
        raise StoreError(Kind.UNAVAILABLE, f"the database's schema could not be made: {said[-1]}")
