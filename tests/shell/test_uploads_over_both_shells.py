"""Files that clients send, over both shells: how large, how often they go on, how fast, and that nothing is left of them."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from support.client import Connection, chat, request
from support.forms import BOUNDARY, FORM, File, form, heard, in_chunks
from support.gateway import Gateway, gateway, until
from switchboard.core.clock import now
from switchboard.net.script import Again, Hang, Request, Reset, Script, ScriptServer, Wait, answer

pytestmark = pytest.mark.anyio

T = TypeVar("T")
PATH = "/v1/audio/transcriptions"
OK = json.dumps({"text": "Hello there"}).encode()
GOOD: Script = [Request(), answer(OK), Again()]
#: Headers of a form whose client does not know its length.
CHUNKED = FORM | {"content-length": "", "transfer-encoding": "chunked"}
#: More than stays in memory, and than the buffers on the way hold.
LARGE: File = ("file", "a.wav", "audio/wav", bytes(range(256)) * 12_000)
SMALL: File = ("file", "a.wav", "audio/wav", b"RIFF and so on")
FIELDS = {"model": "m", "prompt": "a"}


def settings_for(up: ScriptServer | SlowServer, **more: Any) -> dict[str, Any]:
    row = {"base_url": up.base_url, "transcription_model": "m", "image_model": "m", "chunked_uploads": True}
    return {
        "providers": {"up": row},
        "chat": {"provider": "up", "model": "m"},
        "retry": {"attempts": 1},
    } | more


async def soon(what: Awaitable[T], within: float = 10.0) -> T:
    """`what`, which may not take longer than that."""
    return await asyncio.wait_for(what, within)


def requests(up: ScriptServer) -> list[bytes]:
    return [r for c in up.connections for r in c.requests]


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def open_in(folder: Path) -> int:
    """How many files of `folder` this process has open; they have no name there."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it was closed just now
            count += str(fd.readlink()).startswith(str(folder))
    return count


