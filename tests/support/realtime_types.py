"""What is wrong with an event of the Realtime interface, by the official SDK's types of it.

The SDK takes what it does not know, as a client has to; a server does not. So an event is held against its type member by member, and
what is found is told in the words of the service's errors.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

Json = dict[str, Any]
Types = dict[str, type[BaseModel]]


class RefusalError(Exception):
    """What a client is told by an ``error`` event."""

    def __init__(self, message: str, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.message, self.code, self.param = message, code, param


class Fault(NamedTuple):
    """A member that is not as it should be: where it is (``session.voice``), the service's code for what is wrong, and that
    in words."""

    param: str
    code: str
    message: str


def by_type(union: Any) -> Types:
    """The members of a union of events, by the events' type."""
    members = get_args(get_args(union)[0])
    return {name: m for m in members for name in get_args(m.model_fields["type"].annotation)}


def faults(value: Any, kind: Any, at: str = "") -> list[Fault]:
    """What is wrong with `value`, which is at `at`, as one of `kind`."""
    origin = get_origin(kind)
    if origin is Annotated:
        return faults(value, get_args(kind)[0], at)
    if origin in (Union, UnionType):
        return _of_union(value, get_args(kind), at)
    if origin is Literal:
        if value in get_args(kind) or at.endswith("model"):  # models come and go
            return []
        known = ", ".join(f"'{v}'" for v in get_args(kind))
        return [Fault(at, "invalid_value", f"Invalid value: {value!r}. Supported values are: {known}.")]
    if origin is list:
        if not isinstance(value, list):
            return [_wrong(at, "an array")]
        return [f for n, v in enumerate(value) for f in faults(v, get_args(kind)[0], f"{at}[{n}]")]
    if origin is dict:
        return [] if isinstance(value, dict) else [_wrong(at, "an object")]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _of_object(value, kind, at)
    return _of_scalar(value, kind, at)


def _of_union(value: Any, kinds: tuple[Any, ...], at: str) -> list[Fault]:
    """What is wrong with it as the kind that it comes nearest to: the one whose type it says it has, else the one with least
    wrong."""
    if value is None and NoneType in kinds:
        return []
    found = [(faults(value, k, at), k) for k in kinds if k is not NoneType]
    said = value.get("type") if isinstance(value, dict) else None

    def nearness(pair: tuple[list[Fault], Any]) -> tuple[bool, int]:
        wrong, k = pair
        named = isinstance(k, type) and issubclass(k, BaseModel) and "type" in k.model_fields
        return not (named and said in get_args(k.model_fields["type"].annotation)), len(wrong)

    best = min(found, key=lambda pair: (bool(pair[0]), *nearness(pair)))
    return best[0]


def _of_object(value: Any, kind: type[BaseModel], at: str) -> list[Fault]:
    if not isinstance(value, dict):
        return [_wrong(at, "an object")]
    before = f"{at}." if at else ""
    fields = {f.alias or n: f for n, f in kind.model_fields.items()}
    wrong = [
        Fault(before + n, "missing_required_parameter", f"Missing required parameter: '{before}{n}'.")
        for n, f in fields.items()
        if f.is_required() and n not in value
    ]
    for name, member in value.items():
        path = before + name
        if name not in fields:
            wrong.append(Fault(path, "unknown_parameter", f"Unknown parameter: '{path}'."))
        else:
            wrong += faults(member, fields[name].annotation, path)
    return wrong


def _of_scalar(value: Any, kind: Any, at: str) -> list[Fault]:
    if kind is str and not isinstance(value, str):
        return [_wrong(at, "a string")]
    if kind is bool and not isinstance(value, bool):
        return [_wrong(at, "a boolean")]
    if kind is int and (not isinstance(value, int) or isinstance(value, bool)):
        return [_wrong(at, "an integer")]
    if kind is float and (not isinstance(value, int | float) or isinstance(value, bool)):
        return [_wrong(at, "a number")]
    if kind is NoneType and value is not None:
        return [_wrong(at, "null")]
    return []


def _wrong(at: str, what: str) -> Fault:
    return Fault(at, "invalid_type", f"Invalid type for '{at}': expected {what}.")
