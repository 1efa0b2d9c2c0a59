"""A process that is killed while it writes loses nothing that it was told is written."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from switchboard.store.schema import upgrade

KILLS = 50

WRITER = """
import asyncio, sys
from switchboard.store import Database
from switchboard.store.conversations import Conversations
from switchboard.store.usage import UsageLog
from switchboard.store.usage_row import UsageRow

async def main(url, run):
    database = Database.open(url)
    database.start()
    held, log = Conversations(database), UsageLog(database)
    async def write(task):
        n = 0
        while True:
            if task % 2:
                if not await held.append("p", run, f"c{task}", n * 2, [{"n": n * 2}, {"n": n * 2 + 1}], n):
                    raise SystemExit("not appended")
            else:
                await log.write([UsageRow(n, f"{run} {task} {n}", run, "", "p", "x", "m", "", 200, "complete", tokens_in=1)] * 2)
            print(run, task, n, flush=True)
            n += 1
    await asyncio.gather(*(write(t) for t in range(4)))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def _run_and_kill(url: str, run: str, delay: float) -> dict[int, int]:
    """Write for `delay` seconds after the first acknowledged record; the last acknowledged of each task."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, url, run], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    first = child.stdout.readline()
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    said = (first + child.stdout.read()).decode()
    trouble = child.stderr.read().decode()
    child.wait()
    child.stdout.close()
    child.stderr.close()
    assert child.returncode == -signal.SIGKILL, trouble
    last: dict[int, int] = {}
    for line in said.splitlines(keepends=True):
        if line.endswith("\n"):
            _, task, n = line.split()
            last[int(task)] = int(n)
    return last


def test_fifty_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = f"sqlite:///{path}"
    upgrade(url)
    draw = random.Random(7)
    acknowledged = {f"r{n}": _run_and_kill(url, f"r{n}", draw.uniform(0, 0.08)) for n in range(KILLS)}
    assert sum(len(tasks) for tasks in acknowledged.values()) > KILLS
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for run, tasks in acknowledged.items():
            for task, last in tasks.items():
                if task % 2:
                    _whole_conversation(db, run, task, last)
                else:
                    _whole_usage(db, run, task, last)
        # the days' sums are of the very rows that are there
        rows = db.execute("SELECT caller, COUNT(*), SUM(tokens_in) FROM usage_rows GROUP BY caller ORDER BY caller")
        days = db.execute(
            "SELECT caller, SUM(requests), SUM(tokens_in) FROM usage_days GROUP BY caller ORDER BY caller"
        )
        assert rows.fetchall() == days.fetchall()
    finally:
        db.close()


def _whole_conversation(db: sqlite3.Connection, run: str, task: int, last: int) -> None:
    sql = "SELECT number, messages FROM conversations WHERE owner = ? AND id = ?"
    ((number, count),) = db.execute(sql, (run, f"c{task}")).fetchall()
    sql = "SELECT position, message FROM conversation_messages WHERE conversation = ? ORDER BY position"
    messages = db.execute(sql, (number,)).fetchall()
    assert count == len(messages) and count >= (last + 1) * 2 and count % 2 == 0
    assert messages == [(n, f'{{"n":{n}}}') for n in range(count)]


def _whole_usage(db: sqlite3.Connection, run: str, task: int, last: int) -> None:
    sql = "SELECT request_id, COUNT(*) FROM usage_rows WHERE caller = ? GROUP BY request_id"
    there = dict(db.execute(sql, (run,)).fetchall())
    for n in range(last + 1):
        assert there[f"{run} {task} {n}"] == 2
