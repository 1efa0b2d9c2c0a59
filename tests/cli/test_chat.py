"""``chat``: one message or a conversation, with a server or straight with a provider."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.process import BIN, Program
from switchboard.net.script import Hang, Request, ScriptServer, Step, answer, chunk, stream_head

pytestmark = pytest.mark.anyio

Serve = Callable[..., AbstractContextManager[Program]]
Chat = Callable[..., subprocess.CompletedProcess[bytes]]
CANARY = "Canary7Kq9zHidden"


def port_of(p: Program) -> int:
    found = re.search(r"page +https?://[^ ]+:(\d+)/", "".join(p.said))
    assert found is not None
    return int(found[1])


@pytest.fixture
def data(data: dict[str, str]) -> dict[str, str]:
    """Servers and commands that try again soon."""
    return data | {"SWITCHBOARD_RETRY__WAIT": "0.05"}


@pytest.fixture
def say(tmp_path: Path, data: dict[str, str]) -> Chat:
    """Run ``switchboard chat`` to its end."""

    def go(*arguments: str, said: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(BIN / "switchboard"), "chat", *arguments]
        env = os.environ | data | environment
        done = subprocess.run(command, input=said, capture_output=True, cwd=tmp_path, env=env, timeout=20, check=False)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done

    return go


def failed(done: subprocess.CompletedProcess[bytes], said: bytes = b"") -> str:
    """What an answer that failed said of it; `said` came before."""
    assert (done.returncode, done.stdout) == (1, said), done
    text = done.stderr.decode()
    assert "switchboard: " in text and CANARY not in text
    return text


def streamed(text: str) -> bytes:
    """A whole answer, as events; a connection of its own."""

    def event(**choice: Any) -> bytes:
        return (
            b"data: "
            + json.dumps({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0} | choice]}).encode()
            + b"\n\n"
        )

    words = b"".join(chunk(event(delta={"content": word})) for word in re.findall(r"\S+\s*", text))
    end = chunk(event(delta={}, finish_reason="stop") + b"data: [DONE]\n\n")
    return stream_head("connection: close\r\n") + words + end + chunk(b"")


class Upstream:
    """A provider that says one thing after another, and what it was asked."""

    def __init__(self, *said: list[Step]) -> None:
        self._said = list(said)
        self.server = ScriptServer(lambda n: [Request(), *self._said[min(n, len(self._said) - 1)]])

    @property
    def asked(self) -> list[dict[str, Any]]:
        requests = [r for c in self.server.connections for r in c.requests]
        return [json.loads(r.partition(b"\r\n\r\n")[2]) for r in requests]


@asynccontextmanager
async def upstream(tmp_path: Path, *said: list[Step], **settings: Any) -> AsyncIterator[Upstream]:
    """A provider as the settings file names it."""
    up = Upstream(*said)
    async with up.server:
        rows = {"up": {"base_url": up.server.base_url, "api_key": CANARY}}
        tree = {"providers": rows, "chat": {"model": "theirs"}} | settings
        (tmp_path / "switchboard.yaml").write_text(json.dumps(tree))
        yield up


# ---- one message


async def test_with_the_server_that_runs_here(say: Chat, serve: Serve, data: dict[str, str]) -> None:
    with serve(**data) as p:
        done = await asyncio.to_thread(say, "Hello there")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello there\n", b"")
        line = json.loads(p.wait_for('"path":"/v1/chat/completions"').string)
        assert (line["status"], line["model"]) == (200, "echo")
        # piped: all of it, however many lines
        done = await asyncio.to_thread(say, said="Zwei Zeilen,\nüber Grüße 漢\n".encode())
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, "Zwei Zeilen,\nüber Grüße 漢\n", b"")
        # another server's address, and one that asks the providers itself
        done = await asyncio.to_thread(
            say, "a", "--url", f"http://127.0.0.1:{port_of(p)}/", SWITCHBOARD_DATA_DIR="other"
        )
        assert (done.returncode, done.stdout) == (0, b"a\n")
        for _ in range(2):
            p.wait_for('"path":"/v1/chat/completions"')
        before = len(p.said)
        assert (await asyncio.to_thread(say, "a", "--direct")).stdout == b"a\n"
        await asyncio.sleep(0.4)
        assert len(p.said) == before


async def test_the_server_here_though_clients_reach_it_elsewhere(
    say: Chat, serve: Serve, tmp_path: Path, data: dict[str, str]
) -> None:
    (tmp_path / "switchboard.yaml").write_text("public_url: https://chat.example.invalid\n")
    with serve(**data):
        done = await asyncio.to_thread(say, "Hello there")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello there\n", b"")


async def test_without_a_server(say: Chat, tmp_path: Path) -> None:
    done = say("Hello there")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello there\n", b"")
    # it leaves nothing behind
    assert os.listdir(tmp_path) == []


async def test_what_the_provider_is_asked(say: Chat, serve: Serve, tmp_path: Path, data: dict[str, str]) -> None:
    profiles = {"app": {"system_prompt": "Rhyme.", "model": "app-model"}}
    async with upstream(tmp_path, [streamed("Fine, thanks.")], profiles=profiles) as up:

        def all_of_them() -> list[subprocess.CompletedProcess[bytes]]:
            direct = say("--system", "Be brief.", "--profile", "app", "--direct", said=b"How?\n")
            with serve(**data):
                return [
                    direct,
                    say("How are you?"),
                    say("--system", "Be brief.", "--model", "big", "How?"),
                    say("--profile", "app", said=b"How?\n"),
                    say("--profile", "nobody", "How?"),
                ]

        *good, bad = await asyncio.to_thread(all_of_them)
        for done in good:
            assert (done.returncode, done.stdout, done.stderr) == (0, b"Fine, thanks.\n", b"")
        failed(bad)
        direct, plain, more, profile = up.asked
    assert (direct["model"], direct["stream"]) == ("app-model", True)
    assert [m["content"] for m in direct["messages"]] == ["Rhyme.", "Be brief.", "How?"]
    assert (plain["model"], plain["stream"]) == ("theirs", True)
    assert plain["messages"] == [{"role": "user", "content": "How are you?"}]
    assert more["model"] == "big"
    assert more["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How?"}]
    assert profile["model"] == "app-model"
    assert [m["content"] for m in profile["messages"]] == ["Rhyme.", "How?"]


async def test_access_keys(say: Chat, serve: Serve, tmp_path: Path, data: dict[str, str]) -> None:
    profiles = {"app": {"access_key": f"{CANARY}-app"}}
    (tmp_path / "switchboard.yaml").write_text(
        json.dumps({"profiles": profiles, "providers": {"offline": {"pace": 0}}})
    )
    with serve(**data, ACCESS_KEY=CANARY) as p:

        def all_of_them() -> None:
            url = ["--url", f"http://127.0.0.1:{port_of(p)}"]
            assert "access key" in failed(say("a", *url))
            assert "access key" in failed(say("a", *url, "--key", f"{CANARY}-wrong"))
            assert say("a", *url, "--key", f"{CANARY}-app").stdout == b"a\n"
            # that of the settings
            assert say("a", "--profile", "app", ACCESS_KEY=CANARY).stdout == b"a\n"

        await asyncio.to_thread(all_of_them)
    assert CANARY not in "".join(p.said)


async def test_a_profile_s_own_key_without_a_server(say: Chat, tmp_path: Path) -> None:
    """Whoever can read the settings needs no key to ask by them."""
    profiles = {"app": {"access_key": f"{CANARY}-app"}}
    (tmp_path / "switchboard.yaml").write_text(json.dumps({"profiles": profiles}))
    for flags in (["--profile", "app"], ["--profile", "app", "--key", f"{CANARY}-app"]):
        done = say("a", "--direct", *flags)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"a\n", b""), flags


async def test_servers_that_do_not_answer(say: Chat) -> None:
    async with (
        ScriptServer([Request(), answer(b"<html>Welcome</html>", kind="text/html", status=404)]) as page,
        ScriptServer([Request(), answer(b"<html>Welcome</html>", kind="text/html")]) as other,
        ScriptServer([Request()]) as closing,
    ):
        ports = [page.port, other.port, closing.port]
        asked = [asyncio.to_thread(say, "a", "--url", f"http://127.0.0.1:{port}") for port in ports]
        said = [failed(done) for done in await asyncio.gather(*asked)]
        assert "404" in said[0]
    said = [failed(await asyncio.to_thread(say, "a", "--url", f"http://127.0.0.1:{ports[0]}"))]
    assert "refused" in said[0] or "cannot be reached" in said[0]


async def test_an_address_that_is_none(say: Chat) -> None:
    done = say("a", "--url", "localhost:8000")
    assert done.returncode in (1, 2) and done.stdout == b""
    assert done.stderr.startswith(b"switchboard: ")


async def test_answers_that_fail(say: Chat, serve: Serve, data: dict[str, str]) -> None:
    def all_of_them() -> None:
        begun = b"one two three "
        failed(say("a", "--model", "error-first-event", "--direct"))
        assert failed(say("a", "--model", "error-midstream", "--direct"), begun).startswith("\nswitchboard: ")
        with serve(**data):
            failed(say("a", "--model", "error-401"))
            assert failed(say("a", "--model", "cut-midstream"), begun).startswith("\nswitchboard: ")

    await asyncio.to_thread(all_of_them)


async def test_no_key_and_no_provider(say: Chat, tmp_path: Path) -> None:
    (tmp_path / "switchboard.yaml").write_text("chat: {provider: openai}\n")
    assert "key" in failed(say("a"))
    (tmp_path / "switchboard.yaml").write_text("hsot: x\n")
    done = say("a")
    assert (done.returncode, done.stdout) == (2, b"") and b"did you mean host?" in done.stderr


@pytest.mark.parametrize("direct", [True, False])
async def test_much_at_once(say: Chat, serve: Serve, data: dict[str, str], direct: bool) -> None:
    """More pieces than can wait, as fast as they can be."""
    text = ("word " * 4_000).strip().encode()
    fast = {"SWITCHBOARD_PROVIDERS__OFFLINE__PACE": "0"}
    if direct:
        done = await asyncio.to_thread(say, "--direct", said=text, **fast)
    else:
        with serve(**data, **fast):
            done = await asyncio.to_thread(say, said=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, text + b"\n", b"")


async def test_text_that_is_not_utf_8(say: Chat) -> None:
    done = say("--direct", said=b"caf\xe9\n")
    assert done.returncode in (0, 1, 2)


# ---- a conversation


class Terminal:
    """The program on a terminal: what it shows, and what is typed."""

    def __init__(self, process: subprocess.Popen[bytes], ours: int) -> None:
        self.process = process
        self._ours = ours
        self.shown = b""
        self._seen = 0

    def see(self, text: str, within: float = 10) -> None:
        """Wait until it shows `text`, behind what was waited for before."""
        end = time.monotonic() + within
        while text.encode() not in self.shown[self._seen :]:
            ready = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))[0]
            assert ready, f"no {text!r} in {self.shown!r}"
            data = self._read()
            assert data, f"it ended: {self.shown!r}"
        self._seen += self.shown[self._seen :].index(text.encode()) + len(text.encode())

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def ended(self, within: float = 5) -> int:
        """Its status, once it has ended by itself."""
        end = time.monotonic() + within
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it still runs: {self.shown!r}"
            if select.select([self._ours], [], [], 0.05)[0]:
                self._read()
        while self._read():
            pass
        assert b"Traceback" not in self.shown, self.shown.decode()
        return int(self.process.returncode)

    def _read(self) -> bytes:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # nobody has the other end
            return b""
        self.shown += data
        return data


@contextmanager
def terminal(tmp_path: Path, *arguments: str, **environment: str) -> Iterator[Terminal]:
    """``switchboard chat`` on a terminal of its own, so that Ctrl-C reaches it, and nobody else."""
    pid, ours = pty.fork()
    if pid == 0:  # pragma: no cover  another process
        os.chdir(tmp_path)
        command = str(BIN / "switchboard")
        own = {"SWITCHBOARD_DATA_DIR": str(tmp_path / "data")}
        os.execve(command, [command, "chat", *arguments], os.environ | own | environment)
    process = _Forked(pid)
    try:
        yield Terminal(process, ours)  # type: ignore[arg-type]
    finally:
        if process.poll() is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(ours)


class _Forked:
    """What `Terminal` needs of a process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


