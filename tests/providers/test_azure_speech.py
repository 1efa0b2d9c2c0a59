"""Azure Speech behind the gateway: how it is asked, where it is, and what clients of either surface are answered."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from support.client import Answer
from support.gateway import Gateway, gateway
from switchboard.config.check import check
from switchboard.config.load import SettingsError, load
from switchboard.config.tree import Settings
from switchboard.core.types import Call, Operation, Segment
from switchboard.dialects.azure_speech import SHORT, Recording
from switchboard.net.script import Again, Request, Script, ScriptServer, answer, chunk
from switchboard.providers import kinds
from switchboard.providers.azure_speech import FAST, TTS, AzureSpeechProvider
from switchboard.providers.base import Row

pytestmark = pytest.mark.anyio

KEY = "Canary4AzureSpeech7Kq9z"
SOUND = b"\xff\xf3\x84\xc4" + bytes(range(256)) * 40
WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(range(256)) * 8
HEARD = {
    "durationMilliseconds": 2240,
    "combinedPhrases": [{"text": "Good afternoon. This is Sam."}],
    "phrases": [
        {
            "offsetMilliseconds": 960,
            "durationMilliseconds": 640,
            "text": "Good afternoon.",
            "words": [{"text": "Good", "offsetMilliseconds": 960, "durationMilliseconds": 240}],
            "locale": "en-US",
        },
        {"offsetMilliseconds": 1600, "durationMilliseconds": 640, "text": "This is Sam.", "locale": "en-US"},
    ],
}
RECOGNIZED = {"RecognitionStatus": "Success", "DisplayText": "Hi Sam.", "Offset": 5_000_000, "Duration": 15_000_000}


def sounding(kind: str = "audio/mpeg") -> Script:
    """An answer with sound, in pieces."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return [Request(), head, chunk(SOUND[:4000]), chunk(SOUND[4000:]), chunk(b""), Again()]


def telling(body: Any, **more: Any) -> Script:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [Request(), answer(data, kind="application/json; charset=utf-8", **more), Again()]


@asynccontextmanager
async def speech(script: Script, shell: str = "splice", **settings: Any) -> AsyncIterator[tuple[ScriptServer, Gateway]]:
    """Azure Speech as scripted, and a gateway that asks it for all that is spoken and heard."""
    async with ScriptServer(script) as up:
        row = {"api_key": KEY, "base_url": up.base_url.removesuffix("/v1")}
        chosen = {"speech": {"provider": "azure_speech"}, "transcription": {"provider": "azure_speech"}}
        tree: dict[str, Any] = {
            "providers": {"azure_speech": row},
            "chat": {"provider": "offline"},
            "retry": {"attempts": 1},
        }
        async with gateway(shell, **tree | chosen | settings) as g:
            yield up, g


def asked(up: ScriptServer) -> tuple[str, dict[str, str], bytes]:
    """The one request that Azure has heard: its line, headers and body."""
    (request,) = [r for c in up.connections for r in c.requests]
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    pairs = [tuple(x.split(": ", 1)) for x in lines]
    assert len({n for n, _ in pairs}) == len(pairs), "a header twice"
    return line, dict(cast("Any", pairs)), body


async def upload(g: Gateway, path: str, data: bytes = WAV, **fields: Any) -> Answer:
    """A form with a file."""
    parts = [f'--b\r\ncontent-disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields.items()]
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
    body = b"".join([*parts, head, data, b"\r\n--b--\r\n"])
    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(len(body))}
    return await g.ask(path, body, headers)


# ---- speech


