"""Which events have another name in the other shape, none, or the same; and errors, which name members."""

from __future__ import annotations

from typing import Any

import pytest

from dialects.realtime.fixtures import BETA, GA, Json, frame, told
from switchboard.dialects.realtime import Translator


@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.append", "audio": "AAAA"},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.clear"},
        {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 5},
        {"type": "conversation.item.delete", "item_id": "i"},
        {"type": "conversation.item.retrieve", "item_id": "i"},
        {"type": "response.cancel", "response_id": "r"},
        {"type": "output_audio_buffer.clear"},
        {"type": "response.create"},
        {"type": "response.create", "response": None},
        {"type": "something.new", "session": {"voice": "ash", "audio": {"output": {"voice": "ash"}}}},
        {"session": {"voice": "ash"}},
        {"type": 5},
        {},
    ],
)
@pytest.mark.parametrize("client", [BETA, GA])
def test_clients_events_that_are_alike(client: Any, event: Json) -> None:
    sent = frame(event)
    (got,) = Translator(client, GA if client is BETA else BETA).from_client(sent)
    assert got is sent


@pytest.mark.parametrize(
    ("beta", "ga"),
    [
        (f"response.{b}.{end}", f"response.output_{b}.{end}")
        for b in ("audio", "audio_transcript", "text")
        for end in ("delta", "done")
    ],
)
def test_events_with_two_names(beta: str, ga: str) -> None:
    more = {"event_id": "e", "item_id": "i", "response_id": "r", "output_index": 0, "content_index": 0, "delta": "AAAA"}
    assert told(BETA, {"type": ga} | more) == [{"type": beta} | more]
    assert told(GA, {"type": beta} | more) == [{"type": ga} | more]
    assert Translator(BETA, GA).from_provider(frame({"type": ga} | more)) == [frame({"type": beta} | more)]


@pytest.mark.parametrize(
    "name",
    [
        "conversation.created",
        "conversation.item.deleted",
        "conversation.item.truncated",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.input_audio_transcription.failed",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.cleared",
        "rate_limits.updated",
        "response.function_call_arguments.delta",
        "something.new",
    ],
)
@pytest.mark.parametrize("client", [BETA, GA])
def test_servers_events_that_are_alike(client: Any, name: str) -> None:
    sent = frame({"type": name, "event_id": "e", "item_id": "i", "more": {"type": "x", "text": "é"}})
    (got,) = Translator(client, GA if client is BETA else BETA).from_provider(sent)
    assert got is sent


@pytest.mark.parametrize(
    "name",
    [
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.dtmf_event_received",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
    ],
)
def test_servers_events_that_only_ga_has(name: str) -> None:
    translator = Translator(BETA, GA)
    assert told(BETA, {"type": name}, translator) == told(BETA, {"type": name}, translator) == []
    assert translator.dropped == {name: 2}
    assert told(GA, {"type": name}) == [{"type": name}]


def test_servers_events_of_tools_to_come() -> None:
    translator = Translator(BETA, GA)
    assert told(BETA, {"type": "mcp_something.new"}, translator) == []
    assert translator.dropped == {"mcp": 1}


@pytest.mark.parametrize(
    ("ga", "beta"),
    [
        ("session.audio.input.format", "session.input_audio_format"),
        ("session.audio.input.transcription.model", "session.input_audio_transcription.model"),
        ("session.audio.input.noise_reduction", "session.input_audio_noise_reduction"),
        ("session.audio.input.turn_detection.threshold", "session.turn_detection.threshold"),
        ("session.audio.output.voice", "session.voice"),
        ("session.audio.output.speed", "session.speed"),
        ("session.audio.output.format", "session.output_audio_format"),
        ("session.output_modalities[0]", "session.modalities[0]"),
        ("session.max_output_tokens", "session.max_response_output_tokens"),
        ("response.audio.output.voice", "response.voice"),
        ("response.output_modalities", "response.modalities"),
        ("session.tools[0].name", "session.tools[0].name"),
        ("session.voice_of_mine", "session.voice_of_mine"),
        ("item.content[0].type", "item.content[0].type"),
        (None, None),
    ],
)
def test_errors_name_what_the_client_wrote(ga: str | None, beta: str | None) -> None:
    def error(param: str | None) -> Json:
        about = {"type": "invalid_request_error", "code": "invalid_value", "event_id": "c1"}
        return {
            "type": "error",
            "event_id": "e",
            "error": about | {"param": param, "message": f"Invalid value: '{param}'."},
        }

    assert told(BETA, error(ga)) == [error(beta)]
    assert told(GA, error(beta)) == [error(ga)]


def test_errors_name_a_format_as_a_whole() -> None:
    (got,) = told(BETA, {"type": "error", "error": {"param": "session.audio.input.format.rate", "message": 5}})
    assert got["error"] == {"param": "session.input_audio_format", "message": 5}
    assert told(BETA, {"type": "error", "error": "text"}) == [{"type": "error", "error": "text"}]
