"""Settings that hold from the start to the end of a process, whatever is read anew."""

from __future__ import annotations

from typing import Any, Final

from switchboard.config.tree import Settings

_NAMES: Final = (
    "host",
    "port",
    "workers",
    "tls",
    "data_dir",
    "shutdown",
    "traces",
    "database",
    "redis",
    "log.format",
    "auth.secret",
)


def changed(before: Settings, settings: Settings) -> list[str]:
    """Which of them `settings` have otherwise than `before`."""
    return [name for name in _NAMES if _get(before, name) != _get(settings, name)]


def pinned(settings: Settings, before: Settings, names: list[str]) -> Settings:
    """`settings` with those that are named as they were `before`."""
    for name in names:
        head, _, rest = name.partition(".")
        value = getattr(before, head)
        if rest:
            value = getattr(settings, head).model_copy(update={rest: getattr(value, rest)})
        settings = settings.model_copy(update={head: value})
    return settings


def _get(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value
