"""``serve --reload``: a server that starts again when code or settings change. It has one process, for who writes code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import watchfiles

import switchboard
from switchboard.config.load import FILES


def watch(flags: Mapping[tuple[str, ...], Any], config: str | None) -> None:
    """Run the server in a child process, and a new one after every change, until it is interrupted."""
    package = Path(switchboard.__file__).parent
    here = Path.cwd()
    settings = Path(config).resolve() if config else None

    def matters(change: watchfiles.Change, name: str) -> bool:
        path = Path(name)
        if package in path.parents:
            return path.suffix == ".py"
        return path == settings or (path.parent == here and path.name in FILES)

    # each folder by itself: the working directory may hold anything, and nothing below it matters
    code = [p for p in package.rglob("*") if p.is_dir() and p.name != "__pycache__"]
    folders = {package, *code, here, *([settings.parent] if settings is not None else [])}
    watchfiles.run_process(
        *folders,
        target=_serve,
        args=(dict(flags), config),
        watch_filter=matters,
        recursive=False,
        target_type="function",
        sigint_timeout=10,
    )


def _serve(flags: dict[tuple[str, ...], Any], config: str | None) -> None:
    from switchboard.cli.serve import run

    run(flags, config, alone=True)
