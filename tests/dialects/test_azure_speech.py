"""Azure Speech's wires: a text never becomes markup, and what comes back is read as either service says it."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from switchboard.core.capabilities import VOICES, Capabilities
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.events import Done, Passage, Sound, Transcription
from switchboard.core.ports import Context
from switchboard.core.types import FilePart, Form, Segment, Speak, Transcribe, Usage
from switchboard.dialects.azure_speech import SHORT, AzureSynthesis, AzureTranscription, Recording

MANY = settings(max_examples=500, deadline=None)
TO = AzureSynthesis()
FROM = AzureTranscription()
NONE = Capabilities()
NS = "{http://www.w3.org/2001/10/synthesis}"
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def speak(text: str = "Hello", **more: Any) -> Speak:
    members = {n: Raw(json.dumps(v).encode()) for n, v in more.pop("members", {}).items()}
    return Speak("azure-tts", True, members=members, text=text, **more)


def parsed(op: Speak) -> tuple[ET.Element, ET.Element]:
    """The SSML's root and its one voice."""
    root = ET.fromstring(TO.build(op, "azure-tts", NONE))
    (voice,) = root
    return root, voice


def refused(op: Speak) -> Problem:
    with pytest.raises(Problem) as e:
        TO.build(op, "azure-tts", NONE)
    return e.value


# ---- speech: the request


def allowed(c: str) -> bool:
    """Production [2] of XML 1.0."""
    n = ord(c)
    return n in (9, 10, 13) or 0x20 <= n <= 0xD7FF or 0xE000 <= n <= 0xFFFD or n >= 0x10000


ANYTHING = st.text(st.characters()) | st.text(
    st.sampled_from("<>&\"'/!-[]CDATA \r\n\t\x00\x0b\x1b\x7f\x85\ud800\udfff\ufffe￿a")
)


@MANY
@given(ANYTHING, st.sampled_from([0.25, 0.5, 1.0, 1.3, 4.0]))
@example("</voice></speak><speak><voice name='x'>", 1.0)
@example("]]>&lt;<![CDATA[<!-- -->&#0;&amp;", 1.0)
@example("a\r\nb\rc\td", 2.0)
@example("\ud83d\ude00 and \U0001f600", 1.0)
def test_a_text_is_never_markup(text: str, speed: float) -> None:
    said = "".join(c for c in text if allowed(c))
    if not said.strip():
        assert refused(speak(text, speed=speed)).param == "input"
        return
    root, voice = parsed(speak(text, speed=speed))
    assert (root.tag, voice.tag) == (f"{NS}speak", f"{NS}voice")
    assert [e.tag for e in voice.iter()] == [f"{NS}voice"] + ([] if speed == 1.0 else [f"{NS}prosody"])
    assert "".join(root.itertext()) == said
    assert set(root.attrib) == {"version", XML_LANG} and set(voice.attrib) == {"name"}


@pytest.mark.parametrize(
    ("voice", "name", "lang"),
    [
        ("", "en-US-AvaMultilingualNeural", "en-US"),
        ("alloy", "en-US-AvaMultilingualNeural", "en-US"),
        ("cedar", "en-US-AndrewMultilingualNeural", "en-US"),
        ("de-DE-KatjaNeural", "de-DE-KatjaNeural", "de-DE"),
        ("sr-Latn-RS-SophieNeural", "sr-Latn-RS-SophieNeural", "sr-Latn-RS"),
        ("zh-CN-liaoning-XiaobeiNeural", "zh-CN-liaoning-XiaobeiNeural", "zh-CN-liaoning"),
        ("en-US-Ava:DragonHDLatestNeural", "en-US-Ava:DragonHDLatestNeural", "en-US"),
    ],
)
def test_voices(voice: str, name: str, lang: str) -> None:
    root, spoken = parsed(speak(voice=voice))
    assert (spoken.get("name"), root.get(XML_LANG)) == (name, lang)


@pytest.mark.parametrize("voice", sorted(VOICES))
def test_every_voice_of_openai_has_one_that_knows_many_languages(voice: str) -> None:
    name = parsed(speak(voice=voice))[1].get("name")
    assert name is not None and name.endswith("MultilingualNeural")


