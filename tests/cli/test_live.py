"""A server whose settings change while it serves: by SIGHUP, and by itself when the file of a secret is another."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from support.client import Answer, Connection, ask, chat, request
from support.process import Program
from switchboard.net.script import Request, ScriptServer, Step, Wait, answer, chunk, stream_head

pytestmark = pytest.mark.anyio

Run = Callable[..., subprocess.CompletedProcess[str]]
Serving = Callable[..., AbstractContextManager[tuple[Program, int]]]
CANARY = "Canary7Kq9zHidden"
V1 = "/v1/chat/completions"
#: By when a secret's new file has to be in use: it is looked at every second.
SOON = 3.0


def write(tmp_path: Path, **settings: Any) -> None:
    """The settings file, put in the place of the one before at once."""
    (tmp_path / "new").write_text(json.dumps({"port": 0} | settings))
    (tmp_path / "new").rename(tmp_path / "switchboard.yaml")


async def reloaded(p: Program, text: str = "settings were read anew") -> dict[str, Any]:
    """Send the signal; the line of the log that says what came of it."""
    p.process.send_signal(signal.SIGHUP)
    return dict(json.loads((await asyncio.to_thread(p.wait_for, text)).string))


async def reloads(port: int, key: str = "") -> dict[str, float]:
    text = (await ask(port, "/metrics", None, {"authorization": f"Bearer {key}"} if key else None)).text
    return {r: float(n) for r, n in re.findall(r'^switchboard_reloads_total\{result="(\w+)"\} ([\d.]+)$', text, re.M)}


async def model_of(port: int) -> str:
    """The model that answers where none is named."""
    return str((await ask(port, V1, chat("hi"))).json["model"])


async def until(condition: Callable[[], Awaitable[bool]], within: float) -> float:
    """Wait for `condition`; gives the seconds it took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < within, f"not within {within} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def contents(a: Answer) -> str:
    """The text of an answer in OpenAI's events."""
    return "".join(
        c["delta"].get("content") or "" for e in a.events if isinstance(e, dict) for c in e.get("choices", [])
    )


# ---- streams


async def test_a_reload_drops_none_of_200_streams(
    serving: Serving, run: Run, tmp_path: Path, data: dict[str, str]
) -> None:
    text = " ".join(f"word{n}" for n in range(30))
    write(tmp_path, providers={"offline": {"pace": 0.1}}, chat={"model": "echo"})
    with serving() as (p, port):
        streams = [await Connection.open(port) for _ in range(200)]
        for n, c in enumerate(streams):
            path, more = (
                (V1, {"stream": True})
                if n % 2
                else ("/api/chat?format=simple", {"model": "slow" if n % 20 == 0 else "echo"})
            )
            await c.send(request(path, chat(text, **more)))
        answers = [asyncio.create_task(c.answer()) for c in streams]
        await asyncio.sleep(0.3)
        write(tmp_path, providers={"offline": {"pace": 0}}, chat={"model": "tool-call", "max_conversation_length": 1})
        await reloaded(p)
        assert await model_of(port) == "tool-call"
        done = await asyncio.to_thread(run, "reload", **data)
        assert (done.returncode, done.stderr) == (0, "")
        # new ones go by the new settings already, and at the new pace
        began = time.monotonic()
        late = await ask(port, V1, chat(text, stream=True))
        assert contents(late) == text and time.monotonic() - began < 2
        assert not [a for a in answers if a.done()]
        async with asyncio.timeout(15):
            ended = await asyncio.gather(*answers)
        for n, a in enumerate(ended):
            assert (a.status, a.whole) == (200, True), n
            if n % 2:
                assert contents(a) == text and a.events[-1] == "[DONE]", n
                assert a.events[0]["model"] == "echo"
            else:
                assert "".join(e["content"] for e in a.events) == text and a.events[-1]["done"] is True, n
        # the connections are as good as before
        await streams[1].send(request(V1, chat("hi")))
        assert (await streams[1].answer()).json["model"] == "tool-call"
        for c in streams:
            c.close()


