"""What the deep-chat component sends and is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from switchboard.core.errors import Problem
from switchboard.core.events import Answer, Choice, Done, Finish, Ping, Reasoning, Refusal, Text, ToolCallBegin
from switchboard.core.ports import Context
from switchboard.core.types import Generate
from switchboard.dialects.deep_chat import DeepChat, DeepChatEncoder, read_request

HI = {"role": "user", "text": "Hi"}


def read(*messages: Any, streams: bool = False, **more: Any) -> Generate:
    return read_request({"messages": list(messages)} | more, streams=streams)


@pytest.mark.parametrize(
    ("role", "becomes"), [("user", "user"), ("ai", "assistant"), ("assistant", "assistant"), ("system", "system")]
)
def test_roles(role: str, becomes: str) -> None:
    assert read({"role": role, "text": "x"}).messages == [{"role": becomes, "content": "x"}]


def test_a_message_without_a_role_is_the_users() -> None:
    assert read({"text": ""}).messages == [{"role": "user", "content": ""}]


@pytest.mark.parametrize(
    ("accepts", "stream", "streams"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_it_streams_where_the_request_accepts_a_stream(accepts: bool, stream: bool | None, streams: bool) -> None:
    assert read(HI, streams=accepts, stream=stream).stream is streams


def test_messages_of_files_or_html_only_are_left_out_and_that_is_told() -> None:
    op = read(HI, {"role": "user", "files": [{"src": "x"}]}, {"role": "ai", "html": "<b>"}, {"role": "ai", "text": "b"})
    assert op.messages == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}]
    assert op.dropped == ["messages[1]", "messages[2]"]


def test_other_members_are_left_out_and_that_is_told() -> None:
    op = read(HI, model="gpt-4o", temperature=1, foo=2, conversation_id="c", audio={})
    assert (op.model, op.params, op.dropped) == ("gpt-4o", {}, ["temperature", "foo"])


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "user", "files": []}]}, "messages"),
        ({"messages": [{"role": "user", "text": 5}]}, "messages[0].text"),
        ({"messages": [{"role": 5, "text": "x"}]}, "messages[0].role"),
        ({"messages": [HI, {"role": "boss", "text": "x"}]}, "messages[1].role"),
        ({"messages": [HI, {"role": "tool", "text": "x"}]}, "messages[1].role"),
        ({"messages": [HI], "model": 5}, "model"),
        ({"messages": [HI], "stream": "x"}, "stream"),
    ],
)
def test_the_field_at_fault_is_named(value: dict[str, Any], param: str) -> None:
    with pytest.raises(Problem) as caught:
        read_request(value, streams=True)
    p = caught.value
    assert (p.status, p.code, p.param) == (400, "INVALID_REQUEST", param)
    assert p.message.startswith(f"{param}: ")


def test_a_long_role_is_not_repeated_whole() -> None:
    with pytest.raises(Problem) as caught:
        read({"role": "x" * 100_000, "text": "x"})
    assert len(caught.value.message) < 1000


def test_a_stream_is_text_and_nothing_else() -> None:
    e = DeepChat().encoder(Context("id", "m", 1))
    out = e.encode(
        [Ping(), Reasoning("hm"), Text("Hé"), Text(""), Text("x", 1), Refusal("no"), ToolCallBegin(0, "c", "f")]
    )
    out += e.encode([Finish("stop"), Done()])
    assert out == 'data: {"text":"Hé"}\n\ndata: {"text":"no"}\n\n'.encode()


def test_a_whole_answer() -> None:
    e = DeepChatEncoder()
    assert json.loads(e.whole(Answer([Choice("a"), Choice("b")]))) == {"text": "a"}
    assert json.loads(e.whole(Answer([Choice(refusal="no")]))) == {"text": "no"}
    assert json.loads(e.whole(Answer([Choice()]))) == {"text": ""}


def test_an_error_is_a_text() -> None:
    out = DeepChatEncoder().error(Problem("PROVIDER_CUT", "It broke.", detail="sk-secret"))
    assert out == b'data: {"error":"It broke."}\n\n'


def test_types_of_content() -> None:
    e = DeepChatEncoder()
    assert (e.content_type, e.whole_type, e.headers) == (b"text/event-stream", b"application/json", b"")