@pytest.mark.parametrize(
    "voice",
    [
        "Alloy",
        "nobody",
        "en-US",
        'en-US-A"/><x',
        "en-US-Ava Neural",
        "en-US-Ava:",
        "en-US-Ava\n",
        "x" * 300,
        "en-US-Ävaneural",
    ],
)
def test_what_is_no_voice(voice: str) -> None:
    problem = refused(speak(voice=voice))
    assert (problem.status, problem.code, problem.param) == (400, "INVALID_REQUEST", "voice")
    assert voice[:64] in problem.message and "alloy" in problem.message and len(problem.message) < 300


def test_a_voice_of_one_s_own_is_not_taken_for_another() -> None:
    assert refused(speak(voice="alloy", members={"voice": {"id": "voice_1"}})).param == "voice"


@pytest.mark.parametrize(
    ("speed", "rate", "dropped"),
    [
        (1.0, None, []),
        (1.5, "+50%", []),
        (0.75, "-25%", []),
        (2.0, "+100%", []),
        (0.5, "-50%", []),
        (4.0, "+100%", ["speed"]),
        (0.25, "-50%", ["speed"]),
        (1.004, None, []),
    ],
)
def test_speed(speed: float, rate: str | None, dropped: list[str]) -> None:
    op = speak(speed=speed, members={"speed": speed})
    prosody = parsed(op)[1].find(f"{NS}prosody")
    assert (None if prosody is None else prosody.get("rate")) == rate
    assert op.dropped == dropped


@pytest.mark.parametrize(
    ("sound", "name"),
    [
        ("mp3", "audio-24khz-96kbitrate-mono-mp3"),
        ("opus", "ogg-24khz-16bit-mono-opus"),
        ("wav", "riff-24khz-16bit-mono-pcm"),
        ("pcm", "raw-24khz-16bit-mono-pcm"),
    ],
)
def test_formats(sound: str, name: str) -> None:
    lines = TO.headers(speak(format=sound)).decode()
    assert lines == f"content-type: application/ssml+xml\r\nx-microsoft-outputformat: {name}\r\n"


@pytest.mark.parametrize("sound", ["aac", "flac"])
def test_formats_that_azure_has_not(sound: str) -> None:
    problem = refused(speak(format=sound))
    assert (problem.status, problem.param) == (400, "response_format")
    assert sound in problem.message and "mp3, opus, wav, pcm" in problem.message


def test_what_is_not_taken_over_is_named() -> None:
    op = speak(members={"input": "x", "voice": "alloy", "instructions": "Whisper.", "user": None, "pitch": 3})
    TO.build(op, "azure-tts", NONE)
    assert op.dropped == ["instructions", "pitch"]


# ---- speech: the answer


def test_sound_is_what_was_asked_for() -> None:
    context = Context("id", "azure-tts", 0)
    context.kind = b"audio/basic"
    decoder = TO.decoder(context)
    assert context.kind == b""
    assert [decoder.feed(b"\x01\x02"), decoder.feed(b""), decoder.eof()] == [[Sound(b"\x01\x02")], [], [Done()]]


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b"", "", None),
        (b"Unsupported voice nobody.", "Unsupported voice nobody.", None),
        (b'{"error":{"code":"401","message":"Access denied"}}', "Access denied", "401"),
        (b'{"code":"InvalidRequest","message":"no","innerError":{"code":"x"}}', "no", "InvalidRequest"),
        (b"\xff<html>", "\ufffd<html>", None),
    ],
)
def test_errors(body: bytes, message: str, code: str | None) -> None:
    for dialect in (TO, FROM):
        error = dialect.error(400, {b"retry-after": b"3"}, body)
        assert (error.fault, error.status, error.message, error.code) == (Fault.STATUS, 400, message, code)
        assert error.retry_after == "3"


# ---- transcription: the request

WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(40)
OPUS = b"OggS\0\x02" + bytes(20) + b"\x01\x13OpusHead\x01\x01" + bytes(40)
VORBIS = b"OggS\0\x02" + bytes(20) + b"\x01\x1e\x01vorbis" + bytes(40)


def transcribe(data: bytes = WAV, fields: dict[str, str] | None = None, **more: Any) -> Transcribe:
    spool = io.BytesIO(b"before" + data + b"after")
    file = FilePart("file", "talk.wav", "audio/wav", Segment(spool, 6, len(data)))
    form = Form(spool, b"b0undary", list((fields or {}).items()), [file])
    return Transcribe("", form=form, file=file, **more)


