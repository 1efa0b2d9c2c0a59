"""The page that says how a provider is added, done as it says: one file and one row, in a copy of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.client import ask, chat
from support.process import server
from switchboard.net.script import Again, Request, ScriptServer, answer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/providers.md").read_text()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of sources and tests, with the page's file and the page's row in it."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("contract", "dialects", "support", "conftest.py"):
        source = ROOT / "tests" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / "tests" / name)
    file, row = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (root / "src/switchboard/providers/mistral.py").write_text(file)
    rows = root / "tests/contract/providers.py"
    text = rows.read_text()
    assert text.count("PROVIDERS = {\n") == 1
    rows.write_text(text.replace("PROVIDERS = {\n", "PROVIDERS = {\n" + row))
    return root


def environment(tree: Path, **more: str) -> dict[str, str]:
    """What makes a program take the copy for the installed package."""
    return {"PYTHONPATH": f"{tree}/src:{tree}/tests"} | more


def test_the_contract_holds(tree: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        "-k",
        "mistral",
    ]
    done = subprocess.run(
        [*command, str(tree / "tests/contract")],
        env=os.environ | environment(tree),
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    ran = re.search(r"(\d+) passed", done.stdout)
    assert ran is not None and int(ran[1]) > 20


@pytest.mark.anyio
async def test_a_variable_is_all_it_takes(tree: Path, tmp_path: Path) -> None:
    body = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "bonjour"}}]}'
    async with ScriptServer([Request(), answer(body), Again()]) as up:
        variables = {"MISTRAL_API_KEY": "key-of-a-page-1", "MISTRAL_BASE_URL": up.base_url}
        with server(environment(tree, **variables), tmp_path) as base:
            a = await ask(int(base.rpartition(":")[2]), "/v1/chat/completions", chat("salut", seed=3))
            assert a.json["choices"][0]["message"]["content"] == "bonjour"
        (request,) = up.connections[0].requests
        assert b"authorization: Bearer key-of-a-page-1\r\n" in request
        assert b'"random_seed":3' in request and b'"model":"mistral-small-latest"' in request
