"""Whether the compiled modules (tools/compile.py) are used: only those that were made of the very sources beside them are."""

from __future__ import annotations

import json
import sys
from hashlib import blake2b
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent


def fresh() -> bool:
    """Whether there are compiled modules for this interpreter, and no source has changed since."""
    try:
        made = json.loads((_HERE / "compiled.json").read_bytes())
        sources: dict[str, str] = made["sources"]
        return made["suffix"] in EXTENSION_SUFFIXES and all(
            _digest(f"{_HERE}/{name}") == digest for name, digest in sources.items()
        )
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _digest(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return blake2b(file.read()).hexdigest()


def interpret() -> None:
    """Import this package's modules from their sources alone, from now on."""
    of_sources = FileFinder.path_hook((SourceFileLoader, SOURCE_SUFFIXES))

    def own(path: str) -> FileFinder:
        if not Path(path).is_relative_to(_HERE):
            raise ImportError
        return of_sources(path)  # type: ignore[return-value]

    sys.path_hooks.insert(0, own)
    sys.path_importer_cache.pop(str(_HERE), None)