def built(op: Transcribe, model: str) -> tuple[Recording, bytes]:
    body = FROM.build(op, model, NONE)
    data = b"".join(body.chunks())
    assert body.size == len(data)
    return body, data


@pytest.mark.parametrize(
    ("data", "kind"),
    [(WAV, b"audio/wav; codecs=audio/pcm; samplerate=16000"), (OPUS, b"audio/ogg; codecs=opus")],
)
def test_a_short_recording_goes_as_it_is(data: bytes, kind: bytes) -> None:
    body, sent = built(transcribe(data, language="de"), SHORT)
    assert (sent, body.kind, body.service) == (data, b"content-type: " + kind + b"\r\n", "stt")
    assert body.target == "/speech/recognition/conversation/cognitiveservices/v1?language=de-DE&format=detailed"


@pytest.mark.parametrize("data", [VORBIS, b"ID3\x04", b"\x1aE\xdf\xa3", b"R", b"RIFF\0\0\0\0AVI "])
def test_other_files_are_too_much_for_the_service_for_short_ones(data: bytes) -> None:
    with pytest.raises(Problem) as e:
        FROM.build(transcribe(data), SHORT, NONE)
    assert (e.value.status, e.value.param) == (400, "file")
    assert built(transcribe(data), "azure-stt-fast")[1].count(data) == 1


@pytest.mark.parametrize("model", ["azure-stt-fast", "whisper-1"])
def test_the_fast_service_is_sent_a_form(model: str) -> None:
    body, sent = built(transcribe(language="pt-PT"), model)
    assert (body.service, body.target) == (
        "api",
        "/speechtotext/transcriptions:transcribe?api-version=2024-11-15",
    )
    assert body.kind == b"content-type: multipart/form-data; boundary=b0undary\r\n"
    expected = (
        b'--b0undary\r\ncontent-disposition: form-data; name="audio"; filename="talk.wav"\r\ncontent-type: audio/wav\r\n\r\n'
        + WAV
        + b'\r\n--b0undary\r\ncontent-disposition: form-data; name="definition"\r\n\r\n{"locales":["pt-PT"]}\r\n--b0undary--\r\n'
    )
    assert sent == expected


def test_the_operation_stays_as_it_was() -> None:
    op = transcribe()
    built(op, "azure-stt-fast")
    assert (op.file.name, op.dropped) == ("file", [])


@pytest.mark.parametrize(
    ("language", "locale"),
    [
        ("", "en-US"),
        ("en", "en-US"),
        ("EN", "en-US"),
        ("de", "de-DE"),
        ("no", "nb-NO"),
        ("zh", "zh-CN"),
        ("de-AT", "de-AT"),
        ("zh-CN-sichuan", "zh-CN-sichuan"),
    ],
)
def test_languages(language: str, locale: str) -> None:
    assert f"?language={locale}&" in built(transcribe(language=language), SHORT)[0].target


@pytest.mark.parametrize("language", ["english", "xx", "de_DE", "en-US&cid=1", "e", "de-DE\r\nx: y", "l" * 500])
def test_what_is_no_language(language: str) -> None:
    for model in (SHORT, "azure-stt-fast"):
        with pytest.raises(Problem) as e:
            FROM.build(transcribe(language=language), model, NONE)
        assert (e.value.status, e.value.param) == (400, "language")
        assert len(e.value.message) < 200


def test_fields_that_azure_has_not() -> None:
    fields = {"model": "m", "language": "en", "prompt": "p", "temperature": "0", "timestamp_granularities[]": "word"}
    op = transcribe(fields=fields, words=True)
    built(op, "azure-stt-fast")
    assert op.dropped == ["prompt", "temperature"]
    op = transcribe(fields=fields, words=True, format="diarized_json")
    built(op, SHORT)
    assert op.dropped == ["prompt", "temperature", "timestamp_granularities", "response_format"]


# ---- transcription: the answer


def read(**body: Any) -> Transcription:
    return FROM.answer(json.dumps(body).encode())


def failed(body: bytes) -> UpstreamError:
    with pytest.raises(UpstreamError) as e:
        FROM.answer(body)
    return e.value


