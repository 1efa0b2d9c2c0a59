"""New settings for several workers: all take them, or none, and who comes later has them too."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from support.client import Connection, ask, chat, request
from support.process import Program
from switchboard.cli.live import Readings
from switchboard.cli.supervisor.reloading import PATIENCE, Reloading
from switchboard.config.load import SettingsError, Sources
from switchboard.config.tree import Settings
from switchboard.core.clock import now
from switchboard.telemetry.logs import Log
from switchboard.telemetry.output import Output

pytestmark = pytest.mark.anyio

Run = Callable[..., subprocess.CompletedProcess[str]]
Serving = Callable[..., AbstractContextManager[tuple[Program, int]]]
V1 = "/v1/chat/completions"
CANARY = "Canary7Kq9zHidden"


def write(tmp_path: Path, **settings: Any) -> None:
    (tmp_path / "new").write_text(json.dumps({"port": 0, "workers": 2} | settings))
    (tmp_path / "new").rename(tmp_path / "switchboard.yaml")


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def models_of(port: int, key: str = "") -> set[str]:
    """The models that answer where none is named, whichever worker is asked."""
    header = {"authorization": f"Bearer {key}"} if key else None
    return {str((await ask(port, V1, chat("hi"), header)).json["model"]) for _ in range(16)}


async def reloads(port: int) -> dict[str, float]:
    text = (await ask(port, "/metrics")).text
    return {r: float(n) for r, n in re.findall(r'^switchboard_reloads_total\{result="(\w+)"\} ([\d.]+)$', text, re.M)}


# ---- servers


async def test_all_workers_take_new_settings(serving: Serving, run: Run, tmp_path: Path, data: dict[str, str]) -> None:
    write(tmp_path, providers={"offline": {"pace": 0.05}}, chat={"model": "echo"})
    with serving() as (p, port):
        assert await models_of(port) == {"echo"}
        stream = await Connection.open(port)
        await stream.send(request(V1, chat("word " * 20, stream=True)))
        await stream.head()
        write(tmp_path, chat={"model": "tool-call"})
        done = await asyncio.to_thread(run, "reload", **data)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"The server on port {port}: the settings were read anew.\n"
        assert await models_of(port) == {"tool-call"}
        assert await reloads(port) == {"ok": 1, "failed": 0}
        while data_ := await stream.chunk():
            last = data_
        assert data_ == b"" and last.endswith(b"data: [DONE]\n\n")  # open answers go on
        stream.close()

        # what cannot be used changes nothing, whether the command or a signal asks
        (tmp_path / "switchboard.yaml").write_text(f"auth: {{acces_key: {CANARY}}}\n")
        done = await asyncio.to_thread(run, "reload", **data)
        assert done.returncode == 2 and "auth.acces_key" in done.stderr
        p.process.send_signal(signal.SIGHUP)
        line = json.loads(p.wait_for("settings stay as they were").string)
        assert line["level"] == "error" and "auth.acces_key" in line["message"]
        assert await models_of(port) == {"tool-call"}
        assert await reloads(port) == {"ok": 1, "failed": 1}
        running = json.loads((tmp_path / "data" / "run" / f"{port}.json").read_text())
        assert (running["pid"], running["reloads"], running["failures"]) == (p.process.pid, 1, 1)

        # a worker that comes later has the settings of the moment, and what holds from start to end as it was
        write(tmp_path, chat={"model": "echo"}, log={"format": "human"})
        p.process.send_signal(signal.SIGHUP)
        assert "a restart is needed for log.format" in p.wait_for("settings were read anew;").string
        os.kill(children(p.process.pid)[0], signal.SIGKILL)
        p.wait_for(r"worker 0 is process \d+ now")
        assert await models_of(port) == {"echo"}
        assert await reloads(port) == {"ok": 2, "failed": 1}
    p._reader.join(5)
    lines = "".join(p.said).partition("worker 0 is process")[2].splitlines()[1:]
    assert len(lines) > 10 and all(x.startswith("{") for x in lines)
    assert CANARY not in "".join(p.said)


async def test_many_signals_and_a_secret_s_file(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{CANARY}-1")
    rows = {"providers": {"offline": {}}, "profiles": {"app": {"access_key_file": "key"}}}
    write(tmp_path, **rows, chat={"model": "echo"})
    with serving() as (p, port):

        async def statuses(n: int) -> set[int]:
            key = {"authorization": f"Bearer {CANARY}-{n}"}
            return {(await ask(port, V1, chat("hi"), key)).status for _ in range(12)}

        for n in range(20):
            write(tmp_path, **rows, chat={"model": ("echo", "tool-call")[n % 2]})
            p.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.002 * (n % 4))
        end = now() + 5
        while await models_of(port, f"{CANARY}-1") != {"tool-call"}:  # the last one counts
            assert now() < end
        assert (await statuses(1), await statuses(2)) == ({200}, {401})
        (tmp_path / "key").write_text(f"{CANARY}-2")
        p.wait_for("file of a secret has changed")
        p.wait_for("settings were read anew")
        assert (await statuses(1), await statuses(2)) == ({401}, {200})
    assert CANARY not in "".join(p.said)


# ---- rounds, without processes


class Supervised:
    """A `Reloading` whose workers do as a test says."""

    def __init__(self, tmp_path: Path, *workers: int) -> None:
        self.file = (tmp_path / "log").open("wb", buffering=0)
        self.output = Output(self.file.fileno())
        self.workers = list(workers)
        self.told: list[bytes] = []
        self.taken: list[Settings] = []
        self.next: Settings | Exception = Settings()
        log = Log(self.output, level="INFO", style="json")
        self.readings = Readings(log, {"ok": 0, "failed": 0})
        self.reloading = Reloading(Settings(), Sources(), self.read, self.readings, self.tell, self.taken.append)

    def read(self, running: Settings, file: str | None) -> tuple[Settings, Sources]:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next, Sources()

    def tell(self, kind: bytes, payload: bytes) -> list[int]:
        self.told.append(kind)
        return list(self.workers)

    def begin(self, port: int) -> Settings:
        self.next = Settings(port=port)
        self.reloading.begin()
        return self.next

    def answer(self, worker: int, kind: bytes = b"O", payload: bytes = b"[]") -> None:
        self.reloading.answered(worker, kind, payload)

    @property
    def counts(self) -> tuple[int, int]:
        return self.readings.counts["ok"], self.readings.counts["failed"]

    def close(self) -> str:
        self.output.close()
        self.file.close()
        return Path(self.file.name).read_text()


def test_it_has_succeeded_when_all_have(tmp_path: Path) -> None:
    s = Supervised(tmp_path, 0, 1)
    new = s.begin(1)
    s.answer(1)
    assert s.counts == (0, 0) and s.taken == []
    s.answer(0, payload=b'["tls"]')
    assert s.counts == (1, 0) and s.taken == [new]
    assert s.told == [b"S", b"C"]
    assert "a restart is needed for tls" in s.close()


def test_where_one_cannot_the_others_go_back(tmp_path: Path) -> None:
    s = Supervised(tmp_path, 0, 1, 2)
    before = s.reloading.settings
    s.begin(1)
    s.answer(0)
    s.answer(1, b"F", b"no memory")
    s.answer(2)
    assert s.counts == (0, 1) and s.taken == [] and s.reloading.settings == before
    assert s.told == [b"S", b"S", b"C"]
    # what they say to being told the old ones is no answer to the next round
    new = s.begin(2)
    for worker in (0, 1, 2):
        s.answer(worker)
    assert s.counts == (0, 1)
    for worker in (0, 1, 2):
        s.answer(worker)
    assert s.counts == (1, 1) and s.reloading.settings == new
    assert "worker 1: no memory" in s.close()


def test_who_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    s = Supervised(tmp_path, 0, 1)
    before = s.reloading.settings
    s.begin(1)
    s.answer(0)
    s.reloading.tick(now())
    assert s.counts == (0, 0)
    assert s.reloading.next_tick is not None and s.reloading.next_tick <= PATIENCE
    s.reloading.tick(now() + PATIENCE)
    assert s.counts == (0, 1) and s.reloading.settings == before
    assert s.reloading.next_tick is None
    assert "worker 1: it does not answer" in s.close()


def test_who_dies_is_not_waited_for(tmp_path: Path) -> None:
    s = Supervised(tmp_path, 0, 1)
    new = s.begin(1)
    s.answer(0)
    s.reloading.gone(1)
    assert s.counts == (1, 0) and s.reloading.settings == new
    s.workers = []
    s.begin(2)
    assert s.counts == (2, 0)  # nobody is there to be asked
    s.close()


def test_what_is_asked_for_meanwhile_follows(tmp_path: Path) -> None:
    s = Supervised(tmp_path, 0)
    s.begin(1)
    s.begin(2)
    last = s.begin(3)
    assert s.told == [b"S"]
    s.answer(0)
    assert s.told == [b"S", b"C", b"S"]
    s.answer(0)
    assert s.counts == (2, 0) and s.taken[-1] == last
    s.next = SettingsError(["one", "two"])
    s.reloading.begin()
    assert s.counts == (2, 1) and s.reloading.settings == last
    assert "one; two" in s.close()
