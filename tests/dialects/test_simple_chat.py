"""Frames of ``content`` and ``done``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.errors import Problem
from switchboard.core.events import (
    Answer,
    Choice,
    Done,
    Event,
    Finish,
    Metered,
    Ping,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.ports import Context
from switchboard.core.types import Usage
from switchboard.dialects.simple_chat import SimpleChat, SimpleEncoder

LAST = {"content": "", "done": True}


def frames(data: bytes) -> list[Any]:
    out: list[Any] = []
    for e in data.split(b"\n\n")[:-1]:
        assert e.startswith(b"data: ")
        out.append(json.loads(e[6:]))
    return out


def test_a_frame_a_piece_of_text() -> None:
    e = SimpleChat().encoder(Context("id", "m", 1))
    assert e.encode([Text("Hé")]) == 'data: {"content":"Hé","done":false}\n\n'.encode()
    assert frames(e.encode([Text("llo"), Text(""), Refusal("no")])) == [
        {"content": "llo", "done": False},
        {"content": "no", "done": False},
    ]
    assert e.encode([Finish("stop"), Metered(Usage())]) == b""
    assert e.encode([Done()]) == b'data: {"content":"","done":true}\n\n'


def test_thoughts_pings_and_other_choices_are_not_told() -> None:
    events: list[Event] = [Reasoning("hm"), Ping(), Text("b", 1), ToolCallBegin(0, "c", "f", 1), Finish("stop", 1)]
    assert SimpleEncoder().encode(events) == b""


def test_a_tool_call_is_one_frame_once_it_is_whole() -> None:
    e = SimpleEncoder()
    pieces: list[Event] = [
        Text("Look: "),
        ToolCallBegin(0, "c1", "f"),
        ToolCallArguments(0, '{"a"'),
        ToolCallBegin(1, "c2", "g"),
        ToolCallArguments(1, "{}"),
        ToolCallArguments(0, ":1}"),
    ]
    assert frames(b"".join(e.encode([p]) for p in pieces)) == [{"content": "Look: ", "done": False}]
    assert frames(e.encode([Finish("tool_calls"), Done()])) == [
        {"content": "", "done": False, "tool_call": {"id": "c1", "name": "f", "arguments": '{"a":1}'}},
        {"content": "", "done": False, "tool_call": {"id": "c2", "name": "g", "arguments": "{}"}},
        LAST,
    ]


def test_a_tool_call_whose_stream_just_ends_is_told_before_the_end() -> None:
    out = frames(SimpleEncoder().encode([ToolCallBegin(0, "c", "f"), Done()]))
    assert out == [{"content": "", "done": False, "tool_call": {"id": "c", "name": "f", "arguments": ""}}, LAST]


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text()))
def test_the_frames_make_up_the_text(texts: list[str]) -> None:
    e = SimpleEncoder()
    out = frames(b"".join(e.encode([Text(t)]) for t in texts) + e.encode([Finish("stop"), Done()]))
    assert "".join(f["content"] for f in out) == "".join(texts)
    assert [f["done"] for f in out] == [False] * (len(out) - 1) + [True]


@pytest.mark.parametrize(
    ("choice", "body"),
    [
        (Choice("hi"), {"content": "hi", "done": True}),
        (Choice(), LAST),
        (Choice(refusal="no"), {"content": "no", "done": True}),
        (
            Choice("x", tool_calls=[ToolCall("c", "f", "{}")]),
            {"content": "x", "done": True, "tool_calls": [{"id": "c", "name": "f", "arguments": "{}"}]},
        ),
    ],
)
def test_a_whole_answer(choice: Choice, body: dict[str, Any]) -> None:
    assert json.loads(SimpleEncoder().whole(Answer([choice, Choice("other")]))) == body


def test_an_error_is_no_end() -> None:
    (frame,) = frames(SimpleEncoder().error(Problem("PROVIDER_CUT", "It broke.", detail="sk-secret")))
    assert frame == {"content": "", "done": False, "error": {"message": "It broke.", "code": "PROVIDER_CUT"}}


def test_types_of_content() -> None:
    e = SimpleEncoder()
    assert (e.content_type, e.whole_type, e.headers) == (b"text/event-stream", b"application/json", b"")
    assert e.keepalive.startswith(b":") and e.keepalive.endswith(b"\n\n")