async def test_tts(shell: str) -> None:
    async with speech(sounding(), shell) as (up, g):
        a = await g.ask("/api/tts", {"text": "Fish & <chips>", "voice": "onyx", "speed": 1.5})
        assert (a.status, a.whole, a.body) == (200, True, SOUND)
        assert a.headers["content-type"] == "audio/mpeg"
        assert "x-switchboard-dropped" not in a.headers
        line, headers, body = asked(up)
        assert line == "POST /cognitiveservices/v1 HTTP/1.1"
        assert headers["host"] == f"127.0.0.1:{up.port}"
        assert headers["ocp-apim-subscription-key"] == KEY and "authorization" not in headers
        assert headers["content-type"] == "application/ssml+xml"
        assert headers["x-microsoft-outputformat"] == "audio-24khz-96kbitrate-mono-mp3"
        assert headers["user-agent"].startswith("switchboard/")
        root = ET.fromstring(body)
        assert "".join(root.itertext()) == "Fish & <chips>"
        r = await g.record()
        assert (r.provider, r.model, r.outcome) == ("azure_speech", TTS, "complete")


@pytest.mark.parametrize(
    ("sound", "theirs", "ours"),
    [
        ("mp3", "audio/mpeg", "audio/mpeg"),
        ("opus", "audio/ogg; codecs=opus; rate=24000", "audio/ogg"),
        ("wav", "audio/x-wav", "audio/wav"),
        ("pcm", "audio/basic", "audio/pcm"),
    ],
)
async def test_openai_s_speech(sound: str, theirs: str, ours: str) -> None:
    async with speech(sounding(theirs)) as (up, g):
        body = {"model": TTS, "input": "Hello", "voice": "de-DE-KatjaNeural", "response_format": sound}
        a = await g.ask("/v1/audio/speech", body | {"instructions": "Whisper.", "speed": 3})
        assert (a.status, a.whole, a.body, a.headers["content-type"]) == (200, True, SOUND, ours)
        assert a.headers["x-switchboard-dropped"] == "speed, instructions"
        ssml = asked(up)[2]
        assert b'xml:lang="de-DE"' in ssml and b'<prosody rate="+100%">' in ssml


async def test_openai_s_speech_in_events(shell: str) -> None:
    async with speech(sounding(), shell) as (_, g):
        body = {"model": TTS, "input": "Hello", "voice": "alloy", "stream_format": "sse"}
        a = await g.ask("/v1/audio/speech", body)
        assert (a.status, a.whole, a.headers["content-type"]) == (200, True, "text/event-stream")
        *deltas, done = a.events
        assert {e["type"] for e in deltas} == {"speech.audio.delta"}
        assert b"".join(b64decode(e["audio"]) for e in deltas) == SOUND
        assert done["type"] == "speech.audio.done"


@pytest.mark.parametrize(
    ("member", "value", "param"),
    [
        ("response_format", "aac", "response_format"),
        ("response_format", "flac", "response_format"),
        ("voice", "nobody", "voice"),
        ("voice", {"id": "voice_1"}, "voice"),
        ("input", "\x01\x02", "input"),
        ("model", "azure-stt-fast", "model"),
    ],
)
async def test_speech_that_is_refused(member: str, value: Any, param: str) -> None:
    async with speech(sounding()) as (up, g):
        body = {"model": TTS, "input": "Hello", "voice": "alloy"} | {member: value}
        a = await g.ask("/v1/audio/speech", body)
        assert (a.status, a.json["error"]["param"]) == (400, param)
        assert up.connections == []


async def test_names_of_models() -> None:
    async with speech(sounding()) as (_, g):
        listed = {m["id"]: m["owned_by"] for m in (await g.ask("/v1/models")).json["data"]}
        assert {n for n, owner in listed.items() if owner == "azure_speech"} == {TTS, FAST, SHORT}
        body = {"input": "Hello", "voice": "alloy"}
        a = await g.ask("/v1/audio/speech", body | {"model": "tts-1"})
        assert (a.status, a.json["error"]["code"]) == (404, "model_not_found")
        a = await g.ask("/v1/chat/completions", {"model": TTS, "messages": [{"role": "user", "content": "x"}]})
        assert (a.status, a.json["error"]["param"]) == (400, "model")
        assert (await g.ask("/v1/audio/speech", body)).body == SOUND


