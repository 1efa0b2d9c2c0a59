"""``switchboard db upgrade``: the database gets the schema that this program needs."""

from __future__ import annotations

import sys


def upgrade(url: str) -> None:
    """Bring the database at `url` to this program's schema, and say so. Exits with 1, and the reason, where that fails."""
    from switchboard.store.errors import StoreError
    from switchboard.store.schema import SCHEMA
    from switchboard.store.schema import upgrade as bring_up

    try:
        bring_up(url)
    except StoreError as e:
        print(f"switchboard: {e}", file=sys.stderr)
        raise SystemExit(1) from None
    print(f"the database has schema {SCHEMA}")
