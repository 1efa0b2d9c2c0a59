"""Every event that the SDK has a type for, translated: what comes out is of the other shape's types, and nothing is lost
that both shapes have."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialects.realtime.fixtures import (
    BETA,
    CLIENT,
    GA,
    SERVER,
    Json,
    asked,
    check_client,
    check_server,
    json_of,
    other,
    told,
)
from switchboard.dialects.realtime import Shape, Translator

_CLIENT_EVENTS = [pytest.param(s, n, id=f"{s}-{n}") for s in Shape for n in CLIENT[s]]
_SERVER_EVENTS = [pytest.param(s, n, id=f"{s}-{n}") for s in Shape for n in SERVER[s]]

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(("shape", "name"), _CLIENT_EVENTS)
@few
@given(data=st.data())
def test_a_clients_event_becomes_one_of_the_other_shape(shape: Shape, name: str, data: st.DataObject) -> None:
    event = data.draw(json_of(CLIENT[shape][name]))
    check_client(shape, event)
    for e in asked(shape, event):
        check_client(other(shape), e)
        assert e.get("event_id") == event.get("event_id")


@pytest.mark.parametrize(("shape", "name"), _SERVER_EVENTS)
@few
@given(data=st.data())
def test_a_servers_event_becomes_one_of_the_other_shape(shape: Shape, name: str, data: st.DataObject) -> None:
    event = data.draw(json_of(SERVER[shape][name]))
    check_server(shape, event)
    out = told(other(shape), event)
    for e in out:
        check_server(other(shape), e)
    if out and "event_id" in event:
        assert event["event_id"] in [e["event_id"] for e in out]


@pytest.mark.parametrize(("shape", "name"), _CLIENT_EVENTS)
@few
@given(data=st.data())
def test_a_clients_event_comes_back_with_what_both_shapes_have(shape: Shape, name: str, data: st.DataObject) -> None:
    event = data.draw(json_of(CLIENT[shape][name]))
    there, back = Translator(shape, other(shape)), Translator(other(shape), shape)
    out = [b for e in asked(shape, event, there) for b in asked(other(shape), e, back)]
    again = [b for e in out for t in asked(shape, e) for b in asked(other(shape), t)]
    assert again == out
    if shape is BETA or not there.dropped:
        assert out == [_plain(event)]


@pytest.mark.parametrize(("shape", "name"), _SERVER_EVENTS)
@few
@given(data=st.data())
def test_a_servers_event_comes_back_with_what_both_shapes_have(shape: Shape, name: str, data: st.DataObject) -> None:
    event = data.draw(json_of(SERVER[shape][name]))
    there, back = Translator(other(shape), shape), Translator(shape, other(shape))
    out = [b for e in told(other(shape), event, there) for b in told(shape, e, back)]
    if there.dropped and shape is GA:
        return  # what is lost is told of; what is not is in the table
    if name == "conversation.item.done":  # its client knows the item by then, so here it does not
        assert [(e["type"], e["item"]) for e in out[:1]] == [("conversation.item.added", event["item"])]
    elif name in ("conversation.item.added", "conversation.item.created") and shape is GA:
        assert [e["type"] for e in out] in (
            ["conversation.item.added"],
            ["conversation.item.added", "conversation.item.done"],
        )
        assert all(e["item"] == event["item"] for e in out)
    else:
        if shape is BETA and name == "response.function_call_arguments.done":
            assert out[0].pop("name") == ""
        assert out == [_plain(event)]


def _plain(event: Json) -> Json:
    """`event` with everything said in the one way that it comes back in."""
    event = deepcopy(event)
    session, response = event.get("session"), event.get("response")
    if isinstance(session, dict):
        _plain_body(session, transcription="transcription" in (event["type"].split("_")[0], session.get("type")))
    if isinstance(response, dict):
        _plain_body(response, transcription=False)
    return event


def _plain_body(body: Json, *, transcription: bool) -> None:
    nothing = ["temperature", "client_secret", *(["modalities"] if transcription else ["include"])]
    for name in [*nothing, *(n for n in _GA_ONLY if n in body and body[n] is None)]:
        body.pop(name, None)
    if "audio" in (body.get("modalities") or ()):
        body["modalities"] = ["audio", "text"]
    if "audio" in (body.get("output_modalities") or ()):
        body["output_modalities"] = ["audio"]
    turns = body.get("turn_detection")
    if isinstance(turns, dict) and turns.get("type") is None:
        turns["type"] = "semantic_vad" if turns.get("eagerness") is not None else "server_vad"
    audio = body.get("audio")
    if isinstance(audio, dict):
        for name, side in list(audio.items()):
            _plain_side(side or {})
            if side == {}:
                del audio[name]
    if audio == {}:
        del body["audio"]


_GA_ONLY = ("prompt", "truncation", "reasoning", "parallel_tool_calls")


def _plain_side(side: Json) -> None:
    form: Any = side.get("format")
    if isinstance(form, dict):
        kind = form.get("type") or "audio/pcm"
        side["format"] = {"type": kind} | ({"rate": 24000} if kind == "audio/pcm" else {})
    if isinstance(side.get("voice"), dict):
        side["voice"] = side["voice"]["id"]
    for member in ("turn_detection", "transcription", "noise_reduction"):
        if isinstance(side.get(member), dict):
            for name in ("idle_timeout_ms", "delay", "keywords", "languages", "strength"):
                assert side[member].pop(name, None) is None
