"""The wire of ``useChat``: its messages become OpenAI's, its stream is in the order that the SDK insists on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.capabilities import Capabilities
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
from switchboard.dialects.openai_chat import build_body, check_request
from switchboard.dialects.ui_message_stream import UIEncoder, UIMessageStream, read_request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def text(t: str) -> dict[str, Any]:
    return {"type": "text", "text": t}


def user(*parts: Any) -> dict[str, Any]:
    return {"id": "m1", "role": "user", "parts": list(parts)}


def assistant(*parts: Any) -> dict[str, Any]:
    return {"id": "m2", "role": "assistant", "parts": list(parts)}


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"id": "chat-1", "trigger": "submit-message", "messages": list(messages)} | more


def messages(*given: Any) -> list[dict[str, Any]]:
    """What the messages become; they are ones that OpenAI's wire takes."""
    out = read_request(body(*given)).messages
    check_request({"messages": out})
    return out


def refused(value: dict[str, Any]) -> Problem:
    with pytest.raises(Problem) as caught:
        read_request(value)
    p = caught.value
    assert (p.status, p.code) == (400, "INVALID_REQUEST")
    assert p.message.startswith(f"{p.param}: ")
    return p


def done_tool(call: str = "c1", name: str = "weather", **more: Any) -> dict[str, Any]:
    part = {"type": f"tool-{name}", "toolCallId": call, "state": "output-available"}
    return part | {"input": {"city": "Bern"}, "output": {"rain": True}} | more


def called(call: str = "c1", name: str = "weather", arguments: str = '{"city":"Bern"}') -> dict[str, Any]:
    return {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}


# ---- requests


def test_text_becomes_a_plain_string() -> None:
    system = {"id": "s", "role": "system", "parts": [text("Be "), text("brief.")]}
    assert messages(system, user(text("Hi"))) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_a_request_streams_unless_told_otherwise() -> None:
    hi = user(text("Hi"))
    assert [
        read_request(body(hi, **m)).stream for m in ({}, {"stream": None}, {"stream": True}, {"stream": False})
    ] == [
        True,
        True,
        True,
        False,
    ]


def test_what_else_a_body_may_hold() -> None:
    op = read_request(body(user(text("Hi")), model="gpt-4o", messageId="x", temperature=0.5, tools=[], other=1))
    assert op.model == "gpt-4o"
    assert op.params == {"temperature": 0.5, "tools": []}
    assert op.dropped == ["other"]
    sent = json.loads(build_body(op, "m", Capabilities()))
    assert sent["messages"] == [{"role": "user", "content": "Hi"}]
    assert not {"id", "trigger", "messageId", "other"} & set(sent)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": []}, "top_p"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tools": "all"}, "tools"),
        ({"tools": ["x"]}, "tools[0]"),
    ],
)
def test_parameters_are_checked_as_on_every_other_path(change: dict[str, Any], param: str) -> None:
    assert refused(body(user(text("Hi")), **change)).param == param


def test_images_and_files() -> None:
    image = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}
    pdf = {
        "type": "file",
        "mediaType": "application/pdf",
        "url": "data:application/pdf;base64,AA==",
        "filename": "a.pdf",
    }
    (m,) = messages(user(text("See"), image, pdf, pdf | {"filename": None}))
    assert m["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        {"type": "file", "file": {"filename": "file", "file_data": "data:application/pdf;base64,AA=="}},
    ]


def test_parts_that_say_nothing_to_a_model_are_left_out_and_that_is_told() -> None:
    op = read_request(body(user({"type": "data-weather", "data": 1}, text("Hi"), {"type": "source-url", "url": "u"})))
    assert op.messages == [{"role": "user", "content": "Hi"}]
    assert op.dropped == ["messages[0].parts[0]", "messages[0].parts[2]"]


def test_a_tool_call_with_its_result() -> None:
    parts = [{"type": "step-start"}, text("Let me see."), done_tool(), {"type": "step-start"}, text("It rains.")]
    assert messages(user(text("Rain?")), assistant(*parts)) == [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [called()]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"rain":true}'},
        {"role": "assistant", "content": "It rains."},
    ]