async def test_a_conversation(serve: Serve, tmp_path: Path, data: dict[str, str]) -> None:
    refused = json.dumps({"error": {"message": "That is too rude.", "type": "invalid_request_error"}}).encode()
    said: list[list[Step]] = [
        [streamed("I am fine.")],
        [answer(refused, status=400, headers="connection: close\r\n")],
        [streamed("Glad to hear it.")],
    ]
    async with upstream(tmp_path, *said) as up:

        def talk() -> int:
            with serve(**data) as p, terminal(tmp_path, "--system", "Be kind.") as t:
                t.see(f"http://127.0.0.1:{port_of(p)}")
                t.see("> ")
                t.type("How are you?\n")
                t.see("I am fine.")
                t.see("> ")
                t.type("Something rude\n")
                t.see("switchboard: ")
                t.see("> ")
                t.type("Me too\n")
                t.see("Glad to hear it.")
                t.see("> ")
                t.type("\n")
                return t.ended()

        assert await asyncio.to_thread(talk) == 0
        asked = [[(m["role"], m["content"]) for m in body["messages"]] for body in up.asked]
    first = [("system", "Be kind."), ("user", "How are you?")]
    assert asked[0] == first
    assert asked[1] == [*first, ("assistant", "I am fine."), ("user", "Something rude")]
    # what was refused is not said again
    assert asked[2] == [*first, ("assistant", "I am fine."), ("user", "Me too")]


