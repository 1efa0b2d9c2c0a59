"""The scripted network itself: what other tests rely on."""

from __future__ import annotations

import asyncio

import pytest

from support.gateway import until
from switchboard.net.script import Again, Hang, Request, Reset, ScriptServer, Wait, answer, chunk, stream_head

pytestmark = pytest.mark.anyio


async def _open(server: ScriptServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port)


async def test_a_script_plays_and_closes() -> None:
    async with ScriptServer([Request(), answer(b"hi")]) as server:
        reader, writer = await _open(server)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == answer(b"hi")
        assert server.connections[0].requests == [b"GET / HTTP/1.1\r\n\r\n"]
        writer.close()


async def test_a_request_is_awaited_with_its_body() -> None:
    async with ScriptServer([Request(), b"1", Request(), b"2"]) as server:
        reader, writer = await _open(server)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        writer.write(b"cGET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b"12"
        assert [r[-3:] for r in server.connections[0].requests] == [b"abc", b"\n\r\n"]
        writer.close()


async def test_again_plays_for_every_request() -> None:
    async with ScriptServer([Request(), b"x", Again()]) as server:
        reader, writer = await _open(server)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await reader.readexactly(1) == b"x"
        writer.close()
        await until(lambda: server.connections[0].left is not None)


async def test_each_connection_has_its_script() -> None:
    async with ScriptServer(lambda n: [b"%d" % n]) as server:
        for n in range(3):
            reader, writer = await _open(server)
            assert await reader.read() == b"%d" % n
            writer.close()


async def test_a_reset_is_one() -> None:
    async with ScriptServer([Request(), b"x", Wait(0.02), Reset()]) as server:
        reader, writer = await _open(server)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.readexactly(1) == b"x"
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()


async def test_hang_lasts_until_the_other_side_leaves() -> None:
    async with ScriptServer([Hang()]) as server:
        _, writer = await _open(server)
        await asyncio.sleep(0.05)
        assert server.connections[0].left is None
        writer.close()
        await until(lambda: server.connections[0].left is not None)


async def test_leaving_ends_whatever_waits() -> None:
    async with ScriptServer([Request(), b"x"]) as server:
        reader, writer = await _open(server)
        writer.write(b"GET / HT")
        writer.write_eof()
        assert await reader.read() == b""
        assert server.connections[0].requests == []
        writer.close()


async def test_the_server_ends_though_connections_hang() -> None:
    async with asyncio.timeout(2):
        async with ScriptServer([Hang()]) as server:
            _, writer = await _open(server)
            await until(lambda: len(server.connections) == 1)
        writer.close()


def test_chunks_and_heads() -> None:
    assert chunk(b"hello") == b"5\r\nhello\r\n"
    assert chunk(b"") == b"0\r\n\r\n"
    assert stream_head("a: b\r\n").endswith(b"a: b\r\n\r\n")
    assert answer(b"", status=404).startswith(b"HTTP/1.1 404 ")
