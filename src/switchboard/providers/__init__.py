"""Who does the work: one file a provider, a declaration of where it is, how it is asked and what it can do.

A file that declares a `KIND` is found by itself (`kinds`); ``docs/providers.md`` says how to write one.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from switchboard.providers.base import Kind

__all__ = ["Kind", "kinds"]


@cache
def kinds() -> dict[str, Kind]:
    """The kinds of providers by type, those first that the settings look at first for a key."""
    modules = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    found: list[Kind] = [m.KIND for m in modules if hasattr(m, "KIND")]
    first = ("openai", "azure", "anthropic")
    found.sort(key=lambda k: (first.index(k.type) if k.type in first else len(first), k.type))
    return {k.type: k for k in found}