def test_several_tool_calls_in_one_step_are_followed_by_their_results_in_order() -> None:
    error = {"type": "tool-f", "toolCallId": "c2", "state": "output-error", "errorText": "broke"}
    dynamic = {"type": "dynamic-tool", "toolName": "g", "toolCallId": "c3", "state": "output-available"}
    out = messages(
        user(text("x")), assistant(done_tool(output="sunny"), error, dynamic | {"input": [1], "output": None})
    )
    assert out[1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [called(), called("c2", "f", "{}"), called("c3", "g", "[1]")],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": '{"error":"broke"}'},
        {"role": "tool", "tool_call_id": "c3", "content": "null"},
    ]


@pytest.mark.parametrize("state", ["input-streaming", "input-available", "approval-requested", None, 5])
def test_a_call_without_its_result_does_not_go_to_a_model(state: Any) -> None:
    """A provider refuses a conversation with one."""
    parts = (text("Hm."), done_tool(state=state))
    assert messages(user(text("x")), assistant(*parts))[1:] == [{"role": "assistant", "content": "Hm."}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "reasoning", "text": "hm"},
        {"type": "source-url", "url": "u"},
        {"type": "data-x", "data": {}},
        {"type": "step-start"},
        {"type": "file", "mediaType": "image/png", "url": "u"},
    ],
)
def test_other_parts_of_an_assistants_message_are_left_out(part: dict[str, Any]) -> None:
    assert messages(user(text("x")), assistant(part, text("a"))) == [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "a"},
    ]
    # and a message of nothing else is none
    assert messages(user(text("x")), assistant(part)) == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ({}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [assistant()]}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].parts"),
        ({"messages": [{"role": "user", "parts": "x"}]}, "messages[0].parts"),
        ({"messages": [{"role": "user", "parts": ["x"]}]}, "messages[0].parts[0]"),
        ({"messages": [{"parts": []}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "parts": []}]}, "messages[0].role"),
        ({"messages": [user(text("x")), {"role": 5, "parts": []}]}, "messages[1].role"),
        (body(user({})), "messages[0].parts[0].type"),
        (body(user({"type": 5})), "messages[0].parts[0].type"),
        (body(user(text("x"), {"type": "text"})), "messages[0].parts[1].text"),
        (body(user({"type": "text", "text": None})), "messages[0].parts[0].text"),
        (body(user({"type": "file"})), "messages[0].parts[0]"),
        (body(user({"type": "file", "url": "u"})), "messages[0].parts[0]"),
        (body(user({"type": "file", "url": 5, "mediaType": "image/png"})), "messages[0].parts[0]"),
        (body(user(text("x")), model=5), "model"),
        (body(user(text("x")), stream="yes"), "stream"),
    ],
)
def test_the_part_at_fault_is_named(value: dict[str, Any], param: str) -> None:
    assert refused(value).param == param


def test_the_roles_named_are_the_ones_that_are_taken() -> None:
    message = refused(body({"role": "tool", "parts": []})).message
    for role in ("system", "user", "assistant"):
        assert role in message
    assert "assistant, tool" not in message


@pytest.mark.parametrize(
    "part",
    [
        {"type": "dynamic-tool", "toolCallId": "c", "state": "output-available", "output": 1},
        {"type": "dynamic-tool", "toolName": 5, "toolCallId": "c", "state": "output-available", "output": 1},
        {"type": "dynamic-tool", "toolName": None, "toolCallId": "c", "state": "output-error"},
        {"type": "tool-", "toolCallId": "c", "state": "output-available", "output": 1},
    ],
)
def test_a_call_of_a_tool_without_a_name_never_goes_to_a_model(part: dict[str, Any]) -> None:
    """Refused or left out; a provider would refuse the whole conversation, and name a field the client never sent."""
    problem = None
    try:
        out = messages(user(text("x")), assistant(part, text("a")))
    except Problem as p:
        problem, out = p, []
    assert problem is None or (problem.param or "").startswith("messages[1].parts[0]")
    for m in out:
        for call in m.get("tool_calls", ()):
            assert isinstance(call["function"]["name"], str)
            assert call["function"]["name"]


