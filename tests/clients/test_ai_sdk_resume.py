"""``useChat``'s resume: an answer that is left in the middle is picked up after the page was loaded anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clients.conftest import serving

pytestmark = pytest.mark.xdist_group("clients-node")

TEXT = " ".join(f"word{n}" for n in range(30))


def test_picked_up(node: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "switchboard.yaml").write_text("chat: {resumable: true}\n")
    with serving({"SWITCHBOARD_PROVIDERS__OFFLINE__PACE": "0.03"}, tmp_path) as address:
        seen = node("resume.mjs", address, TEXT)
    assert seen["messages"] == [["user", TEXT], ["assistant", TEXT]]
    assert (seen["status"], seen["errors"]) == ("ready", [])
    assert seen["idle"] == ["ready", 0]
    assert seen["next"] == "and then"
