"""The table that workers share: its file, and what happens when it is full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.counting import NOON, Clock
from switchboard.core.counting import Change, Take, Window
from switchboard.store.counters._table import WAYS
from switchboard.store.counters.shared import SharedCounters

MINUTE, DAY, MONTH, HELD = Window.MINUTE, Window.DAY, Window.MONTH, Window.HELD


def one(counters: SharedCounters, key: str, window: Window = MINUTE, amount: int = 1) -> int:
    return counters.take([Take(key, window, amount, 10**6)]).used[0]


def test_workers_see_what_others_take(tmp_path: Path) -> None:
    SharedCounters.create(tmp_path / "c", workers=64)
    first, last = [SharedCounters(tmp_path / "c", worker=i, clock=Clock()) for i in (0, 63)]
    for window in Window:
        assert one(first, "a", window) == 1
        assert one(last, "a", window) == 2
    first.give([Change("a", HELD, -5, NOON)])  # only its own
    assert one(last, "a", HELD, 0) == 1
    first.close()
    last.close()
    last.close()


def test_a_worker_that_ends_lets_go(tmp_path: Path) -> None:
    SharedCounters.create(tmp_path / "c", workers=2)
    first, last = [SharedCounters(tmp_path / "c", worker=i) for i in (0, 1)]
    for i in range(100):
        one(first, f"{i}", HELD)
    one(last, "7", HELD)
    first.close()
    assert [one(last, f"{i}", HELD, 0) for i in range(9)] == [0] * 7 + [1, 0]


def test_a_table_outlives_its_server_but_nothing_is_held_in_it(tmp_path: Path) -> None:
    SharedCounters.create(tmp_path / "c", workers=2)
    before = SharedCounters(tmp_path / "c", worker=1, clock=Clock())
    one(before, "a", DAY, 5)
    one(before, "a", HELD, 5)
    SharedCounters.create(tmp_path / "c", workers=2)
    after = SharedCounters(tmp_path / "c", worker=0, clock=Clock())
    assert one(after, "a", DAY) == 6
    assert one(after, "a", HELD) == 1


@pytest.mark.parametrize("what", ["other", "empty", "version", "short", "workers"])
def test_a_file_that_is_no_such_table_is_replaced(tmp_path: Path, what: str) -> None:
    path = tmp_path / "c"
    SharedCounters.create(path, workers=3, slots=64)
    good = path.read_bytes()
    old = SharedCounters(path, worker=0)
    one(old, "a", DAY)
    if what == "workers":
        SharedCounters.create(path, workers=40, slots=64)
        assert path.read_bytes()[:24] == good[:24]
    else:
        bad = {"other": b"something else" * 1000, "empty": b"", "short": good[:-1]}
        path.unlink()
        path.write_bytes(bad.get(what, good.replace(b"counters 1", b"counters 0")))
        with pytest.raises(ValueError, match="not a table of counters"):
            SharedCounters(path, worker=0)
        SharedCounters.create(path, workers=3, slots=64)
    new = SharedCounters(path, worker=2)
    assert one(new, "a", DAY) == 1
    assert one(old, "a", DAY) == 2  # whoever has the old one open keeps it
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["c"]


def test_impossible_tables(tmp_path: Path) -> None:
    for workers, slots in ((0, 10), (65, 10), (4, 0)):
        with pytest.raises(ValueError, match="64 workers"):
            SharedCounters.create(tmp_path / "c", workers=workers, slots=slots)
    with pytest.raises(FileNotFoundError):
        SharedCounters(tmp_path / "c", worker=0)
    SharedCounters.create(tmp_path / "c", workers=4)
    for worker in (-1, 4):
        with pytest.raises(ValueError, match="no room for the worker"):
            SharedCounters(tmp_path / "c", worker=worker)


def test_the_quietest_is_forgotten_when_a_set_is_full(tmp_path: Path) -> None:
    clock = Clock()
    SharedCounters.create(tmp_path / "c", workers=2, slots=WAYS)
    counters = SharedCounters(tmp_path / "c", worker=0, clock=clock)
    one(counters, "held", HELD)
    one(counters, "day", DAY)
    one(counters, "month", MONTH)
    for i in range(WAYS - 3):
        clock.at += 1
        one(counters, f"m{i}")
    assert counters.trouble == ""
    clock.at += 1
    assert one(counters, "m0") == 2
    assert one(counters, "new") == 1  # m1 is forgotten
    assert counters.trouble != ""
    assert [one(counters, "held", HELD), one(counters, "day", DAY), one(counters, "month", MONTH)] == [2, 2, 2]
    assert one(counters, "m0") == 3
    assert one(counters, "m1", amount=0) == 0
    clock.at += 100
    assert counters.trouble == ""
    for i in range(100):
        clock.at += 100  # those before count nothing any more
        assert one(counters, f"later {i}") == 1
    assert counters.trouble == ""
    assert [one(counters, "held", HELD), one(counters, "day", DAY), one(counters, "month", MONTH)] == [3, 3, 3]


def test_what_is_held_is_never_forgotten(tmp_path: Path) -> None:
    SharedCounters.create(tmp_path / "c", workers=2, slots=WAYS)
    counters = SharedCounters(tmp_path / "c", worker=0, clock=Clock())
    for i in range(WAYS):
        assert one(counters, f"{i}", HELD) == 1
    found = counters.take([Take("0", HELD, 1, 5), Take("new", MINUTE, 1, 5)])
    assert (found.refused, found.used) == (1, [1, 0])  # there is no room to count it
    assert counters.trouble != ""
    counters.give([Change("new", MINUTE, 5, NOON)])
    counters.give([Change("3", HELD, -1, NOON)])
    assert counters.take([Take("0", HELD, 1, 5), Take("new", MINUTE, 1, 5)]).used == [2, 1]
    assert [one(counters, f"{i}", HELD, 0) for i in (0, 1, 2, 4, WAYS - 1)] == [2, 1, 1, 1, 1]


def test_takes_of_one_set_do_not_push_each_other_out(tmp_path: Path) -> None:
    clock = Clock()
    SharedCounters.create(tmp_path / "c", workers=2, slots=WAYS)
    counters = SharedCounters(tmp_path / "c", worker=0, clock=clock)
    for i in range(WAYS):
        one(counters, f"old {i}", DAY)
    clock.at += 5
    takes = [Take("a", MINUTE, 1, 5), Take("b", DAY, 2, 5), Take("old 0", DAY, 3, 5), Take("c", HELD, 4, 5)]
    assert counters.take(takes).used == [1, 2, 4, 4]
    assert [counters.take([Take(t.key, t.window, 0, 9)]).used for t in takes] == [[1], [2], [4], [4]]


def test_many_counters_and_more_than_are_kept_in_mind(tmp_path: Path) -> None:
    SharedCounters.create(tmp_path / "c", workers=2, slots=65_536)
    first, last = [SharedCounters(tmp_path / "c", worker=i, clock=Clock()) for i in (0, 1)]
    for i in range(20_000):
        one(first, f"k{i}")
    for i in range(20_000):
        assert one(last, f"k{i}") == 2
    assert first.trouble == ""


def test_a_slot_that_was_half_made_is_used_again(tmp_path: Path) -> None:
    """A writer that dies between two words leaves a slot of nobody."""
    path = tmp_path / "c"
    SharedCounters.create(path, workers=2, slots=WAYS)
    counters = SharedCounters(path, worker=0, clock=Clock())
    for i in range(WAYS):
        one(counters, f"{i}", DAY)
    whole = path.read_bytes()
    counters.close()
    size = (len(whole) - 8192) // WAYS
    with path.open("r+b") as file:
        file.seek(8192 + 3 * size)
        file.write(bytes(8))  # the first half of its hash
    counters = SharedCounters(path, worker=0, clock=Clock())
    used = [one(counters, f"{i}", DAY, 0) for i in range(WAYS)]
    assert sorted(used) in ([0] + [1] * (WAYS - 1), [0, 0] + [1] * (WAYS - 2))
    assert one(counters, "another", DAY) == 1
