"""OpenAI's wire for transcription: forms that are refused, what goes to a provider, and the shapes of an answer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.media import (
    MANY,
    Meter,
    content,
    context,
    events,
    form,
    named,
    problem_of,
    read_back,
    refused,
    stream_of,
    upstream_error_of,
    values,
    wrong,
)
from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem
from switchboard.core.events import Done, Event, Failed, Metered, Passage, Text, Transcription
from switchboard.core.types import Form, Transcribe, Usage
from switchboard.dialects.openai_transcription import (
    FORMATS,
    OpenAITranscription,
    filename_of,
    read_form,
    subtitles,
    usage_out,
)
from switchboard.dialects.plain_transcript import PlainTranscript
from switchboard.policy.applying import apply
from switchboard.policy.profile import Profile

WIRE = OpenAITranscription()
SOUND = ("file", "a.wav", "audio/wav", b"RIFF and so on")
AUDIO = {"text_tokens": 4, "audio_tokens": 10}
PASSAGES = [Passage(" Hello there. ", 0.0, 1.5), Passage("General\nKenobi!", 3599.9996, 3661.25)]


def asked(*fields: tuple[str, str]) -> Transcribe:
    return read_form(form(list(fields), SOUND))


def written(format: str, answer: Transcription, *fields: tuple[str, str]) -> str:  # noqa: A002  the field's name
    op = asked(("response_format", format), *fields)
    return OpenAITranscription(op).encoder(context()).whole(answer).decode()


# ---- what is asked


SAID = ", ".join(FORMATS)
BAD: list[tuple[list[tuple[str, str]], list[tuple[str, str, str, bytes]], str, str]] = [
    ([], [], "file", "one file is needed."),
    ([("file", "a.wav")], [], "file", "one file is needed."),
    ([], [SOUND, SOUND], "file", "only one file is taken."),
    ([], [("sound", *SOUND[1:])], "sound", "no file of this name is taken."),
    ([], [SOUND, ("other", *SOUND[1:])], "other", "no file of this name is taken."),
    ([], [("file[]", *SOUND[1:])], "file[]", "no file of this name is taken."),
    ([], [("file", "a.wav", "audio/wav", b"")], "file", "the file is empty."),
    ([("response_format", "xml")], [SOUND], "response_format", f"'xml' is not one of {SAID}."),
    ([("response_format", "x" * 99)], [SOUND], "response_format", f"'{'x' * 32}' is not one of {SAID}."),
    ([("response_format", "JSON")], [SOUND], "response_format", f"'JSON' is not one of {SAID}."),
    ([("stream", "yes")], [SOUND], "stream", "true or false is expected."),
    ([("stream", "2")], [SOUND], "stream", "true or false is expected."),
]


@pytest.mark.parametrize(("fields", "files", "param", "message"), BAD)
def test_bad_forms(
    fields: list[tuple[str, str]], files: list[tuple[str, str, str, bytes]], param: str, message: str
) -> None:
    assert refused(lambda: read_form(form(fields, *files))) == (param, f"{param}: {message}")


def test_a_file_s_name_is_not_repeated_at_length() -> None:
    param, message = refused(lambda: read_form(form([], ("x" * 300, "a", "", b"x"))))
    assert param == "x" * 64
    assert len(message) < 110


def test_what_is_asked() -> None:
    op = asked(
        ("model", "whisper-1"),
        ("language", "pl"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    )
    assert (op.model, op.language, op.format, op.words, op.stream) == ("whisper-1", "pl", "verbose_json", True, False)
    assert content(op.file) == SOUND[3]


def test_what_is_asked_where_nothing_is_said() -> None:
    for op in (asked(), asked(("model", ""), ("language", ""), ("response_format", ""), ("stream", ""))):
        assert (op.model, op.language, op.format, op.words, op.stream) == ("", "", "json", False, False)
    assert not asked(("timestamp_granularities[]", "segment")).words


@pytest.mark.parametrize("format", FORMATS)
def test_formats(format: str) -> None:  # noqa: A002  the field's name on the wire
    op = asked(("response_format", format))
    assert OpenAITranscription(op).encoder(context()).whole_type == FORMATS[format]


@pytest.mark.parametrize(
    ("said", "stream"), [("true", True), ("True", True), ("1", True), ("false", False), ("FALSE", False), ("0", False)]
)
def test_streams(said: str, stream: bool) -> None:
    assert asked(("stream", said)).stream is stream


# ---- what a provider is asked


def sent(op: Transcribe, model: str = "m") -> Form:
    """The form as the provider reads it."""
    boundary = re.fullmatch(rb"content-type: multipart/form-data; boundary=(\w+)\r\n", WIRE.headers(op))
    assert boundary is not None
    return read_back(b"".join(WIRE.build(op, model, Capabilities()).chunks()), boundary[1])


def test_a_form_goes_on_whole_but_for_its_model() -> None:
    fields = [
        ("model", "theirs"),
        ("prompt", "żółty\r\nkot"),
        ("x-own", "1"),
        ("x-own", "2"),
        ("include[]", "logprobs"),
    ]
    op = asked(*fields)
    again = sent(op, "m1")
    assert again.fields == [("model", "m1"), *fields[1:]]
    assert [(f.name, f.filename, f.content_type, content(f)) for f in again.files] == [SOUND]
    assert op.form.fields == fields  # for the next target


def test_a_language_is_said_where_none_was_named() -> None:
    op = asked(("prompt", "x"))
    apply(op, Profile(language="pl"), documents=True)
    assert sent(op).field("language") == "pl"
    named_ = asked(("language", "en"))
    apply(named_, Profile(language="pl"), documents=True)
    assert [v for n, v in sent(named_).fields if n == "language"] == ["en"]
    silent = asked()
    apply(silent, Profile(), documents=True)
    assert sent(silent).field("language") is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("audio/wav", "sound.wav"),
        ("audio/mpeg", "sound.mp3"),
        ("audio/webm; codecs=opus", "sound.webm"),
        (" Audio/OGG ;codecs=opus", "sound.ogg"),
        ("audio/x-m4a", "sound.m4a"),
        ("video/mp4", "sound.mp4"),
        ("application/octet-stream", "sound.wav"),
        ("", "sound.wav"),
    ],
)
def test_a_file_without_a_name_gets_one_by_its_type(kind: str, name: str) -> None:
    op = read_form(form([], ("file", "", kind, b"x")))
    op.file.content_type = kind
    assert filename_of(op.file) == name
    assert filename_of(asked().file) == "a.wav"


# ---- answers


def test_subtitles() -> None:
    answer = Transcription("Hello there. General Kenobi!", passages=PASSAGES)
    assert written("text", answer) == "Hello there. General Kenobi!\n"
    assert written("srt", answer) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n2\n01:00:00,000 --> 01:01:01,250\nGeneral\nKenobi!\n\n"
    )
    assert written("vtt", answer) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n\n01:00:00.000 --> 01:01:01.250\nGeneral\nKenobi!\n\n"
    )


def test_subtitles_where_nobody_told_the_times() -> None:
    answer = Transcription("Hello", duration=2.0)
    assert subtitles(answer, "srt") == "1\n00:00:00,000 --> 00:00:02,000\nHello\n\n"
    assert subtitles(Transcription("Hello"), "vtt") == "WEBVTT\n\n00:00:00.000 --> 00:00:00.000\nHello\n\n"


def test_subtitles_of_silence() -> None:
    assert subtitles(Transcription(""), "srt") == ""
    assert subtitles(Transcription(""), "vtt") == "WEBVTT\n\n"
    assert subtitles(Transcription(""), "text") == "\n"


def test_json() -> None:
    answer = Transcription("Hello", "english", 1.5, PASSAGES[:1], [Passage("Hello", 0.0, 0.5)], Usage(seconds=2))
    assert json.loads(written("json", answer)) == {"text": "Hello", "usage": {"type": "duration", "seconds": 2}}
    assert json.loads(written("json", Transcription("Hello"))) == {"text": "Hello"}
    verbose = json.loads(written("verbose_json", answer))
    assert (verbose["task"], verbose["language"], verbose["duration"], verbose["text"]) == (
        "transcribe",
        "english",
        1.5,
        "Hello",
    )
    (segment,) = verbose["segments"]
    assert (segment["id"], segment["start"], segment["end"], segment["text"]) == (0, 0.0, 1.5, " Hello there. ")
    assert {"seek", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"} < set(segment)
    assert "words" not in verbose
    words = json.loads(written("verbose_json", answer, ("timestamp_granularities[]", "word")))["words"]
    assert words == [{"word": "Hello", "start": 0.0, "end": 0.5}]


def test_usage_as_it_is_written() -> None:
    assert usage_out(Usage(seconds=1.5)) == {"type": "duration", "seconds": 1.5}
    assert usage_out(Usage(5, 9)) == {"type": "tokens", "input_tokens": 5, "output_tokens": 9, "total_tokens": 14}
    assert usage_out(Usage(14, 9, audio_input=10)) == {
        "type": "tokens",
        "input_tokens": 14,
        "output_tokens": 9,
        "total_tokens": 23,
        "input_token_details": AUDIO,
    }


def test_a_stream_that_is_written() -> None:
    encoder = OpenAITranscription(asked(("stream", "true"))).encoder(context())
    out = encoder.encode([Text("Hel")]) + encoder.encode([Text("lo"), Metered(Usage(5, 9)), Done()])
    assert events(out) == [
        {"type": "transcript.text.delta", "delta": "Hel"},
        {"type": "transcript.text.delta", "delta": "lo"},
        {"type": "transcript.text.done", "text": "Hello", "usage": usage_out(Usage(5, 9))},
    ]
    meter = Meter()
    tap = WIRE.tap(context(), meter)
    assert tap.feed(out) == out  # it is what our own tap takes for a whole stream
    tap.eof()
    assert (tap.error, meter.size, meter.counted) == (None, 5, [Usage(5, 9)])
    (error,) = events(encoder.error(Problem("PROVIDER_CUT")))
    assert (error["type"], error["error"]["code"]) == ("error", "provider_cut")
    assert (encoder.content_type, encoder.keepalive) == (b"text/event-stream", b": keep-alive\n\n")


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ({"text": "Hello"}, Transcription("Hello")),
        ({"text": ""}, Transcription("")),
        (
            {"text": "a", "language": "english", "duration": 8.5, "task": "transcribe", "own": [1]},
            Transcription("a", "english", 8.5, usage=Usage(seconds=8.5)),
        ),
        ({"text": "a", "duration": "8.5"}, Transcription("a", "", 8.5, usage=Usage(seconds=8.5))),
        ({"text": "a", "duration": "?"}, Transcription("a")),
        ({"text": "a", "duration": "nan"}, Transcription("a")),
        ({"text": "a", "duration": "inf"}, Transcription("a")),
        ({"text": "a", "language": None, "duration": None, "segments": None, "usage": None}, Transcription("a")),
        (
            {"text": "a", "duration": 8.5, "usage": {"type": "duration", "seconds": 9}},
            Transcription("a", "", 8.5, usage=Usage(seconds=9.0)),
        ),
        (
            {"text": "a", "usage": {"type": "tokens", "input_tokens": 5, "output_tokens": 9, "total_tokens": 14}},
            Transcription("a", usage=Usage(5, 9)),
        ),
        (
            {"text": "a", "usage": {"input_tokens": 14, "output_tokens": 45, "input_token_details": AUDIO}},
            Transcription("a", usage=Usage(14, 45, audio_input=10)),
        ),
        (
            {"text": "a", "usage": {"input_tokens": 14, "output_tokens": 45, "input_token_details": None}},
            Transcription("a", usage=Usage(14, 45)),
        ),
        (
            {
                "text": "a",
                "segments": [{"id": "seg_1", "text": "a", "start": 0, "end": 1.5, "speaker": "A", "type": "x"}],
                "words": [{"word": "a", "start": 0, "end": 1}],
            },
            Transcription("a", passages=[Passage("a", 0.0, 1.5)], words=[Passage("a", 0.0, 1.0)]),
        ),
    ],
)
def test_an_answer_that_is_read(answer: Any, read: Transcription) -> None:
    assert WIRE.answer(json.dumps(answer).encode()) == read


@pytest.mark.parametrize("format", FORMATS)
def test_an_answer_passes_byte_for_byte(format: str) -> None:  # noqa: A002  the field's name on the wire
    is_json = FORMATS[format] == b"application/json"
    body = b'{"text" : "Hello", "own": [1.50], "usage": {"seconds": 2}}' if is_json else b"\xffanything at all\n"
    meter = Meter()
    assert WIRE.passed(asked(("response_format", format)), body, meter) is body
    assert (meter.size, meter.counted) == ((5, [Usage(seconds=2.0)]) if is_json else (len(body), []))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"Hello",
        b"[]",
        b"{}",
        b'{"text": null}',
        b'{"text": 5}',
        b'{"text": "a", "segments": 5}',
        b"\xff",
        b"[" * 99_999,
    ],
)
def test_what_is_no_transcription(answer: bytes) -> None:
    for run in (lambda: WIRE.answer(answer), lambda: WIRE.passed(asked(), answer, Meter())):
        assert wrong(run).fault is Fault.PROTOCOL


def test_an_error_in_place_of_a_transcription() -> None:
    e = wrong(lambda: WIRE.passed(asked(), b'{"error": {"message": "no", "type": "invalid_request_error"}}', Meter()))
    assert (e.fault, e.status, e.message) == (Fault.EVENT, 400, "no")
    assert WIRE.error(413, {}, b"too large").status == 413


DELTA = {"type": "transcript.text.delta", "delta": "Hel", "logprobs": []}
LAST = {"type": "transcript.text.done", "text": "Hello", "usage": usage_out(Usage(5, 9))}
STREAM = b": ping\n\n" + stream_of(DELTA, DELTA | {"delta": "lo"}, {"type": "transcript.text.segment", "x": 1}, LAST)


def decoded(*pieces: bytes, **more: Any) -> list[Event]:
    """What is read of a stream; `Failed` as the fault that it tells."""
    decoder = WIRE.decoder(context(**more))
    out: list[Event] = []
    for p in pieces:
        out += decoder.feed(p)
    return [*out, *decoder.eof()]


def test_a_stream_that_is_read() -> None:
    wanted = [Text("Hel"), Text("lo"), Metered(Usage(5, 9)), Done()]
    for at in range(len(STREAM) + 1):
        assert decoded(STREAM[:at], STREAM[at:]) == wanted
    assert decoded(STREAM + b"data: [DONE]\n\n") == wanted
    assert decoded(stream_of(LAST | {"usage": None})) == [Done()]


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (b"", Fault.CUT),
        (b"data: {", Fault.CUT),
        (b"data: <html>\n\n", Fault.PROTOCOL),
        (b"data: 5\n\n", Fault.PROTOCOL),
        (b'data: {"type": "error", "error": {"message": "busy", "type": "rate_limit_error"}}\n\n', Fault.EVENT),
        (b'data: {"type": "error", "message": "busy", "code": "rate_limit_exceeded"}\n\n', Fault.EVENT),
        (b'data: {"error": {"message": "busy"}}\n\n', Fault.EVENT),
        (b"data: " + b"x" * 2000, Fault.TOO_LARGE),
    ],
)
def test_a_stream_that_fails_says_what_it_said(more: bytes, fault: Fault) -> None:
    """What came before is not lost, in the same piece or not."""
    for pieces in ([stream_of(DELTA), more], [stream_of(DELTA) + more]):
        first, last = decoded(*pieces, max_event=1000)
        assert first == Text("Hel")
        assert isinstance(last, Failed) and last.error.fault is fault


def test_the_documents_transcripts() -> None:
    encoder = PlainTranscript().encoder(context())
    assert json.loads(encoder.whole(Transcription("Hello", "en", 1.5, usage=Usage(5)))) == {
        "text": "Hello",
        "language": "en",
        "duration": 1.5,
    }
    assert json.loads(encoder.whole(Transcription(""))) == {"text": ""}
    assert json.loads(encoder.whole(Transcription("a", duration=0.0))) == {"text": "a", "duration": 0.0}
    assert (encoder.whole_type, encoder.error(Problem("PROVIDER_CUT"))) == (b"application/json", b"")


# ---- anything at all


NAMES = ("model", "language", "response_format", "stream", "prompt", "temperature", "timestamp_granularities[]", "file")
texts = st.text(st.characters(codec="utf-8"), max_size=6)


@MANY
@given(
    fields=st.lists(
        st.tuples(st.sampled_from(NAMES) | texts, texts | st.sampled_from(["json", "srt", "true", "word"])), max_size=6
    ),
    files=st.lists(
        st.tuples(
            st.sampled_from(["file", "file", "x"]),
            st.just("a"),
            st.sampled_from(["audio/wav", ""]),
            st.binary(max_size=5),
        ),
        min_size=1,
        max_size=2,
    ),
)
def test_any_form_is_read_or_refused_by_name(
    fields: list[tuple[str, str]], files: list[tuple[str, str, str, bytes]]
) -> None:
    assert named(problem_of(lambda: sent(read_form(form(fields, *files)))))


times = st.floats(0, 1e6) | st.integers(0, 10)
answers = st.fixed_dictionaries(
    {"text": st.text(max_size=8)},
    optional={
        "language": values | st.text(),
        "duration": times | st.text(max_size=3) | values,
        "segments": st.lists(st.fixed_dictionaries({}, optional={"text": st.text(), "start": times, "end": times})),
        "words": st.lists(st.fixed_dictionaries({}, optional={"word": st.text(), "start": times, "end": times})),
        "usage": st.fixed_dictionaries({}, optional={"seconds": times, "input_tokens": values | st.integers(0, 9)}),
        "error": values,
    },
)


@MANY
@given(
    answer=st.binary(max_size=60) | (values | answers).map(lambda v: json.dumps(v).encode()),
    format=st.sampled_from(list(FORMATS)),
)
def test_any_answer_is_passed_or_refused(answer: bytes, format: str) -> None:  # noqa: A002  the field's name
    op = asked(("response_format", format), ("timestamp_granularities[]", "word"))
    upstream_error_of(lambda: OpenAITranscription(op).encoder(context()).whole(WIRE.answer(answer)))
    upstream_error_of(lambda: PlainTranscript().encoder(context()).whole(WIRE.answer(answer)))
    e = upstream_error_of(lambda: WIRE.passed(op, answer, Meter()))
    assert e is None or e.fault in (Fault.PROTOCOL, Fault.EVENT)