async def test_a_stream_goes_on_though_its_provider_is_gone(serving: Serving, tmp_path: Path) -> None:
    def event(text: str) -> bytes:
        return chunk(
            b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
            % text.encode()
        )

    script: list[Step] = [
        Request(),
        stream_head(),
        event("one "),
        Wait(1.2),
        event("two"),
        chunk(b"data: [DONE]\n\n"),
        chunk(b""),
    ]
    async with ScriptServer(script) as upstream:
        write(tmp_path, providers={"up": {"base_url": upstream.base_url}, "offline": {}})
        with serving() as (p, port):
            c = await Connection.open(port)
            await c.send(request(V1, chat(model="up/m", stream=True)))
            first = await c.head()
            write(tmp_path, auth={"access_key": CANARY})
            await reloaded(p)
            assert (await ask(port, V1, chat(model="up/m"))).status == 401
            assert (await ask(port, V1, chat(model="up/m"), {"authorization": f"Bearer {CANARY}"})).status == 404
            got = b""
            async with asyncio.timeout(5):
                while data := await c.chunk():
                    got += data
            assert first[0] == 200 and data == b""
            assert b"one " in got and b"two" in got and got.endswith(b"data: [DONE]\n\n")
            # the next request on the same connection is asked for its key
            await c.send(request(V1, chat()))
            assert (await c.answer()).status == 401
            c.close()


async def test_many_signals_at_once(serving: Serving, tmp_path: Path) -> None:
    write(tmp_path, providers={"offline": {"pace": 0.02}})
    with serving() as (p, port):
        stream = asyncio.create_task(ask(port, V1, chat("word " * 30, stream=True)))
        write(tmp_path, chat={"model": "tool-call"})
        for _ in range(30):
            p.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.005)

        async def changed() -> bool:
            return await model_of(port) == "tool-call"

        await until(changed, 5)
        assert (await stream).whole
        counted = await reloads(port)
        assert counted["failed"] == 0 and 1 <= counted["ok"] <= 30
        # one that comes while another is under way is not lost
        for n in range(20):
            model = ("echo", "tool-call")[n % 2]
            write(tmp_path, chat={"model": model})
            p.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.002 * (n % 4))
        assert model == "tool-call"
        await asyncio.sleep(0.5)
        assert await model_of(port) == "tool-call"


async def test_what_the_log_says_changes_too(serving: Serving, tmp_path: Path) -> None:
    """Its level, and what of it is masked: a key that has just come is as secret as the first."""
    (tmp_path / "key").write_text(f"{CANARY}-1")
    rows = {"up": {"base_url": "http://127.0.0.1:1/v1", "api_key_file": "key"}, "offline": {"pace": 0}}
    write(tmp_path, providers=rows, chat={"provider": "offline"}, log={"level": "INFO"})
    with serving() as (p, port):
        (tmp_path / "key").write_text(f"{CANARY}-2")
        write(tmp_path, providers=rows, chat={"provider": "offline"}, log={"level": "DEBUG"})
        await reloaded(p)
        await ask(port, V1, chat(f"old {CANARY}-1 new {CANARY}-2"))
        line = (await asyncio.to_thread(p.wait_for, "old .* new ")).string
        assert "old *** new ***" in line
        write(tmp_path, providers=rows, chat={"provider": "offline"}, log={"level": "ERROR"})
        p.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.5)
        said = len(p.said)
        assert (await ask(port, V1, chat("quiet"))).status == 200
        await asyncio.sleep(0.5)
        assert len(p.said) == said
    assert CANARY not in "".join(p.said)


# ---- secrets in files


def keys_heard(upstream: ScriptServer) -> list[str]:
    """The keys that came, oldest first."""
    requests = [r for c in upstream.connections for r in c.requests]
    return [m[1].decode() for r in requests if (m := re.search(rb"(?i)authorization: Bearer (\S+)", r))]


