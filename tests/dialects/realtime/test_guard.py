"""What a client may change of a session, and how far an answer can be truncated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dialects.realtime.fixtures import Json, frame
from switchboard.dialects.realtime import clamp_truncate, dump_event, field_guard

_BETA: Json = {
    "instructions": "i",
    "voice": "ash",
    "modalities": ["text"],
    "input_audio_format": "pcm16",
    "output_audio_format": "pcm16",
    "input_audio_transcription": None,
    "input_audio_noise_reduction": None,
    "turn_detection": None,
    "max_response_output_tokens": 5,
    "temperature": 1,
    "new": 1,
}
_GA: Json = {
    "type": "realtime",
    "instructions": "i",
    "output_modalities": ["text"],
    "max_output_tokens": 5,
    "audio": {
        "input": {"format": {}, "transcription": None, "noise_reduction": None, "turn_detection": None, "new": 1},
        "output": {"format": {}, "voice": "ash", "speed": 1},
        "new": 5,
    },
    "new": 1,
}


def _guarded(event: Json, *allowed: str) -> tuple[Any, list[str]]:
    sent, removed = field_guard(frame(event), frozenset(allowed))
    return json.loads(sent), removed


@pytest.mark.parametrize(
    ("allowed", "beta", "ga"),
    [
        ([], {}, {}),
        (["instructions"], {"instructions": "i"}, {"instructions": "i"}),
        (["voice"], {"voice": "ash"}, {"audio": {"output": {"voice": "ash"}}}),
        (["speed"], {}, {"audio": {"output": {"speed": 1}}}),
        (["modalities"], {"modalities": ["text"]}, {"output_modalities": ["text"]}),
        (["input_format"], {"input_audio_format": "pcm16"}, {"audio": {"input": {"format": {}}}}),
        (["output_format"], {"output_audio_format": "pcm16"}, {"audio": {"output": {"format": {}}}}),
        (["transcription"], {"input_audio_transcription": None}, {"audio": {"input": {"transcription": None}}}),
        (["noise_reduction"], {"input_audio_noise_reduction": None}, {"audio": {"input": {"noise_reduction": None}}}),
        (["turn_detection"], {"turn_detection": None}, {"audio": {"input": {"turn_detection": None}}}),
        (["max_output_tokens"], {"max_response_output_tokens": 5}, {"max_output_tokens": 5}),
        (["temperature"], {"temperature": 1}, {}),
        (["new"], {"new": 1}, {"new": 1}),
        (["audio"], {}, {}),
    ],
)
def test_only_what_is_allowed_passes(allowed: list[str], beta: Json, ga: Json) -> None:
    update = {"type": "session.update", "event_id": "e"}
    got, removed = _guarded(update | {"session": _BETA}, *allowed)
    assert got == update | {"session": beta}
    assert sorted(removed) == sorted(f"session.{n}" for n in _BETA.keys() - beta.keys())
    got, removed = _guarded(update | {"session": _GA}, *allowed)
    assert got == update | {"session": {"type": "realtime"} | ga}
    assert len(removed) == 13 - (1 if ga else 0)


def test_what_was_removed_has_the_clients_names() -> None:
    _, removed = _guarded({"type": "session.update", "session": _GA})
    assert {
        "session.instructions",
        "session.audio.output.voice",
        "session.audio.input.new",
        "session.audio.new",
    } <= set(removed)


@pytest.mark.parametrize("kind", ["transcription_session.update", "session.update", "response.create"])
def test_the_events_that_change_something(kind: str) -> None:
    where = "response" if kind == "response.create" else "session"
    event = {"type": kind, where: {"turn_detection": None, "instructions": "i"}}
    got, removed = _guarded(event, "turn_detection")
    assert got == {"type": kind, where: {"turn_detection": None}}
    assert removed == [f"{where}.instructions"]


def test_the_type_of_a_response_is_no_structure_of_it() -> None:
    assert _guarded({"type": "response.create", "response": {"type": "realtime"}})[1] == ["response.type"]


@pytest.mark.parametrize("body", [None, "x", 5, [], {}, {"audio": None}, {"audio": "x"}, {"audio": {"output": None}}])
def test_bodies_of_another_kind(body: Any) -> None:
    got, _ = _guarded({"type": "session.update", "session": body}, "voice")
    assert got["session"] == ({} if isinstance(body, dict) else body)


def test_other_events_pass() -> None:
    sent = b'{"type":"input_audio_buffer.append", "audio":"AAAA"}'
    assert field_guard(sent, frozenset())[0] is sent


@pytest.mark.parametrize(
    "sent",
    [
        b'{"type":"session.update","session":{"instructions":"i"},"type":"x"}',
        b'{"type":"session.update","session":{"instructions":"i"},"\\u0074ype":"x"}',
    ],
)
def test_no_two_readers_take_a_frame_for_different_events(sent: bytes) -> None:
    got, _ = field_guard(sent, frozenset())
    assert got == dump_event(json.loads(sent))


def test_a_member_that_comes_twice_comes_out_once() -> None:
    sent = b'{"type":"session.update","session":{"instructions":"i"},"session":{"voice":"ash","voice":"marin"}}'
    got, removed = field_guard(sent, frozenset({"voice"}))
    assert got == b'{"type":"session.update","session":{"voice":"marin"}}'
    assert removed == []


@pytest.mark.parametrize(
    ("end", "played", "got"), [(500, 300, 300), (300, 300, 300), (5, 300, 5), (500, -1, 0), (9.5, 5, 5)]
)
def test_truncation_ends_where_the_sound_did(end: float, played: int, got: int) -> None:
    event: Json = {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": end}
    assert json.loads(clamp_truncate(frame(event), played)) == event | {"audio_end_ms": got}


@pytest.mark.parametrize("event", [{"type": "response.cancel", "audio_end_ms": 9}, {"type": "conversation.item.truncate"},
                                   {"type": "conversation.item.truncate", "audio_end_ms": "9"},
                                   {"type": "conversation.item.truncate", "audio_end_ms": 3}])  # fmt: skip
def test_other_events_are_not_truncated(event: Json) -> None:
    sent = frame(event)
    assert clamp_truncate(sent, 5) is sent
