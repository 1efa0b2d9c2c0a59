"""Settings that hold from the start to the end of a process."""

from __future__ import annotations

from switchboard.config.fixed import changed, pinned
from switchboard.config.tree import Settings


def test_what_holds_from_start_to_end() -> None:
    before = Settings.model_validate({"port": 1, "log": {"format": "json", "level": "INFO"}})
    after = Settings.model_validate({"port": 2, "log": {"format": "human", "level": "DEBUG"}, "chat": {"model": "m"}})
    assert changed(before, after) == ["port", "log.format"]
    kept = pinned(after, before, ["port", "log.format"])
    assert (kept.port, kept.log.format, kept.log.level, kept.chat.model) == (1, "json", "DEBUG", "m")
    assert pinned(after, before, []) == after and changed(before, before) == []
