"""The session that the server holds, sound in and out of events, and which shape a client speaks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.realtime.fixtures import BETA, CLIENT, GA, Json, check_client, frame, json_of
from switchboard.dialects.realtime import (
    SessionFields,
    Shape,
    append_to_pcm,
    binary_to_append,
    delta_to_pcm,
    event_type,
    guess,
    session_update,
)

_ALL = SessionFields(
    model="gpt-realtime",
    instructions="Be brief.",
    modalities=["audio"],
    voice="ash",
    speed=1.1,
    input_format="pcm16",
    output_format="g711_ulaw",
    transcription={"model": "whisper-1"},
    noise_reduction=None,
    turn_detection={"type": "server_vad"},
    tools=[{"type": "function", "name": "f"}],
    tool_choice="auto",
    max_output_tokens="inf",
    temperature=0.8,
)


def test_a_session_is_set_in_the_beta() -> None:
    event = json.loads(session_update(BETA, _ALL, "event_1"))
    check_client(BETA, event)
    assert event == {
        "type": "session.update",
        "event_id": "event_1",
        "session": {
            "model": "gpt-realtime",
            "instructions": "Be brief.",
            "modalities": ["audio", "text"],
            "voice": "ash",
            "speed": 1.1,
            "input_audio_format": "pcm16",
            "output_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "whisper-1"},
            "input_audio_noise_reduction": None,
            "turn_detection": {"type": "server_vad"},
            "tools": [{"type": "function", "name": "f"}],
            "tool_choice": "auto",
            "max_response_output_tokens": "inf",
            "temperature": 0.8,
        },
    }


def test_a_session_is_set_in_ga() -> None:
    event = json.loads(session_update(GA, _ALL))
    check_client(GA, event)
    assert event == {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "model": "gpt-realtime",
            "instructions": "Be brief.",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "transcription": {"model": "whisper-1"},
                    "noise_reduction": None,
                    "turn_detection": {"type": "server_vad"},
                },
                "output": {"format": {"type": "audio/pcmu"}, "voice": "ash", "speed": 1.1},
            },
            "tools": [{"type": "function", "name": "f"}],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
        },
    }


def test_what_is_not_said_is_not_sent() -> None:
    assert json.loads(session_update(BETA, SessionFields())) == {"type": "session.update", "session": {}}
    got = json.loads(session_update(GA, SessionFields(turn_detection=None)))
    assert got["session"] == {"type": "realtime", "audio": {"input": {"turn_detection": None}}}


def test_a_transcription_session_is_set() -> None:
    fields = SessionFields(type="transcription", instructions="i", voice="ash", transcription={"model": "whisper-1"})
    beta, ga = (json.loads(session_update(s, fields)) for s in (BETA, GA))
    check_client(BETA, beta)
    check_client(GA, ga)
    said = {"model": "whisper-1"}
    assert beta == {"type": "transcription_session.update", "session": {"input_audio_transcription": said}}
    assert ga["session"] == {"type": "transcription", "audio": {"input": {"transcription": said}}}


@given(pcm=st.binary(max_size=300))
def test_sound_goes_in_and_out_of_events(pcm: bytes) -> None:
    sent = binary_to_append(pcm)
    check_client(BETA, json.loads(sent))
    assert append_to_pcm(sent) == pcm
    assert delta_to_pcm(sent) is None
    sound = json.loads(sent)["audio"]
    for name in ("response.audio.delta", "response.output_audio.delta"):
        assert delta_to_pcm(frame({"type": name, "delta": sound})) == pcm
        assert append_to_pcm(frame({"type": name, "audio": sound})) is None


@pytest.mark.parametrize("sound", ["AAA", "A!==", None, 5, ["AAAA"]])
def test_sound_that_is_none(sound: Any) -> None:
    assert append_to_pcm(frame({"type": "input_audio_buffer.append", "audio": sound})) is None
    assert delta_to_pcm(frame({"type": "response.audio.delta", "delta": sound})) is None


def test_other_events_have_no_sound() -> None:
    assert append_to_pcm(b'{"type":"input_audio_buffer.append"}') is None
    assert delta_to_pcm(b'{"type":"response.text.delta","delta":"AAAA"}') is None
    assert delta_to_pcm(b'{"type":5,"delta":"AAAA"}') is None


_SAID = {"type": "message", "role": "assistant"}


@pytest.mark.parametrize(
    ("event", "shape"),
    [
        ({"type": "transcription_session.update"}, BETA),
        ({"type": "session.update", "session": {"voice": "ash"}}, BETA),
        ({"type": "session.update", "session": {"turn_detection": None, "instructions": "i"}}, BETA),
        ({"type": "session.update", "session": {"type": "realtime"}}, GA),
        ({"type": "session.update", "session": {"audio": {}}}, GA),
        ({"type": "session.update", "session": {"output_modalities": ["text"]}}, GA),
        ({"type": "session.update", "session": {"instructions": "i"}}, None),
        ({"type": "session.update", "session": {"type": "realtime", "voice": "ash"}}, None),
        ({"type": "session.update", "session": None}, None),
        ({"type": "response.create"}, None),
        ({"type": "response.create", "response": {"modalities": ["text"]}}, BETA),
        ({"type": "response.create", "response": {"output_modalities": ["text"]}}, GA),
        ({"type": "response.create", "response": {"max_output_tokens": 5}}, GA),
        ({"type": "response.create", "response": {"input": [_SAID | {"content": [{"type": "text"}]}]}}, BETA),
        ({"type": "response.create", "response": {"input": [_SAID | {"content": [{"type": "output_text"}]}]}}, GA),
        ({"type": "conversation.item.create", "item": _SAID | {"content": [{"type": "text"}]}}, BETA),
        ({"type": "conversation.item.create", "item": _SAID | {"content": [{"type": "output_text"}]}}, GA),
        ({"type": "conversation.item.create", "item": _SAID | {"content": [{"type": "input_text"}]}}, None),
        ({"type": "conversation.item.create", "item": {"type": "mcp_approval_response"}}, GA),
        ({"type": "conversation.item.create", "item": {"type": "message", "content": "text"}}, None),
        ({"type": "input_audio_buffer.append", "audio": ""}, None),
        ({}, None),
    ],
)
def test_the_shape_of_an_event(event: Json, shape: Shape | None) -> None:
    assert guess(frame(event)) is shape


@pytest.mark.parametrize("shape", list(Shape))
@given(data=st.data())
def test_no_event_of_a_shape_is_taken_for_one_of_the_other(shape: Shape, data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(list(CLIENT[shape])).flatmap(lambda n: json_of(CLIENT[shape][n])))
    assert event_type(frame(event)) == event["type"]
    assert guess(frame(event)) in (shape, None)
