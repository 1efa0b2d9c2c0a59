"""Several workers behind one port: how load is spread, what becomes of those that die, and how all of them end."""

from __future__ import annotations

import asyncio
import glob
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.client import Connection, ask, chat, request
from support.process import BIN, Program, program

pytestmark = pytest.mark.anyio

Run = Callable[..., subprocess.CompletedProcess[str]]
Serving = Callable[..., AbstractContextManager[tuple[Program, int]]]
V1 = "/v1/chat/completions"
#: A text that takes about a second to be said.
LONG = " ".join(f"word{n}" for n in range(20))
PACE = {"providers": {"offline": {"pace": 0.05}}}


def write(tmp_path: Path, **settings: Any) -> None:
    (tmp_path / "new").write_text(json.dumps({"port": 0, "workers": 2} | settings))
    (tmp_path / "new").rename(tmp_path / "switchboard.yaml")


def children(pid: int) -> list[int]:
    """The processes that `pid` has forked, dead ones included."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def state(pid: int) -> str:
    """One letter; "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def connections(pid: int, port: int) -> int:
    """How many clients a process is connected with."""
    mine = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            mine.add(os.readlink(fd).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:
            continue
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # by inode: a row may be told twice while the table changes
    return len({r[9] for r in rows if r[1].endswith(f":{port:04X}") and r[3] == "01" and r[9] in mine})


def until(condition: Callable[[], Any], within: float = 5.0) -> float:
    """Wait for `condition`; gives the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, f"not within {within} s"
        time.sleep(0.01)
    return time.monotonic() - began


def ended(p: Program, within: float = 10) -> tuple[int, str]:
    """Status and all that was said."""
    code = p.process.wait(within)
    p._reader.join(5)
    return code, "".join(p.said)


async def stream(port: int, text: str = LONG, **more: Any) -> Connection:
    """A connection on which an answer has begun to come."""
    c = await Connection.open(port)
    await c.send(request(V1, chat(text, stream=True, **more)))
    assert (await c.head())[0] == 200
    assert await c.chunk()
    return c


async def rest(c: Connection) -> bytes | None:
    """What still comes of a stream; None where it was cut."""
    got = b""
    try:
        async with asyncio.timeout(10):
            while data := await c.chunk():
                got += data
    finally:
        c.close()
    return None if data is None else got


# ---- load


async def test_connections_are_spread(serving: Serving) -> None:
    with serving("--workers", "2") as (p, port):
        workers = children(p.process.pid)
        assert len(workers) == 2
        assert threads(p.process.pid) == 1  # it may fork at any time
        clients = [await Connection.open(port) for _ in range(200)]
        for c in clients:
            await c.send(request("/health", method="GET"))
        for c in clients:
            assert (await c.answer()).status == 200
        share = [connections(pid, port) for pid in workers]
        assert sum(share) == 200
        assert min(share) >= 60, share
        for c in clients:
            c.close()
        banner = "".join(p.said)
        assert banner.count("Switchboard ") == 1 and f":{port}/v1" in banner


async def test_any_worker_tells_of_all(serving: Serving, tmp_path: Path) -> None:
    with serving("--workers", "3") as (_, port):
        for n in range(60):
            a = await ask(port, V1 if n % 2 else "/api/chat?format=simple", chat(f"hi {n}"))
            assert a.status == 200
        streams = [await stream(port, model="endless") for _ in range(7)]
        pattern = r'^switchboard_requests_total\{.*path="(?:/v1/chat/completions|/api/chat)".*\} ([\d.]+)$'
        end = time.monotonic() + 5
        while True:  # requests are counted a moment after they are over
            text = (await ask(port, "/metrics")).text
            if sum(float(n) for n in re.findall(pattern, text, re.M)) >= 60:
                break
            assert time.monotonic() < end
        for _ in range(12):
            text = (await ask(port, "/metrics")).text
            assert sum(float(n) for n in re.findall(pattern, text, re.M)) == 60
            assert "\nswitchboard_requests_open 7.0\n" in text
            assert re.findall(r'^process_open_fds\{worker="(\d)"\}', text, re.M) == ["0", "1", "2"]
            assert len(re.findall(r"^python_info\{", text, re.M)) == 1
            health = (await ask(port, "/health")).json
            assert (health["status"], health["requests"]) == ("ok", 7)
        for c in streams:
            c.reset()
        sockets = sorted((tmp_path / "data" / "run").glob("*.sock"))
        assert [s.name for s in sockets] == [f"{port}.{n}.sock" for n in range(3)]
        assert {s.stat().st_mode & 0o777 for s in sockets} == {0o600}


# ---- workers that die


async def test_a_worker_that_is_killed_under_load_is_replaced(serving: Serving, tmp_path: Path) -> None:
    write(tmp_path, **PACE)
    with serving() as (p, port):
        first, second = children(p.process.pid)
        streams = [await stream(port) for _ in range(30)]
        lost = connections(first, port)
        assert 0 < lost < 30
        os.kill(first, signal.SIGKILL)
        until(lambda: state(first) in ("", "Z"))
        # from now on everybody is answered, before there is another worker and after
        began = time.monotonic()
        answers = 0
        while time.monotonic() - began < 0.7:
            assert (await ask(port, "/api/status")).status == 200
            answers += 1
        assert answers > 30
        ends = await asyncio.gather(*[rest(c) for c in streams])
        assert ends.count(None) == lost
        assert all(e is None or e.endswith(b"data: [DONE]\n\n") for e in ends)
        line = p.wait_for(r"killed by SIGKILL").string
        assert f"process {first}" in line and "at once" in line
        p.wait_for(r"worker 0 is process \d+ now")
        alive = children(p.process.pid)
        assert second in alive and first not in alive and len(alive) == 2
        assert [state(pid) in "SR" for pid in alive] == [True, True]  # no zombie
        third = next(pid for pid in alive if pid != second)
        # it serves, and what was accepted for it meanwhile is accepted by itself again
        clients = [await Connection.open(port) for _ in range(60)]
        for c in clients:
            await c.send(request("/health", method="GET"))
            assert (await c.answer()).status == 200
        assert connections(third, port) > 10 and connections(second, port) > 10
        for c in clients:
            c.close()
        # the second time at once it has to wait a little, and then it comes
        os.kill(third, signal.SIGKILL)
        assert "in 1 s" in p.wait_for(r"killed by SIGKILL").string
        assert [(await ask(port, "/api/status")).status for _ in range(20)] == [200] * 20
        p.wait_for(r"worker 0 is process \d+ now")
        assert len(children(p.process.pid)) == 2


async def test_a_worker_that_is_told_to_end_is_replaced(serving: Serving, tmp_path: Path) -> None:
    write(tmp_path, **PACE)
    with serving(SWITCHBOARD_SHUTDOWN__STREAMS="15") as (p, port):
        first, second = children(p.process.pid)
        streams = [await stream(port) for _ in range(16)]
        os.kill(second, signal.SIGTERM)
        # while its open answers end, the other one accepts for it
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            assert (await ask(port, "/api/status")).status == 200
        assert set(children(p.process.pid)) == {first, second}
        ends = await asyncio.gather(*[rest(c) for c in streams])
        assert all(e is not None and e.endswith(b"data: [DONE]\n\n") for e in ends)
        assert "ended with status 0" in p.wait_for(rf"process {second}\).*another one").string
        p.wait_for(r"worker 1 is process \d+ now")
        assert {(await ask(port, "/health")).json["status"] for _ in range(12)} == {"ok"}


@pytest.fixture
def pair(tmp_path: Path) -> trustme.LeafCert:
    """A certificate and its key, in files."""
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    return certificate


def asked_over_tls(port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with closing(context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=5))) as s:
        s.sendall(request("/health", method="GET", headers={"connection": "close"}))
        return s.recv(12)


async def test_a_worker_that_cannot_start_again(serving: Serving, tmp_path: Path, pair: trustme.LeafCert) -> None:
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    write(tmp_path, tls={"certificate": "cert.pem", "key": "key.pem"})
    with serving() as (p, port):
        first, second = children(p.process.pid)
        (tmp_path / "key.pem").rename(tmp_path / "away.pem")
        os.kill(second, signal.SIGKILL)
        p.wait_for("another one takes its place at once")
        line = p.wait_for("worker 1 .*ended with status 1").string
        assert "No such file" in line and "in 1 s" in line
        # the other one serves for both
        for _ in range(20):
            assert await asyncio.to_thread(asked_over_tls, port) == b"HTTP/1.1 200"
        (tmp_path / "away.pem").rename(tmp_path / "key.pem")
        p.wait_for(r"worker 1 is process \d+ now")
        assert first in children(p.process.pid) and len(children(p.process.pid)) == 2
        p.process.terminate()
        assert ended(p)[0] == 0


def test_no_worker_can_start(tmp_path: Path, pair: trustme.LeafCert, data: dict[str, str]) -> None:
    """The certificate comes through a pipe: who looks at it first has it, and nobody after that."""
    write(tmp_path, tls={"certificate": "/dev/stdin", "key": "key.pem"})
    process = subprocess.Popen(
        [BIN / "switchboard", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | data,
        cwd=tmp_path,
    )
    said, _ = process.communicate(pair.cert_chain_pems[0].bytes(), timeout=10)
    assert process.returncode == 1
    last = said.decode().splitlines()[-1]
    assert last.startswith("switchboard: no worker could be started: ") and "SSL" in last
    assert b"page " not in said
    assert not list((tmp_path / "data" / "run").iterdir())


@pytest.mark.parametrize("with_stream", [True, False])
async def test_workers_end_when_their_supervisor_is_gone(serving: Serving, tmp_path: Path, with_stream: bool) -> None:
    with serving("--workers", "2", SWITCHBOARD_SHUTDOWN__ACCEPT="30", SWITCHBOARD_SHUTDOWN__STREAMS="30") as (p, port):
        workers = children(p.process.pid)
        streams = [await stream(port, model="endless") for _ in range(8 if with_stream else 0)]
        p.process.kill()
        p.process.wait(5)
        assert until(lambda: {state(pid) for pid in workers} <= {"", "Z"}, 2.0) < 2.0
        assert all([await rest(c) is None for c in streams])
        said = ended(p)[1]
        assert said.count("its supervisor is gone") == 2
        assert said.count('"server_stopping"') == len(streams)  # the log is whole
        with closing(socket.socket()) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
        assert not list((tmp_path / "data" / "run").glob("*.sock"))


# ---- the end


@pytest.mark.parametrize("to_all", [False, True], ids=["to-the-supervisor", "to-all-as-systemd-does"])
async def test_sigterm_lets_streams_end(serving: Serving, tmp_path: Path, to_all: bool) -> None:
    write(tmp_path, **PACE)
    with serving(SWITCHBOARD_SHUTDOWN__ACCEPT="0.6", SWITCHBOARD_SHUTDOWN__STREAMS="15") as (p, port):
        workers = children(p.process.pid)
        streams = [await stream(port) for _ in range(8)]
        kept = [await Connection.open(port) for _ in range(8)]
        for pid in (p.process.pid, *(workers if to_all else [])):
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 0.5
        for c in kept:  # load balancers are told, whichever they ask
            while True:
                await c.send(request("/health/ready", method="GET"))
                if (await c.answer()).json["status"] == "stopping":
                    break
                assert time.monotonic() < end
        assert (await ask(port, "/api/chat", chat("late", stream=False))).status == 200
        ends = await asyncio.gather(*[rest(c) for c in streams])
        assert all(e is not None and e.endswith(b"data: [DONE]\n\n") for e in ends)
        code, said = ended(p)
        for c in kept:
            c.close()
    assert code == 0
    assert "Traceback" not in said
    assert [json.loads(x)["outcome"] for x in said.splitlines() if f'"path":"{V1}"' in x] == ["complete"] * 8
    assert [state(pid) for pid in workers] == ["", ""]
    assert not list((tmp_path / "data" / "run").iterdir())


async def test_a_second_signal_ends_it_at_once(serving: Serving) -> None:
    wait = {"SWITCHBOARD_SHUTDOWN__ACCEPT": "30", "SWITCHBOARD_SHUTDOWN__STREAMS": "30"}
    with serving("--workers", "2", **wait) as (p, port):
        streams = [await stream(port, model="endless") for _ in range(4)]
        p.process.terminate()
        while (await ask(port, "/health/ready")).json["status"] != "stopping":
            pass
        assert p.process.poll() is None
        began = time.monotonic()
        p.process.terminate()
        assert all([await rest(c) is None for c in streams])
        code, said = ended(p)
        assert time.monotonic() - began < 2
    assert code == 0 and "Traceback" not in said


async def test_an_interrupt_of_the_whole_terminal_is_one_interrupt(serving: Serving, tmp_path: Path) -> None:
    """Ctrl-C reaches all processes: open answers still have their time, but load balancers are not waited for."""
    write(tmp_path, **PACE)
    wait = {"SWITCHBOARD_SHUTDOWN__ACCEPT": "30", "SWITCHBOARD_SHUTDOWN__STREAMS": "30"}
    with serving(**wait) as (p, port):
        streams = [await stream(port) for _ in range(4)]
        for pid in children(p.process.pid):
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGHUP)  # a terminal that is closed says this to all of them
        os.kill(p.process.pid, signal.SIGINT)
        ends = await asyncio.gather(*[rest(c) for c in streams])
        code, said = ended(p, 4)
    assert code == 0 and "Traceback" not in said
    assert all(e is not None and e.endswith(b"data: [DONE]\n\n") for e in ends)


async def test_a_worker_that_does_not_end_is_killed(serving: Serving) -> None:
    with serving("--workers", "2") as (p, port):
        first, second = children(p.process.pid)
        clients = [await Connection.open(port) for _ in range(16)]
        for c in clients:
            await c.send(request("/api/status", method="GET"))
            assert (await c.answer()).status == 200
        os.kill(second, signal.SIGSTOP)
        # meanwhile it is left out of what the other tells
        answers = []
        for c in clients:
            await c.send(request("/metrics", method="GET"))
            answers.append(asyncio.create_task(c.answer()))
        done, waiting = await asyncio.wait(answers, timeout=1.5)
        assert done and waiting
        assert all('worker="0"' in a.result().text and 'worker="1"' not in a.result().text for a in done)
        for a in waiting:
            a.cancel()
        p.process.terminate()
        code, said = ended(p)
        for c in clients:
            c.close()
    assert code == 1
    assert f"worker 1 (process {second}) does not end, and is killed" in said
    assert (state(first), state(second)) == ("", "")


# ---- the start


async def test_what_cannot_be_started(run: Run, tmp_path: Path, data: dict[str, str]) -> None:
    done = await asyncio.to_thread(run, "serve", "--workers", "65", SWITCHBOARD_CHAT__PROVIDER="nobody", **data)
    assert done.returncode == 2 and "--workers: " in done.stderr and "Traceback" not in done.stderr
    assert "there is no provider 'nobody'" in done.stderr


async def test_a_port_that_another_one_has(serving: Serving, run: Run, tmp_path: Path, data: dict[str, str]) -> None:
    with serving("--workers", "2") as (_, port):  # which would share it with any number of its own
        done = await asyncio.to_thread(run, "serve", "--port", str(port), "--workers", "2", **data)
        assert done.returncode == 1 and "another program has it" in done.stderr


@contextmanager
def serving_in(folder: Path, *flags: str, **environment: str) -> Iterator[tuple[Program, int]]:
    with program(BIN / "switchboard", "serve", "--port", "0", *flags, environment=environment, cwd=folder) as p:
        yield p, int(p.wait_for(r"page +https?://[^ ]+:(\d+)/")[1])


@pytest.mark.parametrize("case", ["long", "file"])
async def test_a_data_folder_that_no_socket_can_be_in(tmp_path: Path, case: str) -> None:
    folder = tmp_path / ("long" * 40)
    short = tempfile.mkdtemp(prefix="sb-")  # a socket's path may have 107 bytes, and pytest's own folders are long
    if case == "file":
        folder = tmp_path / "file"
        folder.write_text("")
    quick = {"SWITCHBOARD_SHUTDOWN__ACCEPT": "0", "TMPDIR": short}
    with serving_in(tmp_path, "--workers", "2", SWITCHBOARD_DATA_DIR=str(folder), **quick) as (p, port):
        text = ""
        async with asyncio.timeout(10):  # one that is busy with its start may not answer in time
            while 'process_open_fds{worker="0"}' not in text or 'process_open_fds{worker="1"}' not in text:
                text = (await ask(port, "/metrics")).text
        assert len(glob.glob(f"{short}/*/*.sock")) == 2
        p.process.terminate()
        code, said = ended(p)
    assert code == 0
    assert ("cannot be written" in said) == (case == "file")
    os.rmdir(short)  # nothing is left in it


async def test_who_writes_code_has_one_process(serving: Serving) -> None:
    with serving("--reload", "--workers", "2") as (p, port):
        assert "with --reload one process serves, not 2" in "".join(p.said)
        assert (await ask(port, "/health")).status == 200
        assert 'worker="' not in (await ask(port, "/metrics")).text


async def test_one_worker_is_the_process_itself(serving: Serving, tmp_path: Path) -> None:
    with serving("--workers", "1") as (p, _):
        assert children(p.process.pid) == []
        assert not list((tmp_path / "data" / "run").glob("*.sock"))