async def test_names_that_the_settings_give_it() -> None:
    async with ScriptServer(sounding()) as up:
        row = {"api_key": KEY, "base_url": up.base_url, "models": ["tts-1", "whisper-1"]}
        chosen: dict[str, Any] = {"speech": {"provider": "azure_speech"}, "chat": {"provider": "offline"}}
        async with gateway(providers={"azure_speech": row}, **chosen) as g:
            a = await g.ask("/v1/audio/speech", {"model": "tts-1", "input": "Hello", "voice": "alloy"})
            assert (a.status, a.body) == (200, SOUND)


# ---- transcription


async def test_transcribe_a_form(shell: str) -> None:
    async with speech(telling(HEARD), shell) as (up, g):
        a = await upload(g, "/api/transcribe", language="en", prompt="names: Sam")
        assert (a.status, a.json) == (
            200,
            {"text": "Good afternoon. This is Sam.", "language": "en-US", "duration": 2.24},
        )
        assert a.headers["x-switchboard-dropped"] == "prompt"
        line, headers, body = asked(up)
        assert line == "POST /speechtotext/transcriptions:transcribe?api-version=2024-11-15 HTTP/1.1"
        assert headers["ocp-apim-subscription-key"] == KEY
        assert headers["accept"] == "application/json"
        kind, _, boundary = headers["content-type"].partition("; boundary=")
        assert kind == "multipart/form-data"
        parts = body.split(b"--" + boundary.encode())
        assert len(parts) == 4 and WAV in parts[1] and b'name="audio"; filename="a.wav"' in parts[1]
        assert parts[2].endswith(b'name="definition"\r\n\r\n{"locales":["en-US"]}\r\n')
        r = await g.record()
        assert (r.provider, r.model, r.outcome) == ("azure_speech", FAST, "complete")


async def test_transcribe_bare_sound(shell: str) -> None:
    async with speech(telling(HEARD), shell) as (up, g):
        a = await g.ask("/api/transcribe", WAV, {"content-type": "audio/wav"})
        assert (a.status, a.json["text"]) == (200, "Good afternoon. This is Sam.")
        assert b'filename="sound.wav"' in asked(up)[2]


async def test_a_short_recording(shell: str) -> None:
    async with speech(telling(RECOGNIZED), shell) as (up, g):
        a = await upload(g, "/v1/audio/transcriptions", model=SHORT, language="de")
        assert (a.status, a.json) == (200, {"text": "Hi Sam.", "usage": {"type": "duration", "seconds": 1.5}})
        line, headers, body = asked(up)
        path = "/speech/recognition/conversation/cognitiveservices/v1?language=de-DE&format=detailed"
        assert line == f"POST {path} HTTP/1.1"
        assert headers["content-type"] == "audio/wav; codecs=audio/pcm; samplerate=16000"
        assert body == WAV


SRT = "1\n00:00:00,960 --> 00:00:01,600\nGood afternoon.\n\n2\n00:00:01,600 --> 00:00:02,240\nThis is Sam.\n\n"
VTT = "WEBVTT\n\n00:00:00.960 --> 00:00:01.600\nGood afternoon.\n\n00:00:01.600 --> 00:00:02.240\nThis is Sam.\n\n"


@pytest.mark.parametrize(
    ("form", "kind", "text"),
    [
        ("text", "text/plain; charset=utf-8", "Good afternoon. This is Sam.\n"),
        ("srt", "text/plain; charset=utf-8", SRT),
        ("vtt", "text/vtt; charset=utf-8", VTT),
    ],
)
async def test_openai_s_transcriptions_as_text(form: str, kind: str, text: str) -> None:
    async with speech(telling(HEARD)) as (_, g):
        a = await upload(g, "/v1/audio/transcriptions", model=FAST, response_format=form)
        assert (a.status, a.headers["content-type"], a.text) == (200, kind, text)


