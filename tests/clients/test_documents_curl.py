"""What documents A (speech) and D (access key) describe, as somebody types it at a terminal: with curl, or where that is not
installed the very same requests with Python's own client."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import av
import pytest
from bench.voice import errors, words

from clients.conftest import ACCESS_KEY, serving
from support.forms import FORM, form

pytestmark = pytest.mark.xdist_group("clients")

CURL = shutil.which("curl")
TEST_MESSAGE = {"text": "Hello, this is a test message.", "voice": "alloy"}
JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Terminal:
    """Somebody at a terminal, before the server at `address`, with files in `folder`."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._folder = folder
        self.headers: dict[str, str] = {}

    def file(self, name: str, data: bytes) -> str:
        """A file of that name."""
        (self._folder / name).write_bytes(data)
        return name

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """``curl -X POST -H 'Content-Type: application/json' -d BODY``."""
        data = ("-d", json.dumps(body)) if body is not None else ()
        return self.curl("-X", "POST", *self._lines(JSON | headers), *data, path)

    def get(self, path: str) -> Answer:
        """``curl PATH``."""
        return self.curl(*self._lines({}), path)

    def upload(self, path: str, file: str, kind: str) -> Answer:
        """``curl -H 'Content-Type: KIND' --data-binary @FILE``."""
        return self.curl(*self._lines({"Content-Type": kind}), "--data-binary", f"@{file}", path)

    def send_form(self, path: str, *fields: str) -> Answer:
        """``curl -F NAME=VALUE -F NAME=@FILE``."""
        given = [x for f in fields for x in ("-F", f)]
        return self.curl(*self._lines({}), *given, path)

    def _lines(self, headers: dict[str, str]) -> list[str]:
        return [x for k, v in (self.headers | headers).items() for x in ("-H", f"{k}: {v}")]

    def curl(self, *arguments: str) -> Answer:
        """The last of `arguments` is a path."""
        if CURL is None:
            return self._by_hand(*arguments)
        *options, path = arguments
        command = [CURL, "-sS", "--max-time", "50", "-D", "head.txt", "-o", "body.bin", *options, self._address + path]
        done = subprocess.run(command, capture_output=True, cwd=self._folder, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        head = (self._folder / "head.txt").read_text().replace("\r\n", "\n").strip().split("\n\n")[-1]
        line, *lines = head.split("\n")
        body = self._folder / "body.bin"
        headers = {k.lower(): v for k, v in (h.split(": ", 1) for h in lines)}
        return Answer(int(line.split(" ")[1]), headers, body.read_bytes() if body.exists() else b"")

    def _by_hand(self, *arguments: str) -> Answer:
        *options, path = arguments
        headers: dict[str, str] = {}
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, str, str, bytes]] = []
        body: bytes | None = None
        for option, value in zip(options[::2], options[1::2], strict=True):
            if option == "-H":
                name, _, text = value.partition(": ")
                headers[name] = text
            elif option in ("-d", "--data-binary"):
                body = (self._folder / value[1:]).read_bytes() if value.startswith("@") else value.encode()
            elif option == "-F":
                name, _, text = value.partition("=")
                if text.startswith("@"):
                    files.append((name, text[1:], "audio/mpeg", (self._folder / text[1:]).read_bytes()))
                else:
                    fields.append((name, text))
        if fields or files:
            body, headers = form(fields, *files), headers | FORM
        method = "POST" if body is not None or "POST" in options else "GET"
        connection = HTTPConnection(urlsplit(self._address).netloc, timeout=50)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that wants `ACCESS_KEY`: document D's ``ACCESS_KEY=…``."""
    with serving({"ACCESS_KEY": ACCESS_KEY}, tmp_path_factory.mktemp("service")) as address:
        yield address


@pytest.fixture
def proxy(offline: str, tmp_path: Path) -> Terminal:
    """Document A's, with no key at all."""
    return Terminal(offline, tmp_path)


@pytest.fixture
def visitor(service: str, tmp_path: Path) -> Terminal:
    """Document D's, before logging in."""
    return Terminal(service, tmp_path)


@pytest.fixture
def member(visitor: Terminal) -> Terminal:
    """Document D's, with a token."""
    answer = visitor.post("/auth", {"access_key": ACCESS_KEY})
    assert (answer.status, answer.json["success"], answer.json["token_type"]) == (200, True, "bearer")
    visitor.headers["Authorization"] = f"Bearer {answer.json['token']}"
    return visitor


def seconds_of(sound: bytes) -> float:
    with av.open(io.BytesIO(sound), "r") as container:
        return sum([f.samples / f.sample_rate for f in container.decode(container.streams.audio[0])])