def upstream_of_answers() -> ScriptServer:
    body = {"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}
    return ScriptServer([Request(), answer(json.dumps(body).encode(), headers="connection: close\r\n")])


async def test_a_provider_s_new_key_is_used_by_the_next_request(
    serving: Serving, run: Run, tmp_path: Path, data: dict[str, str]
) -> None:
    (tmp_path / "key").write_text(f"{CANARY}-1\n")
    write(tmp_path, chat={"model": "m"})
    async with upstream_of_answers() as upstream:
        own = {"OPENAI_API_KEY_FILE": "key", "OPENAI_BASE_URL": upstream.base_url}
        with serving(**own) as (p, port):
            assert (await ask(port, V1, chat())).status == 200
            (tmp_path / "key").write_text(f"{CANARY}-2\n")
            done = await asyncio.to_thread(run, "reload", **data, **own)
            assert (done.returncode, done.stderr) == (0, "")
            assert (await ask(port, V1, chat())).status == 200
            assert keys_heard(upstream) == [f"{CANARY}-1", f"{CANARY}-2"]

            # the same without being told
            (tmp_path / "key").write_text(f"{CANARY}-3\n")

            async def used() -> bool:
                await ask(port, V1, chat())
                return keys_heard(upstream)[-1] == f"{CANARY}-3"

            await until(used, SOON)
            line = await asyncio.to_thread(p.wait_for, "file of a secret has changed")
            assert json.loads(line.string)["level"] == "info"
        assert set(keys_heard(upstream)) == {f"{CANARY}-{n}" for n in (1, 2, 3)}
    assert CANARY not in "".join(p.said) + done.stdout


async def test_new_access_keys_open_and_old_ones_do_not(serving: Serving, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(f"{CANARY}-1")
    write(tmp_path, providers={"offline": {}})

    async def status(n: int) -> int:
        return (await ask(port, V1, chat(), {"authorization": f"Bearer {CANARY}-{n}"})).status

    with serving(ACCESS_KEY_FILE="key", SWITCHBOARD_AUTH__FAILURES_PER_MINUTE="1000") as (p, port):
        assert (await status(1), await status(2)) == (200, 401)
        key.write_text(f"{CANARY}-2")

        async def opens() -> bool:
            return await status(2) == 200

        await until(opens, SOON)
        assert await status(1) == 401
        # both, while one is being replaced
        key.write_text(f"{CANARY}-2\n{CANARY}-1\n")

        async def opens_again() -> bool:
            return await status(1) == 200

        await until(opens_again, SOON)
        assert await status(2) == 200
        # a file that is empty, in the middle of being written, opens nothing and closes nothing
        key.write_text("")
        await asyncio.to_thread(p.wait_for, "settings stay as they were")
        assert [await status(n) for n in (1, 2)] == [200, 200]
        key.write_text(f"{CANARY}-3")

        async def opens_at_last() -> bool:
            return await status(3) == 200

        await until(opens_at_last, SOON)
        assert [await status(n) for n in (1, 2)] == [401, 401]
        counted = await reloads(port, f"{CANARY}-3")
        assert counted["ok"] == 3 and counted["failed"] >= 1
    assert CANARY not in "".join(p.said)


async def test_secrets_as_kubernetes_mounts_them(serving: Serving, tmp_path: Path) -> None:
    """Links to links: what is exchanged is a folder, and the file's own name stays the same link."""
    mount = tmp_path / "secrets"
    for n in (1, 2):
        (mount / f"..{n}").mkdir(parents=True)
        (mount / f"..{n}" / "key").write_text(f"{CANARY}-{n}")
        os.utime(mount / f"..{n}" / "key", (1, 1))  # neither size nor time tells them apart
    (mount / "..data").symlink_to("..1")
    (mount / "key").symlink_to("..data/key")
    write(tmp_path)

    async def status(n: int) -> int:
        return (await ask(port, V1, chat(), {"authorization": f"Bearer {CANARY}-{n}"})).status

    with serving() as (p, port):
        assert await status(2) == 200
        # what settings name later is looked at too
        write(tmp_path, profiles={"app": {"access_key_file": "secrets/key"}})
        await reloaded(p)
        assert (await status(1), await status(2)) == (200, 401)
        (mount / "..new").symlink_to("..2")
        (mount / "..new").rename(mount / "..data")

        async def opens() -> bool:
            return await status(2) == 200

        await until(opens, SOON)
        assert await status(1) == 401


async def test_the_settings_file_itself_is_read_when_somebody_says_so_only(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k")
    write(tmp_path, profiles={"app": {"access_key_file": "key"}})
    with serving() as (_, port):
        write(tmp_path, profiles={"app": {"access_key_file": "key"}}, limits={"json_body": 100})
        await asyncio.sleep(1.2)
        body = chat("x" * 200)
        assert (await ask(port, V1, body, {"authorization": "Bearer k"})).status == 200
        assert await reloads(port, "k") == {"ok": 0, "failed": 0}
