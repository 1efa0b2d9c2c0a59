"""Where data is kept."""

from __future__ import annotations

import os
from pathlib import Path

from switchboard.config.tree import Settings


def data_folder(settings: Settings) -> Path:
    """The folder of `settings`, else ``switchboard`` in the user's data folder."""
    if settings.data_dir is not None:
        return Path(settings.data_dir).expanduser()
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "switchboard"


def database_url(settings: Settings) -> str:
    """The database of `settings`, password included; else a file in the data folder."""
    if settings.database.url is not None:
        return settings.database.url.get_secret_value()
    return f"sqlite:///{data_folder(settings).absolute() / 'switchboard.db'}"
