"""Files that go on to the provider while they come in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from support.gateway import gateway, until
from switchboard.net.script import Again, Request, Script, ScriptServer, answer

pytestmark = pytest.mark.anyio

OK: Script = [Request(), answer(b'{"text":"hello"}'), Again()]
BOUND = b"x-bound-x"


def part(name: str, value: bytes, filename: str = "") -> bytes:
    more = f'; filename="{filename}"\r\ncontent-type: audio/wav' if filename else ""
    return b'--%b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b' % (
        BOUND,
        name.encode(),
        more.encode(),
        value,
    )


def head(
    length: int, path: str = "/v1/audio/transcriptions", kind: bytes = b"multipart/form-data; boundary=" + BOUND
) -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\ncontent-type: ".encode()
    return lines + kind + b"\r\n\r\n"


def settings(up: ScriptServer, **more: Any) -> dict[str, Any]:
    row = {"type": "openai", "base_url": up.base_url, "api_key": "sk-up-1"} | more
    return {"providers": {"up": row}, "chat": {"provider": "up"}}


def heard(up: ScriptServer) -> bytes:
    """All that the provider has been sent."""
    return b"".join(c.heard for c in up.connections)


async def answered(c: Any) -> tuple[int, Any]:
    async with asyncio.timeout(5):
        first = await c.reader.readuntil(b"\r\n\r\n")
        length = int(first.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(first[9:12]), json.loads(await c.reader.readexactly(length))


async def test_the_provider_has_the_beginning_before_the_end_is_there(shell: str) -> None:
    body = part("model", b"gpt-transcribe\r\n") + part("file", b"S" * 300_000, "a.wav") + b"\r\n--%b--\r\n" % BOUND
    async with ScriptServer(OK) as up, gateway(shell, **settings(up)) as g:
        c = await g.connect()
        await c.send(head(len(body)) + body[:200_000])
        await until(lambda: heard(up).count(b"S") > 190_000)
        assert b"transfer-encoding: chunked" in heard(up) and b"gpt-transcribe" in heard(up)
        await c.send(body[200_000:])
        assert await answered(c) == (200, {"text": "hello"})
        assert heard(up).count(b"S") >= 300_000
        assert (await g.record()).attempts == 1


async def test_what_comes_behind_the_file_is_not_lost(shell: str) -> None:
    first = part("model", b"gpt-transcribe\r\n") + part("file", b"S" * 200_000, "a.wav")
    rest = b"\r\n" + part("language", b"de") + b"\r\n--%b--\r\n" % BOUND
    async with ScriptServer(OK) as up, gateway(shell, **settings(up)) as g:
        c = await g.connect()
        await c.send(head(len(first + rest)) + first)
        await until(lambda: len(up.connections) == 1)
        await c.send(rest)
        assert (await answered(c))[0] == 200
        last = up.connections[-1].heard
        assert len(up.connections) == 2 and b'name="language"' in last and last.count(b"S") >= 200_000


async def test_a_file_before_the_model_waits(shell: str) -> None:
    body = (
        part("file", b"S" * 200_000, "a.wav") + b"\r\n" + part("model", b"gpt-transcribe") + b"\r\n--%b--\r\n" % BOUND
    )
    async with ScriptServer(OK) as up, gateway(shell, **settings(up)) as g:
        c = await g.connect()
        await c.send(head(len(body)) + body[:150_000])
        await asyncio.sleep(0.05)
        assert up.connections == []
        await c.send(body[150_000:])
        assert (await answered(c))[0] == 200
        assert b"content-length: " in heard(up)


async def test_sound_by_itself_goes_on_at_once(shell: str) -> None:
    async with ScriptServer(OK) as up, gateway(shell, **settings(up)) as g:
        c = await g.connect()
        await c.send(head(250_000, "/api/transcribe", b"audio/webm") + b"S" * 100_000)
        await until(lambda: heard(up).count(b"S") > 90_000)
        await c.send(b"S" * 150_000)
        assert await answered(c) == (200, {"text": "hello"})
        assert b'filename="sound.webm"' in heard(up)


async def test_who_leaves_while_sending_ends_the_upload(shell: str) -> None:
    body = part("model", b"gpt-transcribe\r\n") + part("file", b"S" * 300_000, "a.wav")
    async with ScriptServer(OK) as up, gateway(shell, **settings(up)) as g:
        c = await g.connect()
        await c.send(head(len(body) + 1000) + body)
        await until(lambda: len(up.connections) == 1)
        c.writer.transport.abort()
        await until(lambda: up.connections[0].left is not None)
        assert (await g.record()).outcome == "client_left"
        assert len(g.app.registry.open) == 0


async def test_a_provider_that_refuses_early_is_heard(shell: str) -> None:
    refusal = b'{"error":{"message":"no","type":"invalid_request_error"}}'
    early: Script = [b"HTTP/1.1 413 X\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(refusal), refusal)]
    body = part("model", b"gpt-transcribe\r\n") + part("file", b"S" * 300_000, "a.wav")
    async with ScriptServer(early) as up, gateway(shell, **settings(up)) as g:
        c = await g.connect()
        await c.send(head(len(body) + 1000) + body)
        assert (await answered(c))[0] in (413, 502)


async def test_a_failed_attempt_is_made_again_with_all_of_the_file(shell: str) -> None:
    def script(n: int) -> Script:
        return OK if n else [Request(), b"HTTP/1.1 500 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"]

    body = part("model", b"gpt-transcribe\r\n") + part("file", b"S" * 300_000, "a.wav") + b"\r\n--%b--\r\n" % BOUND
    async with ScriptServer(script) as up, gateway(shell, **settings(up), retry={"wait": 0.05}) as g:
        c = await g.connect()
        await c.send(head(len(body)) + body[:100_000])
        await asyncio.sleep(0.05)
        await c.send(body[100_000:])
        assert (await answered(c))[0] == 200
        assert [x.heard.count(b"S") >= 300_000 for x in up.connections] == [True, True]


async def test_a_form_that_breaks_off_is_refused(shell: str) -> None:
    body = part("model", b"gpt-transcribe\r\n") + part("file", b"S" * 100_000, "a.wav")
    async with ScriptServer(OK) as up, gateway(shell, **settings(up)) as g:
        c = await g.connect()
        await c.send(head(len(body)) + body)
        status, told = await answered(c)
        assert (status, told["error"]["code"]) == (400, "invalid_request")
        await until(lambda: len(g.app.registry.open) == 0)