@asynccontextmanager
async def nothing_left(g: Gateway, folder: Path) -> AsyncIterator[None]:
    """Temporary files of what happens in here lie in `folder`: none of them with a name, and none is open at the end."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
        await until(lambda: not g.app.registry.open)
        await until(lambda: open_in(folder) == 0)
        assert os.listdir(folder) == []
    finally:
        tempfile.tempdir = before


# ---- how large


@pytest.mark.parametrize("path", ["/v1/images/edits", PATH, "/api/transcribe"])
async def test_how_large_a_form_may_be(shell: str, path: str) -> None:
    name = "image" if "images" in path else "file"
    empty = len(form({"prompt": "a"}, (name, *SMALL[1:3], b"")))
    async with ScriptServer([]) as up, gateway(shell, **settings_for(up, limits={"upload": 5000})) as g:
        for extra in (0, 1, 100_000):
            body = form({"prompt": "a"}, (name, *SMALL[1:3], b"x" * (5000 - empty + extra)))
            for sent in (
                request(path, body, FORM),
                request(path, b"", CHUNKED) + in_chunks(*_cut(body, 3000, 3000)),
            ):
                c = await g.connect()
                await c.send(sent)
                a = await soon(c.answer())
                c.close()
                assert (a.status == 413) is (extra > 0), a.text
                if extra:
                    assert a.json["error"]["message"] == "The body is larger than 5000 bytes."
                    assert a.json["error"]["code"].lower() == "payload_too_large"
        assert len(up.connections) == 2
        assert [r.outcome for r in g.records].count("refused") == 4


async def test_a_file_that_is_too_large_is_refused_before_it_is_sent(shell: str) -> None:
    async with ScriptServer([]) as up, gateway(shell, **settings_for(up, limits={"upload": 5000})) as g:
        for path, kind in ((PATH, FORM["content-type"]), ("/api/transcribe", "audio/wav")):
            c = await g.connect()
            head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: 5001\r\n"
            await c.send((head + "expect: 100-continue\r\n\r\n").encode())
            assert (await soon(c.reader.readuntil(b"\r\n"))).startswith(b"HTTP/1.1 413 ")
            c.close()
        assert up.connections == []


async def test_the_body_is_asked_for_where_a_client_waits(shell: str) -> None:
    async with ScriptServer(GOOD) as up, gateway(shell, **settings_for(up)) as g:
        body = form(FIELDS, SMALL)
        c = await g.connect()
        await c.send(request(PATH, body, FORM | {"expect": "100-continue"})[: -len(body)])
        assert await soon(c.reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await c.send(body)
        assert (await soon(c.answer())).json == {"text": "Hello there"}
        c.close()


async def test_json_may_be_larger_than_an_upload_and_the_other_way_round(shell: str) -> None:
    limits = {"upload": 50_000, "json_body": 1000}
    async with ScriptServer(GOOD) as up, gateway(shell, **settings_for(up, limits=limits)) as g:
        assert (await g.ask(PATH, form(FIELDS, ("file", "a", "audio/wav", b"x" * 40_000)), FORM)).status == 200
        assert (await g.ask("/v1/embeddings", {"input": "x" * 2000, "model": "m"})).status == 413
        assert len(requests(up)) == 1


# ---- how often


@pytest.mark.parametrize("file", [SMALL, LARGE], ids=["small", "large"])
async def test_it_is_sent_again_whole_when_the_provider_failed(shell: str, file: File, tmp_path: Path) -> None:
    failed = answer(b"{}", status=500)
    async with (
        ScriptServer([Request(), failed, Request(), failed, Request(), answer(OK)]) as up,
        gateway(shell, **settings_for(up, retry={"attempts": 3, "wait": 0.01})) as g,
        nothing_left(g, tmp_path),
    ):
        a = await g.ask(PATH, form(FIELDS, file), FORM)
        assert (a.status, a.body) == (200, OK)
        assert [heard(r) for r in requests(up)] == [(list(FIELDS.items()), [file])] * 3
        assert (await g.record()).attempts == 3


async def test_it_is_sent_to_the_next_target_whole(shell: str, tmp_path: Path) -> None:
    async with ScriptServer([Request(), Reset()]) as first, ScriptServer(GOOD) as second:
        settings = settings_for(first, routes={"listener": ["up/m1", "two/m2"]})
        settings["providers"]["two"] = {"base_url": second.base_url}
        async with gateway(shell, **settings) as g, nothing_left(g, tmp_path):
            a = await g.ask(PATH, form({"model": "listener"}, LARGE), FORM)
            assert (a.status, a.headers["x-switchboard-model"]) == (200, "m2")
            assert heard(requests(first)[0]) == ([("model", "m1")], [LARGE])
            assert heard(requests(second)[0]) == ([("model", "m2")], [LARGE])


async def test_it_is_sent_again_with_the_second_key(shell: str, tmp_path: Path) -> None:
    refused = answer(b"{}", status=401)
    async with ScriptServer([Request(), refused, Request(), answer(OK)]) as up:
        settings = settings_for(up)
        settings["providers"]["up"] |= {"type": "openai", "api_key": ["sk-first-key", "sk-second-key"]}
        async with gateway(shell, **settings) as g, nothing_left(g, tmp_path):
            assert (await g.ask(PATH, form(FIELDS, LARGE), FORM)).status == 200
            assert [b"sk-second-key" in r for r in requests(up)] == [False, True]
            assert heard(requests(up)[1])[1] == [LARGE]


async def test_a_connection_that_went_stale_is_replaced(shell: str, tmp_path: Path) -> None:
    """The provider closes it when the second upload comes."""

    def script(n: int) -> Script:
        return [Request(), answer(OK), Request()] if n == 0 else GOOD

    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        for file in (SMALL, LARGE):
            assert (await g.ask(PATH, form(FIELDS, file), FORM)).status == 200
        assert len(up.connections) == 2
        assert heard(up.connections[1].requests[0]) == (list(FIELDS.items()), [LARGE])
        assert [r.attempts for r in g.records] == [1, 1]


async def test_an_upload_and_a_chat_take_turns_on_a_connection(shell: str, tmp_path: Path) -> None:
    said = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"good"},"finish_reason":"stop"}]}'
    script: Script = [Request(), answer(OK), Request(), answer(said), Again()]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        for _ in range(3):
            assert (await g.ask(PATH, form(FIELDS, LARGE), FORM)).json == {"text": "Hello there"}
            assert (await g.ask("/v1/chat/completions", chat("hi", model="m"))).status == 200
        assert len(up.connections) == 1
        assert [r.startswith(b"POST /v1/audio") for r in requests(up)] == [True, False] * 3


# ---- while it comes in


@pytest.mark.parametrize("warm", [False, True])
async def test_the_head_of_a_request_goes_before_its_body(shell: str, warm: bool, tmp_path: Path) -> None:
    """Whatever of a file comes in while the provider is dialled, or with the same packet as the beginning of it."""
    file: File = ("file", "a.wav", "audio/wav", b"x" * 5000)
    script: Script = GOOD if warm else [Request(), answer(OK, headers="connection: close\r\n")]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        if warm:  # a connection waits for the next request
            assert (await g.ask(PATH, form(FIELDS, SMALL), FORM)).status == 200
        for n in range(10):
            await until(lambda: not g.app.registry.open)
            c = await g.connect()
            pieces = _cut(form(FIELDS, file), 400, 40)
            if n % 2:
                await c.send(request(PATH, b"", CHUNKED) + in_chunks(*pieces))
            else:
                await c.send(request(PATH, b"", FORM | {"content-length": str(sum(map(len, pieces)))}))
                for p in pieces:
                    await c.send(p)
                    await asyncio.sleep(0)
            assert (await soon(c.answer())).status == 200
            c.close()
            assert heard(requests(up)[-1]) == (list(FIELDS.items()), [file])


def _cut(data: bytes, first: int, size: int) -> list[bytes]:
    """`data` in pieces of `size` bytes, but for the first."""
    return [data[:first], *[data[i : i + size] for i in range(first, len(data), size)]]


async def test_a_field_behind_an_image_is_waited_for(shell: str, tmp_path: Path) -> None:
    """As npm's SDK writes forms: members in the order of its caller's."""
    images = json.dumps({"data": [{"b64_json": "AAAA"}]}).encode()
    image: File = ("image", "a.png", "image/png", LARGE[3])
    mask: File = ("mask", "m.png", "image/png", LARGE[3][:1000])
    body = _joined(form({"model": "m"}), form({}, image), form({}, mask), form({"prompt": "a hat", "n": "1"}))
    async with (
        ScriptServer([Request(), answer(images), Again()]) as up,
        gateway(shell, **settings_for(up)) as g,
        nothing_left(g, tmp_path),
    ):
        a = await g.ask("/v1/images/edits", body, FORM)
        assert (a.status, a.body) == (200, images), a.text
        (whole,) = requests(up)
        assert heard(whole) == ([("model", "m"), ("prompt", "a hat"), ("n", "1")], [image, mask])


def _joined(*forms: bytes) -> bytes:
    """One form of the parts of `forms`, in order."""
    end = f"--{BOUNDARY}--\r\n".encode()
    return b"".join(f.removesuffix(end) for f in forms) + end


async def test_a_provider_does_not_get_the_end_of_a_form_before_it_has_come(shell: str, tmp_path: Path) -> None:
    """Or else it would answer half of what is asked, and want to be paid for both halves."""
    body = _joined(form({"model": "m"}, LARGE), form({"language": "pl"}))
    at = body.index(b'name="language"')
    async with ScriptServer(GOOD) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        c = await g.connect()
        await c.send(request(PATH, b"", FORM | {"content-length": str(len(body))}) + body[:at])
        await until(lambda: bool(up.connections))
        await asyncio.sleep(0.2)
        assert requests(up) == []
        await c.send(body[at:])
        assert (await soon(c.answer())).status == 200
        c.close()
        (whole,) = requests(up)
        assert heard(whole) == ([("model", "m"), ("language", "pl")], [LARGE])


async def test_a_second_file_comes_behind_the_first(shell: str, tmp_path: Path) -> None:
    images = json.dumps({"data": [{"b64_json": "AAAA"}]}).encode()
    files: list[File] = [("image[]", f"{n}.png", "image/png", bytes([n]) * 700_000) for n in range(3)]
    body = form({"model": "m", "prompt": "a hat"}, *files)
    async with (
        ScriptServer([Request(), answer(images), Again()]) as up,
        gateway(shell, **settings_for(up)) as g,
        nothing_left(g, tmp_path),
    ):
        c = await g.connect()
        await c.send(request("/v1/images/edits", b"", FORM | {"content-length": str(len(body))}))
        for i in range(0, len(body), 100_000):
            await c.send(body[i : i + 100_000])
            await asyncio.sleep(0.002)
        assert (await soon(c.answer())).status == 200
        c.close()
        (whole,) = requests(up)
        assert heard(whole) == ([("model", "m"), ("prompt", "a hat")], files)


async def test_a_target_that_takes_no_file_as_it_comes_in_waits_for_it(shell: str, tmp_path: Path) -> None:
    """The first target fails while the client is still sending."""
    said = json.dumps({"durationMilliseconds": 1500, "combinedPhrases": [{"text": "Hello there"}], "phrases": []})
    body = form({"model": "listener"}, LARGE)
    async with ScriptServer([]) as first, ScriptServer([Request(), answer(said.encode()), Again()]) as second:
        settings = settings_for(first, routes={"listener": ["up/m1", "az/fast-transcription"]})
        settings["providers"]["az"] = {"type": "azure_speech", "base_url": second.base_url, "api_key": "az-key-1"}
        async with gateway(shell, **settings) as g, nothing_left(g, tmp_path):
            c = await g.connect()
            await c.send(request(PATH, b"", FORM | {"content-length": str(len(body))}) + body[:1_000_000])
            await until(lambda: bool(first.connections))
            await asyncio.sleep(0.1)
            assert second.connections == []
            await c.send(body[1_000_000:])
            assert (await soon(c.answer())).json["text"] == "Hello there"
            c.close()
            (whole,) = requests(second)
            assert b"transfer-encoding" not in whole.partition(b"\r\n\r\n")[0].lower()
            assert heard(whole)[1][0][3] == LARGE[3]


async def test_a_form_that_is_refused_when_its_end_is_there(shell: str, tmp_path: Path) -> None:
    """Though a provider has been asked: it is let go, and the client is told what is wrong."""
    for behind, param in (
        (form({"response_format": "xml"}), "response_format"),
        (form({}, ("file", "b.wav", "audio/wav", b"x")), "file"),
        (form({}, ("other", "b.wav", "audio/wav", b"x")), "other"),
        (b"--nonsense", None),
    ):
        body = _joined(form({"model": "m"}, LARGE), behind) if param else form({"model": "m"}, LARGE)[:-20] + behind
        async with ScriptServer([Hang()]) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
            c = await g.connect()
            await c.send(request(PATH, b"", FORM | {"content-length": str(len(body))}) + body[:2_000_000])
            await until(lambda: bool(up.connections))
            await c.send(body[2_000_000:])
            a = await soon(c.answer())
            c.close()
            assert (a.status, a.json["error"]["param"]) == (400, param)
            await until(lambda: up.connections[0].left is not None)


# ---- providers that do not wait for its end


@pytest.mark.parametrize(("status", "told"), [(413, 413), (401, 502), (500, 503), (200, 200)])
async def test_an_answer_before_the_end_of_the_upload(shell: str, status: int, told: int, tmp_path: Path) -> None:
    """The provider reads nothing and answers; the connection is not used again."""
    early = answer(OK if status == 200 else b'{"error": {"message": "no"}}', status=status)
    async with (
        SlowServer(early) as up,
        gateway(shell, **settings_for(up)) as g,
        nothing_left(g, tmp_path),
    ):
        a = await soon(g.ask(PATH, form(FIELDS, ("file", "a", "audio/wav", b"x" * 20_000_000)), FORM))
        assert (a.status, a.whole) == (told, True)
        await until(lambda: up.left == 1)
        assert up.made == 1


async def test_a_connection_that_breaks_in_the_middle_of_the_upload(shell: str, tmp_path: Path) -> None:
    async with SlowServer(None) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        asking = asyncio.create_task(g.ask(PATH, form(FIELDS, ("file", "a", "audio/wav", b"x" * 20_000_000)), FORM))
        await until(lambda: up.made == 1)
        await asyncio.sleep(0.1)
        up.reset()
        a = await soon(asking)
        assert (a.status, a.json["error"]["code"]) == (502, "provider_unreachable")


# ---- clients that leave


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("path", [PATH, "/api/transcribe"])
async def test_who_leaves_in_the_middle_of_the_upload(shell: str, path: str, how: str, tmp_path: Path) -> None:
    kind = FORM if path == PATH else {"content-type": "audio/wav"}
    async with ScriptServer([Hang()]) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        for n in range(5):
            c = await g.connect()
            await c.send(request(path, form(FIELDS, LARGE), kind)[:2_000_000])
            await until(lambda n=n: len(up.connections) > n and len(up.connections[n].heard) > 1_000_000)
            assert open_in(tmp_path) == 1
            left = now()
            if how == "reset":
                c.reset()
            else:
                c.close()
            connection = up.connections[n]
            await until(lambda connection=connection: connection.left is not None)
            assert connection.left is not None and connection.left - left < 0.1
            assert (await g.record(n + 1)).outcome == "client_left"


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_who_leaves_before_a_model_is_named(shell: str, how: str, tmp_path: Path) -> None:
    async with ScriptServer([Hang()]) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        c = await g.connect()
        await c.send(request(PATH, form({}, LARGE), FORM)[:2_000_000])
        await until(lambda: open_in(tmp_path) == 1)
        if how == "reset":
            c.reset()
        else:
            c.close()
        assert (await g.record()).outcome == "client_left"
        assert up.connections == []


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_who_leaves_while_it_is_sent_on_is_not_waited_for(shell: str, how: str, tmp_path: Path) -> None:
    async with SlowServer(None) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        for n in range(1, 6):
            c = await g.connect()
            await c.send(request(PATH, form(FIELDS, ("file", "a", "audio/wav", b"x" * 15_000_000)), FORM))
            await until(lambda n=n: up.made == n)
            await asyncio.sleep(0.05)
            left = now()
            if how == "reset":
                c.reset()
            else:
                c.close()
            await until(lambda n=n: len(g.records) == n)
            assert now() - left < 0.1
            assert g.records[-1].outcome == "client_left"
            up.reset()


async def test_who_leaves_while_the_provider_thinks_is_not_waited_for(shell: str, tmp_path: Path) -> None:
    async with (
        ScriptServer([Request(), Hang()]) as up,
        gateway(shell, **settings_for(up)) as g,
        nothing_left(g, tmp_path),
    ):
        for n in range(10):
            c = await g.connect()
            await c.send(request(PATH, form(FIELDS, LARGE), FORM))
            await until(lambda n=n: len(up.connections) > n and bool(up.connections[n].requests))
            left = now()
            c.close()
            connection = up.connections[n]
            await until(lambda connection=connection: connection.left is not None)
            assert connection.left is not None and connection.left - left < 0.1
            assert (await g.record(n + 1)).outcome == "client_left"


# ---- whatever happens, nothing is left


async def test_the_files_of_requests_that_are_refused_are_closed(shell: str, tmp_path: Path) -> None:
    big = b"x" * 2_000_000
    bad: list[tuple[str, bytes, dict[str, str], int]] = [
        (PATH, form(FIELDS, ("sound", "a", "audio/wav", big)), FORM, 400),
        (PATH, form(FIELDS, ("file", "a", "audio/wav", big))[:-20], FORM, 400),
        (PATH, form(FIELDS | {"response_format": "xml"}, ("file", "a", "audio/wav", big)), FORM, 400),
        (PATH, form(FIELDS | {"model": "a b"}, ("file", "a", "audio/wav", big)), FORM, 400),
        (PATH, form([("a", "b")], ("file", "a", "audio/wav", big)) + b"x" * 2_000_000, FORM, 413),
        ("/v1/images/edits", form(FIELDS, ("photo", "a", "image/png", big)), FORM, 400),
        ("/api/transcribe", big + b"x" * 2_000_000, {"content-type": "audio/wav"}, 413),
    ]
    async with (
        ScriptServer([Hang()]) as up,
        gateway(shell, **settings_for(up, limits={"upload": 3_000_000})) as g,
        nothing_left(g, tmp_path),
    ):
        for path, body, headers, status in bad:
            a = await soon(g.ask(path, body, headers))
            assert a.status == status, a.text
        c = await g.connect()
        await c.send(request(PATH, b"", CHUNKED) + b"3d0900\r\n" + form(FIELDS, LARGE).ljust(4_000_000, b"x"))
        assert (await soon(c.answer())).status == 413
        c.close()


async def test_the_server_stops_while_it_is_sent_on(shell: str, tmp_path: Path) -> None:
    async with SlowServer(None) as up, AsyncExitStack() as stack:
        async with gateway(shell, **settings_for(up)) as g:
            await stack.enter_async_context(nothing_left(g, tmp_path))
            c = await g.connect()
            await c.send(request(PATH, form(FIELDS, LARGE), FORM))
            await until(lambda: up.made == 1)
        a = await soon(c.answer())
        assert (a.status, a.json["error"]["code"]) == (503, "server_restarting")
        c.close()


# ---- slow providers


class SlowServer:
    """A provider that reads of an upload only when it is told to, and counts what it got without keeping it. It answers
    with `said`: before it has read anything, if that is not None, else when it has read all."""

    def __init__(self, said: bytes | None) -> None:
        self._said = said
        self._server: asyncio.Server | None = None
        self._go = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.made = self.left = self.read = 0
        self.digest = ""
        self.boundary = b""
        self.base_url = ""

    async def __aenter__(self) -> SlowServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64 * 1024)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def go_on(self) -> None:
        """Read what there is."""
        self._go.set()

    def reset(self) -> None:
        """Break off the newest connection."""
        self._writers[-1].transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.append(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.made += 1
            self.boundary = head.partition(b"boundary=")[2].split(b"\r\n")[0]
            if self._said is not None:
                writer.write(self._said)
                while await reader.read(1000):
                    await asyncio.sleep(0)
                self.left += 1
                return
            await self._go.wait()
            hash_ = hashlib.sha256()
            async for data in _body(reader, head.lower()):
                self.read += len(data)
                hash_.update(data)
                if self.read % (1 << 20) < len(data):
                    await asyncio.sleep(0.01)
            self.digest = hash_.hexdigest()
            writer.write(answer(OK))
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left += 1
        finally:
            writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    """The body behind `head`, a piece at a time."""
    if b"transfer-encoding: chunked" not in head:
        left = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        while left:
            data = await reader.read(min(left, 64 * 1024))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            yield data
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)


async def test_a_slow_provider_costs_no_memory(shell: str, tmp_path: Path) -> None:
    """20 MB go to a provider that reads none of it for a while, then a megabyte at a time."""
    megabyte = hashlib.shake_256(b"sound").digest(1 << 20)
    begin = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n'.encode()
    begin += b"content-type: audio/wav\r\n\r\n"
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    size = len(begin) + 20 * len(megabyte) + len(end)
    async with SlowServer(None) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        gc.collect()
        before = highest = resident()
        client = await Connection.open(g.port)
        await client.send(request(PATH, b"", FORM | {"content-length": str(size)}) + begin)
        for _ in range(20):
            await client.send(megabyte)
            highest = max(highest, resident())
        await client.send(end)
        await until(lambda: up.made == 1)
        for _ in range(30):
            await asyncio.sleep(0.01)
            highest = max(highest, resident())
        assert open_in(tmp_path) == 1
        # others do not wait for it
        quick = await soon(g.ask("/health"), 1)
        assert quick.status == 200
        up.go_on()
        while up.digest == "":
            await asyncio.sleep(0.002)
            highest = max(highest, resident())
        assert (await soon(client.answer())).json == {"text": "Hello there"}
        client.close()
        assert highest - before < 5_000_000
        wanted = hashlib.sha256(
            b'--%b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--%b\r\ncontent-disposition: form-data; '
            b'name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n' % (up.boundary, up.boundary)
        )
        for _ in range(20):
            wanted.update(megabyte)
        wanted.update(b"\r\n--%b--\r\n" % up.boundary)
        assert up.digest == wanted.hexdigest()


async def test_a_client_that_sends_slowly(shell: str, tmp_path: Path) -> None:
    """A few bytes at a time, cut anywhere."""
    body = form(FIELDS, ("file", "a b.wav", "audio/wav", b"\r\n--" + b"x" * 300))
    async with ScriptServer(GOOD) as up, gateway(shell, **settings_for(up)) as g, nothing_left(g, tmp_path):
        c = await g.connect()
        await c.send(request(PATH, body, FORM)[: -len(body)])
        for i in range(0, len(body), 7):
            await c.send(body[i : i + 7])
            await asyncio.sleep(0.001)
        assert (await soon(c.answer())).status == 200
        c.close()
        assert heard(requests(up)[0]) == (
            list(FIELDS.items()),
            [("file", "a b.wav", "audio/wav", b"\r\n--" + b"x" * 300)],
        )


async def test_many_at_once(shell: str, tmp_path: Path) -> None:
    async with (
        ScriptServer([Request(), Wait(0.05), answer(OK), Again()]) as up,
        gateway(shell, **settings_for(up)) as g,
        nothing_left(g, tmp_path),
    ):
        bodies = [
            form({"prompt": f"number {n}"}, ("file", "a", "audio/wav", bytes([n]) * 1_500_000)) for n in range(12)
        ]
        answers = await asyncio.gather(*[g.ask(PATH, b, FORM) for b in bodies])
        assert [a.status for a in answers] == [200] * 12
        for r in requests(up):
            fields, files = heard(r)
            n = int(dict(fields)["prompt"].removeprefix("number "))
            assert files[0][3] == bytes([n]) * 1_500_000