def understood(text: str) -> bool:
    """Whether `text` is the test message but for some words: which ones are wrong depends on the machine's floating point."""
    said = words(TEST_MESSAGE["text"])
    return errors(said, words(text)) <= len(said) // 2


# ---- A


def test_a_s_chat(proxy: Terminal) -> None:
    body = {"messages": [{"role": "user", "content": "Hello, how are you?"}], "model": "gpt-4o", "max_tokens": 1000}
    answer = proxy.post("/api/chat", body)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    *events, last = answer.body.decode().removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    deltas = [json.loads(e.removeprefix("data: "))["choices"][0]["delta"] for e in events]
    assert "".join(d.get("content", "") for d in deltas) == "Hello, how are you?"


@pytest.mark.parametrize("path", ["/api/tts", "/api/v1/tts"])
def test_a_s_speech(proxy: Terminal, path: str) -> None:
    answer = proxy.post(path, TEST_MESSAGE)
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/mpeg")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert 1.5 < seconds_of(answer.body) < 2.5


@pytest.mark.parametrize("voice", ["alloy", "echo", "fable", "onyx", "nova", "shimmer", None])
def test_a_s_voices(proxy: Terminal, voice: str | None) -> None:
    answer = proxy.post("/api/tts", {"text": "Hello"} | ({} if voice is None else {"voice": voice}))
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/mpeg")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"voice": "alloy"}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n\t"}, "text"),
        ({"text": None}, "text"),
        ({"text": 5}, "text"),
        ({"text": "x" * 4097}, "text"),
        ({"text": "Hello", "voice": "bogus"}, "voice"),
        ({"text": "Hello", "voice": 5}, "voice"),
        ({"text": "Hello", "format": "au"}, "format"),
        ({"text": "Hello", "speed": 0}, "speed"),
    ],
)
def test_a_s_errors(proxy: Terminal, body: dict[str, Any], field: str) -> None:
    answer = proxy.post("/api/tts", body)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert set(answer.json) == {"error", "request_id"} and set(answer.json["error"]) == {"message", "code"}
    assert answer.json["error"]["code"] == "INVALID_REQUEST"
    assert answer.json["error"]["message"].startswith(f"{field}: ")


def test_a_s_longest_text(proxy: Terminal) -> None:
    """4096 characters are not too many."""
    answer = proxy.post("/api/tts", {"text": "a b " * 1024, "speed": 4})
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/mpeg")
    assert len(answer.body) > 500_000


def test_what_was_spoken_is_written_down(proxy: Terminal) -> None:
    mp3 = proxy.file("message.mp3", proxy.post("/api/tts", TEST_MESSAGE).body)
    wav = proxy.file("message.wav", proxy.post("/api/tts", TEST_MESSAGE | {"format": "wav"}).body)
    for answer in (
        proxy.send_form("/api/transcribe", f"file=@{mp3}", "language=en"),
        proxy.send_form("/api/v1/transcribe", f"file=@{wav}", "model=pocketsphinx"),
        proxy.upload("/api/transcribe", wav, "audio/wav"),
        proxy.upload("/api/v1/transcribe", mp3, "audio/mpeg"),
    ):
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer.body
        assert set(answer.json) == {"text", "language", "duration"}
        assert understood(answer.json["text"])
        assert (answer.json["language"], 1.5 < answer.json["duration"] < 2.5) == ("english", True)


