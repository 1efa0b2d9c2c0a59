"""``switchboard config show``: every setting that is in force, and where it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct
from pydantic import BaseModel, SecretStr

from switchboard.cli.settings import read
from switchboard.config.load import Sources
from switchboard.config.names import Path, place
from switchboard.config.tree import Chat, Settings

DEFAULT: Final = "default"
_MISSING: Final = object()
#: Rows with longer values than this are not waited for when the origins are brought into one column.
_COLUMN: Final = 40
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
#: What would be read as something other than text, were it printed without quotes.
_QUOTED: Final = re.compile(r"""[("'\[{\s].*|.*\s|-?\d+(\.\d+)?|true|false""")
#: A URL's user and password. No setting has a place for them; somebody may have put them there all the same.
_USER: Final = re.compile(r"(?<=://)[^/\s]+(?=@)")


class Row(Struct, frozen=True):
    """One setting. `value` is of JSON's types and holds no secret: those are ``(secret, …)``. `origin` is where it was
    read from, "default", or "as KEY" where the value of another setting counts."""

    path: Path
    value: Any
    is_text: bool
    origin: str


def show(flags: Mapping[Path, Any], config: str | None, *, origin: bool, as_json: bool) -> None:
    """Print the settings. Exits with status 2 if they cannot be used."""
    settings, sources = read(flags, config)
    found = list(rows(settings, sources))
    if as_json:
        print(_escaped(json.dumps(_tree(found, origin), indent=2, ensure_ascii=False)))
        return
    keys = [_key(row.path) for row in found]
    values = [_text(row) for row in found]
    first = max(map(len, keys))
    second = max((len(v) for v in values if len(v) <= _COLUMN), default=0)
    for row, key, value in zip(found, keys, values, strict=True):
        print(f"{key:<{first}}  {value:<{second}}  {row.origin}" if origin else f"{key:<{first}}  {value}")


def rows(settings: Settings, sources: Sources) -> Iterator[Row]:
    """Every setting in the order of the tree, defaults included; a table without rows is one setting."""
    yield from _below((), settings, settings, sources)


def _below(path: Path, value: Any, settings: Settings, sources: Sources) -> Iterator[Row]:
    found = place(path)
    model = _model(path, settings)
    if model is not None:
        for row in _below(model, _at(model, settings), settings, sources):
            own = (*path, *row.path[len(model) :])
            yield Row(own, row.value, row.is_text, f"as {'.'.join(row.path)}")
    elif isinstance(value, BaseModel):
        for key, below in _members(value):
            yield from _below((*path, key), below, settings, sources)
    elif isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _below((*path, str(key)), below, settings, sources)
    elif found is not None and found.is_secret:
        yield Row(path, _secret(value), False, _origin(path, sources))
    else:
        # a place that the tree does not know by its type may hold a secret all the same: `_plain` looks at values
        plain = _plain(value)
        yield Row(path, plain, isinstance(plain, str) and not isinstance(value, SecretStr), _origin(path, sources))


def _members(section: BaseModel) -> list[tuple[str, Any]]:
    """Keys and values, the keys as they are written."""
    return [(f.alias or name, getattr(section, name)) for name, f in type(section).model_fields.items()]


def _model(path: Path, settings: Settings) -> Path | None:
    """The place whose value counts at `path` because nothing is set there."""
    match path:
        case ("profiles", name, key):
            profile = settings.profiles[name]
            if key in Chat.model_fields:
                with_provider = key == "model" and "provider" in profile.model_fields_set  # see `app.runtime.merged`
                return None if with_provider or key in profile.model_fields_set else ("chat", key)
            return ("limits", "everyone") if key == "everyone" and profile.everyone is None else None
        case ("profiles", name, "limits", key):
            return ("limits", key) if getattr(settings.profiles[name].limits, key) is None else None
        case ("providers", name, "timeouts", key):
            return ("timeouts", key) if getattr(settings.providers[name].timeouts, key) is None else None
    return None


def _at(path: Path, settings: Settings) -> Any:
    value: Any = settings
    for key in path:
        value = getattr(value, key)
    return value


def _secret(value: Any) -> str:
    """Whether a secret is set, and how many: all that may be told."""
    if isinstance(value, list) and len(value) > 1:
        return f"(secret, {len(value)} set)"
    return "(secret, set)" if value else "(secret, not set)"


def _plain(value: Any) -> Any:
    """`value` in JSON's types, without secrets."""
    if isinstance(value, SecretStr):
        return _secret(value)
    if isinstance(value, BaseModel):
        return {key: _plain(below) for key, below in _members(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(below) for below in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, bool | int):
        return value
    return _USER.sub("***", str(value))


def _origin(path: Path, sources: Sources) -> str:
    """Where the value at `path` comes from. A section that is named and left empty sets nothing in it."""
    for n in range(len(path), 0, -1):
        value = sources.values.get(path[:n], _MISSING)
        if value is _MISSING:
            continue
        for key in path[n:]:
            if isinstance(value, dict) and key not in value:
                return DEFAULT
            value = value[key] if isinstance(value, dict) else value
        return sources.origin(path)
    return DEFAULT


# ---- how it looks


def _key(path: Path) -> str:
    return ".".join(key if _PLAIN_KEY.fullmatch(key) else json.dumps(key) for key in path)


def _text(row: Row) -> str:
    """A value on one line; text is quoted only where it could be taken for something else."""
    value = row.value
    if value is None:
        return "(not set)"
    if isinstance(value, str) and (not row.is_text or (value.isprintable() and value and not _QUOTED.fullmatch(value))):
        return value
    return _escaped(json.dumps(value, ensure_ascii=False))


def _escaped(text: str) -> str:
    """JSON in which everything that is no visible character stands escaped; line ends between values stay."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _tree(found: list[Row], origin: bool) -> dict[str, Any]:
    """The rows as nested tables; with `origin`, each value beside where it comes from."""
    root: dict[str, Any] = {}
    for row in found:
        here = root
        for key in row.path[:-1]:
            here = here.setdefault(key, {})
        here[row.path[-1]] = {"value": row.value, "origin": row.origin} if origin else row.value
    return root
