"""``switchboard usage``: what callers used."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from switchboard.cli.settings import read
from switchboard.cli.store import table, with_database
from switchboard.store.usage import By, UsageLog
from switchboard.surface.usage import days_between, number_of, total_of, usage_of


def show(
    flags: Mapping[tuple[str, ...], Any],
    config: str | None,
    *,
    by: str,
    since: str | None,
    until: str | None,
    caller: str | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Print the sums. Exits with 2 for days that are none."""
    settings, _ = read(flags, config)
    try:
        first, last = days_between(since, until)
    except ValueError as e:
        print(f"switchboard: --{e}", file=sys.stderr)
        raise SystemExit(2) from None
    sums = with_database(
        settings, lambda d: UsageLog(d).view(caller, profile, number_of(first), number_of(last), By(by))
    )
    items = [usage_of(u, By(by)) for u in sums]
    total = total_of(items)
    if as_json:
        view = {"from": first.isoformat(), "to": last.isoformat(), "by": by}
        print(json.dumps({**view, "items": [i.model_dump() for i in items], "total": total.model_dump()}, indent=2))
        return
    rows = [[by.upper(), "REQUESTS", "ERRORS", "TOKENS IN", "TOKENS OUT", "COST $"]]
    for i in [*items, total]:
        numbers = [i.requests, i.errors, i.inputTokens, i.outputTokens]
        rows.append([i.key or "-", *map(str, numbers), f"{i.cost:.4f}"])
    print(f"{first} to {last}\n{table(rows)}")
    if total.unpriced:
        print(f"{total.unpriced} requests are of models whose price is not known, and not in the cost.")