parts = st.lists(
    st.sampled_from([text("a"), done_tool(), done_tool("c2", "f"), {"type": "step-start"}, {"type": "reasoning"}])
    | st.dictionaries(
        st.sampled_from(["type", "text", "url", "state", "toolCallId", "toolName", "input", "output"]), JSON
    )
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "file", "tool-x", "dynamic-tool"]), "state": st.just("output-available")},
        optional={"toolCallId": st.text(max_size=2), "toolName": st.text(max_size=2), "input": JSON, "output": JSON},
    ),
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(given=st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), parts), max_size=4))
def test_any_parts_become_a_valid_conversation_or_a_refusal(given: list[tuple[str, list[Any]]]) -> None:
    value = body(*[{"role": role, "parts": p} for role, p in given])
    problem = None
    try:
        op = read_request(value)
    except Problem as p:
        problem = p
    if problem is not None:
        assert problem.param is not None
        assert problem.message.startswith(f"{problem.param}: ")
        return
    check_request({"messages": op.messages})
    assert json.loads(build_body(op, "m", Capabilities()))["messages"] == op.messages
    # every result stands behind the call that asked for it
    asked: list[str] = []
    for m in op.messages:
        asked += [c["id"] for c in m.get("tool_calls", ())]
        assert m["role"] != "tool" or m["tool_call_id"] in asked


# ---- streams


def encoder() -> UIEncoder:
    return UIMessageStream().encoder(Context("chatcmpl-7", "m", 1))


def chunks(data: bytes) -> list[Any]:
    out: list[Any] = []
    for e in data.split(b"\n\n")[:-1]:
        assert e.startswith(b"data: ")
        out.append("[DONE]" if e == b"data: [DONE]" else json.loads(e[6:]))
    return out


END: list[Any] = [{"type": "finish-step"}, {"type": "finish"}, "[DONE]"]
START: list[Any] = [{"type": "start", "messageId": "chatcmpl-7"}, {"type": "start-step"}]


def test_the_headers_of_a_stream() -> None:
    e = encoder()
    assert e.headers == b"x-vercel-ai-ui-message-stream: v1\r\n"
    assert (e.content_type, e.whole_type) == (b"text/event-stream", b"application/json")


def test_text() -> None:
    e = encoder()
    out = chunks(
        e.encode([Text("Hel"), Text("lo")]) + e.encode([Finish("stop")]) + e.encode([Metered(Usage()), Done()])
    )
    assert out == [
        *START,
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "Hel"},
        {"type": "text-delta", "id": "text-1", "delta": "lo"},
        {"type": "text-end", "id": "text-1"},
        *END,
    ]