async def test_openai_s_transcriptions_as_json() -> None:
    async with speech(telling(HEARD)) as (_, g):
        a = await upload(g, "/v1/audio/transcriptions", model=FAST)
        usage = {"type": "duration", "seconds": 2.24}
        assert a.json == {"text": "Good afternoon. This is Sam.", "usage": usage}
        form: dict[str, Any] = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
        a = await upload(g, "/v1/audio/transcriptions", model=FAST, **form)
        assert (a.json["language"], a.json["duration"], a.json["task"]) == ("en-US", 2.24, "transcribe")
        spoken = [(s["start"], s["end"], s["text"]) for s in a.json["segments"]]
        assert spoken == [(0.96, 1.6, "Good afternoon."), (1.6, 2.24, "This is Sam.")]
        assert a.json["words"] == [{"word": "Good", "start": 0.96, "end": 1.2}]
        assert "x-switchboard-dropped" not in a.headers


async def test_openai_s_transcriptions_streamed(shell: str) -> None:
    async with speech(telling(HEARD), shell) as (_, g):
        a = await upload(g, "/v1/audio/transcriptions", model=FAST, stream="true")
        assert (a.status, a.whole, a.headers["content-type"]) == (200, True, "text/event-stream")
        assert [e["type"] for e in a.events] == ["transcript.text.delta", "transcript.text.done"]
        assert a.events[-1]["text"] == "Good afternoon. This is Sam."


async def test_silence() -> None:
    async with speech(telling({"RecognitionStatus": "NoMatch", "Offset": 0, "Duration": 0})) as (_, g):
        a = await upload(g, "/api/transcribe", model=SHORT)
        assert (a.status, a.json) == (200, {"text": ""})


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [("BabbleTimeout", 400, "PROVIDER_REJECTED"), ("Error", 503, "PROVIDER_UNAVAILABLE")],
)
async def test_what_was_not_recognized(status: str, expected: int, code: str) -> None:
    async with speech(telling({"RecognitionStatus": status, "Offset": 0, "Duration": 0})) as (_, g):
        a = await upload(g, "/api/transcribe", model=SHORT)
        assert (a.status, a.json["error"]["code"]) == (expected, code)


async def test_the_language_of_the_settings() -> None:
    chosen = {"provider": "azure_speech", "language": "fr"}
    async with speech(telling(HEARD), transcription=chosen) as (up, g):
        assert (await upload(g, "/api/transcribe")).status == 200
        assert b'{"locales":["fr-FR"]}' in asked(up)[2]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "klingon"}, "language"),
        ({"model": SHORT, "language": "x&y"}, "language"),
        ({"model": TTS}, "model"),
    ],
)
async def test_transcriptions_that_are_refused(fields: dict[str, Any], param: str) -> None:
    async with speech(telling(HEARD)) as (up, g):
        a = await upload(g, "/v1/audio/transcriptions", **{"model": FAST} | fields)
        assert (a.status, a.json["error"]["param"]) == (400, param)
        a = await upload(g, "/v1/audio/transcriptions", b"ID3\x04", model=SHORT)
        assert (a.status, a.json["error"]["param"]) == (400, "file")
        assert up.connections == []


# ---- errors

DENIED = {"error": {"code": "401", "message": f"Access denied due to invalid subscription key {KEY}"}}


@pytest.mark.parametrize("path", ["/api/tts", "/v1/audio/speech", "/api/transcribe", "/v1/audio/transcriptions"])
@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        (401, DENIED, 502, "provider_auth"),
        (403, b"", 502, "provider_auth"),
        (429, b"", 429, "provider_rate_limited"),
        (500, f"it broke: {KEY}".encode(), 503, "provider_unavailable"),
        (502, b"<html>", 503, "provider_unavailable"),
        (400, {"code": "InvalidRequest", "message": f"no, {KEY}"}, 400, "InvalidRequest"),
    ],
)
async def test_errors(path: str, status: int, body: Any, expected: int, code: str) -> None:
    lines = "retry-after: 7\r\n" if status == 429 else ""
    async with speech(telling(body, status=status, headers=lines)) as (_, g):
        if "transcri" in path:
            a = await upload(g, path, model=FAST)
        else:
            a = await g.ask(path, {"model": TTS, "input": "Hello", "text": "Hello", "voice": "alloy"})
        told = "PROVIDER_REJECTED" if path.startswith("/api/") and expected == 400 else code
        assert (a.status, a.json["error"]["code"].lower()) == (expected, told.lower())
        assert a.headers.get("retry-after") == {429: "7", 503: "5"}.get(expected)
        assert KEY not in a.text and KEY not in await g.log()


