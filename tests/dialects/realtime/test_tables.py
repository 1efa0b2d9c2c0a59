"""The differences between the members of the two shapes, line by line, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from dialects.realtime.fixtures import BETA, GA, Json, asked, told
from switchboard.dialects.realtime import Translator

_PCM = {"type": "audio/pcm", "rate": 24000}
_VAD = {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 300, "create_response": False}
_TOOLS = [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}]


def _in(value: Any) -> Json:
    return {"audio": {"input": value}}


def _out(value: Any) -> Json:
    return {"audio": {"output": value}}


#: beta, GA
SESSION: list[tuple[Json, Json]] = [
    ({}, {}),
    ({"modalities": ["audio", "text"]}, {"output_modalities": ["audio"]}),
    ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
    ({"voice": "marin"}, _out({"voice": "marin"})),
    ({"speed": 1.5}, _out({"speed": 1.5})),
    ({"voice": "ash", "speed": 0.5}, _out({"voice": "ash", "speed": 0.5})),
    ({"input_audio_format": "pcm16"}, _in({"format": _PCM})),
    ({"input_audio_format": "g711_ulaw"}, _in({"format": {"type": "audio/pcmu"}})),
    ({"input_audio_format": "g711_alaw"}, _in({"format": {"type": "audio/pcma"}})),
    ({"input_audio_format": "opus"}, _in({"format": "opus"})),
    ({"output_audio_format": "pcm16"}, _out({"format": _PCM})),
    ({"output_audio_format": "g711_ulaw"}, _out({"format": {"type": "audio/pcmu"}})),
    ({"output_audio_format": "g711_alaw"}, _out({"format": {"type": "audio/pcma"}})),
    (
        {"input_audio_transcription": {"model": "whisper-1", "language": "en", "prompt": "p"}},
        _in({"transcription": {"model": "whisper-1", "language": "en", "prompt": "p"}}),
    ),
    ({"input_audio_transcription": None}, _in({"transcription": None})),
    ({"input_audio_noise_reduction": {"type": "far_field"}}, _in({"noise_reduction": {"type": "far_field"}})),
    ({"input_audio_noise_reduction": None}, _in({"noise_reduction": None})),
    ({"turn_detection": _VAD}, _in({"turn_detection": _VAD})),
    ({"turn_detection": {"type": "semantic_vad", "eagerness": "low"}},
     _in({"turn_detection": {"type": "semantic_vad", "eagerness": "low"}})),
    ({"turn_detection": None}, _in({"turn_detection": None})),
    ({"max_response_output_tokens": "inf"}, {"max_output_tokens": "inf"}),
    ({"max_response_output_tokens": 7}, {"max_output_tokens": 7}),
    ({"instructions": "Be brief."}, {"instructions": "Be brief."}),
    ({"model": "gpt-realtime"}, {"model": "gpt-realtime"}),
    ({"tools": _TOOLS}, {"tools": _TOOLS}),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    ({"tool_choice": {"type": "function", "name": "f"}}, {"tool_choice": {"type": "function", "name": "f"}}),
    ({"tracing": {"workflow_name": "w"}}, {"tracing": {"workflow_name": "w"}}),
    ({"tracing": None}, {"tracing": None}),
    ({"a_new_member": [1, {"b": None}]}, {"a_new_member": [1, {"b": None}]}),
    ({"voice": "ash", "audio": {"input": {"new": 1}}}, {"audio": {"input": {"new": 1}, "output": {"voice": "ash"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("beta", "ga"), SESSION)
def test_sessions(beta: Json, ga: Json) -> None:
    ga = {"type": "realtime"} | ga
    update = {"type": "session.update", "event_id": "e"}
    assert asked(BETA, update | {"session": beta}) == [update | {"session": ga}]
    assert asked(GA, update | {"session": ga}) == [update | {"session": beta}]
    for name in ("session.created", "session.updated"):
        event = {"type": name, "event_id": "e"}
        more = {"id": "sess_1", "object": "realtime.session", "expires_at": 5}
        assert told(BETA, event | {"session": more | ga}) == [event | {"session": more | beta}]
        assert told(GA, event | {"session": more | beta}) == [event | {"session": more | ga}]


#: One way only: what is asked in the beta, what GA gets, what is lost
TO_GA: list[tuple[Json, Json, list[str]]] = [
    ({"temperature": 0.8}, {}, ["session.temperature"]),
    ({"client_secret": {"expires_after": {"anchor": "created_at"}}}, {}, ["session.client_secret"]),
    ({"client_secret": None, "temperature": None}, {}, []),
    ({"modalities": ["audio"]}, {"output_modalities": ["audio"]}, []),
    ({"modalities": ["text", "audio"]}, {"output_modalities": ["audio"]}, []),
    ({"modalities": []}, {"output_modalities": []}, []),
    ({"turn_detection": {"threshold": 0.5}}, _in({"turn_detection": {"type": "server_vad", "threshold": 0.5}}), []),
    (
        {"turn_detection": {"eagerness": "low"}},
        _in({"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}),
        [],
    ),
    ({"turn_detection": {"type": "none"}}, _in({"turn_detection": None}), []),
    ({"voice": "ash", "audio": {"output": {"voice": "marin"}}}, _out({"voice": "marin"}), ["session.voice"]),
    ({"voice": "ash", "audio": None}, _out({"voice": "ash"}), []),
]


@pytest.mark.parametrize(("beta", "ga", "lost"), TO_GA)
def test_what_only_the_beta_has(beta: Json, ga: Json, lost: list[str]) -> None:
    translator = Translator(BETA, GA)
    got = asked(BETA, {"type": "session.update", "session": beta}, translator)
    assert got == [{"type": "session.update", "session": {"type": "realtime"} | ga}]
    assert translator.warnings == lost


#: One way only: what is asked in GA, what the beta gets, what is lost
TO_BETA: list[tuple[Json, Json, list[str]]] = [
    ({"include": ["item.input_audio_transcription.logprobs"]}, {}, ["session.include"]),
    ({"prompt": {"id": "p"}}, {}, ["session.prompt"]),
    ({"truncation": "auto"}, {}, ["session.truncation"]),
    ({"reasoning": {"effort": "low"}}, {}, ["session.reasoning"]),
    ({"parallel_tool_calls": True}, {}, ["session.parallel_tool_calls"]),
    ({"prompt": None, "include": None}, {}, []),
    (_in({"turn_detection": _VAD | {"idle_timeout_ms": 5}}), {"turn_detection": _VAD},
     ["session.audio.input.turn_detection.idle_timeout_ms"]),
    (_in({"turn_detection": _VAD | {"idle_timeout_ms": None}}), {"turn_detection": _VAD}, []),
    (_in({"noise_reduction": {"type": "near_field", "strength": 0.5}}), {"input_audio_noise_reduction": {"type": "near_field"}},
     ["session.audio.input.noise_reduction.strength"]),
    (_in({"transcription": {"model": "m", "delay": "low", "keywords": ["k"], "languages": ["en"]}}),
     {"input_audio_transcription": {"model": "m"}},
     [f"session.audio.input.transcription.{n}" for n in ("delay", "keywords", "languages")]),
    (_in({"format": {"type": "audio/pcm"}}), {"input_audio_format": "pcm16"}, []),
    (_in({"format": {"rate": 24000}}), {"input_audio_format": "pcm16"}, []),
    (_in({"format": {"type": "audio/pcm", "rate": 16000}}), {"input_audio_format": "pcm16"}, ["session.audio.input.format.rate"]),
    (_in({"format": {"type": "audio/opus"}}), {"input_audio_format": {"type": "audio/opus"}}, []),
    (_out({"voice": {"id": "voice_1"}}), {"voice": "voice_1"}, []),
    ({"output_modalities": ["audio", "text"]}, {"modalities": ["audio", "text"]}, []),
    ({"tools": [*_TOOLS, {"type": "mcp", "server_label": "s"}]}, {"tools": _TOOLS}, ["session.tools.mcp"]),
    ({"tool_choice": {"type": "mcp", "server_label": "s"}}, {}, ["session.tool_choice.mcp"]),
    ({"audio": {"input": {"new": 1}, "output": {"voice": "ash"}}}, {"audio": {"input": {"new": 1}}, "voice": "ash"}, []),
    ({"audio": "loud"}, {"audio": "loud"}, []),
    ({"voice": "ash"} | _out({"voice": "marin"}), {"voice": "ash"}, ["session.audio.output.voice"]),
]  # fmt: skip


@pytest.mark.parametrize(("ga", "beta", "lost"), TO_BETA)
def test_what_only_ga_has(ga: Json, beta: Json, lost: list[str]) -> None:
    translator = Translator(GA, BETA)
    got = asked(GA, {"type": "session.update", "session": {"type": "realtime"} | ga}, translator)
    assert got == [{"type": "session.update", "session": beta}]
    assert translator.warnings == lost


#: beta, GA
ASKED: list[tuple[Json, Json]] = [
    ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
    ({"modalities": ["audio", "text"]}, {"output_modalities": ["audio"]}),
    ({"voice": "ash"}, _out({"voice": "ash"})),
    ({"output_audio_format": "pcm16"}, _out({"format": _PCM})),
    ({"max_response_output_tokens": "inf"}, {"max_output_tokens": "inf"}),
    ({"conversation": "none", "metadata": {"a": "b"}}, {"conversation": "none", "metadata": {"a": "b"}}),
    ({"instructions": "i", "tools": _TOOLS, "tool_choice": "auto"}, {"instructions": "i", "tools": _TOOLS, "tool_choice": "auto"}),
    ({"input": []}, {"input": []}),
    ({"input": [{"type": "item_reference", "id": "i"}]}, {"input": [{"type": "item_reference", "id": "i"}]}),
    (
        {"input": [{"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}]}]},
        {"input": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("beta", "ga"), ASKED)
def test_responses_that_are_asked_for(beta: Json, ga: Json) -> None:
    event = {"type": "response.create", "event_id": "e"}
    assert asked(BETA, event | {"response": beta}) == [event | {"response": ga}]
    assert asked(GA, event | {"response": ga}) == [event | {"response": beta}]


def test_what_is_lost_of_responses_that_are_asked_for() -> None:
    to_ga, to_beta = Translator(BETA, GA), Translator(GA, BETA)
    event: Json = {"type": "response.create", "response": {"temperature": 0.8}}
    assert asked(BETA, event, to_ga) == [{"type": "response.create", "response": {}}]
    assert to_ga.dropped == {"response.temperature": 1}
    event["response"] = {"prompt": {"id": "p"}, "reasoning": {}, "input": [{"type": "mcp_approval_response"}, None]}
    assert asked(GA, event, to_beta) == [{"type": "response.create", "response": {"input": [None]}}]
    assert sorted(to_beta.warnings) == ["item.mcp", "response.prompt", "response.reasoning"]


#: beta, GA
TOLD: list[tuple[Json, Json]] = [
    ({"modalities": ["audio", "text"]}, {"output_modalities": ["audio"]}),
    ({"voice": "ash", "output_audio_format": "pcm16"}, _out({"voice": "ash", "format": _PCM})),
    ({"max_output_tokens": 9, "usage": {"total_tokens": 1}}, {"max_output_tokens": 9, "usage": {"total_tokens": 1}}),
    (
        {"output": [{"type": "message", "role": "assistant", "content": [{"type": "audio", "transcript": "t"}]}]},
        {"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "t"}]}]},
    ),
]  # fmt: skip


@pytest.mark.parametrize("name", ["response.created", "response.done"])
@pytest.mark.parametrize(("beta", "ga"), TOLD)
def test_responses_that_are_told_of(name: str, beta: Json, ga: Json) -> None:
    event = {"type": name, "event_id": "e"}
    more = {"id": "resp_1", "object": "realtime.response", "status": "in_progress", "status_details": None}
    assert told(GA, event | {"response": more | beta}) == [event | {"response": more | ga}]
    assert told(BETA, event | {"response": more | ga}) == [event | {"response": more | beta}]


_USER_ITEM = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AA=="}]}


@pytest.mark.parametrize(
    ("beta", "ga"),
    [
        (_USER_ITEM, _USER_ITEM),
        ({"type": "function_call_output", "call_id": "c", "output": "o"},) * 2,
        ({"type": "function_call", "name": "n", "arguments": "{}"},) * 2,
        (
            {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "audio"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}, {"type": "output_audio"}]},
        ),
        ("no item",) * 2,
    ],
)  # fmt: skip
def test_items(beta: Any, ga: Any) -> None:
    event = {"type": "conversation.item.create", "event_id": "e", "previous_item_id": "root"}
    assert asked(BETA, event | {"item": beta}) == [event | {"item": ga}]
    assert asked(GA, event | {"item": ga}) == [event | {"item": beta}]
    for name in ("conversation.item.retrieved", "response.output_item.added", "response.output_item.done"):
        event = {"type": name, "event_id": "e"}
        assert told(BETA, event | {"item": ga}) == [event | {"item": beta}]
        assert told(GA, event | {"item": beta}) == [event | {"item": ga}]


def test_items_that_the_beta_has_not() -> None:
    translator = Translator(GA, BETA)
    item: Json = {"type": "mcp_approval_response", "id": "i", "approval_request_id": "r", "approve": True}
    assert asked(GA, {"type": "conversation.item.create", "item": item}, translator) == []
    picture = {"type": "input_image", "image_url": "data:"}
    item = {"type": "message", "role": "user", "content": [picture, {"type": "input_text", "text": "t"}]}
    event = {"type": "conversation.item.create", "item": item}
    (got,) = asked(GA, event, translator)
    assert got["item"]["content"] == [{"type": "input_text", "text": "t"}]
    (got,) = told(BETA, {"type": "conversation.item.retrieved", "event_id": "e", "item": item})
    assert got["item"]["content"] == [{"type": "input_text", "text": ""}, {"type": "input_text", "text": "t"}]
    assert translator.dropped == {"item.mcp": 1, "content.input_image": 1}


def test_content_that_ga_has_not() -> None:
    translator = Translator(BETA, GA)
    item = {"type": "message", "role": "user", "content": [{"type": "item_reference", "id": "i"}]}
    (got,) = asked(BETA, {"type": "response.create", "response": {"input": [item]}}, translator)
    assert got["response"]["input"] == [item | {"content": []}]
    assert translator.warnings == ["content.item_reference"]


def test_content_of_others_is_not_the_models() -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "text", "text": "t"}]}
    event = {"type": "conversation.item.create", "item": item}
    assert asked(BETA, event) == [event]


@pytest.mark.parametrize("part", ["text", "audio"])
@pytest.mark.parametrize("name", ["response.content_part.added", "response.content_part.done"])
def test_parts(name: str, part: str) -> None:
    event = {"type": name, "event_id": "e", "part": {"type": part, "text": "t"}}
    assert told(BETA, event) == [event]
    assert told(GA, event) == [event]  # here GA has the beta's names
    assert told(BETA, event | {"part": {"type": f"output_{part}", "text": "t"}}) == [event]


_TRANSCRIPTION_BETA = {
    "input_audio_format": "pcm16",
    "input_audio_transcription": {"model": "whisper-1"},
    "input_audio_noise_reduction": None,
    "turn_detection": _VAD,
    "include": ["item.input_audio_transcription.logprobs"],
}
_TRANSCRIPTION_GA = {
    "type": "transcription",
    "include": ["item.input_audio_transcription.logprobs"],
    "audio": {
        "input": {
            "format": _PCM,
            "transcription": {"model": "whisper-1"},
            "noise_reduction": None,
            "turn_detection": _VAD,
        }
    },
}


def test_transcription_sessions() -> None:
    beta: Json = {"type": "transcription_session.update", "event_id": "e", "session": _TRANSCRIPTION_BETA}
    ga: Json = {"type": "session.update", "event_id": "e", "session": _TRANSCRIPTION_GA}
    assert asked(BETA, beta) == [ga]
    assert asked(GA, ga) == [beta]
    for name in ("created", "updated"):
        beta["type"], ga["type"] = f"transcription_session.{name}", f"session.{name}"
        assert told(BETA, ga) == [beta]
        assert told(GA, beta) == [ga]


def test_what_transcription_sessions_lose() -> None:
    translator = Translator(BETA, GA)
    session = {"modalities": ["text"], "client_secret": {"expires_at": {"seconds": 60}}}
    event = {"type": "transcription_session.update", "session": session}
    assert asked(BETA, event, translator) == [{"type": "session.update", "session": {"type": "transcription"}}]
    assert sorted(translator.warnings) == ["session.client_secret", "session.modalities"]