def test_reasoning_then_text_then_tools_then_text() -> None:
    events: list[Event] = [
        Reasoning("hm"),
        Text("See: "),
        ToolCallBegin(0, "c1", "f"),
        ToolCallArguments(0, '{"a"'),
        ToolCallBegin(1, "c2", "g"),
        ToolCallArguments(1, "{}"),
        ToolCallArguments(0, ":1}"),
        Text("wait"),
        Finish("tool_calls"),
        Done(),
    ]
    e = encoder()
    out = chunks(b"".join(e.encode([x]) for x in events))
    assert out == [
        *START,
        {"type": "reasoning-start", "id": "reasoning-1"},
        {"type": "reasoning-delta", "id": "reasoning-1", "delta": "hm"},
        {"type": "reasoning-end", "id": "reasoning-1"},
        {"type": "text-start", "id": "text-2"},
        {"type": "text-delta", "id": "text-2", "delta": "See: "},
        {"type": "text-end", "id": "text-2"},
        {"type": "tool-input-start", "toolCallId": "c1", "toolName": "f"},
        {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"a"'},
        {"type": "tool-input-start", "toolCallId": "c2", "toolName": "g"},
        {"type": "tool-input-delta", "toolCallId": "c2", "inputTextDelta": "{}"},
        {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": ":1}"},
        {"type": "text-start", "id": "text-3"},
        {"type": "text-delta", "id": "text-3", "delta": "wait"},
        {"type": "text-end", "id": "text-3"},
        {"type": "tool-input-available", "toolCallId": "c1", "toolName": "f", "input": {"a": 1}},
        {"type": "tool-input-available", "toolCallId": "c2", "toolName": "g", "input": {}},
        *END,
    ]


def test_a_stream_that_ends_without_a_finish_is_closed_all_the_same() -> None:
    out = chunks(encoder().encode([ToolCallBegin(0, "c", "f"), Text("x"), Done()]))
    assert [x if isinstance(x, str) else x["type"] for x in out[-6:]] == [
        "text-delta",
        "text-end",
        "tool-input-available",
        "finish-step",
        "finish",
        "[DONE]",
    ]


def test_an_empty_stream() -> None:
    assert chunks(encoder().encode([Done()])) == START + END


@pytest.mark.parametrize(("arguments", "value"), [("", {}), ("{}", {}), ("[1]", [1]), ("not json", "not json")])
def test_the_input_of_a_tool_is_what_its_arguments_say(arguments: str, value: Any) -> None:
    events: list[Event] = [ToolCallBegin(0, "c", "f"), ToolCallArguments(0, arguments), Finish("tool_calls")]
    assert chunks(encoder().encode(events))[-1]["input"] == value


@pytest.mark.parametrize("arguments", ["[" * 100_000, "1e999", '"\\ud800"'])
def test_a_tools_input_that_is_no_good_json_passes_as_text(arguments: str) -> None:
    events: list[Event] = [ToolCallBegin(0, "c", "f"), ToolCallArguments(0, arguments), Finish("tool_calls")]
    assert chunks(encoder().encode(events))[-1]["input"] == arguments


def test_a_refusal_is_told_as_text() -> None:
    assert chunks(encoder().encode([Refusal("no")]))[-1] == {"type": "text-delta", "id": "text-1", "delta": "no"}


def test_an_error_ends_the_stream_without_a_finish() -> None:
    e = encoder()
    out = chunks(e.encode([Text("half")]) + e.error(Problem("PROVIDER_CUT", "It broke.", detail="sk-secret")))
    assert out[-1] == {"type": "error", "errorText": "It broke."}
    assert "[DONE]" not in out


pieces = st.one_of(
    st.builds(Text, st.text(max_size=3), st.integers(0, 1)),
    st.builds(Reasoning, st.text(max_size=3), st.integers(0, 1)),
    st.builds(Refusal, st.text(max_size=3)),
    st.builds(ToolCallBegin, st.integers(0, 2), st.sampled_from(["a", "b", "c"]), st.just("f"), st.integers(0, 1)),
    st.builds(ToolCallArguments, st.integers(0, 2), st.sampled_from(["{}", "x", ""]), st.integers(0, 1)),
    st.just(Ping()),
    st.builds(Metered, st.just(Usage())),
)


@settings(max_examples=300, deadline=None)
@given(events=st.lists(pieces, max_size=12), finished=st.booleans())
def test_parts_open_and_close_in_order_whatever_comes(events: list[Event], finished: bool) -> None:
    """The rules by which the SDK reads: no delta outside a part that is open, each part and step closed."""
    e = encoder()
    last: list[Event] = [Finish("stop"), Done()] if finished else [Done()]
    out = chunks(b"".join(e.encode([x]) for x in [*events, *last]))
    assert out[:2] == START
    assert out[-3:] == END
    opened: str | None = None
    seen: set[str] = set()
    begun: set[str] = set()
    for c in out[2:-3]:
        kind, _, what = c["type"].rpartition("-")
        if kind in ("text", "reasoning"):
            if what == "start":
                assert opened is None
                assert c["id"] not in seen
                opened = c["id"]
                seen.add(c["id"])
            else:
                assert c["id"] == opened
                opened = None if what == "end" else opened
        elif c["type"] == "tool-input-start":
            begun.add(c["toolCallId"])
        else:
            assert c["toolCallId"] in begun
    assert opened is None
    told = "".join(c["delta"] for c in out[2:-3] if c["type"] == "text-delta")
    assert told == "".join(x.text for x in events if isinstance(x, Text | Refusal) and x.choice == 0)


def test_a_whole_message() -> None:
    choice = Choice("text", tool_calls=[ToolCall("c", "f", '{"a":1}')])
    assert json.loads(encoder().whole(Answer([choice, Choice("other")]))) == {
        "id": "chatcmpl-7",
        "role": "assistant",
        "parts": [
            {"type": "text", "text": "text"},
            {"type": "tool-f", "toolCallId": "c", "state": "input-available", "input": {"a": 1}},
        ],
    }
    assert json.loads(encoder().whole(Answer([Choice(refusal="no")])))["parts"] == [{"type": "text", "text": "no"}]
    assert json.loads(encoder().whole(Answer([Choice()])))["parts"] == []
