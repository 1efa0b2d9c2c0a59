"""Anything at all as the body of a chat: an answer or a refusal in the surface's own shape, and never a fault of ours."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from support.client import Answer, chat, request
from support.gateway import SHELLS, Gateway, gateway

PATHS = ["/api/chat", "/v1/chat/completions"]
LARGEST = 20_000
QUICK = settings(max_examples=150, deadline=None)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
known = {
    "messages": values,
    "message": values,
    "model": values | st.sampled_from(["echo", "tool-call", "gpt-4o", "offline/echo", "x" * 257, "a b", "é"]),
    "stream": values | st.booleans(),
    "stream_options": values | st.just({"include_usage": True}),
    "temperature": values | st.floats(0, 2),
    "top_p": values,
    "max_tokens": values | st.integers(-1, 10),
    "max_completion_tokens": values,
    # no larger than this: the offline provider gives as many answers as are asked of it
    "n": st.none() | st.booleans() | st.integers(-1, 4) | st.text(max_size=3) | st.floats(-9, 9),
    "stop": values,
    "tools": values
    | st.lists(
        st.fixed_dictionaries({"type": st.just("function"), "function": values | st.just({"name": "f"})}), max_size=2
    ),
    "tool_choice": values,
    "user": values,
    "seed": values,
    "id": values,
    "trigger": values,
    "conversation_id": values,
    "audio": values,
    "response_format": values,
}
parts = st.dictionaries(
    st.sampled_from(
        ["type", "text", "url", "mediaType", "image_url", "state", "toolCallId", "toolName", "input", "output"]
    ),
    values | st.sampled_from(["text", "file", "image_url", "tool-f", "dynamic-tool", "step-start", "output-available"]),
    max_size=5,
)
content = st.text(max_size=12) | st.lists(parts, max_size=3) | values
roles = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "ai", "boss"])
messages = st.lists(
    st.fixed_dictionaries({"role": roles, "content": content})
    | st.fixed_dictionaries({"role": roles, "parts": st.lists(parts, max_size=3)})
    | st.fixed_dictionaries({"role": roles, "text": content})
    | st.dictionaries(
        st.sampled_from(["role", "content", "text", "parts", "name", "tool_calls", "tool_call_id", "files"]),
        values | roles,
        max_size=5,
    ),
    max_size=4,
)
#: Conversations that are fine, so that what stands beside them is read too.
good = (
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=12)}
        )
        | st.just({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]})
        | st.just({"role": "tool", "tool_call_id": "c", "content": "x"}),
        min_size=1,
        max_size=4,
    )
    | st.lists(
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(["user", "assistant"]),
                "parts": st.lists(
                    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=12)})
                    | st.just(
                        {"type": "tool-f", "toolCallId": "c", "state": "output-available", "input": {}, "output": 1}
                    ),
                    min_size=1,
                    max_size=3,
                ),
            }
        ),
        min_size=1,
        max_size=3,
    )
    | st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "ai"]), "text": st.text()}), min_size=1, max_size=3
    )
)
fine = {
    "model": st.sampled_from(["echo", "tool-call", "offline/echo", "gpt-4o"]),
    "stream": st.booleans() | st.none(),
    "stream_options": st.just({"include_usage": True}) | st.just({}) | st.none(),
    "temperature": st.floats(0, 2) | st.none(),
    "max_tokens": st.integers(1, 10**20) | st.none(),
    "n": st.integers(1, 4) | st.none(),
    "tools": st.lists(st.just({"type": "function", "function": {"name": "f"}}), max_size=3) | st.none(),
    "unknown": values,
    "response_format": values,
    "conversation_id": values,
    "audio": values,
}
likely = st.fixed_dictionaries({}, optional=known | {"messages": messages | values})
HELLO: dict[str, Any] = chat("Hello there")


class Served:
    """A gateway on a loop of its own: examples share it, since hypothesis calls plain functions."""

    def __init__(self, runner: asyncio.Runner, g: Gateway) -> None:
        self._runner = runner
        self.g = g

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        return self._runner.run(self.g.ask(path, body, headers))


@pytest.fixture(scope="module", params=SHELLS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        context = gateway(str(request.param), limits={"json_body": LARGEST})
        g = runner.run(context.__aenter__())
        try:
            yield Served(runner, g)
            log = runner.run(g.log())
            assert '"ERROR"' not in log
            assert "Traceback" not in log
            assert not g.app.registry.open
        finally:
            runner.run(context.__aexit__(None, None, None))


def check(path: str, a: Answer) -> None:
    """An answer that is whole, or a refusal that says what was wrong, in the shape of its surface."""
    assert a.status in (200, 400, 404, 413, 415), a
    assert a.whole
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", a.headers["x-request-id"])
    if a.status == 200:
        ends_well(a)
        return
    assert a.headers["content-type"] == "application/json"
    body = a.json
    assert body["request_id"] == a.headers["x-request-id"]
    if isinstance(body["error"], str):  # what a deep-chat component is told
        assert path == "/api/chat"
        message, code = body["error"], body["code"]
    else:
        message, code = body["error"]["message"], body["error"]["code"]
    assert message
    assert len(message) < 1000
    if path == "/api/chat":
        assert re.fullmatch("[A-Z]+(_[A-Z]+)*", code)
        return
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["type"] == "invalid_request_error"
    param = body["error"]["param"]
    if code == "invalid_request" and message != "The body must be a JSON object.":
        assert message.startswith(f"{param}: ")


def ends_well(a: Answer) -> None:
    kind = a.headers["content-type"]
    if kind == "application/json":
        assert isinstance(a.json, dict)
        assert "error" not in a.json
    elif kind == "text/event-stream":
        assert a.body == b"" or a.body.endswith(b"\n\n")  # of an empty answer deep-chat is told nothing
        assert not any(isinstance(e, dict) and ("error" in e or e.get("type") == "error") for e in a.events)
    else:
        assert kind == "text/plain; charset=utf-8"
        assert a.text is not None


@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(body=values)
def test_any_json(served: Served, path: str, body: Any) -> None:
    check(path, served.post(path, json.dumps(body).encode()))


@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(body=likely)
def test_members_that_are_known_with_any_values(served: Served, path: str, body: dict[str, Any]) -> None:
    check(path, served.post(path, body))


@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(
    body=st.fixed_dictionaries({"messages": messages}, optional={k: v for k, v in known.items() if k != "messages"})
    | st.fixed_dictionaries({"messages": good}, optional=fine),
    asked=st.sampled_from(["", "openai", "simple", "ui", "text", "deep_chat", "auto", "no-such"]),
)
def test_conversations_in_any_shape_answered_in_any_format(
    served: Served, path: str, body: dict[str, Any], asked: str
) -> None:
    a = served.post(f"{path}?format={asked}" if asked else path, body)
    check(path, a)
    if asked == "no-such" and path == "/api/chat":
        assert a.status == 400


@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(
    change=st.sampled_from(sorted(known)).flatmap(lambda name: st.tuples(st.just(name), known[name])),
    stream=st.booleans(),
)
def test_a_good_request_with_one_member_of_any_value(
    served: Served, path: str, change: tuple[str, Any], stream: bool
) -> None:
    """What is refused is the member that was changed, by name."""
    name, value = change
    a = served.post(path, HELLO | {"stream": stream} | {name: value})
    check(path, a)
    if a.status == 400:
        message = a.json["error"]["message"] if isinstance(a.json["error"], dict) else a.json["error"]
        assert message.startswith(name), message


@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(body=st.binary(max_size=200))
def test_any_bytes(served: Served, path: str, body: bytes) -> None:
    a = served.post(path, body)
    check(path, a)
    assert a.status == 400


SEEDS = [
    json.dumps(HELLO | {"model": "echo", "stream": True}).encode(),
    json.dumps(HELLO | {"stream": False, "unknown": {"a": [1.5, None, "é"]}}, ensure_ascii=False).encode(),
    json.dumps({"message": "Hello"}).encode(),
    json.dumps({"id": "c", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}).encode(),
    json.dumps({"messages": [{"role": "user", "text": "Hi"}]}).encode(),
]
TOKENS = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    rb"\ud800",
    b"\xff",
    b"\0",
    b"NaN",
    b"1e999",
    b"null",
    b"[" * 70,
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good request with some bytes taken out, put in, or doubled."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            data = data[:at] + draw(st.sampled_from(TOKENS)) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + draw(st.integers(1, 6)) :]
        else:
            data = data[:at] + data[at : at + draw(st.integers(1, 40))] + data[at:]
    return data


@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(body=damaged())
def test_good_requests_with_some_bytes_changed(served: Served, path: str, body: bytes) -> None:
    check(path, served.post(path, body))


@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(
    kind=st.text("abjnoqs/+;=- *", max_size=24) | st.sampled_from(["application/json; charset=latin-1", "text/plain"])
)
def test_any_content_type(served: Served, path: str, kind: str) -> None:
    a = served.post(path, HELLO, {"content-type": kind})
    check(path, a)
    if kind.strip().startswith("text/"):
        assert a.status == 415


@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(query=st.binary(max_size=30).map(lambda b: re.sub(rb"[\x00-\x20\x7f#]", b"", b)))
def test_any_query(served: Served, path: str, query: bytes) -> None:
    raw = query.decode("latin-1")
    if not raw.isascii():
        raw = "".join(f"%{b:02x}" for b in query)
    for text in (raw, f"format={raw}", f"format={raw}&format=text"):
        check(path, served.post(f"{path}?{text}", HELLO))


@pytest.mark.parametrize("path", PATHS)
@QUICK
@given(names=st.lists(st.text(min_size=1, max_size=40), max_size=6))
def test_members_of_any_name(served: Served, path: str, names: list[str]) -> None:
    """Some formats tell in a header what they did not take over: no name may break out of it."""
    for body in (HELLO, {"message": "Hi"}, {"messages": [{"role": "user", "text": "Hi"}]}):
        a = served.post(path, dict.fromkeys(names, 1) | body)
        check(path, a)
        dropped = a.headers.get("x-switchboard-dropped", "")
        assert re.fullmatch(r"[A-Za-z0-9_.,\[\]? -]*", dropped)


@pytest.mark.parametrize("path", PATHS)
def test_sizes_around_the_limit(served: Served, path: str) -> None:
    empty = len(json.dumps(chat("")))
    for extra, status in ((0, 200), (1, 413), (LARGEST, 413)):
        a = served.post(path, chat("x" * (LARGEST - empty + extra)))
        check(path, a)
        assert a.status == status


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "INVALID_JSON"),
        (b"   ", "INVALID_JSON"),
        (b"{", "INVALID_JSON"),
        (b"[" * 9_000, "NESTING_TOO_DEEP"),
        (b'{"a":' * 3_000, "NESTING_TOO_DEEP"),
        (b'{"messages":[],"a":' + b"[" * 65 + b"]" * 65 + b"}", "NESTING_TOO_DEEP"),
        (b'{"messages":[{"role":"user","content":"x"}],"a":NaN}', "INVALID_JSON"),
        (b'{"messages":[{"role":"user","content":"x"}],"a":1e999}', "INVALID_JSON"),
        (b'{"messages":[{"role":"user","content":"\xff"}]}', "INVALID_JSON"),
        (rb'{"messages":[{"role":"user","content":"\ud800"}]}', "INVALID_JSON"),
        (b"[]", "INVALID_REQUEST"),
        (b"{}", "INVALID_REQUEST"),
        (b'{"messages":[]}', "INVALID_REQUEST"),
        (b'{"messages":[{"role":"boss","content":"x"}]}', "INVALID_REQUEST"),
    ],
)
def test_the_code_says_what_was_wrong(served: Served, path: str, body: bytes, code: str) -> None:
    a = served.post(path, body)
    check(path, a)
    assert a.status == 400
    assert a.json["error"]["code"] == (code if path == "/api/chat" else code.lower())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_more_answers_than_openai_gives_are_refused(served: Served, path: str, stream: bool) -> None:
    """128 is OpenAI's limit. A number without one is an amount of work without one: here a gateway's whole memory."""
    a = served.post(path, HELLO | {"n": 129, "stream": stream, "model": "echo"})
    check(path, a)
    assert a.status == 400
    assert a.json["error"]["message"].startswith("n: ")


def test_the_bytes_of_requests_are_what_these_tests_think(served: Served) -> None:
    """A body that is b"" is sent as an empty body with its type, and not as none."""
    assert b"content-length: 0" in request("/api/chat", b"")
    assert served.post("/api/chat", HELLO).status == 200
