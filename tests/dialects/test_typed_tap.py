"""The tap for streams of typed events (images, speech, transcripts): they pass as they came, and are known to be whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.media import MANY, Meter, context, cut, cuts, stream_of, values
from switchboard.core.errors import Fault
from switchboard.core.ports import Phase, Pipe
from switchboard.core.types import Usage
from switchboard.dialects.openai_images import OpenAIImageEdits, OpenAIImages
from switchboard.dialects.openai_speech import OpenAISpeechEvents
from switchboard.dialects.openai_transcription import OpenAITranscription

USAGE = {"type": "tokens", "input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
DELTA = {"type": "transcript.text.delta", "delta": "Hello", "logprobs": [], "x-own": 1.5}
DONE = {"type": "transcript.text.done", "text": "Hello", "usage": USAGE}
WHOLE = stream_of(DELTA, DONE)
#: Streams as OpenAI writes them, by the wire.
STREAMS: dict[str, tuple[Any, bytes]] = {
    "transcript": (OpenAITranscription(), stream_of(DELTA, DELTA, DONE)),
    "image": (
        OpenAIImages(),
        stream_of(
            {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "AA=="},
            {"type": "image_generation.completed", "b64_json": "AAAA", "usage": USAGE},
        ),
    ),
    "edit": (OpenAIImageEdits(), stream_of({"type": "image_edit.completed", "b64_json": "AAAA", "usage": USAGE})),
    "speech": (
        OpenAISpeechEvents(),
        stream_of({"type": "speech.audio.delta", "audio": "AA=="}, {"type": "speech.audio.done", "usage": USAGE}),
    ),
}


def tap(**more: Any) -> tuple[Pipe, Meter]:
    meter = Meter()
    return OpenAITranscription().tap(context(**more), meter), meter


def failed(*fed: bytes, end: bool = True) -> tuple[bytes, Fault, int]:
    """What passes of a stream that fails, how it fails, and the status of that."""
    t, _ = tap()
    out = b"".join(t.feed(f) for f in fed)
    if end:
        out += t.eof()
    assert t.phase is Phase.FAILED and t.error is not None
    assert t.feed(WHOLE) + t.eof() == b""  # nothing follows
    return out, t.error.fault, t.error.status


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_at_every_byte(name: str) -> None:
    wire, stream = STREAMS[name]
    for at in range(len(stream) + 1):
        meter = Meter()
        t = wire.tap(context(), meter)
        assert t.feed(stream[:at]) + t.feed(stream[at:]) + t.eof() == stream
        images = 1 if name in ("image", "edit") else 0
        assert (t.phase, t.error, meter.counted) == (Phase.DONE, None, [Usage(3, 4, images=images)])


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_ends_at_any_byte_is_whole_only_with_its_last_event(name: str) -> None:
    wire, stream = STREAMS[name]
    for at in range(len(stream)):
        t = wire.tap(context(), Meter())
        out = t.feed(stream[:at]) + t.eof()
        assert stream.startswith(out)
        assert t.phase is Phase.FAILED
        assert t.error is not None and t.error.fault is Fault.CUT


def test_nothing_is_content_before_the_first_event_is_whole() -> None:
    t, _ = tap()
    first = stream_of(DELTA)
    for i in range(len(first) - 1):
        assert (t.feed(first[i : i + 1]), t.phase) == (b"", Phase.PREAMBLE)
    assert (t.feed(first[-1:]), t.phase) == (first, Phase.CONTENT)


def test_comments_pass_once_there_is_content() -> None:
    t, _ = tap()
    assert (t.feed(b": ping\n\n"), t.phase) == (b"", Phase.PREAMBLE)
    first = stream_of(DELTA)
    assert t.feed(first + b": ping\n\n") == first + b": ping\n\n"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end(end: bytes) -> None:
    stream = WHOLE.replace(b"\n", end)
    t, _ = tap()
    assert t.feed(stream) + t.eof() == stream
    assert t.phase is Phase.DONE


def test_what_stands_behind_the_last_event() -> None:
    t, _ = tap()
    stream = WHOLE + b"data: [DONE]\n\n"
    assert t.feed(stream) + t.eof() == stream
    assert t.phase is Phase.DONE
    # but it does not make a stream whole
    out, fault, _ = failed(stream_of(DELTA), b"data: [DONE]\n\n")
    assert (out, fault) == (stream_of(DELTA), Fault.CUT)


def test_the_meter_sees_what_passes() -> None:
    t, meter = tap()
    t.feed(stream_of(DELTA, DELTA))
    assert (meter.size, meter.counted) == (10, [])
    t.feed(stream_of(DONE))
    assert (meter.size, meter.counted) == (10, [Usage(3, 4)])
    seconds, meter = tap()
    seconds.feed(stream_of(DONE | {"usage": {"type": "duration", "seconds": 7}}))
    assert meter.counted == [Usage(seconds=7.0)]
    heard, meter = tap()
    details = {"input_token_details": {"text_tokens": 1, "audio_tokens": 2}}
    heard.feed(stream_of(DONE | {"usage": USAGE | details}))
    assert meter.counted == [Usage(3, 4, audio_input=2)]


def test_images_are_counted() -> None:
    last = {"type": "image_generation.completed", "b64_json": "AAAA"}
    meter = Meter()
    t = OpenAIImages().tap(context(), meter)
    t.feed(stream_of({"type": "image_generation.partial_image", "b64_json": "AA=="}, last | {"usage": USAGE}))
    assert meter.counted[-1] == Usage(3, 4, images=1)
    t.feed(stream_of(last))
    assert meter.counted[-1].images == 2


ERROR = {"message": "slowly", "type": "rate_limit_error", "code": "rate_limit_exceeded"}


@pytest.mark.parametrize(
    "frame",
    [
        json.dumps({"type": "error", "error": ERROR}).encode(),
        json.dumps({"error": ERROR}).encode(),
        json.dumps(ERROR | {"type": "error"}).encode(),
        json.dumps(DELTA | {"error": ERROR}).encode(),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_errors_as_events(frame: bytes, begun: bool) -> None:
    before = stream_of(DELTA) if begun else b""
    assert failed(before, b"data: " + frame + b"\n\n", end=False) == (before, Fault.EVENT, 429)
    assert failed(before + b"event: error\ndata: " + frame + b"\n\n") == (before, Fault.EVENT, 429)


def test_an_error_that_is_null_is_none() -> None:
    t, _ = tap()
    stream = stream_of(DELTA | {"error": None}, DONE)
    assert t.feed(stream) + t.eof() == stream
    assert t.error is None


@pytest.mark.parametrize(
    "payload", [b"<html>", b"{", b"5", b"[]", b'"a"', b"\xff", b"null", b'{"type": 5}', b"[" * 9_999, b"[DONE"]
)
@pytest.mark.parametrize("begun", [False, True])
def test_events_that_are_none(payload: bytes, begun: bool) -> None:
    before = stream_of(DELTA) if begun else b""
    out, fault, _ = failed(before + b"data: " + payload + b"\n\n" + WHOLE)
    assert (out, fault) == (before, Fault.PROTOCOL)


@pytest.mark.parametrize("pieces", [1, 7])
def test_an_event_that_is_too_large(pieces: int) -> None:
    first = stream_of(DELTA)
    stream = first + b"data: " + b"x" * 2000
    t, _ = tap(max_event=1000)
    size = len(stream) // pieces + 1
    out = b"".join(t.feed(stream[i : i + size]) for i in range(0, len(stream), size))
    assert (out, t.phase) == (first, Phase.FAILED)
    assert t.error is not None and t.error.fault is Fault.TOO_LARGE


def test_a_picture_may_be_as_large_as_an_event() -> None:
    picture = stream_of({"type": "image_generation.completed", "b64_json": "A" * 3_000_000})
    t = OpenAIImages().tap(context(), Meter())
    out = b"".join(t.feed(picture[i : i + 65536]) for i in range(0, len(picture), 65536))
    assert out + t.eof() == picture
    assert t.phase is Phase.DONE


def test_nothing_at_all_is_a_stream_that_was_cut() -> None:
    assert failed() == (b"", Fault.CUT, 0)
    assert failed(b"", b": ping\n\n") == (b"", Fault.CUT, 0)


kinds = st.sampled_from(["transcript.text.delta", "transcript.text.done", "transcript.text.segment", "error", "x"])
frames = (
    st.fixed_dictionaries(
        {"type": kinds}, optional={"delta": st.text(max_size=5), "usage": st.just(USAGE), "x": values}
    )
    | st.fixed_dictionaries({}, optional={"type": kinds | values, "delta": values, "usage": values, "error": values})
    | values
).map(lambda v: json.dumps(v).encode())
pieces = st.one_of(
    frames.map(lambda f: b"data: " + f + b"\n\n"),
    st.sampled_from([b": ping\n\n", b"data: [DONE]\n\n", b"data:\n\n", b"event: x\n\n", b"\r\n"]),
    st.binary(max_size=20),
)


@MANY
@given(stream=st.lists(pieces, max_size=6).map(b"".join), at=cuts)
def test_any_stream_passes_in_part_and_ends_well_or_badly(stream: bytes, at: list[int]) -> None:
    t, _ = tap(max_event=10_000)
    out = b"".join(t.feed(piece) for piece in cut(stream, at)) + t.eof()
    whole, _ = tap(max_event=10_000)
    again = whole.feed(stream) + whole.eof()
    assert t.phase is whole.phase and t.phase in (Phase.DONE, Phase.FAILED)
    assert (t.error is None) == (t.phase is Phase.DONE)
    assert out.replace(b"\r\n", b"\n").replace(b"\r", b"\n") == again.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert len(out) <= len(stream)
