"""The compiled modules: which they are, and that they are used only as long as they are what the sources say."""

from __future__ import annotations

import ast
import json
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from hashlib import blake2b
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import switchboard
from switchboard import compiled

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "switchboard"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES: list[str] = SETTINGS["tool"]["hatch"]["build"]["hooks"]["custom"]["modules"]


@pytest.mark.parametrize("name", MODULES)
def test_no_struct_is_in_what_is_compiled(name: str) -> None:
    """mypyc makes classes of its own, and would quietly leave out what msgspec's metaclass does."""
    classes = [n for n in ast.walk(ast.parse((SOURCE / f"{name}.py").read_text())) if isinstance(n, ast.ClassDef)]
    assert not [c.name for c in classes for b in c.bases if "Struct" in ast.unparse(b)]


def test_what_is_compiled_derives_from_nothing_interpreted() -> None:
    """It is allowed, and corrupts memory: a weak reference to such an object (logging keeps some) outlives it."""
    trees = [ast.parse((SOURCE / f"{name}.py").read_text()) for name in MODULES]
    classes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    allowed = {c.name for c in classes} | {"ABC", "IntEnum", "Protocol", "ValueError"}
    assert not [c.name for c in classes for b in c.bases if ast.unparse(b) not in allowed]


def test_what_is_derived_from_says_so() -> None:
    """Nothing interpreted can derive from a compiled class, unless that class allows it."""
    closed = set()
    for name in MODULES:
        module = f"switchboard.{name.replace('/', '.')}"
        for n in ast.walk(ast.parse((SOURCE / f"{name}.py").read_text())):
            if isinstance(n, ast.ClassDef) and not any("mypyc_attr" in ast.unparse(d) for d in n.decorator_list):
                closed.add((module, n.name))
    for found in pkgutil.walk_packages(switchboard.__path__, "switchboard."):
        if "migrations" in found.name or found.name.endswith("__main__"):
            continue
        for value in vars(import_module(found.name)).values():
            if (
                isinstance(value, type)
                and value.__module__ == found.name
                and (found.name, value.__name__) not in closed
            ):
                assert not closed & {(b.__module__, b.__name__) for b in value.__mro__[1:]}, value


def test_the_list_is_in_order() -> None:
    assert sorted(set(MODULES)) == MODULES


def test_what_is_compiled_is_used() -> None:
    """On a machine that can compile, `make install` has; here some sources may have changed since."""
    expected = EXTENSION_SUFFIXES[0] if compiled.fresh() else ".py"
    for name in MODULES:
        assert str(import_module(f"switchboard.{name.replace('/', '.')}").__file__).endswith(expected), name


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of this name with one module, and beside it something that is no compiled module at all."""
    made = tmp_path / "switchboard"
    (made / "deep").mkdir(parents=True)
    for name in ("__init__", "compiled"):
        shutil.copy(SOURCE / f"{name}.py", made)
    (made / "deep" / "__init__.py").touch()
    (made / "deep" / "hot.py").write_text("text = 'interpreted'\n")
    (made / "deep" / f"hot{EXTENSION_SUFFIXES[0]}").write_bytes(b"not one")
    return made


def imported(package: Path) -> str:
    """What the module says, or what is wrong with it."""
    code = "from switchboard.deep import hot; print(hot.text)"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(package.parent)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def write(package: Path, digest: str, name: str = "hot", suffix: str = EXTENSION_SUFFIXES[0]) -> None:
    (package / "compiled.json").write_text(json.dumps({"suffix": suffix, "sources": {f"deep/{name}.py": digest}}))


def test_without_a_word_of_what_it_was_made_of_it_is_interpreted(package: Path) -> None:
    assert imported(package) == "interpreted"
    for text in ("{", "{}", "[]", "null"):
        (package / "compiled.json").write_text(text)
        assert imported(package) == "interpreted"


def test_made_of_this_very_source_it_is_used(package: Path) -> None:
    digest = blake2b((package / "deep" / "hot.py").read_bytes()).hexdigest()
    write(package, digest)
    assert "ImportError" in imported(package)  # for it is none
    write(package, digest, suffix=".cpython-39-sparc.so")
    assert imported(package) == "interpreted"


def test_made_of_another_source_or_of_one_that_is_gone_it_is_interpreted(package: Path) -> None:
    write(package, blake2b(b"another").hexdigest())
    assert imported(package) == "interpreted"
    write(package, "", "gone")
    assert imported(package) == "interpreted"


def test_the_version_needs_no_import() -> None:
    """Hatchling reads it from the text."""
    assert f'__version__ = "{switchboard.__version__}"' in (SOURCE / "__init__.py").read_text()