def test_what_is_no_recording(proxy: Terminal) -> None:
    text = proxy.file("notes.txt", b"Hello there, this is not sound.")
    nothing = proxy.file("nothing.wav", b"")
    large = proxy.file("large.wav", b"x" * (26 * 1024 * 1024))
    for answer, status, code in (
        (proxy.send_form("/api/transcribe", f"file=@{text}"), 400, "INVALID_REQUEST"),
        (proxy.upload("/api/transcribe", text, "audio/wav"), 400, "INVALID_REQUEST"),
        (proxy.send_form("/api/transcribe", f"file=@{nothing}"), 400, "INVALID_REQUEST"),
        (proxy.upload("/api/transcribe", nothing, "audio/wav"), 400, "INVALID_REQUEST"),
        (proxy.send_form("/api/transcribe", "language=en"), 400, "INVALID_REQUEST"),
        (proxy.send_form("/api/transcribe", f"sound=@{text}"), 400, "INVALID_REQUEST"),
        (proxy.upload("/api/transcribe", text, "text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (proxy.post("/api/transcribe", {"file": "x"}), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (proxy.upload("/api/transcribe", large, "audio/wav"), 413, "PAYLOAD_TOO_LARGE"),
        (proxy.send_form("/api/transcribe", f"file=@{large}"), 413, "PAYLOAD_TOO_LARGE"),
    ):
        assert (answer.status, answer.json["error"]["code"]) == (status, code), answer.body
        assert answer.json["error"]["message"].endswith(".")


# ---- D


def test_d_s_chat(member: Terminal) -> None:
    body = {"messages": [{"role": "user", "content": "Hello there"}], "model": "gpt-4", "temperature": 0.5}
    answer = member.post("/chat", body)
    assert (answer.status, answer.json["object"]) == (200, "chat.completion")
    assert answer.json["choices"][0]["message"]["content"] == "Hello there"
    streamed = member.post("/chat", body | {"stream": True})
    assert streamed.headers["content-type"] == "text/event-stream"
    assert streamed.body.endswith(b"data: [DONE]\n\n")


def test_d_s_completion(member: Terminal) -> None:
    answer = member.post("/completion", {"prompt": "Once upon a time", "max_tokens": 50})
    assert (answer.status, answer.json["object"]) == (200, "text_completion")
    assert answer.json["choices"][0]["text"] == "Once upon a time"


def test_d_s_images(member: Terminal) -> None:
    answer = member.post("/images/generate", {"prompt": "A sunset over mountains", "n": 2, "size": "256x256"})
    assert answer.status == 200 and len(answer.json["data"]) == 2
    for image in answer.json["data"]:
        kind, _, data = image["url"].partition(",")
        assert kind == "data:image/png;base64"
        assert b64decode(data).startswith(b"\x89PNG")


def test_d_s_embeddings(member: Terminal) -> None:
    answer = member.post("/embeddings", {"input": "The food was delicious.", "model": "text-embedding-ada-002"})
    assert (answer.status, answer.json["object"]) == (200, "list")
    assert len(answer.json["data"][0]["embedding"]) == 256


def test_d_s_models(member: Terminal) -> None:
    answer = member.get("/models")
    assert answer.status == 200
    assert {"echo", "hashed-words", "card"} <= {m["id"] for m in answer.json["data"]}


def test_d_s_key_by_itself(visitor: Terminal) -> None:
    """As document D's own service had it: the key is the token."""
    visitor.headers["Authorization"] = f"Bearer {ACCESS_KEY}"
    assert visitor.post("/chat", {"prompt": "Hello"}).status == 200
    assert visitor.get("/models").status == 200


def test_d_s_speech_wants_the_key_too(member: Terminal) -> None:
    assert member.post("/api/tts", TEST_MESSAGE).headers["content-type"] == "audio/mpeg"
    member.headers.clear()
    answer = member.post("/api/tts", TEST_MESSAGE)
    assert (answer.status, answer.json["error"]["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("path", ["/chat", "/completion", "/images/generate", "/embeddings", "/models"])
@pytest.mark.parametrize("token", [None, "wrong", f"{ACCESS_KEY}x", "sbt_default.9999999999.0.0", ""])
def test_without_a_token(visitor: Terminal, path: str, token: str | None) -> None:
    if token is not None:
        visitor.headers["Authorization"] = f"Bearer {token}"
    answer = visitor.get(path) if path == "/models" else visitor.post(path, {"prompt": "x", "input": "x"})
    assert (answer.status, answer.json["error"]["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("body", "status"),
    [({"access_key": "wrong"}, 401), ({"access_key": ""}, 401), ({}, 400), ({"access_key": None}, 400)],
)
def test_a_wrong_key(visitor: Terminal, body: dict[str, Any], status: int) -> None:
    answer = visitor.post("/auth", body)
    assert answer.status == status
    assert answer.json["error"]["code"] == ("UNAUTHORIZED" if status == 401 else "INVALID_REQUEST")
    assert answer.json["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/auth", {}, "access_key"),
        ("/chat", {"prompt": " "}, "prompt"),
        ("/chat", {}, "messages"),
        ("/completion", {"prompt": ""}, "prompt"),
        ("/images/generate", {"prompt": "x" * 32_001}, "prompt"),
        ("/images/generate", {"prompt": "x", "size": "9x9"}, "size"),
        ("/embeddings", {"input": ["x"] * 2049}, "input"),
    ],
)
def test_what_is_wrong_is_told_by_field(member: Terminal, path: str, body: dict[str, Any], field: str) -> None:
    """Document D's "Validation errors … with detailed messages"."""
    answer = member.post(path, body)
    error = answer.json["error"]
    assert (answer.status, error["code"]) == (400, "INVALID_REQUEST")
    assert [(d["field"], bool(d["reason"])) for d in error["details"]] == [(field, True)]