async def test_an_answer_that_is_no_sound() -> None:
    async with speech(telling({"oops": 1})) as (_, g):
        a = await g.ask("/api/tts", {"text": "Hello"})
        assert (a.status, a.json["error"]["code"]) == (502, "PROVIDER_PROTOCOL")
    empty: Script = [Request(), answer(b"", kind="audio/mpeg"), Again()]
    async with speech(empty) as (_, g):
        a = await g.ask("/api/tts", {"text": "Hello"})
        assert (a.status, a.json["error"]["code"]) == (502, "PROVIDER_CUT")


async def test_without_a_key() -> None:
    row = {"base_url": "http://127.0.0.1:1"}
    async with gateway(providers={"azure_speech": row}, speech={"provider": "azure_speech"}) as g:
        a = await g.ask("/api/tts", {"text": "Hello"})
        assert (a.status, a.json["error"]["code"]) == (500, "API_KEY_NOT_CONFIGURED")
        assert a.json["error"]["message"] == "Azure Speech API key not configured"


# ---- where it is


def provider(**row: Any) -> AzureSpeechProvider:
    settings = {"name": "azure_speech", "keys": (KEY,)} | row
    made = kinds()["azure_speech"].make(Row(**settings), cast("Any", None))
    assert isinstance(made, AzureSpeechProvider)
    return made


def url(call: Call | None) -> str:
    """Where a call goes, once its host header says the same."""
    assert call is not None
    scheme, host, port = call.origin
    (said,) = [x[6:].decode() for x in call.head.split(b"\r\n") if x.startswith(b"host: ")]
    assert said == (host if port == 443 else f"{host}:{port}")
    assert call.head.count(b"ocp-apim-subscription-key: ") == 1 and KEY not in repr(call)
    return f"{scheme}://{said}{call.target.decode()}"


def everywhere(p: AzureSpeechProvider) -> list[str]:
    """Speech, the list of voices, a short recording, the fast service."""
    sound = (Segment(cast("Any", None), 0, 1),)
    recordings = [
        Recording(sound, service=s, target=f"/{s}?x=1", kind=b"content-type: a/b\r\n") for s in ("stt", "api")
    ]
    speech = p.call("azure_synthesis", TTS, b"", b"content-type: application/ssml+xml\r\n")
    return [url(speech), url(p.probe()), *[url(p.call("azure_transcription", FAST, r, b"")) for r in recordings]]


VOICES = "/cognitiveservices/voices/list"


@pytest.mark.parametrize(
    "row",
    [
        {"region": "westeurope"},
        {"region": "WestEurope"},
        {"base_url": "https://westeurope.api.cognitive.microsoft.com/"},
        {"base_url": "https://westeurope.tts.speech.microsoft.com", "region": "eastus"},
        {"base_url": "https://westeurope.stt.speech.microsoft.com/"},
    ],
)
def test_a_region_has_three_hosts(row: dict[str, str]) -> None:
    assert everywhere(provider(**row)) == [
        "https://westeurope.tts.speech.microsoft.com/cognitiveservices/v1",
        f"https://westeurope.tts.speech.microsoft.com{VOICES}",
        "https://westeurope.stt.speech.microsoft.com/stt?x=1",
        "https://westeurope.api.cognitive.microsoft.com/api?x=1",
    ]


