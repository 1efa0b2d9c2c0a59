"""Whatever comes in at the endpoints of sound, images and vectors: a clear refusal, in time, and nothing left behind in the
temporary folder. A real server process, whose folder is looked into."""

from __future__ import annotations

import io
import json
import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import av
import pytest

from support.forms import FORM, File, form
from support.process import BIN, Program, program

pytestmark = pytest.mark.xdist_group("bad-input")

SENTENCE = "Hello, this is a test message."
TRANSCRIBE = ("/v1/audio/transcriptions", "/api/transcribe")
MEGABYTE = 1024 * 1024


class Answer(NamedTuple):
    """What came back, and after how many seconds."""

    status: int
    headers: dict[str, str]
    body: bytes
    took: float

    @property
    def error(self) -> dict[str, Any]:
        """The error that it is, in either shape."""
        value: dict[str, Any] = json.loads(self.body)
        assert set(value) == {"error", "request_id"}
        assert value["request_id"] == self.headers["x-request-id"]
        error: dict[str, Any] = value["error"]
        assert error["message"] and error["code"]
        return error


class Server:
    """The server process, and its temporary folder."""

    def __init__(self, process: Program, address: str, folder: Path) -> None:
        self._process = process
        self._host = urlsplit(address).netloc
        self.folder = folder

    def ask(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        """The answer to a POST of `body`: bytes, or what becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = HTTPConnection(self._host, timeout=60)
        began = time.monotonic()
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has all
                connection.request("POST", path, data, {"content-type": "application/json"} | (headers or {}))
            a = connection.getresponse()
            body = a.read()
            return Answer(a.status, {k.lower(): v for k, v in a.getheaders()}, body, time.monotonic() - began)
        finally:
            connection.close()

    def send(self, path: str, *files: File, **fields: str) -> Answer:
        """The answer to a form."""
        return self.ask(path, form(fields, *files), FORM)

    def left_behind(self) -> list[str]:
        """What lies in the temporary folder, or is open there without a name: in the server, and in its workers."""
        found = os.listdir(self.folder)
        children = Path(f"/proc/{self._process.process.pid}/task/{self._process.process.pid}/children").read_text()
        for pid in (str(self._process.process.pid), *children.split()):
            with suppress(FileNotFoundError):  # a worker that is gone by now
                for fd in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(FileNotFoundError):
                        if str(fd.readlink()).startswith(str(self.folder)):
                            found.append(f"{pid}: {fd.readlink()}")
        return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, home = tmp_path_factory.mktemp("temporary"), tmp_path_factory.mktemp("home")
    environment = {
        "TMPDIR": str(folder),
        "SWITCHBOARD_DATA_DIR": str(home / "data"),
        "SWITCHBOARD_SHUTDOWN__ACCEPT": "0",
        "SWITCHBOARD_PROVIDERS__OFFLINE__PACE": "0",
        "SWITCHBOARD_RETRY__ATTEMPTS": "1",
    }
    with program(BIN / "switchboard", "serve", "--port", "0", environment=environment, cwd=home) as p:
        yield Server(p, p.wait_for(r"page +(http://127\.0\.0\.1:\d+)")[1], folder)
    assert os.listdir(folder) == []


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server, which has left nothing behind after each test."""
    yield running
    end = time.monotonic() + 2
    while running.left_behind() and time.monotonic() < end:
        time.sleep(0.01)
    assert running.left_behind() == []


@pytest.fixture(scope="module")
def spoken(running: Server) -> bytes:
    """A sentence, as WAV."""
    answer = running.ask("/api/tts", {"text": SENTENCE, "format": "wav"})
    assert answer.status == 200
    return answer.body


def packed(pcm: bytes, container: str, codec: str, rate: int = 24_000, **options: str) -> bytes:
    """`pcm` (16 bits, one channel) in another file."""
    out = io.BytesIO()
    with av.open(out, "w", format=container, container_options=options) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout="mono")
        to = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate, frame_size=stream.frame_size)
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate = rate
        for piece in [*to.resample(frame), *to.resample(None), None]:
            for packet in stream.encode(piece):
                file.mux(packet)
    return out.getvalue()


