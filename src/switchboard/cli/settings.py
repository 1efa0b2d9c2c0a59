"""Reading the settings for a command: what is wrong ends the program, with every complaint in its own line."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from switchboard.config.load import SettingsError, Sources, load
from switchboard.config.tree import Settings


def read(flags: Mapping[tuple[str, ...], Any], config: str | None) -> tuple[Settings, Sources]:
    """The settings. Exits with status 2 if they cannot be used."""
    try:
        return load(flags, os.environ, config=config)
    except SettingsError as e:
        print("switchboard: the settings cannot be used:", file=sys.stderr)
        for complaint in e.complaints:
            print(f"  - {complaint}", file=sys.stderr)
        raise SystemExit(2) from None