BEST = [
    {"Confidence": 0.9, "Display": "What's up?", "Lexical": "what's up"},
    {"Confidence": 0.8, "Display": "Watts up."},
]


@pytest.mark.parametrize(
    "times", [{"Offset": 5_000_000, "Duration": 12_500_000}, {"Offset": "5000000", "Duration": "12500000"}]
)
@pytest.mark.parametrize(
    "said", [{"DisplayText": "What's up?"}, {"NBest": BEST}, {"DisplayText": "What's up?", "NBest": BEST}]
)
def test_what_was_recognized(times: dict[str, Any], said: dict[str, Any]) -> None:
    a = read(RecognitionStatus="Success", **times, **said)
    passage = Passage("What's up?", 0.5, 1.75)
    assert a == Transcription("What's up?", "", 1.25, [passage], [], Usage(seconds=1.25))


def test_without_times_or_words() -> None:
    assert read(RecognitionStatus="Success", DisplayText="Hi.") == Transcription("Hi.")
    assert read(RecognitionStatus="Success", DisplayText="Hi.", Duration="soon") == Transcription("Hi.")
    assert read(RecognitionStatus="Success", DisplayText="Hi.", Duration="9" * 400) == Transcription("Hi.")
    assert read(RecognitionStatus="Success", DisplayText="", Offset=0, Duration=0).passages == []
    assert read(RecognitionStatus="Success").text == ""


@pytest.mark.parametrize("status", ["NoMatch", "InitialSilenceTimeout"])
def test_nothing_was_said(status: str) -> None:
    assert read(RecognitionStatus=status, Offset=0, Duration=10_000_000) == Transcription("")


def test_noise_is_the_file_s_fault_and_an_error_azure_s() -> None:
    noise = failed(b'{"RecognitionStatus":"BabbleTimeout","Offset":0,"Duration":0}')
    assert (noise.status, noise.code, noise.retryable) == (422, "BabbleTimeout", False)
    error = failed(b'{"RecognitionStatus":"Error","Offset":0,"Duration":0}')
    assert (error.status, error.code, error.retryable) == (500, "Error", True)
    assert failed(b'{"RecognitionStatus":"Odd"}').fault is Fault.PROTOCOL


# as in Microsoft's documentation, shortened
FAST: dict[str, Any] = {
    "durationMilliseconds": 182439,
    "combinedPhrases": [{"text": "Good afternoon. This is Sam."}],
    "phrases": [
        {
            "offsetMilliseconds": 960,
            "durationMilliseconds": 640,
            "text": "Good afternoon.",
            "words": [
                {"text": "Good", "offsetMilliseconds": 960, "durationMilliseconds": 240},
                {"text": "afternoon.", "offsetMilliseconds": 1200, "durationMilliseconds": 400},
            ],
            "locale": "en-US",
            "confidence": 0.93616915,
        },
        {
            "offsetMilliseconds": 1600,
            "durationMilliseconds": 640,
            "text": "This is Sam.",
            "locale": "en-US",
            "channel": 0,
        },
    ],
}


def test_what_the_fast_service_answers() -> None:
    assert read(**FAST) == Transcription(
        "Good afternoon. This is Sam.",
        "en-US",
        182.439,
        [Passage("Good afternoon.", 0.96, 1.6), Passage("This is Sam.", 1.6, 2.24)],
        [Passage("Good", 0.96, 1.2), Passage("afternoon.", 1.2, 1.6)],
        Usage(seconds=182.439),
    )
    silence = read(durationMilliseconds=1000, combinedPhrases=[], phrases=[])
    assert silence == Transcription("", "", 1.0, usage=Usage(seconds=1.0))
    assert read(combinedPhrases=[{"text": "a"}, {"text": "b"}]) == Transcription("a b")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"text":"x"}', b'{"combinedPhrases":null}', b'{"RecognitionStatus":3}', b"\xff"],
)
def test_what_is_no_transcription(body: bytes) -> None:
    assert failed(body).fault is Fault.PROTOCOL


@MANY
@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["RecognitionStatus", "NBest", "Duration", "combinedPhrases", "phrases", "words", "text"]
                ),
                x,
            )
        ),
    ).map(lambda v: json.dumps(v).encode())
)
def test_whatever_comes(body: bytes) -> None:
    with suppress(UpstreamError):
        assert isinstance(FROM.answer(body), Transcription)