def silence(seconds: int, rate: int = 24_000) -> bytes:
    """So much silence, as FLAC: a few hundred kilobytes an hour."""
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as file:
        stream: Any = file.add_stream("flac", rate=rate, layout="mono")
        stream.codec_context.open()
        frame = av.AudioFrame(format="s16", layout="mono", samples=stream.codec_context.frame_size)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = rate
        for at in range(0, seconds * rate, frame.samples):
            frame.pts = at
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return out.getvalue()


def sound(data: bytes, name: str = "a.wav", kind: str = "audio/wav") -> File:
    return ("file", name, kind, data)


# ---- JSON

LONG = "x" * 4097
BAD_JSON: list[tuple[str, Any, str]] = [
    ("/api/tts", {}, "text"),
    ("/api/tts", {"text": ""}, "text"),
    ("/api/tts", {"text": " \n\u3000"}, "text"),
    ("/api/tts", {"text": LONG}, "text"),
    ("/api/tts", {"text": ["Hello"]}, "text"),
    ("/api/tts", {"text": "Hello", "voice": "bogus"}, "voice"),
    ("/api/tts", {"text": "Hello", "voice": "../../etc/passwd"}, "voice"),
    ("/api/tts", {"text": "Hello", "format": "au"}, "format"),
    ("/api/tts", {"text": "Hello", "speed": 4.01}, "speed"),
    ("/api/tts", {"text": "Hello", "speed": True}, "speed"),
    ("/api/tts", {"text": "Hello", "model": 5}, "model"),
    ("/v1/audio/speech", {}, "input"),
    ("/v1/audio/speech", {"input": ""}, "input"),
    ("/v1/audio/speech", {"input": "\t"}, "input"),
    ("/v1/audio/speech", {"input": LONG}, "input"),
    ("/v1/audio/speech", {"input": "\u0000\u0001"}, "input"),
    ("/v1/audio/speech", {"input": "Hello", "voice": "bogus"}, "voice"),
    ("/v1/audio/speech", {"input": "Hello", "voice": "alloy", "response_format": "mp4"}, "response_format"),
    ("/v1/audio/speech", {"input": "Hello", "voice": "alloy", "stream_format": "ws"}, "stream_format"),
    ("/v1/audio/speech", {"input": "Hello", "voice": "alloy", "speed": 0.2}, "speed"),
    ("/v1/images/generations", {}, "prompt"),
    ("/v1/images/generations", {"prompt": " "}, "prompt"),
    ("/v1/images/generations", {"prompt": "x" * 32_001}, "prompt"),
    ("/v1/images/generations", {"prompt": "x", "n": 0}, "n"),
    ("/v1/images/generations", {"prompt": "x", "n": 11}, "n"),
    ("/v1/images/generations", {"prompt": "x", "size": "99999x99999"}, "size"),
    ("/v1/images/generations", {"prompt": "x", "size": "2049x16"}, "size"),
    ("/v1/images/generations", {"prompt": "x", "response_format": "gif"}, "response_format"),
    ("/images/generate", {"prompt": ""}, "prompt"),
    ("/images/generate", {"prompt": "x", "n": "many"}, "n"),
    ("/v1/embeddings", {}, "input"),
    ("/v1/embeddings", {"input": []}, "input"),
    ("/v1/embeddings", {"input": ""}, "input"),
    ("/v1/embeddings", {"input": ["x"] * 2049}, "input"),
    ("/v1/embeddings", {"input": ["x", 5]}, "input[1]"),
    ("/v1/embeddings", {"input": "x", "dimensions": 0}, "dimensions"),
    ("/v1/embeddings", {"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ("/embeddings", {"input": [[]]}, "input"),
    ("/v1/completions", {}, "prompt"),
    ("/v1/completions", {"prompt": ""}, "prompt"),
    ("/completion", {"prompt": 5}, "prompt"),
    ("/v1/responses", {}, "input"),
    ("/chat", {"prompt": ""}, "prompt"),
    ("/chat", {"messages": []}, "messages"),
]


@pytest.mark.parametrize(("path", "body", "field"), BAD_JSON, ids=lambda v: str(v)[:40])
def test_what_is_wrong_with_a_body_is_told_by_field(server: Server, path: str, body: Any, field: str) -> None:
    a = server.ask(path, body)
    assert a.status == 400, a.body
    error = a.error
    if path.startswith("/v1"):
        assert (error["param"], error["type"], error["code"]) == (field, "invalid_request_error", "invalid_request")
    else:
        assert error["code"] == "INVALID_REQUEST"
        assert error["message"].startswith(f"{field}: ")
        if path != "/api/tts":
            assert error["details"][0]["field"] == field


@pytest.mark.parametrize("path", ["/api/tts", "/v1/audio/speech", "/v1/images/generations", "/v1/embeddings", "/completion", "/chat"])  # fmt: skip
def test_what_is_no_json(server: Server, path: str) -> None:
    for body in (
        b"",
        b"{",
        b"\xff\xfe",
        b'{"text": "\\ud800", "input": "\\ud800", "prompt": "\\ud800"}',
        b"[" * 100_000,
    ):
        a = server.ask(path, body)
        assert a.status == 400, (body[:20], a.body)
        assert a.error["code"].upper() in ("INVALID_JSON", "NESTING_TOO_DEEP", "INVALID_REQUEST")
    values: list[Any] = [[], "Hello", 5, None]
    for value in values:
        assert server.ask(path, value).status == 400
    a = server.ask(path, b"{}", {"content-type": "text/plain"})
    assert (a.status, a.error["code"].upper()) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("text", ["...", "🙂", "<speak><audio src='/etc/passwd'/></speak>", "[[h@'loU]]", "\x01v Hello", "x" * 4096, "日本語", "a\u0301\u202e"])  # fmt: skip
def test_whatever_can_be_said_is_said(server: Server, text: str) -> None:
    a = server.ask("/api/tts", {"text": text, "format": "wav", "speed": 4})
    assert (a.status, a.headers["content-type"], a.body[:4]) == (200, "audio/wav", b"RIFF")


# ---- forms


@pytest.mark.parametrize("path", TRANSCRIBE)
def test_what_is_no_recording(server: Server, path: str, spoken: bytes) -> None:
    pcm = spoken[44:]
    mp4 = packed(pcm, "mp4", "aac")
    bad = {
        "one byte": b"x",
        "text": b"Hello there, this is not sound. " * 100,
        "an image": b"\x89PNG\r\n\x1a\n" + bytes(1000),
        "half an mp4": mp4[: len(mp4) // 2],  # what is needed to read it stands at its end
        "the head of a wav": spoken[:40],
        "a playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        "zeros": bytes(2 * MEGABYTE),
    }
    for what, data in bad.items():
        a = server.send(path, sound(data))
        assert a.status == 400, (what, a.body)
        assert "sound" in a.error["message"], what
        assert a.took < 5
        if path.startswith("/v1"):
            assert a.error["param"] == "file"


@pytest.mark.parametrize("path", TRANSCRIBE)
def test_forms_that_are_none(server: Server, path: str, spoken: bytes) -> None:
    whole = form({"model": "pocketsphinx"}, sound(spoken))
    large = form({}, sound(bytes(2 * MEGABYTE)))
    cases: list[tuple[str, Answer]] = [
        ("file", server.send(path)),
        ("file", server.send(path, model="pocketsphinx")),
        ("file", server.send(path, sound(b""))),
        ("file", server.send(path, sound(spoken), sound(spoken, "b.wav"))),
        ("sound", server.send(path, ("sound", "a.wav", "audio/wav", spoken))),
        ("extra", server.send(path, sound(spoken), ("extra", "a.wav", "audio/wav", bytes(2 * MEGABYTE)))),
        ("", server.ask(path, b"", FORM)),
        ("", server.ask(path, whole[:-30], FORM)),
        ("", server.ask(path, large[:-30], FORM)),
        ("", server.ask(path, whole, {"content-type": "multipart/form-data"})),
        ("", server.ask(path, whole, {"content-type": "multipart/form-data; boundary=another"})),
        ("", server.ask(path, form([("a", "b")] * 200, sound(spoken)), FORM)),
    ]
    for n, (field, a) in enumerate(cases):
        assert a.status == 400, (n, a.body)
        assert a.error["message"].startswith(f"{field}: " if field else ("The body", "The content type", "A form")), n
    a = server.send(path, sound(spoken), prompt="x" * 9 * MEGABYTE)
    assert (a.status, a.error["code"].upper()) == (413, "PAYLOAD_TOO_LARGE")


def test_fields_of_a_transcription(server: Server, spoken: bytes) -> None:
    for field, value, status in (
        ("response_format", "docx", 400),
        ("response_format", "diarized_json", 400),
        ("stream", "maybe", 400),
        ("language", "tlh", 400),
        ("model", "espeak", 400),
        ("model", "whisper-1", 404),
        ("model", "a b", 400),
    ):
        a = server.send("/v1/audio/transcriptions", sound(spoken), **{field: value})
        assert (a.status, a.error["param"]) == (status, field), a.body


def test_fields_that_nobody_knows(server: Server, spoken: bytes) -> None:
    """They are no reason to refuse."""
    a = server.send("/api/transcribe", sound(spoken), emotion="joy", temperature="0")
    assert (a.status, a.headers["x-switchboard-dropped"]) == (200, "emotion, temperature")
    a = server.ask("/api/tts", {"text": "Hello", "emotion": "joy"})
    assert (a.status, a.headers["x-switchboard-dropped"]) == (200, "emotion")
    a = server.ask("/v1/audio/speech", {"input": "Hello", "voice": {"id": "voice_1"}})
    assert (a.status, a.headers.get("x-switchboard-dropped")) == (
        200,
        "voice",
    )  # another one's voice is spoken with alloy's


@pytest.mark.parametrize("path", [*TRANSCRIBE, "/v1/images/edits"])
def test_a_file_that_is_too_large(server: Server, path: str) -> None:
    name = "image" if "images" in path else "file"
    body = form({"prompt": "x"}, (name, "a.wav", "audio/wav", bytes(26 * MEGABYTE)))
    a = server.ask(path, body, FORM)
    assert (a.status, a.error["code"].upper()) == (413, "PAYLOAD_TOO_LARGE")
    assert a.took < 5
    if path == "/api/transcribe":
        assert server.ask(path, bytes(26 * MEGABYTE), {"content-type": "audio/wav"}).status == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "image/png", "application/x-www-form-urlencoded", "nonsense"])  # fmt: skip
def test_a_body_of_another_kind(server: Server, kind: str) -> None:
    for path in TRANSCRIBE:
        a = server.ask(path, b"Hello", {"content-type": kind})
        assert (a.status, a.error["code"].upper()) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert server.ask("/v1/audio/transcriptions", b"Hello", {"content-type": "audio/wav"}).status == 415
    assert server.ask("/api/transcribe", b"", {"content-type": "audio/wav"}).status == 400


# ---- files that are not what they say


def test_headers_that_promise_hours(server: Server, spoken: bytes) -> None:
    """What is there counts, not what is said of it."""
    wav = bytearray(spoken)
    struct.pack_into("<I", wav, 4, 0xFFFFFFF0)
    struct.pack_into("<I", wav, 40, 0xFFFFFFF0)
    flac = bytearray(packed(spoken[44:], "flac", "flac"))
    assert flac[:4] == b"fLaC"
    flac[21] |= 0x0F  # 36 bits of STREAMINFO: how many samples there are
    flac[22:26] = b"\xff" * 4
    for data in (bytes(wav), bytes(flac)):
        a = server.send("/api/transcribe", sound(data))
        assert a.status == 200, a.body
        found = json.loads(a.body)
        assert "test" in found["text"]
        assert 1.5 < found["duration"] < 2.5


def test_half_a_recording_is_heard_as_far_as_it_goes(server: Server, spoken: bytes) -> None:
    """An MP4 in fragments, as browsers record it."""
    mp4 = packed(spoken[44:], "mp4", "aac", movflags="empty_moov+frag_every_frame")
    a = server.send("/api/transcribe", sound(mp4[: len(mp4) * 3 // 4], "a.mp4", "audio/mp4"))
    assert a.status == 200, a.body
    assert "this is a test" in json.loads(a.body)["text"]


def test_a_small_file_with_an_hour_of_silence(server: Server) -> None:
    """It is gone through at once, with others not kept waiting."""
    data = silence(3600)
    assert len(data) < MEGABYTE
    a = server.send("/api/transcribe", sound(data, "a.flac", "audio/flac"))
    assert a.status == 200, a.body
    assert json.loads(a.body) == {"text": "", "language": "english", "duration": pytest.approx(3600, abs=1)}
    assert a.took < 50


def test_a_small_file_with_more_hours_than_are_listened_to(server: Server) -> None:
    data = silence(7300)
    assert len(data) < 2 * MEGABYTE
    a = server.send("/v1/audio/transcriptions", sound(data, "a.flac", "audio/flac"))
    assert (a.status, a.error["param"]) == (400, "file")
    assert "longer than 7200 seconds" in a.error["message"]
    assert a.took < 50