async def test_a_conversation_ends_with_the_input(tmp_path: Path, data: dict[str, str]) -> None:
    def talk() -> int:
        with terminal(tmp_path) as t:
            t.see("no server runs here")
            t.see("> ")
            t.type("Hello there\n")
            t.see("Hello there\r\n")  # as typed
            t.see("Hello there\r\n")
            t.see("> ")
            t.type("\x04")
            return t.ended()

    assert await asyncio.to_thread(talk) == 0


@pytest.mark.parametrize("direct", [True, False])
async def test_ctrl_c_stops_an_answer_and_not_the_conversation(
    serve: Serve, tmp_path: Path, data: dict[str, str], direct: bool
) -> None:
    event = (
        b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"On and on"}}]}\n\n'
    )
    async with upstream(tmp_path, [stream_head(), chunk(event), Hang()], [streamed("Short.")]) as up:

        def talk() -> int:
            with terminal(tmp_path, *(["--direct"] if direct else [])) as t:
                t.see("> ")
                t.type("Tell me all\n")
                t.see("On and on")
                t.type("\x03")
                end = time.monotonic() + 3
                while up.server.connections[0].left is None:  # the provider is told at once
                    assert time.monotonic() < end
                    time.sleep(0.01)
                t.see("> ", 3)
                t.type("Tell me less\n")
                t.see("Short.")
                t.see("> ")
                t.type("\x04")
                return t.ended()

        if direct:
            code = await asyncio.to_thread(talk)
        else:
            with serve(**data):
                code = await asyncio.to_thread(talk)
        assert code == 0
        assert up.asked[1]["messages"][-1] == {"role": "user", "content": "Tell me less"}


async def test_ctrl_c_at_the_prompt_ends_it(tmp_path: Path, data: dict[str, str]) -> None:
    def talk() -> int:
        with terminal(tmp_path) as t:
            t.see("> ")
            time.sleep(0.2)
            t.type("\x03")
            return t.ended(3)

    assert await asyncio.to_thread(talk) in (0, 130, -signal.SIGINT)


async def test_ctrl_c_ends_a_single_message(tmp_path: Path, data: dict[str, str]) -> None:
    """And it is seen that there was no whole answer."""

    def talk() -> int:
        with terminal(tmp_path, "--model", "endless", "x") as t:
            t.see("again again")
            t.type("\x03")
            return t.ended(3)

    assert await asyncio.to_thread(talk) in (1, 130, -signal.SIGINT)