@pytest.mark.parametrize(
    ("row", "speech", "api"),
    [
        ({"region": "usgovvirginia"}, "usgovvirginia.tts.speech.azure.us", "usgovvirginia.api.cognitive.microsoft.us"),
        ({"region": "chinaeast2"}, "chinaeast2.tts.speech.azure.cn", "chinaeast2.api.cognitive.azure.cn"),
        (
            {"base_url": "https://chinanorth3.api.cognitive.azure.cn"},
            "chinanorth3.tts.speech.azure.cn",
            "chinanorth3.api.cognitive.azure.cn",
        ),
    ],
)
def test_sovereign_clouds(row: dict[str, str], speech: str, api: str) -> None:
    found = everywhere(provider(**row))
    assert (found[0], found[3]) == (f"https://{speech}/cognitiveservices/v1", f"https://{api}/api?x=1")


@pytest.mark.parametrize("host", ["acme.cognitiveservices.azure.com", "acme-1.services.ai.azure.com"])
def test_a_resource_with_a_name_of_its_own(host: str) -> None:
    assert everywhere(provider(base_url=f"https://{host}/", region="westeurope")) == [
        f"https://{host}/tts/cognitiveservices/v1",
        f"https://{host}/tts{VOICES}",
        f"https://{host}/stt/stt?x=1",
        f"https://{host}/api?x=1",
    ]


def test_a_container_or_a_gateway() -> None:
    base = "http://speech.internal:5000/azure"
    paths = ["/cognitiveservices/v1", VOICES, "/stt?x=1", "/api?x=1"]
    assert everywhere(provider(base_url=f"{base}/")) == [base + path for path in paths]


def test_nowhere() -> None:
    with pytest.raises(ValueError, match="region"):
        provider()


# ---- what it says of itself


def test_it_speaks_and_listens_and_does_not_chat() -> None:
    p = provider(region="westeurope", defaults={Operation.SPEAK: TTS, Operation.GENERATE: "tts-1"})
    done = {o for o in Operation if p.serves(o, "")}
    assert done == {Operation.SPEAK, Operation.TRANSCRIBE}
    assert not p.serves(Operation.SPEAK, SHORT) and not p.serves(Operation.TRANSCRIBE, TTS)
    assert p.serves(Operation.SPEAK, "tts-1")
    assert [p.default_model(o) for o in (Operation.SPEAK, Operation.GENERATE)] == [TTS, ""]
    assert p.list_models() is None
    assert not kinds()["azure_speech"].chats


def test_a_key_after_another() -> None:
    p = provider(region="westeurope", keys=("k1", "k2"))
    first = p.probe()
    assert first is not None and b"key: k1\r\n" in first.head and p.another_key(first, 1)
    second = p.probe()
    assert second is not None and b"key: k2\r\n" in second.head


def complaints(**row: Any) -> list[str]:
    return check(Settings.model_validate({"providers": {"azure_speech": row}}), ".".join)


def test_what_is_missing_is_said() -> None:
    (complaint,) = complaints(api_key="k")
    assert complaint.startswith("providers.azure_speech: ")
    assert "region" in complaint and "AZURE_SPEECH_REGION" in complaint and "base_url" in complaint
    assert complaints(api_key="k", region="westeurope") == []
    assert complaints(api_key="k", base_url="http://localhost:5000") == []
    (complaint,) = complaints(api_key="k", region="west europe/../x")
    assert complaint.startswith("providers.azure_speech.region: ")


def test_its_variables() -> None:
    settings, _ = load({}, {"AZURE_SPEECH_KEY": KEY, "AZURE_SPEECH_REGION": "westeurope"})
    row = settings.providers["azure_speech"]
    assert (row.api_key[0].get_secret_value(), row.region) == (KEY, "westeurope")
    with pytest.raises(SettingsError, match="AZURE_SPEECH_REGION"):
        load({}, {"AZURE_SPEECH_KEY": KEY})
