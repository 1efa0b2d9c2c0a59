"""Vectors, images, sound and older text, end to end over both shells: what a provider is asked, and what of its answer
comes to a client, when."""

from __future__ import annotations

import array
import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable
from typing import Any, TypeVar

import pytest

from support.client import Answer, Connection, request
from support.forms import FORM, File, form, heard
from support.gateway import Gateway, gateway, until
from switchboard.core.clock import now
from switchboard.net.script import (
    Again,
    Hang,
    Request,
    Reset,
    Script,
    ScriptServer,
    Step,
    Wait,
    answer,
    chunk,
    stream_head,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")
KEY = "sk-media-0123456789"
SOUND = bytes(range(256)) * 20
WAV: File = ("file", "hello there.wav", "audio/wav", SOUND)
PNG = b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
USAGE = {"type": "tokens", "input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
CHAT = json.dumps(
    {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()
#: Paths by what is asked there, with a body that is fine.
JSON_PATHS: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": "Hello there"},
    "/v1/images/generations": {"prompt": "a cat"},
    "/v1/audio/speech": {"input": "Hello there", "voice": "alloy"},
    "/v1/completions": {"prompt": "Hello there"},
    "/v1/responses": {"input": "Hello there"},
    "/api/tts": {"text": "Hello there"},
}
FORM_PATHS: dict[str, bytes] = {
    "/v1/images/edits": form({"prompt": "a hat", "model": "m"}, ("image", "a.png", "image/png", b"\x89PNG")),
    "/v1/audio/transcriptions": form({"model": "m"}, WAV),
    "/api/transcribe": form({"model": "m"}, WAV),
}
PATHS = [*JSON_PATHS, *FORM_PATHS]


def settings_for(up: ScriptServer, type: str = "compatible", **row: Any) -> dict[str, Any]:  # noqa: A002  the setting
    """A gateway over `up`, with a model for everything."""
    models = {f"{n}_model": f"{n}-model" for n in ("embeddings", "image", "speech", "transcription")}
    return {
        "providers": {"up": {"type": type, "title": "Up", "base_url": up.base_url, "api_key": KEY} | models | row},
        "chat": {"provider": "up", "model": "chat-model"},
        "retry": {"attempts": 1},
    }


async def soon(what: Awaitable[T], within: float = 5.0) -> T:
    """`what`, which may not take longer than that."""
    return await asyncio.wait_for(what, within)


def posted(path: str, **more: Any) -> bytes:
    """A request to `path` that is fine; `more` are further members or fields."""
    if path in JSON_PATHS:
        return request(path, {"model": "m"} | JSON_PATHS[path] | more)
    return request(path, FORM_PATHS[path], FORM)


async def post(g: Gateway, path: str) -> Answer:
    """The answer to a request that is fine."""
    if path in JSON_PATHS:
        return await g.ask(path, {"model": "m"} | JSON_PATHS[path])
    return await g.ask(path, FORM_PATHS[path], FORM)


def asked(up: ScriptServer, n: int = 0) -> tuple[str, dict[str, str], bytes]:
    """The `n`th request that a provider has heard: its path, headers and body."""
    requests = [r for c in up.connections for r in c.requests]
    head, _, body = requests[n].partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    method, path, _ = line.split(" ")
    assert method == "POST"
    return path, dict(x.split(": ", 1) for x in lines), body


def asked_json(up: ScriptServer, path: str, n: int = 0) -> dict[str, Any]:
    """The body of the `n`th request, which came to `path`."""
    came, headers, body = asked(up, n)
    assert came == f"/v1{path}"
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == f"Bearer {KEY}"
    value: dict[str, Any] = json.loads(body)
    return value


def asked_form(up: ScriptServer, path: str, n: int = 0) -> tuple[list[tuple[str, str]], list[File]]:
    """The form of the `n`th request, which came to `path`."""
    came, headers, _ = asked(up, n)
    assert came == f"/v1{path}"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    return heard([r for c in up.connections for r in c.requests][n])


def sse(*payloads: Any) -> bytes:
    return b"".join(b"data: " + (p if isinstance(p, bytes) else json.dumps(p).encode()) + b"\n\n" for p in payloads)


def in_base64(vector: list[float]) -> str:
    return b64encode(array.array("f", vector).tobytes()).decode()


# ---- embeddings


VECTORS = json.dumps(
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
        "model": "theirs",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
        "x-own": 1.5,
    },
    indent=1,
).encode()


async def test_embeddings_pass(shell: str) -> None:
    async with ScriptServer([Request(), answer(VECTORS), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        body = {"model": "m", "input": ["Hello", "there"], "dimensions": 2, "x-own": {"a": [1.5]}}
        a = await g.ask("/v1/embeddings", body)
        assert (a.status, a.body, a.headers["content-type"]) == (200, VECTORS, "application/json")
        assert asked_json(up, "/embeddings") == body
        r = await g.record()
        assert (r.path, r.dialect, r.provider, r.model) == ("/v1/embeddings", "openai_embeddings", "up", "m")
        assert (r.outcome, r.status, r.streamed, r.attempts) == ("complete", 200, False, 1)
        assert (r.tokens_in, r.tokens_out, r.tokens_estimated) == (7, 0, False)


async def test_vectors_are_in_the_form_that_was_asked_for(shell: str) -> None:
    async with ScriptServer([Request(), answer(VECTORS), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        a = await g.ask("/v1/embeddings", {"input": "a", "encoding_format": "base64"})
        assert asked_json(up, "/embeddings") == {
            "model": "embeddings-model",
            "input": "a",
            "encoding_format": "base64",
        }
        assert a.json["data"][0]["embedding"] == in_base64([0.5, -0.25])
        assert (a.json["x-own"], a.json["usage"]["total_tokens"]) == (1.5, 7)


async def test_embeddings_offline(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/v1/embeddings", {"input": ["Hello there", "Hello"], "dimensions": 64})
        assert [len(x["embedding"]) for x in a.json["data"]] == [64, 64]
        packed = await g.ask(
            "/v1/embeddings", {"input": ["Hello there"], "dimensions": 64, "encoding_format": "base64"}
        )
        assert packed.json["data"][0]["embedding"] == in_base64(a.json["data"][0]["embedding"])
        assert (a.json["model"], a.json["usage"]["total_tokens"]) == ("hashed-words", 3)
        wrong = await g.ask("/v1/embeddings", {"input": "a", "model": "echo"})
        assert (wrong.status, wrong.json["error"]["message"]) == (400, "The model 'echo' does not make embeddings.")


async def test_who_does_what_is_set(shell: str) -> None:
    async with (
        ScriptServer([Request(), answer(CHAT), Again()]) as chats,
        ScriptServer([Request(), answer(VECTORS), Again()]) as embeds,
    ):
        settings = settings_for(chats)
        settings["providers"]["other"] = {"base_url": embeds.base_url}
        settings["embeddings"] = {"provider": "other", "model": "e1"}
        async with gateway(shell, **settings) as g:
            assert (await g.ask("/v1/embeddings", {"input": "a"})).status == 200
            assert json.loads(asked(embeds)[2])["model"] == "e1"
            assert (await g.ask("/v1/completions", {"prompt": "a"})).status == 200
            assert json.loads(asked(chats)[2])["model"] == "chat-model"


async def test_no_model_is_said_where_none_is_set(shell: str) -> None:
    async with ScriptServer([]) as up:
        settings = settings_for(up)
        settings["providers"]["up"] = {"base_url": up.base_url}
        async with gateway(shell, **settings) as g:
            for path in ("/v1/embeddings", "/v1/images/generations", "/v1/audio/speech", "/api/tts"):
                a = await g.ask(path, JSON_PATHS[path])
                assert (a.status, up.connections) == (400, [])
                assert a.json["error"]["message"] == "model: name one; the settings of this server name none."


# ---- images


IMAGES = json.dumps({"created": 1, "data": [{"b64_json": PNG}], "usage": USAGE, "x-own": 1.5}, indent=1).encode()


async def test_images_pass(shell: str) -> None:
    async with ScriptServer([Request(), answer(IMAGES), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        body = {"prompt": "a cat", "n": 1, "size": "1024x1024", "quality": "hd", "style": "vivid", "x-own": [1.5]}
        a = await g.ask("/v1/images/generations", body)
        assert (a.status, a.body, a.headers["content-type"]) == (200, IMAGES, "application/json")
        assert asked_json(up, "/images/generations") == {"model": "image-model"} | body
        assert "x-switchboard-dropped" not in a.headers
        r = await g.record()
        assert (r.dialect, r.model, r.tokens_in, r.tokens_out) == ("openai_images", "image-model", 3, 4)
        assert (r.usage.images, r.tokens_estimated) == (1, False)


async def test_an_address_is_made_where_today_s_models_give_none(shell: str) -> None:
    async with (
        ScriptServer([Request(), answer(IMAGES), Again()]) as up,
        gateway(shell, **settings_for(up, "openai")) as g,
    ):
        body = {"prompt": "a cat", "model": "gpt-image-x", "response_format": "url", "quality": "hd", "style": "vivid"}
        a = await g.ask("/v1/images/generations", body)
        assert a.json["data"] == [{"b64_json": PNG, "url": f"data:image/png;base64,{PNG}"}]
        assert a.headers["x-switchboard-dropped"] == "style"
        assert asked_json(up, "/images/generations") == {"model": "gpt-image-x", "prompt": "a cat", "quality": "high"}


PARTIAL = sse({"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "AA=="})
DRAWN = sse({"type": "image_generation.completed", "b64_json": PNG, "usage": USAGE})


async def test_a_partial_image_comes_before_the_last(shell: str) -> None:
    script: Script = [Request(), stream_head(), chunk(PARTIAL), Wait(0.5), chunk(DRAWN), chunk(b""), Again()]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        c = await g.connect()
        body = {"prompt": "a cat", "stream": True, "partial_images": 1}
        await c.send(request("/v1/images/generations", body))
        status, headers = await soon(c.head())
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        began = now()
        assert await soon(c.chunk()) == PARTIAL
        assert now() - began < 0.3
        assert await soon(c.chunk()) == DRAWN
        assert await soon(c.chunk()) == b""
        c.close()
        assert asked_json(up, "/images/generations") == {"model": "image-model"} | body
        r = await g.record()
        assert (r.outcome, r.streamed, r.tokens_in, r.tokens_out) == ("complete", True, 3, 4)


async def test_streamed_images_are_counted(shell: str) -> None:
    script: Script = [Request(), stream_head(), chunk(PARTIAL + DRAWN), chunk(b""), Again()]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        await g.ask("/v1/images/generations", {"prompt": "a cat", "stream": True})
        assert (await g.record()).usage.images == 1


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/edits"])
async def test_an_image_that_came_whole_though_a_stream_was_asked_for(shell: str, path: str) -> None:
    async with ScriptServer([Request(), answer(IMAGES), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        if path.endswith("edits"):
            fields = {"prompt": "a hat", "stream": "true"}
            a = await g.ask(path, form(fields, ("image", "a.png", "image/png", b"x")), FORM)
        else:
            a = await g.ask(path, {"prompt": "a cat", "stream": True})
        (event,) = a.events
        kind = "image_edit" if path.endswith("edits") else "image_generation"
        assert (event["type"], event["b64_json"], event["usage"]["total_tokens"]) == (f"{kind}.completed", PNG, 7)
        assert (a.whole, a.headers["content-type"]) == (True, "text/event-stream")


EDIT: list[File] = [
    ("image[]", "a cat.png", "image/png", b"\x89PNG" + bytes(range(256)) * 3000),
    ("image[]", "żółw.webp", "image/webp", b"RIFF\r\n--x"),
    ("mask", "m.png", "image/png", b"\x89PNG"),
]


async def test_an_edit_reaches_the_provider_intact_but_for_its_model(shell: str) -> None:
    async with ScriptServer([Request(), answer(IMAGES), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        fields = [("model", "route"), ("prompt", "żółty kapelusz\r\n"), ("n", "1"), ("x-own", "1"), ("x-own", "2")]
        a = await g.ask("/v1/images/edits", form(fields, *EDIT), FORM)
        assert (a.status, a.body) == (200, IMAGES)
        assert asked_form(up, "/images/edits") == (fields, EDIT)
        a = await g.ask("/v1/images/edits", form(fields[1:], *EDIT), FORM)
        assert asked_form(up, "/images/edits", 1) == ([("model", "image-model"), *fields[1:]], EDIT)
        r = await g.record(2)
        assert (r.path, r.dialect, r.model, r.usage.images) == (
            "/v1/images/edits",
            "openai_image_edits",
            "image-model",
            1,
        )


async def test_an_edit_goes_to_the_model_of_a_route(shell: str) -> None:
    async with (
        ScriptServer([Request(), answer(IMAGES), Again()]) as up,
        gateway(shell, **settings_for(up), routes={"painter": ["up/real-model"]}) as g,
    ):
        a = await g.ask("/v1/images/edits", form({"prompt": "a", "model": "painter"}, EDIT[2], EDIT[0]), FORM)
        assert a.headers["x-switchboard-model"] == "real-model"
        assert asked_form(up, "/images/edits")[0] == [("model", "real-model"), ("prompt", "a")]


# ---- speech


def sounding(*pieces: bytes, kind: str = "audio/mpeg", end: bool = True) -> list[Step]:
    """Sound in HTTP chunks; without its `end` the connection breaks off."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    last: list[Step] = [chunk(b""), Again()] if end else []
    return [Request(), head, *[chunk(p) for p in pieces], *last]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ("audio/wav", "audio/wav"),
        ('audio/webm; codecs="opus"', 'audio/webm; codecs="opus"'),
        ("application/octet-stream", "audio/mpeg"),
    ],
)
async def test_sound_passes_with_its_type(shell: str, said: str, told: str) -> None:
    async with ScriptServer(sounding(SOUND[:7], SOUND[7:], kind=said)) as up, gateway(shell, **settings_for(up)) as g:
        body = {"input": "Hello there", "voice": "my-own", "instructions": "Whisper.", "speed": 1.5, "x-own": [1.5]}
        a = await g.ask("/v1/audio/speech", body)
        assert (a.status, a.body, a.whole, a.headers["content-type"]) == (200, SOUND, True, told)
        assert asked_json(up, "/audio/speech") == {"model": "speech-model"} | body
        r = await g.record()
        assert (r.path, r.dialect, r.model) == ("/v1/audio/speech", "openai_speech", "speech-model")
        assert (r.outcome, r.streamed, r.usage.characters, r.tokens_estimated) == ("complete", True, 11, True)


@pytest.mark.parametrize("name", ["opus", "aac", "flac", "wav", "pcm"])
async def test_the_format_that_was_asked_for(shell: str, name: str) -> None:
    async with (
        ScriptServer(sounding(SOUND, kind="application/octet-stream")) as up,
        gateway(shell, **settings_for(up)) as g,
    ):
        a = await g.ask("/v1/audio/speech", {"input": "a", "response_format": name})
        assert a.headers["content-type"] == ("audio/ogg" if name == "opus" else f"audio/{name}")
        assert asked_json(up, "/audio/speech") == {
            "model": "speech-model",
            "input": "a",
            "response_format": name,
            "voice": "alloy",
        }


async def test_sound_of_known_length(shell: str) -> None:
    script: Script = [Request(), answer(SOUND, kind="audio/mpeg"), Again()]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        a = await g.ask("/v1/audio/speech", {"input": "a"})
        assert (a.status, a.body, a.whole) == (200, SOUND, True)
        assert (await g.ask("/v1/audio/speech", {"input": "a"})).body == SOUND
        assert len(up.connections) == 1


async def test_sound_until_the_connection_ends(shell: str) -> None:
    script: Script = [Request(), b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\n\r\n", SOUND]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        a = await g.ask("/v1/audio/speech", {"input": "a"})
        assert (a.body, a.whole) == (SOUND, True)


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/tts"])
async def test_the_first_byte_of_sound_comes_at_once(shell: str, path: str) -> None:
    """The provider says one byte, and nothing more for a while."""
    script = [*sounding(b"\xff", end=False), Wait(1.0), chunk(b"\xfb"), chunk(b"")]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        c = await g.connect()
        began = now()
        await c.send(posted(path))
        status, headers = await soon(c.head())
        assert (status, headers["content-type"]) == (200, "audio/mpeg")
        assert await soon(c.chunk()) == b"\xff"
        assert now() - began < 0.5
        assert await soon(c.chunk()) == b"\xfb"
        assert await soon(c.chunk()) == b""
        c.close()
        r = await g.record()
        assert r.first_byte is not None and r.first_byte < 0.5 and r.duration > 0.9


@pytest.mark.parametrize("how", ["closed", "reset", "length", "chunk"])
@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/tts"])
async def test_sound_that_is_cut_off_is_cut_off_for_the_client(shell: str, path: str, how: str) -> None:
    """Half a sound may never look like a whole one."""
    script = sounding(SOUND, end=False)
    if how == "reset":
        script = [*script, Wait(0.1), Reset()]
    elif how == "length":
        script = [Request(), answer(SOUND + b"more", kind="audio/mpeg")[:-4]]
    elif how == "chunk":
        script = [*script, b"zz\r\n", Hang()]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        a = await post(g, path)
        assert (a.status, a.body, a.whole) == (200, SOUND, False)
        r = await g.record()
        assert (r.outcome, r.status) == ("upstream_cut", 200)
        assert r.error == ("PROVIDER_PROTOCOL" if how == "chunk" else "PROVIDER_CUT")
        assert not g.app.registry.open


async def test_no_sound_at_all_is_an_error(shell: str) -> None:
    scripts: list[Script] = [sounding(), [Request(), answer(b"", kind="audio/mpeg"), Again()]]
    for script in scripts:
        async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
            a = await g.ask("/v1/audio/speech", {"input": "a"})
            assert (a.status, a.json["error"]["code"]) == (502, "provider_cut")


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/tts", "/v1/images/generations"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_who_leaves_in_the_middle_of_it_is_not_waited_for(shell: str, path: str, how: str) -> None:
    begun = PARTIAL if "images" in path else b"\xff"
    kind = "text/event-stream" if "images" in path else "audio/mpeg"
    async with (
        ScriptServer([*sounding(begun, kind=kind, end=False), Hang()]) as up,
        gateway(shell, **settings_for(up)) as g,
    ):
        for n in range(20):
            c = await g.connect()
            await c.send(posted(path, **({"stream": True} if "images" in path else {})))
            await soon(c.head())
            assert await soon(c.chunk())
            left = now()
            if how == "reset":
                c.reset()
            else:
                c.close()
            connection = up.connections[n]
            await until(lambda connection=connection: connection.left is not None)
            assert connection.left is not None and connection.left - left < 0.1
            assert (await g.record(n + 1)).outcome == "client_left"
        assert not g.app.registry.open


SAID_1 = sse({"type": "speech.audio.delta", "audio": b64encode(SOUND).decode()})
SAID_2 = sse({"type": "speech.audio.done", "usage": USAGE})


async def test_sound_in_events(shell: str) -> None:
    script: Script = [Request(), stream_head(), chunk(SAID_1), Wait(0.3), chunk(SAID_2), chunk(b""), Again()]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        a = await g.ask("/v1/audio/speech", {"input": "Hello there", "stream_format": "sse"})
        assert (a.body, a.whole, a.headers["content-type"]) == (SAID_1 + SAID_2, True, "text/event-stream")
        assert b64decode(a.events[0]["audio"]) == SOUND
        assert asked_json(up, "/audio/speech")["stream_format"] == "sse"
        r = await g.record()
        assert (r.dialect, r.tokens_in, r.tokens_out, r.tokens_estimated) == ("openai_speech_events", 3, 4, False)
        assert r.usage.characters == 11


async def test_sound_in_events_that_is_cut_off(shell: str) -> None:
    async with (
        ScriptServer([Request(), stream_head(), chunk(SAID_1)]) as up,
        gateway(shell, **settings_for(up)) as g,
    ):
        a = await g.ask("/v1/audio/speech", {"input": "a", "stream_format": "sse"})
        assert (a.status, a.whole) == (200, False)
        assert (a.events[0]["type"], a.events[-1]["type"]) == ("speech.audio.delta", "error")
        assert a.events[-1]["error"]["code"] == "provider_cut"


async def test_a_silence_adds_nothing_to_the_sound(shell: str) -> None:
    """Where events have comments between them, sound has nothing."""
    steps = sounding(SOUND[:100], end=False)
    script: Script = [steps[0], Wait(0.8), *steps[1:], Wait(1.0), chunk(SOUND[100:]), chunk(b"")]
    async with ScriptServer(script) as up:
        settings = settings_for(up) | {"stream": {"head_after": 0.3, "quiet": 0.3}}
        async with gateway(shell, **settings) as g:
            a = await g.ask("/v1/audio/speech", {"input": "a"})
            assert (a.status, a.body, a.whole) == (200, SOUND, True)


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ([Request(), answer(b'{"error": {"message": "busy", "type": "rate_limit_error"}}')], 502, "provider_protocol"),
        ([Request(), answer(b"<html>", kind="text/html")], 502, "provider_protocol"),
        ([Request(), stream_head(), chunk(sse({"type": "error", "error": {"message": "x", "code": "500"}})), chunk(b"")], 503, "provider_unavailable"),
    ],
)  # fmt: skip
async def test_what_is_no_sound(shell: str, script: Script, status: int, code: str) -> None:
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        streamed = {"stream_format": "sse"} if status == 503 else {}
        a = await g.ask("/v1/audio/speech", {"input": "a"} | streamed)
        assert (a.status, a.json["error"]["code"]) == (status, code)


async def test_voices(shell: str) -> None:
    async with ScriptServer(sounding(SOUND)) as up, gateway(shell, **settings_for(up, "openai")) as g:
        for path, body in (("/v1/audio/speech", {"input": "a"}), ("/api/tts", {"text": "a"})):
            a = await g.ask(path, body | {"voice": "bogus"})
            message = a.json["error"]["message"]
            assert (a.status, message.startswith("voice: 'bogus' is not one of alloy, ash")) == (400, True)
        assert a.json["error"]["code"] == "INVALID_REQUEST"
        assert up.connections == []
        assert (await g.record()).outcome == "refused"
        assert (await g.ask("/v1/audio/speech", {"input": "a", "voice": {"id": "voice_1"}})).status == 200
        assert asked_json(up, "/audio/speech")["voice"] == {"id": "voice_1"}


async def test_the_voice_and_the_format_of_the_settings(shell: str) -> None:
    async with ScriptServer(sounding(SOUND, kind="application/octet-stream")) as up:
        settings = settings_for(up) | {"speech": {"voice": "coral", "format": "opus"}}
        async with gateway(shell, **settings) as g:
            a = await g.ask("/api/tts", {"text": "Hello there"})
            assert a.headers["content-type"] == "audio/ogg"
            assert asked_json(up, "/audio/speech") == {
                "model": "speech-model",
                "input": "Hello there",
                "response_format": "opus",
                "voice": "coral",
            }
            own = {"text": "Hello there", "format": "wav", "voice": "nova", "speed": 2, "model": "m"}
            a = await g.ask("/api/v1/tts", own)
            assert (a.headers["content-type"], a.body) == ("audio/wav", SOUND)
            assert asked_json(up, "/audio/speech", 1) == {
                "model": "m",
                "input": "Hello there",
                "response_format": "wav",
                "voice": "nova",
                "speed": 2.0,
            }
            assert "x-switchboard-dropped" not in a.headers


async def test_what_tts_does_not_know_is_named(shell: str) -> None:
    async with ScriptServer(sounding(SOUND)) as up, gateway(shell, **settings_for(up)) as g:
        a = await g.ask("/api/tts", {"text": "a", "pitch": 2, "emotion": {"a": 1}})
        assert a.headers["x-switchboard-dropped"] == "pitch, emotion"
        assert set(asked_json(up, "/audio/speech")) == {"model", "input", "response_format", "voice"}


# ---- transcription


async def test_a_transcription_passes(shell: str) -> None:
    said = b'{ "text" : "Hello there", "usage": {"type": "duration", "seconds": 8}, "x-own": 1.50 }'
    async with ScriptServer([Request(), answer(said), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        fields = [("model", "whisper"), ("prompt", "żółw"), ("include[]", "logprobs"), ("x-own", "1")]
        a = await g.ask("/v1/audio/transcriptions", form(fields, WAV), FORM)
        assert (a.status, a.body, a.headers["content-type"]) == (200, said, "application/json")
        assert asked_form(up, "/audio/transcriptions") == (fields, [WAV])
        r = await g.record()
        assert (r.path, r.dialect, r.model) == ("/v1/audio/transcriptions", "openai_transcription", "whisper")
        assert (r.usage.seconds, r.tokens_estimated, r.streamed) == (8.0, False, False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("text", "text/plain; charset=utf-8"),
        ("text", "text/plain"),
        ("srt", "application/x-subrip"),
        ("srt", "text/srt"),
        ("vtt", "text/vtt; charset=utf-8"),
    ],
)
async def test_subtitles_pass_with_their_type(shell: str, name: str, kind: str) -> None:
    said = "1\n00:00:00,000 --> 00:00:01,500\nCześć\n\n".encode()
    async with (
        ScriptServer([Request(), answer(said, kind=kind), Again()]) as up,
        gateway(shell, **settings_for(up)) as g,
    ):
        a = await g.ask("/v1/audio/transcriptions", form({"response_format": name}, WAV), FORM)
        assert (a.status, a.body, a.headers["content-type"]) == (200, said, kind)
        assert ("response_format", name) in asked_form(up, "/audio/transcriptions")[0]
        assert (await g.record()).tokens_estimated


HEARD_1 = sse({"type": "transcript.text.delta", "delta": "Hello "})
HEARD_2 = sse(
    {"type": "transcript.text.delta", "delta": "there"},
    {"type": "transcript.text.done", "text": "Hello there", "usage": USAGE},
)


async def test_a_transcription_comes_as_it_is_made(shell: str) -> None:
    script: Script = [Request(), stream_head(), chunk(HEARD_1), Wait(0.5), chunk(HEARD_2), chunk(b""), Again()]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        c = await g.connect()
        await c.send(request("/v1/audio/transcriptions", form({"stream": "true"}, WAV), FORM))
        status, headers = await soon(c.head())
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        began = now()
        assert await soon(c.chunk()) == HEARD_1
        assert now() - began < 0.3
        assert [await soon(c.chunk()), await soon(c.chunk())] == [HEARD_2, b""]
        c.close()
        assert asked_form(up, "/audio/transcriptions")[0] == [("model", "transcription-model"), ("stream", "true")]
        r = await g.record()
        assert (r.tokens_in, r.tokens_out, r.streamed) == (3, 4, True)


async def test_a_transcription_that_came_whole_though_a_stream_was_asked_for(shell: str) -> None:
    """As from ``whisper-1``, which passes over ``stream``."""
    said = json.dumps({"text": "Hello there", "usage": USAGE}).encode()
    async with ScriptServer([Request(), answer(said), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        a = await g.ask("/v1/audio/transcriptions", form({"stream": "true"}, WAV), FORM)
        assert (a.whole, a.headers["content-type"]) == (True, "text/event-stream")
        assert a.events == [
            {"type": "transcript.text.delta", "delta": "Hello there"},
            {"type": "transcript.text.done", "text": "Hello there", "usage": USAGE},
        ]


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/x-subrip"])
async def test_subtitles_that_came_whole_though_a_stream_was_asked_for(shell: str, kind: str) -> None:
    """As from ``whisper-1``, which passes over ``stream``."""
    said = b"1\n00:00:00,000 --> 00:00:01,500\nHello\n\n"
    async with (
        ScriptServer([Request(), answer(said, kind=kind), Again()]) as up,
        gateway(shell, **settings_for(up)) as g,
    ):
        fields = {"stream": "true", "response_format": "srt"}
        a = await g.ask("/v1/audio/transcriptions", form(fields, WAV), FORM)
        assert (a.status, a.body, a.headers["content-type"]) == (200, said, kind)


TRANSCRIPT = json.dumps({"text": "Hello there", "language": "english", "duration": 1.5, "segments": []}).encode()


async def test_transcripts_of_a_form(shell: str) -> None:
    async with ScriptServer([Request(), answer(TRANSCRIPT), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        for path in ("/api/transcribe", "/api/v1/transcribe"):
            a = await g.ask(path, form({"language": "en", "prompt": "names", "model": "m"}, WAV), FORM)
            assert a.json == {"text": "Hello there", "language": "english", "duration": 1.5}
            assert (a.status, a.headers["content-type"]) == (200, "application/json")
        fields, files = asked_form(up, "/audio/transcriptions", 1)
        assert (fields, files) == ([("model", "m"), ("language", "en"), ("prompt", "names")], [WAV])
        assert "x-switchboard-dropped" not in a.headers
        r = await g.record()
        assert (r.path, r.dialect, r.model, r.usage.seconds) == ("/api/transcribe", "plain_transcript", "m", 1.5)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("audio/webm; codecs=opus", "sound.webm"),
        ("audio/wav", "sound.wav"),
        ("AUDIO/MPEG", "sound.mp3"),
        ("application/ogg", "sound.ogg"),
        ("application/octet-stream", "sound.wav"),
        ("video/mp4", "sound.mp4"),
    ],
)
async def test_transcripts_of_sound_by_itself(shell: str, kind: str, name: str) -> None:
    async with ScriptServer([Request(), answer(TRANSCRIPT), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        a = await g.ask("/api/transcribe", SOUND, {"content-type": kind})
        assert (a.status, a.json["text"]) == (200, "Hello there")
        fields, files = asked_form(up, "/audio/transcriptions")
        assert (fields, files) == ([("model", "transcription-model")], [("file", name, kind, SOUND)])


async def test_the_language_of_the_settings(shell: str) -> None:
    async with (
        ScriptServer([Request(), answer(TRANSCRIPT), Again()]) as up,
        gateway(shell, **settings_for(up), transcription={"language": "pl"}) as g,
    ):
        await g.ask("/api/transcribe", SOUND, {"content-type": "audio/wav"})
        await g.ask("/v1/audio/transcriptions", form({"language": "en"}, WAV), FORM)
        languages = [[v for n, v in asked_form(up, "/audio/transcriptions", i)[0] if n == "language"] for i in (0, 1)]
        assert languages == [["pl"], ["en"]]


async def test_what_transcribe_does_not_know_is_named(shell: str) -> None:
    async with ScriptServer([Request(), answer(TRANSCRIPT), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        fields = [("temperature", "0"), ("response_format", "srt"), ("x: y", "1"), ("prompt", "a"), ("stream", "true")]
        a = await g.ask("/api/transcribe", form(fields, WAV), FORM)
        assert (a.status, a.json["text"]) == (200, "Hello there")
        assert a.headers["x-switchboard-dropped"] == "temperature, response_format, x? y, stream"
        assert asked_form(up, "/audio/transcriptions")[0] == [("model", "transcription-model"), ("prompt", "a")]


# ---- completions and responses


COMPLETION = json.dumps(
    {
        "id": "cmpl-theirs",
        "object": "text_completion",
        "choices": [{"index": 0, "text": "Hello there", "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    },
    indent=1,
).encode()


async def test_completions_of_a_provider_that_has_them(shell: str) -> None:
    async with ScriptServer([Request(), answer(COMPLETION), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        body = {"prompt": ["Once", "Twice"], "suffix": "end", "echo": True, "logprobs": 2, "min_p": 0.1, "best_of": 2}
        a = await g.ask("/v1/completions", body)
        assert (a.status, a.body) == (200, COMPLETION)
        assert asked_json(up, "/completions") == {"model": "chat-model"} | body
        assert "x-switchboard-dropped" not in a.headers
        r = await g.record()
        assert (r.dialect, r.tokens_in, r.tokens_out) == ("openai_completions", 3, 2)


@pytest.mark.parametrize("include_usage", [True, False])
async def test_a_stream_of_completions_of_a_provider_that_has_them(shell: str, include_usage: bool) -> None:
    first = sse({"choices": [{"index": 0, "text": "Hello ", "finish_reason": None}]})
    second = sse({"choices": [{"index": 0, "text": "there", "finish_reason": "stop"}]})
    usage = sse({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    script: Script = [
        Request(),
        stream_head(),
        chunk(first),
        chunk(second + usage + sse(b"[DONE]")),
        chunk(b""),
        Again(),
    ]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        options = {"stream_options": {"include_usage": True}} if include_usage else {}
        a = await g.ask("/v1/completions", {"prompt": "a", "stream": True} | options)
        assert a.body == first + second + (usage if include_usage else b"") + sse(b"[DONE]")
        assert a.whole
        assert asked_json(up, "/completions")["stream_options"] == {"include_usage": True}
        r = await g.record()
        assert (r.tokens_in, r.tokens_out, r.tokens_estimated) == (3, 2, False)


async def test_completions_of_a_provider_that_has_only_chats(shell: str) -> None:
    async with (
        ScriptServer([Request(), answer(CHAT), Again()]) as up,
        gateway(shell, **settings_for(up, apis=[])) as g,
    ):
        body = {"prompt": "Once", "max_tokens": 9, "suffix": "end", "echo": True, "stop": ["x"], "model": "m"}
        a = await g.ask("/v1/completions", body)
        assert a.json["choices"] == [{"index": 0, "text": "OnceHello there", "logprobs": None, "finish_reason": "stop"}]
        assert (a.json["object"], a.json["model"], a.json["usage"]["total_tokens"]) == ("text_completion", "m", 5)
        assert a.headers["x-switchboard-dropped"] == "suffix"
        assert asked_json(up, "/chat/completions") == {
            "model": "m",
            "messages": [{"role": "user", "content": "Once"}],
            "max_tokens": 9,
            "stop": ["x"],
        }
        for prompt in (["a", "b"], [1, 2], [[1]]):
            refused = await g.ask("/v1/completions", {"prompt": prompt})
            assert (refused.status, refused.json["error"]["param"]) == (400, "prompt")
        assert len(up.connections[0].requests) == 1


async def test_a_stream_of_completions_of_a_provider_that_has_only_chats(shell: str) -> None:
    async with gateway(shell) as g:
        body = {"prompt": "one two", "model": "echo", "stream": True, "echo": True, "n": 2}
        a = await g.ask("/v1/completions", body | {"stream_options": {"include_usage": True}})
        said = {0: "", 1: ""}
        for e in a.events[:-1]:
            for c in e["choices"]:
                said[c["index"]] += c["text"]
        assert said == {0: "one twoone two", 1: "one twoone two"}
        assert (a.whole, a.events[-1], a.events[-2]["usage"]["total_tokens"]) == (True, "[DONE]", 4)


RESPONSE = json.dumps(
    {
        "id": "resp_theirs",
        "object": "response",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello there", "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
    },
    indent=1,
).encode()


async def test_responses_of_a_provider_that_has_them(shell: str) -> None:
    async with (
        ScriptServer([Request(), answer(RESPONSE), Again()]) as up,
        gateway(shell, **settings_for(up, apis=["responses"])) as g,
    ):
        body = {"input": "Hello", "previous_response_id": "resp_1", "store": True, "tools": [{"type": "web_search"}]}
        a = await g.ask("/v1/responses", body)
        assert (a.status, a.body) == (200, RESPONSE)
        assert asked_json(up, "/responses") == {"model": "chat-model"} | body
        assert "x-switchboard-dropped" not in a.headers
        r = await g.record()
        assert (r.dialect, r.tokens_in, r.tokens_out) == ("openai_responses", 3, 2)


async def test_responses_of_a_provider_that_has_only_chats(shell: str) -> None:
    async with (
        ScriptServer([Request(), answer(CHAT), Again()]) as up,
        gateway(shell, **settings_for(up, apis="completions")) as g,
    ):
        body = {"input": "Hello", "instructions": "Be brief.", "max_output_tokens": 9, "truncation": "auto"}
        a = await g.ask("/v1/responses", body)
        assert a.json["output"][0]["content"][0]["text"] == "Hello there"
        assert (a.json["object"], a.json["status"], a.json["model"]) == ("response", "completed", "chat-model")
        assert a.headers["x-switchboard-dropped"] == "truncation"
        assert asked_json(up, "/chat/completions") == {
            "model": "chat-model",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
            "max_tokens": 9,
        }


async def test_what_a_provider_keeps_is_not_asked_of_one_that_keeps_nothing(shell: str) -> None:
    async with ScriptServer([]) as up, gateway(shell, **settings_for(up, apis=[])) as g:
        for name, value in (("previous_response_id", "resp_1"), ("conversation", "conv_1"), ("background", True)):
            a = await g.ask("/v1/responses", {"input": "Hello", name: value})
            assert (a.status, a.json["error"]["param"], up.connections) == (400, name, [])


async def test_a_route_with_a_target_that_has_an_api_and_one_that_has_not(shell: str) -> None:
    """What only one of them can take goes to that one; what fails there is translated for the other."""
    failing: Script = [Request(), answer(b"{}", status=500), Again()]
    async with ScriptServer(failing) as first, ScriptServer([Request(), answer(CHAT), Again()]) as second:
        settings = settings_for(first, apis=["completions"])
        settings["providers"]["two"] = {"base_url": second.base_url, "apis": []}
        settings["routes"] = {"fast": ["up/m1", "two/m2"]}
        async with gateway(shell, **settings) as g:
            a = await g.ask("/v1/completions", {"prompt": "Once", "suffix": "end", "model": "fast"})
            assert (a.json["choices"][0]["text"], a.headers["x-switchboard-model"]) == ("Hello there", "m2")
            assert a.headers["x-switchboard-dropped"] == "suffix"
            a = await g.ask("/v1/completions", {"prompt": [1, 2], "model": "fast"})
            assert (a.status, len(second.connections[0].requests)) == (503, 1)


# ---- a provider that fails


ERROR = b'{"error": {"message": "Key sk-abcdef123456 at https://api.provider.example/v1 failed", "type": "t", "param": "p"}}'
FAILURES: dict[str, tuple[Script, int, str]] = {
    "400": ([Request(), answer(ERROR, status=400)], 400, "PROVIDER_REJECTED"),
    "401": ([Request(), answer(ERROR, status=401)], 502, "PROVIDER_AUTH"),
    "404": ([Request(), answer(ERROR, status=404)], 404, "PROVIDER_REJECTED"),
    "413": ([Request(), answer(ERROR, status=413)], 413, "PROVIDER_REJECTED"),
    "429": ([Request(), answer(ERROR, status=429, headers="retry-after: 17\r\n")], 429, "PROVIDER_RATE_LIMITED"),
    "500": ([Request(), answer(ERROR, status=500)], 503, "PROVIDER_UNAVAILABLE"),
    "529": ([Request(), answer(ERROR, status=529)], 503, "PROVIDER_UNAVAILABLE"),
    "reset": ([Request(), Reset()], 502, "PROVIDER_UNREACHABLE"),
    "closed": ([Request()], 502, "PROVIDER_UNREACHABLE"),
    "a page": ([Request(), answer(b"<html>welcome</html>", kind="text/html")], 502, "PROVIDER_PROTOCOL"),
    "truncated": ([Request(), answer(b'{"a": 1, "b": 2}')[:-4]], 502, "PROVIDER_CUT"),
    "other JSON": ([Request(), answer(b'{"hello": "there"}')], 502, "PROVIDER_PROTOCOL"),
    "no JSON": ([Request(), answer(b'{"data": [{"b64_js')], 502, "PROVIDER_PROTOCOL"),
    "silence": ([Request(), Hang()], 504, "PROVIDER_TIMEOUT"),
}


@pytest.mark.parametrize("path", PATHS)
async def test_failures_have_the_surface_s_shape(shell: str, path: str) -> None:
    playing: list[Script] = []
    async with ScriptServer(lambda _: playing[-1]) as up:
        settings = settings_for(up, apis=["completions", "responses"])
        settings["timeouts"] = {"first_event": 0.3, "idle": 0.3, "total": 0.6}
        async with gateway(shell, **settings) as g:
            for n, (name, (script, status, code)) in enumerate(FAILURES.items(), 1):
                playing.append(script)
                check_failure(path, await soon(post(g, path)), status, code)
                r = await g.record(n)
                assert (r.path, r.error, r.provider) == (path, code, "up"), name
                outcome = "timeout" if name == "silence" and not r.streamed else "upstream_error"
                assert r.outcome == outcome, name
                await until(lambda: not g.app.registry.open)
            assert KEY not in await g.log()


def check_failure(path: str, a: Answer, status: int, code: str) -> None:
    v1 = path.startswith("/v1")
    status = 400 if code == "PROVIDER_REJECTED" and not v1 else status
    assert (a.status, a.whole, a.headers["content-type"]) == (status, True, "application/json"), a.text
    error = a.json["error"]
    if v1:
        assert set(error) == {"message", "type", "param", "code"}
        assert code == "PROVIDER_REJECTED" or error["code"] == code.lower()
        assert error["param"] == ("p" if code == "PROVIDER_REJECTED" else None)
    else:
        assert (set(error), error["code"]) == ({"message", "code"}, code)
    assert a.json["request_id"] == a.headers["x-request-id"]
    assert a.headers.get("retry-after") == {429: "17", 503: "5"}.get(status)
    for word in ("sk-abcdef123456", "provider.example", KEY, "Traceback", "127.0.0.1"):
        assert word not in a.text


async def test_a_provider_without_a_key(shell: str) -> None:
    async with gateway(shell, chat={"provider": "openai"}) as g:
        for path in PATHS:
            a = await post(g, path)
            assert (a.status, a.json["error"]["message"]) == (500, "OpenAI API key not configured"), path
            assert a.headers["x-should-retry"] == "false"


# ---- requests that are refused


@pytest.mark.parametrize("path", JSON_PATHS)
async def test_bad_json(shell: str, path: str) -> None:
    async with ScriptServer([]) as up, gateway(shell, **settings_for(up)) as g:
        for body, code in (
            (b"", "invalid_json"),
            (b"{", "invalid_json"),
            (b'{"a": NaN}', "invalid_json"),
            (b"\xff", "invalid_json"),
            (b"[]", "invalid_request"),
            (b"{}", "invalid_request"),
            (b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", "nesting_too_deep"),
        ):
            a = await g.ask(path, body)
            assert (a.status, a.json["error"]["code"].lower(), a.whole) == (400, code, True), body
        for kind in ("text/plain", "multipart/form-data; boundary=x", "audio/wav"):
            a = await g.ask(path, JSON_PATHS[path], {"content-type": kind})
            assert (a.status, a.json["error"]["code"].lower()) == (415, "unsupported_media_type")
        assert up.connections == []


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/api/tts"])
async def test_bad_speech(shell: str, path: str) -> None:
    v1 = path.startswith("/v1")
    text, format_ = ("input", "response_format") if v1 else ("text", "format")
    bad: list[tuple[dict[str, Any], str, str]] = [
        ({}, text, "this field is required."),
        ({text: ""}, text, "must not be empty."),
        ({text: " \n"}, text, "must not be empty."),
        ({text: "x" * 4097}, text, "4097 characters are more than the 4096 that are taken."),
        ({text: "a", format_: "ogg"}, format_, "'ogg' is not one of mp3, opus, aac, flac, wav, pcm."),
        ({text: "a", "speed": 9}, "speed", "must be between 0.25 and 4."),
        ({text: 5}, text, "expected str, got int."),
    ]
    async with ScriptServer(sounding(SOUND)) as up, gateway(shell, **settings_for(up)) as g:
        for body, param, message in bad:
            a = await g.ask(path, body)
            assert (a.status, a.json["error"]["message"]) == (400, f"{param}: {message}"), body
            assert a.json["error"].get("param") == (param if v1 else None)
        assert up.connections == []
        for longest in ("é" * 4096, "😀" * 4096):
            a = await g.ask(path, {text: longest})
            assert (a.status, a.body) == (200, SOUND)
        assert asked_json(up, "/audio/speech", 1)["input"] == "😀" * 4096
        assert (await g.record(9)).usage.characters == 4096


@pytest.mark.parametrize("path", FORM_PATHS)
async def test_bad_forms(shell: str, path: str) -> None:
    name = "image" if path.endswith("edits") else "file"
    fields = {"prompt": "a", "model": "m"}
    file: File = (name, "a", "audio/wav", b"x")
    bad: list[tuple[bytes, str | None, str]] = [
        (form(fields), name, "needed."),
        (form(fields, (name, "a", "audio/wav", b"")), name, "the file is empty."),
        (form(fields, file, ("other", "a", "audio/wav", b"x")), "other", "no file of this name is taken."),
        (form(fields, file)[:-30], None, "The body is not a form as it should be: its end is missing."),
        (b"hello", None, "The body is not a form as it should be"),
        (b"", None, "The body is not a form as it should be: its end is missing."),
        (form([("a", "b")] * 129, file), None, "A form has at most 128 parts."),
    ]
    async with ScriptServer([]) as up, gateway(shell, **settings_for(up)) as g:
        for body, param, message in bad:
            a = await g.ask(path, body, FORM)
            error = a.json["error"]
            assert (a.status, error["code"].lower(), message in error["message"]) == (400, "invalid_request", True), (
                error
            )
            if path.startswith("/v1"):
                assert error["param"] == param
        too_much = await g.ask(path, form({"prompt": "x" * 20_000_000}, file), FORM)
        assert (too_much.status, too_much.json["error"]["code"].lower()) == (413, "payload_too_large")
        no_boundary = await g.ask(path, form(fields, file), {"content-type": "multipart/form-data"})
        assert (no_boundary.status, no_boundary.json["error"]["message"]) == (
            400,
            "The content type of a form needs a boundary.",
        )
        assert up.connections == []
        assert {r.outcome for r in g.records} == {"refused"}


@pytest.mark.parametrize("path", FORM_PATHS)
async def test_content_types_of_uploads(shell: str, path: str) -> None:
    async with ScriptServer([]) as up, gateway(shell, **settings_for(up)) as g:
        for kind in ("application/json", "text/plain", "", "multipart/mixed; boundary=x", "image/png", "audio/"):
            a = await g.ask(path, b"x", {"content-type": kind})
            message = "The body must be a form: send multipart/form-data"
            if path == "/api/transcribe":
                message += ", or sound with its own content type (audio/wav, say)"
            assert (a.status, a.json["error"]["message"]) == (415, f"{message}."), kind
        a = await g.ask(path, SOUND, {"content-type": "audio/wav"})
        assert (a.status == 415) is (path != "/api/transcribe")


async def test_sound_by_itself_that_is_empty(shell: str) -> None:
    async with ScriptServer([]) as up, gateway(shell, **settings_for(up)) as g:
        a = await g.ask("/api/transcribe", b"", {"content-type": "audio/wav"})
        assert (a.status, a.json["error"]["message"]) == (400, "file: the file is empty.")
        assert up.connections == []


@pytest.mark.parametrize("path", PATHS)
async def test_who_asks_is_decided_before_the_body(shell: str, path: str) -> None:
    async with ScriptServer([]) as up, gateway(shell, **settings_for(up), auth={"access_key": "correct-horse"}) as g:
        a = await post(g, path)
        assert (a.status, a.json["error"]["code"].lower()) == (401, "unauthorized")
        c = await g.connect()
        kind = "application/json" if path in JSON_PATHS else FORM["content-type"]
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: 9000\r\n\r\n"
        await c.send(head.encode())
        assert (await soon(c.head()))[0] == 401
        c.close()


@pytest.mark.parametrize("path", PATHS)
async def test_these_paths_answer_post_only(shell: str, path: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask(path, method="GET")
        assert (a.status, a.headers["allow"]) == (405, "POST")
        assert a.json["error"]["code"].lower() == "method_not_allowed"


# ---- what is recorded


async def test_what_the_metrics_and_the_log_say(shell: str) -> None:
    kinds = [answer(IMAGES), answer(SOUND, kind="audio/mpeg"), answer(TRANSCRIPT), answer(VECTORS)]
    script: Script = [step for kind in kinds for step in (Request(), kind)]
    async with ScriptServer(script) as up, gateway(shell, **settings_for(up)) as g:
        assert (await post(g, "/v1/images/generations")).status == 200
        assert (await post(g, "/api/tts")).status == 200
        assert (await post(g, "/v1/audio/transcriptions")).status == 200
        assert (await post(g, "/v1/embeddings")).status == 200
        await g.record(4)
        lines = [json.loads(line) for line in (await g.log()).splitlines()]
        told = [x for x in lines if x["event"] == "request"]
        assert [(x["path"], x["dialect"], x["model"], x["status"], x["outcome"]) for x in told] == [
            ("/v1/images/generations", "openai_images", "m", 200, "complete"),
            ("/api/tts", "openai_speech", "m", 200, "complete"),
            ("/v1/audio/transcriptions", "openai_transcription", "m", 200, "complete"),
            ("/v1/embeddings", "openai_embeddings", "m", 200, "complete"),
        ]
        assert [x.get("images") for x in told] == [1, None, None, None]
        assert [x.get("characters") for x in told] == [None, 11, None, None]
        assert [x.get("seconds") for x in told] == [None, None, 1.5, None]
        assert [x["tokens_estimated"] for x in told] == [False, True, False, False]
        text = (await g.ask("/metrics")).text
        for path, dialect in (
            ("/v1/images/generations", "openai_images"),
            ("/api/tts", "openai_speech"),
            ("/v1/audio/transcriptions", "openai_transcription"),
            ("/v1/embeddings", "openai_embeddings"),
        ):
            labels = f'dialect="{dialect}",model="m",outcome="complete",path="{path}",provider="up",status="200"'
            assert f"switchboard_requests_total{{{labels}}} 1.0" in text
        labels = 'dialect="openai_embeddings",direction="in",model="m",path="/v1/embeddings",provider="up"'
        assert f"switchboard_tokens_total{{{labels}}} 7.0" in text
        assert "nan" not in text.lower()


async def test_a_connection_is_kept_for_the_next_of_another_kind(shell: str) -> None:
    steps: list[Any] = [Request(), answer(IMAGES), *sounding(SOUND)[:-1], Request(), answer(TRANSCRIPT)]
    async with (
        ScriptServer([*steps, Request(), answer(VECTORS), Again()]) as up,
        gateway(shell, **settings_for(up)) as g,
    ):
        for path in ("/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/embeddings") * 2:
            assert (await post(g, path)).status == 200, path
            await until(lambda: not g.app.registry.open)
        assert len(up.connections) == 1


async def test_many_at_once(shell: str) -> None:
    """Each gets what it asked for."""
    async with ScriptServer([Request(), answer(VECTORS), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        answers = await asyncio.gather(*[g.ask("/v1/embeddings", {"input": f"text {n}"}) for n in range(50)])
        assert {a.status for a in answers} == {200}
        inputs = {json.loads(r.partition(b"\r\n\r\n")[2])["input"] for c in up.connections for r in c.requests}
        assert inputs == {f"text {n}" for n in range(50)}


async def test_two_requests_of_one_connection(shell: str) -> None:
    async with ScriptServer([Request(), answer(TRANSCRIPT), Again()]) as up, gateway(shell, **settings_for(up)) as g:
        c: Connection = await g.connect()
        for n in range(3):
            sound = b"x" * (n + 1) * 100_000
            await c.send(request("/api/transcribe", sound, {"content-type": "audio/wav"}))
            assert (await soon(c.answer())).json["text"] == "Hello there"
            assert asked_form(up, "/audio/transcriptions", n)[1][0][3] == sound
        c.close()
