"""Compile the modules that every request runs through, with mypyc, beside their sources.

It is the same code, at about half its cost (docs/performance.md); which modules, pyproject.toml lists. Hatchling runs this when
the package is built or installed, `make compile` at any time. Where there is no C compiler, or no headers of Python, they are interpreted as
all others are.

What is compiled is used as long as the sources beside it are those that it was made of: `switchboard.compiled` looks at their digests.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from hashlib import blake2b
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "switchboard"
MANIFEST = PACKAGE / "compiled.json"
GROUP = "switchboard"  # names the library that holds the code of all modules


def modules() -> list[Path]:
    """The sources of the modules to compile."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = settings["tool"]["hatch"]["build"]["hooks"]["custom"]["modules"]
    return [PACKAGE / f"{name}.py" for name in names]


def clean() -> None:
    """Remove what was compiled before."""
    MANIFEST.unlink(missing_ok=True)
    for file in (*PACKAGE.rglob("*.so"), *SOURCE.glob(f"{GROUP}__mypyc*.so")):
        file.unlink()


class NotCompiledError(Exception):
    """It could not be done; nothing compiled is left."""


def compile_all() -> list[Path]:
    """Compile; gives the files that were made. Raises `NotCompiledError`."""
    try:
        return _compile()
    except (Exception, SystemExit) as e:  # mypyc leaves with what it found on standard error
        clean()
        text = f"nothing is compiled, and all of it will be interpreted: {str(e)[:200]}"
        remedy = "Compiling takes gcc and Python's headers (Debian: apt-get install gcc python3-dev)."
        raise NotCompiledError(f"{text}\n{remedy}") from e


def _compile() -> list[Path]:
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    clean()
    sources = modules()
    os.chdir(ROOT)
    sys.path.insert(0, str(SOURCE))
    flags = ["--config-file=", "--ignore-missing-imports", "--cache-dir=.mypy_cache/compile"]
    paths = [str(s.relative_to(ROOT)) for s in sources]
    os.environ["MYPYPATH"] = "src"
    extensions = mypycify([*flags, "--explicit-package-bases", *paths], opt_level="2", group_name=GROUP)
    distribution = Distribution({"name": GROUP, "package_dir": {"": "src"}, "ext_modules": extensions})
    command = build_ext(distribution)
    command.inplace = True
    command.build_temp = "build"
    command.ensure_finalized()
    command.run()
    # of all sources: what is compiled believes what the types of the others say
    digests = {str(s.relative_to(PACKAGE)): blake2b(s.read_bytes()).hexdigest() for s in sorted(PACKAGE.rglob("*.py"))}
    MANIFEST.write_text(json.dumps({"suffix": EXTENSION_SUFFIXES[0], "sources": digests}, indent=1) + "\n")
    return [MANIFEST, *PACKAGE.rglob("*.so"), *SOURCE.glob(f"{GROUP}__mypyc*.so")]


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls before it builds a wheel, or installs the sources as they lie here."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling's documentation, "Build hook plugins"."""
        if self.target_name != "wheel":
            return
        try:
            made = compile_all()
        except NotCompiledError as e:
            self.app.display_warning(str(e))
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version != "editable":
            build_data["force_include"].update({str(f): str(f.relative_to(SOURCE)) for f in made})


if __name__ == "__main__":
    sys.path.insert(0, str(SOURCE))
    from switchboard.compiled import fresh

    if not fresh():
        try:
            compile_all()
        except NotCompiledError as e:
            raise SystemExit(str(e)) from None
