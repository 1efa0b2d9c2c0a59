"""OpenAI's wire for speech: what is refused, what goes to a provider, and sound as it is or in events."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.media import MANY, Bad, Meter, any_of, context, events, named, problem_of, read, refused, values, wrong
from switchboard.core.capabilities import VOICES, Capabilities
from switchboard.core.errors import Fault, Problem
from switchboard.core.events import Done, Metered, Sound
from switchboard.core.ports import Phase
from switchboard.core.types import Speak, Usage
from switchboard.dialects.openai_speech import FORMATS, OpenAISpeech, OpenAISpeechEvents, read_request
from switchboard.policy.applying import apply
from switchboard.policy.profile import Profile

WIRE, EVENTS = OpenAISpeech(), OpenAISpeechEvents()
OPENAI = Capabilities(voices=VOICES)
SAID = ", ".join(FORMATS)


def spoken(**more: Any) -> Speak:
    return read(read_request, {"input": "Hello there"} | more)


def built(op: Speak, model: str = "m", capabilities: Capabilities = OPENAI) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(WIRE.build(op, model, capabilities))
    return body


# ---- what is asked


BAD: list[Bad] = [
    ({}, "input", "this field is required."),
    ({"input": None}, "input", "expected str, got null."),
    ({"input": ["a"]}, "input", "expected str, got array."),
    ({"input": ""}, "input", "must not be empty."),
    ({"input": " \n\t "}, "input", "must not be empty."),
    ({"input": "x" * 4097}, "input", "4097 characters are more than the 4096 that are taken."),
    ({"input": "a", "speed": 0.24}, "speed", "must be between 0.25 and 4."),
    ({"input": "a", "speed": 4.01}, "speed", "must be between 0.25 and 4."),
    ({"input": "a", "speed": -1}, "speed", "must be between 0.25 and 4."),
    ({"input": "a", "speed": "1"}, "speed", "expected float | null, got str."),
    ({"input": "a", "voice": 5}, "voice", "expected str | object | null, got int."),
    ({"input": "a", "response_format": "ogg"}, "response_format", f"'ogg' is not one of {SAID}."),
    ({"input": "a", "response_format": ""}, "response_format", f"'' is not one of {SAID}."),
    ({"input": "a", "response_format": "MP3"}, "response_format", f"'MP3' is not one of {SAID}."),
    ({"input": "a", "response_format": "x" * 99}, "response_format", f"'{'x' * 32}' is not one of {SAID}."),
    ({"input": "a", "response_format": 5}, "response_format", "expected str | null, got int."),
    ({"input": "a", "stream_format": "x"}, "stream_format", "invalid enum value 'x'."),
    ({"input": "a", "instructions": 5}, "instructions", "expected str | null, got int."),
    ({"input": "a", "model": 5}, "model", "expected str | null, got int."),
]


@pytest.mark.parametrize(("asked", "param", "message"), BAD)
def test_bad_requests(asked: Any, param: str, message: str) -> None:
    assert refused(lambda: read(read_request, asked)) == (param, f"{param}: {message}")


def test_what_is_no_object() -> None:
    assert refused(lambda: read(read_request, "a")) == (None, "The body must be a JSON object.")


@pytest.mark.parametrize("text", ["x" * 4096, "é" * 4096, "录" * 4096, "😀" * 4096])
def test_the_longest_text_whatever_its_bytes(text: str) -> None:
    assert len(read(read_request, {"input": text}).text) == 4096


def test_what_is_asked() -> None:
    op = spoken(model="tts-1", voice=" nova ", response_format="opus", speed=1.5, stream_format="sse")
    assert (op.model, op.voice, op.format, op.speed, op.events) == ("tts-1", "nova", "opus", 1.5, True)
    assert op.stream
    assert op.asked() == Usage(3, estimated=True, characters=11)


def test_null_is_as_good_as_nothing() -> None:
    nulls = dict.fromkeys(("model", "voice", "response_format", "speed", "instructions", "stream_format"))
    for op in (spoken(), spoken(**nulls), spoken(voice="  ")):
        assert (op.model, op.voice, op.format, op.speed, op.events) == ("", "", "mp3", 1.0, False)


@pytest.mark.parametrize("speed", [0.25, 1, 4])
def test_speeds(speed: float) -> None:
    assert spoken(speed=speed).speed == speed


# ---- what a provider is asked


def test_the_model_is_replaced_and_nothing_else() -> None:
    raw = (
        b'{"x-own": {"a":[1.50, 1e2,"\\u00e9"]} ,"model":"theirs","input" : "a\\u00e9","speed":1.50,"voice":"nova",'
        b'"instructions": "Whisper.","response_format":"wav"}'
    )
    body = WIRE.build(read(read_request, raw), "m1", OPENAI)
    assert json.loads(body) == json.loads(raw) | {"model": "m1"}
    for as_it_came in (b'{"a":[1.50, 1e2,"\\u00e9"]}', b'"a\\u00e9"', b"1.50"):
        assert as_it_came in body


def test_sound_or_events_is_said_as_the_dialect_has_it() -> None:
    for asked in ("sse", "audio"):
        op = spoken(stream_format=asked)
        assert "stream_format" not in json.loads(WIRE.build(op, "m", OPENAI))
        assert json.loads(EVENTS.build(op, "m", OPENAI))["stream_format"] == "sse"


def test_a_voice_is_said_where_none_was_named() -> None:
    op = spoken()
    apply(op, Profile(voice="coral"), documents=False)
    assert built(op) == {"model": "m", "input": "Hello there", "voice": "coral"}
    named_ = spoken(voice=" nova ")
    apply(named_, Profile(voice="coral"), documents=False)
    assert built(named_)["voice"] == "nova"


def test_a_voice_of_one_s_own_is_kept() -> None:
    """Custom voices are named by an object."""
    op = spoken(voice={"id": "voice_1234"})
    apply(op, Profile(voice="alloy"), documents=False)
    assert built(op)["voice"] == {"id": "voice_1234"}


@pytest.mark.parametrize("voice", sorted(VOICES))
def test_voices(voice: str) -> None:
    assert built(spoken(voice=voice))["voice"] == voice


@pytest.mark.parametrize("voice", ["bogus", "Alloy", "x" * 500])
def test_a_voice_that_there_is_not(voice: str) -> None:
    param, message = refused(lambda: built(spoken(voice=voice)))
    assert (param, message) == ("voice", f"voice: '{voice[:64]}' is not one of {', '.join(sorted(VOICES))}.")
    assert built(spoken(voice=voice), capabilities=Capabilities())["voice"] == voice


# ---- sound


@pytest.mark.parametrize("name", FORMATS)
def test_the_type_of_sound_is_the_provider_s_or_that_of_the_format(name: str) -> None:
    def told(kind: bytes) -> bytes:
        c = context()
        c.kind = kind
        return OpenAISpeech(name).encoder(c).content_type

    assert told(b"") == told(b"application/octet-stream") == told(b"text/html") == FORMATS[name]
    for kind in (b"audio/wav", b"audio/x-wav", b"audio/mpeg", b'audio/webm; codecs="opus"', b"audio/pcm;rate=24000"):
        assert told(kind) == kind
    for kind in (b"audio/wav\r\nx: y", b"audio/", b"audio/a b", b"audio/wav; a=b\r\n"):
        assert told(kind) == FORMATS[name]


def test_sound_passes_as_it_is() -> None:
    tap = WIRE.tap(context(), Meter())
    assert (tap.feed(b""), tap.phase) == (b"", Phase.PREAMBLE)
    assert (tap.feed(b"\x00"), tap.phase) == (b"\x00", Phase.CONTENT)
    assert tap.feed(b"data: x\n\n") == b"data: x\n\n"
    assert (tap.eof(), tap.phase, tap.error) == (b"", Phase.DONE, None)


def test_no_sound_is_no_answer() -> None:
    tap = WIRE.tap(context(), Meter())
    assert tap.eof() == b""
    assert tap.phase is Phase.FAILED
    assert tap.error is not None and tap.error.fault is Fault.CUT
    decoder = WIRE.decoder(context())
    assert decoder.feed(b"") == []
    assert wrong(decoder.eof).fault is Fault.CUT


def test_sound_becomes_events_and_events_sound() -> None:
    decoder = WIRE.decoder(context())
    told = [*decoder.feed(b"\x00\xff"), *decoder.feed(b"two"), *decoder.eof()]
    assert told == [Sound(b"\x00\xff"), Sound(b"two"), Done()]
    assert WIRE.encoder(context()).encode(told) == b"\x00\xfftwo"
    encoder = EVENTS.encoder(context())
    out = encoder.encode(told[:1]) + encoder.encode([Sound(b"two"), Metered(Usage(3, 9))]) + encoder.encode([Done()])
    first, second, done = events(out)
    assert [b64decode(e["audio"]) for e in (first, second)] == [b"\x00\xff", b"two"]
    assert {e["type"] for e in (first, second)} == {"speech.audio.delta"}
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 3, "output_tokens": 9, "total_tokens": 12},
    }
    tap = EVENTS.tap(context(), Meter())
    assert tap.feed(out) == out  # it is what our own tap takes for a whole stream
    tap.eof()
    assert tap.error is None


def test_how_a_failure_ends_each() -> None:
    problem = Problem("PROVIDER_CUT")
    assert WIRE.encoder(context()).error(problem) == b""
    (error,) = events(EVENTS.encoder(context()).error(problem))
    assert (error["type"], error["error"]["code"]) == ("error", "provider_cut")
    assert (WIRE.encoder(context()).keepalive, EVENTS.encoder(context()).keepalive) == (b"", b": keep-alive\n\n")


@pytest.mark.parametrize("wire", [WIRE, EVENTS])
def test_what_is_no_sound(wire: OpenAISpeech) -> None:
    assert wrong(lambda: wire.answer(b'{"a": 1}')).fault is Fault.PROTOCOL
    assert wrong(lambda: wire.passed(spoken(), b'{"a": 1}', Meter())).fault is Fault.PROTOCOL
    e = wire.error(400, {}, b'{"error": {"message": "voice: no", "param": "voice"}}')
    assert (e.fault, e.status, e.param) == (Fault.STATUS, 400, "voice")


def test_events_are_not_read() -> None:
    decoder = EVENTS.decoder(context())
    assert decoder.feed(b"data: x\n\n") == []
    assert wrong(decoder.eof).fault is Fault.PROTOCOL


# ---- anything at all


NAMES = ("input", "model", "voice", "response_format", "speed", "instructions", "stream_format", "x-own")


@MANY
@given(asked=values | any_of(*NAMES), good=st.booleans(), wire=st.sampled_from([WIRE, EVENTS]))
def test_any_request_is_read_or_refused_by_name(asked: Any, good: bool, wire: OpenAISpeech) -> None:
    if good and isinstance(asked, dict):
        asked = asked | {"input": "Hello"}
    assert named(problem_of(lambda: wire.build(read(read_request, asked), "m", OPENAI)))
