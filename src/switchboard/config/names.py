"""What settings are called in the environment, and which places in the tree there are."""

from __future__ import annotations

from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from switchboard.config.tree import Settings, fields_of
from switchboard.providers import kinds

PREFIX: Final = "SWITCHBOARD_"
Path = tuple[str, ...]

#: Variables by the names that frontends' documentation uses.
KNOWN: Final[dict[str, Path]] = {
    "PORT": ("port",),
    "LOG_LEVEL": ("log", "level"),
    "ACCESS_KEY": ("auth", "access_key"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("traces", "endpoint"),
    "OTEL_SERVICE_NAME": ("traces", "service"),
    **{name: ("providers", kind.type, key) for kind in kinds().values() for name, key in kind.variables.items()},
    "AI_MODEL": ("chat", "model"),
    "AI_TEMPERATURE": ("chat", "temperature"),
    "AI_MAX_TOKENS": ("chat", "max_tokens"),
    "AI_TOP_P": ("chat", "top_p"),
}
#: Variables of ours that are no settings.
OTHERS: Final = frozenset({"SWITCHBOARD_CONFIG"})


class Place:
    """A place in the tree: a section (`model`), a table of sections (`table`), or a value of type `annotation`."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        plain = _without_none(annotation)
        self.model: type[BaseModel] | None = plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None
        self.table: Any = get_args(plain)[1] if get_origin(plain) is dict else None
        self.is_list = get_origin(plain) is list

    @property
    def is_secret(self) -> bool:
        """Whether what stands here must never be shown."""
        return _mentions(self.annotation, SecretStr)

    @property
    def keys(self) -> list[str]:
        """The keys of a section."""
        return list(fields_of(self.model)) if self.model is not None else []


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        return _without_none(rest[0]) if len(rest) == 1 else annotation
    if hasattr(annotation, "__metadata__"):
        return _without_none(get_args(annotation)[0])
    return annotation


def _mentions(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(_mentions(a, wanted) for a in get_args(annotation))


def place(path: Path) -> Place | None:
    """What stands at `path`, or None where there is no such place."""
    here = Place(Settings)
    for key in path:
        if here.model is not None:
            field: FieldInfo | None = fields_of(here.model).get(key)
            if field is None:
                return None
            here = Place(field.annotation)
        elif here.table is not None:
            here = Place(here.table)
        else:
            return None
    return here


def nearest(path: Path) -> tuple[Path, list[str]]:
    """The longest part of `path` that there is, and the keys that may follow it."""
    for n in range(len(path) - 1, -1, -1):
        here = place(path[:n])
        if here is not None:
            return path[:n], here.keys
    return (), []


def variable(path: Path) -> str:
    """The variable of a place: the one that documents use, else ``SWITCHBOARD_…``."""
    for name, known in KNOWN.items():
        if known == path:
            return name
    return PREFIX + "__".join(path).upper()
