"""What may answer a request: a provider and one of its models."""

from __future__ import annotations

from msgspec import Struct

from switchboard.core.ports import Provider
from switchboard.policy.retirement import Retirement


class Target(Struct, frozen=True, gc=False):
    """A provider and the model asked of it. `renamed`: the client asked by another name, and is told this one;
    `substituted`: what it asked for is not there at all; `retired`: the name that this model has succeeded; `ending`: the
    end of this model, if it is near."""

    provider: Provider
    model: str
    renamed: bool = False
    substituted: bool = False
    retired: str = ""
    ending: Retirement | None = None


class Entry(Struct, frozen=True):
    """One line of a route: ``provider/model``, its weight (None: it only steps in), and what it cannot do."""

    target: str
    weight: float | None = None
    lacks: frozenset[str] = frozenset()


class Choice(Struct, frozen=True):
    """Where a name leads."""

    targets: tuple[Target, ...]
    weights: tuple[float, ...] = ()
    lacks: tuple[frozenset[str], ...] = ()
