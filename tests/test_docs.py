"""The pages that are made from code say what the code says, and the layers in the documents are those that hold."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from docs.make import errors_page, settings_page

ROOT = Path(__file__).parent.parent


def test_made_pages_are_fresh() -> None:
    assert (ROOT / "docs/settings.md").read_text() == settings_page(), "run make docs"
    assert (ROOT / "docs/errors.md").read_text() == errors_page(), "run make docs"


def test_the_architecture_page_lists_the_layers_that_hold() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    page = (ROOT / "docs/architecture.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == layers


def test_files_that_the_pages_name_are_there() -> None:
    for page in [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for name in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / name).exists(), f"{page.name} links to {name}"
        for name in re.findall(r"`((?:\w+/)+\w+\.py)`", page.read_text()):
            assert (ROOT / name).exists() or (ROOT / "src/switchboard" / name).exists(), f"{page.name} names {name}"
