"""The names of members in errors, from either shape to the other: a client is told of what it wrote itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from switchboard.dialects.realtime.fields import SESSION_PATHS
from switchboard.dialects.realtime.frames import JsonObject

_TO_GA: Final = {name: ".".join(path) for name, path in SESSION_PATHS.items()}
_TO_BETA: Final = {path: name for name, path in _TO_GA.items()}


def _pattern(names: Mapping[str, str]) -> re.Pattern[str]:
    some = "|".join(map(re.escape, names))
    return re.compile(rf"(?<![\w.])(session|response)\.({some})(?!\w)")


_GA_NAME: Final = _pattern(_TO_BETA)
_BETA_NAME: Final = _pattern(_TO_GA)
#: The beta has one word for a format, GA an object: there is nothing in it to be told of.
_IN_FORMAT: Final = re.compile(r"((?:input|output)_audio_format)\.(?:type|rate)\b")


def error_to_beta(event: JsonObject) -> None:
    """Have an ``error`` event tell of members as the beta calls them, in `param` and in the message."""

    def beta(text: str) -> str:
        return _IN_FORMAT.sub(r"\1", _GA_NAME.sub(lambda m: f"{m[1]}.{_TO_BETA[m[2]]}", text))

    _each(event.get("error"), beta)


def error_to_ga(event: JsonObject) -> None:
    """Have an ``error`` event tell of members as GA calls them, in `param` and in the message."""
    _each(event.get("error"), lambda text: _BETA_NAME.sub(lambda m: f"{m[1]}.{_TO_GA[m[2]]}", text))


def _each(error: Any, change: Any) -> None:
    if isinstance(error, dict):
        for name in ("param", "message"):
            if isinstance(error.get(name), str):
                error[name] = change(error[name])
