"""OpenAI's older wire for text: what is refused, what a provider that has it is asked, and how a chat answers it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.media import (
    MANY,
    Bad,
    Meter,
    any_of,
    context,
    cut,
    cuts,
    events,
    named,
    problem_of,
    read,
    refused,
    upstream_error_of,
    values,
    wrong,
)
from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem
from switchboard.core.events import Answer, Choice, Done, Event, Finish, Metered, Reasoning, Text
from switchboard.core.ports import Context, Phase
from switchboard.core.types import Generate, Usage
from switchboard.dialects.openai_chat import OpenAIChat
from switchboard.dialects.openai_completions import OpenAICompletions, read_request
from switchboard.policy.applying import apply
from switchboard.policy.profile import Profile

WIRE, CHAT = OpenAICompletions(), OpenAIChat()
PLAIN = Capabilities()


def asked(prompt: Any = "Once upon a time", **more: Any) -> Generate:
    return read(read_request, {"prompt": prompt} | more)[1]


def echoing(prompt: Any, **more: Any) -> OpenAICompletions:
    return read(read_request, {"prompt": prompt} | more)[0]


def native(op: Generate) -> dict[str, Any]:
    """What a provider is asked that has this wire."""
    body: dict[str, Any] = json.loads(WIRE.build(op, "m", PLAIN))
    return body


def translated(op: Generate) -> tuple[dict[str, Any], list[str]]:
    """What a provider is asked that has only chats, and what is told to be lost."""
    return json.loads(CHAT.build(op, "m", PLAIN)), op.dropped


# ---- what is asked


PROMPTS = "a text, or token ids, are expected."
BAD: list[Bad] = [
    ({}, "prompt", "this field is required."),
    ({"prompt": None}, "prompt", "expected str | array, got null."),
    ({"prompt": 5}, "prompt", "expected str | array, got int."),
    ({"prompt": ""}, "prompt", "must not be empty."),
    ({"prompt": []}, "prompt", "must not be empty."),
    ({"prompt": [""]}, "prompt", "must not be empty."),
    ({"prompt": ["a", 1]}, "prompt", PROMPTS),
    ({"prompt": [1, "a"]}, "prompt", PROMPTS),
    ({"prompt": [True]}, "prompt", PROMPTS),
    ({"prompt": [1.5]}, "prompt", PROMPTS),
    ({"prompt": [[1], ["a"]]}, "prompt", PROMPTS),
    ({"prompt": [None]}, "prompt", PROMPTS),
    ({"prompt": ["a"] * 129}, "prompt", "at most 128 at once."),
    ({"prompt": "a", "n": 0}, "n", "must be at least 1."),
    ({"prompt": "a", "n": 129}, "n", "must be at most 128."),
    ({"prompt": "a", "n": "1"}, "n", "expected int | null, got str."),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens", "must be at least 1."),
    ({"prompt": "a", "max_tokens": 1.5}, "max_tokens", "expected int | null, got float."),
    ({"prompt": "a", "stream": "x"}, "stream", "expected bool | null, got str."),
    ({"prompt": "a", "stream_options": 5}, "stream_options", "expected object | null, got int."),
    (
        {"prompt": "a", "stream_options": {"include_usage": 5}},
        "stream_options.include_usage",
        "expected bool | null, got int.",
    ),
    ({"prompt": "a", "stop": 5}, "stop", "expected str | array | null, got int."),
    ({"prompt": "a", "stop": [5]}, "stop[0]", "expected str, got int."),
    ({"prompt": "a", "echo": "x"}, "echo", "expected bool | null, got str."),
    ({"prompt": "a", "suffix": 5}, "suffix", "expected str | null, got int."),
    ({"prompt": "a", "best_of": "x"}, "best_of", "expected int | null, got str."),
    ({"prompt": "a", "logprobs": True}, "logprobs", "expected int | null, got bool."),
    ({"prompt": "a", "temperature": "x"}, "temperature", "expected float | null, got str."),
    ({"prompt": "a", "model": 5}, "model", "expected str | null, got int."),
]


@pytest.mark.parametrize(("body", "param", "message"), BAD)
def test_bad_requests(body: Any, param: str, message: str) -> None:
    assert refused(lambda: read(read_request, body)) == (param, f"{param}: {message}")


def test_what_is_no_object() -> None:
    assert refused(lambda: read(read_request, [])) == (None, "The body must be a JSON object.")


def test_what_is_asked() -> None:
    op = asked(model="m", stream=True, stream_options={"include_usage": True}, n=3)
    assert (op.model, op.stream, op.include_usage, op.choices) == ("m", True, True, 3)
    assert op.messages == [{"role": "user", "content": "Once upon a time"}]
    assert op.asked() == Usage(4, estimated=True)
    plain = asked(stream=None, stream_options=None, n=None)
    assert (plain.model, plain.stream, plain.include_usage, plain.choices) == ("", False, False, 1)


@pytest.mark.parametrize(
    ("prompt", "bound", "choices"),
    [
        ("a", "", 2),
        (["a"], "", 2),
        (["a", "b"], "prompt", 4),
        ([1, 2], "prompt", 2),
        ([[1, 2]], "prompt", 2),
        ([[1], [2], "c"], "prompt", 6),
        ("  ", "", 2),
    ],
)
def test_prompts_that_only_this_wire_carries(prompt: Any, bound: str, choices: int) -> None:
    op = asked(prompt, n=2)
    assert op.native is not None
    assert (op.native.bound, op.choices) == (bound, choices)


# ---- a provider that has this wire


def test_the_model_is_replaced_and_nothing_else() -> None:
    raw = (
        b'{"x-own": {"a":[1.50, 1e2,"\\u00e9"]} ,"model":"theirs","prompt" : ["a" ,"b"],"suffix":"s","best_of":2,'
        b'"echo":true,"logprobs":5,"n":2,"min_p":0.10}'
    )
    body = WIRE.build(read(read_request, raw)[1], "m1", PLAIN)
    assert json.loads(body) == json.loads(raw) | {"model": "m1"}
    for as_it_came in (b'{"a":[1.50, 1e2,"\\u00e9"]}', b'["a" ,"b"]', b"0.10"):
        assert as_it_came in body


def test_usage_is_asked_for_in_streams() -> None:
    for options in ({}, {"stream_options": None}, {"stream_options": {"include_usage": False}}):
        assert native(asked("a", stream=True, **options)) == {
            "model": "m",
            "prompt": "a",
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    assert native(asked("a", stream=False, stream_options={"include_usage": True})) == {"model": "m", "prompt": "a"}
    body = json.loads(WIRE.build(asked("a", stream=True), "m", Capabilities(stream_usage=False)))
    assert body == {"model": "m", "prompt": "a", "stream": True}


def test_other_options_of_a_stream_are_kept() -> None:
    options = {"include_obfuscation": False, "x-own": 1}
    body = native(asked("a", stream=True, stream_options=options))
    assert body["stream_options"] == options | {"include_usage": True}


def test_what_the_server_s_settings_change() -> None:
    op = asked("a", temperature=1.5, max_tokens=900, seed=7)
    profile = Profile(temperature=0.5, max_tokens_cap=100, locked=frozenset({"temperature"}))
    apply(op, profile, documents=False)
    assert native(op) == {"model": "m", "prompt": "a", "temperature": 0.5, "max_tokens": 100, "seed": 7}


def test_the_server_s_prompt_stands_before_the_prompt() -> None:
    op = asked("Once upon a time")
    apply(op, Profile(system_prompt="Be brief."), documents=False)
    assert native(op)["prompt"] == "Be brief.\n\nOnce upon a time"
    assert translated(op)[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Once upon a time"},
    ]


def test_the_server_s_prompt_stands_before_each_of_several_prompts() -> None:
    """No request can do without it."""
    op = asked(["a", "b"])
    apply(op, Profile(system_prompt="Be brief."), documents=False)
    assert native(op)["prompt"] == ["Be brief.\n\na", "Be brief.\n\nb"]


@pytest.mark.parametrize("prompt", [[1, 2], [[1], [2]], ["a", [1]]])
def test_token_ids_are_refused_where_the_server_has_a_prompt(prompt: Any) -> None:
    """It cannot be put before them, and no request can do without it."""
    op = asked(prompt)
    apply(op, Profile(system_prompt="Be brief."), documents=False)
    with pytest.raises(Problem) as e:
        native(op)
    assert (e.value.status, e.value.param) == (400, "prompt")


# ---- a provider that has only chats


def test_as_a_chat() -> None:
    shared = {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "n": 2,
        "stop": ["x"],
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logit_bias": {"5": 1},
        "seed": 7,
        "user": "u",
    }
    assert translated(asked("Once", model="theirs", echo=True, **shared)) == (
        {"model": "m", "messages": [{"role": "user", "content": "Once"}]} | shared,
        [],
    )
    assert translated(asked(["Once"]))[0]["messages"] == [{"role": "user", "content": "Once"}]


@pytest.mark.parametrize(
    ("more", "lost"),
    [
        ({"suffix": "the end"}, ["suffix"]),
        ({"best_of": 3}, ["best_of"]),
        ({"logprobs": 5}, ["logprobs"]),
        ({"suffix": "s", "best_of": 3, "logprobs": 2}, ["suffix", "best_of", "logprobs"]),
        ({"suffix": "", "best_of": 1, "logprobs": None, "echo": True}, []),
        ({"suffix": None, "best_of": None, "echo": None}, []),
        ({"suffix": "0"}, ["suffix"]),
    ],
)
def test_what_a_chat_has_no_counterpart_for_is_named(more: dict[str, Any], lost: list[str]) -> None:
    body, dropped = translated(asked("a", **more))
    assert sorted(dropped) == sorted(lost)
    assert body == {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    native_ = asked("a", **more)
    WIRE.build(native_, "m", PLAIN)
    assert native_.dropped == []


@pytest.mark.parametrize("logprobs", [0, 1])
def test_the_fewest_logprobs_are_some(logprobs: int) -> None:
    assert translated(asked("a", logprobs=logprobs))[1] == ["logprobs"]


def test_members_that_nobody_knows_are_named_when_they_are_lost() -> None:
    body, dropped = translated(asked("a", min_p=0.1, guided_json={}))
    assert sorted(dropped) == ["guided_json", "min_p"]
    assert body == {"model": "m", "messages": [{"role": "user", "content": "a"}]}


# ---- answers


def written(*stream: list[Event], echo: str = "", **more: Any) -> list[Any]:
    encoder = OpenAICompletions(echo).encoder(context(**more))
    return events(b"".join(encoder.encode(e) for e in stream))


def texts(told: list[Any]) -> dict[int, str]:
    """The text of each choice."""
    out: dict[int, str] = {}
    for e in told:
        for c in e["choices"] if isinstance(e, dict) else ():
            out[c["index"]] = out.get(c["index"], "") + c["text"]
    return out


def test_a_stream() -> None:
    told = written([Text("Hel")], [Text("lo"), Reasoning("hm"), Finish("length")], [Metered(Usage(3, 2)), Done()])
    assert [e["choices"] for e in told[:-1]] == [
        [{"index": 0, "text": "Hel", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "lo", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}],
    ]
    assert told[-1] == "[DONE]"
    assert {(e["id"], e["object"], e["created"], e["model"]) for e in told[:-1]} == {
        ("cmpl-7", "text_completion", 1_750_000_000, "some-model")
    }


def test_usage_in_a_stream_is_for_who_asked() -> None:
    stream: list[Event] = [Text("a"), Finish("stop"), Metered(Usage(3, 2)), Done()]
    with_usage = written(stream, include_usage=True)
    assert (with_usage[-2]["choices"], with_usage[-2]["usage"]["total_tokens"]) == ([], 5)
    assert all("usage" not in e for e in written(stream)[:-1])
    assert written([Finish("stop"), Done()], include_usage=True)[-1] == "[DONE]"


def test_echo() -> None:
    assert echoing("Once ", echo=True).encoder(context())._prompt == "Once "
    for dialect in (echoing("Once ", echo=False), echoing("Once "), echoing(["a", "b"], echo=True)):
        assert dialect.encoder(context())._prompt == ""
    told = written([Text("Hel", 1), Text("lo", 1), Text("x", 0)], [Finish("stop", 0), Finish("stop", 1)], echo="Once ")
    assert texts(told) == {0: "Once x", 1: "Once Hello"}
    nothing = written([Finish("stop")], echo="Once ")
    assert texts(nothing) == {0: "Once "}
    whole = echoing(["Once "], echo=True).encoder(context()).whole(Answer([Choice("x"), Choice("y")]))
    assert [c["text"] for c in json.loads(whole)["choices"]] == ["Once x", "Once y"]


def test_whole() -> None:
    encoder = WIRE.encoder(context())
    answer = Answer([Choice("a", finish="length"), Choice(refusal="No.", reasoning="hm")], usage=Usage(3, 2))
    told = json.loads(encoder.whole(answer))
    assert told["choices"] == [
        {"index": 0, "text": "a", "logprobs": None, "finish_reason": "length"},
        {"index": 1, "text": "No.", "logprobs": None, "finish_reason": "stop"},
    ]
    assert (told["id"], told["object"], told["usage"]["total_tokens"]) == ("cmpl-7", "text_completion", 5)
    assert "usage" not in json.loads(WIRE.encoder(context()).whole(Answer([Choice("a")])))
    assert (encoder.whole_type, encoder.content_type) == (b"application/json", b"text/event-stream")
    (error,) = events(encoder.error(Problem("PROVIDER_CUT")))
    assert error["error"]["code"] == "provider_cut"


def body(*choices: str, **more: Any) -> bytes:
    told = [{"index": i, "text": t, "logprobs": None, "finish_reason": "length"} for i, t in enumerate(choices)]
    return json.dumps({"object": "text_completion", "choices": told, "x-own": [1]} | more, indent=1).encode()


def test_an_answer_that_is_read_and_one_that_passes() -> None:
    answer = body("Hello", "there", model="theirs", usage={"prompt_tokens": 3, "completion_tokens": 2})
    assert WIRE.answer(answer) == Answer(
        [Choice("Hello", finish="length"), Choice("there", finish="length")], "theirs", Usage(3, 2)
    )
    meter = Meter()
    assert WIRE.passed(asked(), answer, meter) is answer
    assert (meter.size, meter.counted) == (0, [Usage(3, 2)])
    assert WIRE.passed(asked(), body("Hello", "there"), meter)
    assert meter.size == 10


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": 5}', b"\xff"])
def test_what_is_no_completion(answer: bytes) -> None:
    for run in (lambda: WIRE.answer(answer), lambda: WIRE.passed(asked(), answer, Meter())):
        assert wrong(run).fault is Fault.PROTOCOL


def test_errors() -> None:
    e = wrong(lambda: WIRE.passed(asked(), b'{"error": {"message": "busy", "type": "rate_limit_error"}}', Meter()))
    assert (e.fault, e.status) == (Fault.EVENT, 429)
    assert WIRE.error(404, {}, b'{"error": {"message": "no such model"}}').message == "no such model"


def sse(*payloads: Any) -> bytes:
    return b"".join(b"data: " + (p if isinstance(p, bytes) else json.dumps(p).encode()) + b"\n\n" for p in payloads)


def piece(text: str, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"id": "cmpl-1", "choices": [{"index": index, "text": text, "logprobs": None, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_passes_but_for_usage_that_nobody_asked_for(include_usage: bool) -> None:
    before, usage, after = sse(piece("Hel"), piece("lo", "stop")), sse(USAGE), sse(b"[DONE]")
    for at in range(len(before + usage + after) + 1):
        meter = Meter()
        t = WIRE.tap(context(include_usage=include_usage), meter)
        stream = before + usage + after
        out = t.feed(stream[:at]) + t.feed(stream[at:]) + t.eof()
        assert out == before + (usage if include_usage else b"") + after
        assert (t.phase, meter.size, meter.counted) == (Phase.DONE, 5, [Usage(3, 2)])


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (sse(piece("Hel")), Fault.CUT),
        (sse(piece("Hel"), piece("x", "stop", 1)), Fault.CUT),
        (sse(piece("Hel"), b"<html>"), Fault.PROTOCOL),
        (sse(piece("Hel"), {"error": {"message": "busy"}}), Fault.EVENT),
        (b"", Fault.CUT),
    ],
)
def test_streams_that_fail(stream: bytes, fault: Fault) -> None:
    t = WIRE.tap(context(), Meter())
    t.feed(stream)
    t.eof()
    assert t.phase is Phase.FAILED
    assert t.error is not None and t.error.fault is fault


@MANY
@given(said=st.lists(st.tuples(st.text(max_size=5), st.integers(0, 1)), max_size=6), at=cuts, echo=st.text(max_size=4))
def test_what_is_written_reads_the_same(said: list[tuple[str, int]], at: list[int], echo: str) -> None:
    encoder = OpenAICompletions(echo).encoder(Context("7", "m", 1, include_usage=True))
    stream: list[Event] = [Text(text, choice) for text, choice in said if text]
    out = encoder.encode([*stream, Finish("stop", 0), Finish("length", 1), Metered(Usage(3, 2)), Done()])
    decoder = WIRE.decoder(context(choices=2))
    told = [e for p in cut(out, at) for e in decoder.feed(p)] + decoder.eof()
    for choice in (0, 1):
        wanted = echo + "".join(text for text, c in said if c == choice)
        assert "".join(e.text for e in told if isinstance(e, Text) and e.choice == choice) == wanted
    assert [e.reason for e in told if isinstance(e, Finish)] == ["stop", "length"]
    assert told[-2:] == [Metered(Usage(3, 2)), Done()]


# ---- anything at all


NAMES = ("prompt", "model", "stream", "stream_options", "max_tokens", "temperature", "n", "best_of", "echo", "suffix")


@MANY
@given(asked=values | any_of(*NAMES, "stop", "logprobs", "seed", "user", "x-own"), good=st.booleans())
def test_any_request_is_read_or_refused_by_name(asked: Any, good: bool) -> None:
    if good and isinstance(asked, dict):
        asked = asked | {"prompt": "Once"}

    def run() -> None:
        op = read(read_request, asked)[1]
        apply(op, Profile(max_tokens_cap=10, temperature=0.5, locked=frozenset({"n"})), documents=False)
        WIRE.build(op, "m", PLAIN)
        CHAT.build(op, "m", PLAIN)

    assert named(problem_of(run))


choices = st.lists(
    values | st.fixed_dictionaries({}, optional={"index": values, "text": st.text() | values, "finish_reason": values}),
    max_size=3,
)


@MANY
@given(
    answer=st.binary(max_size=60)
    | values.map(lambda v: json.dumps(v).encode())
    | choices.map(lambda v: json.dumps({"choices": v}).encode())
)
def test_any_answer_is_passed_or_refused(answer: bytes) -> None:
    upstream_error_of(lambda: WIRE.encoder(context()).whole(WIRE.answer(answer)))
    e = upstream_error_of(lambda: WIRE.passed(asked(), answer, Meter()))
    assert e is None or e.fault in (Fault.PROTOCOL, Fault.EVENT)


@pytest.mark.parametrize("prompt", [["word " * 800, "x"], [[7] * 1000], [7] * 1000])
def test_prompts_that_are_no_message_are_counted_all_the_same(prompt: Any) -> None:
    """A budget that takes them for nothing is none: who leaves before the provider has counted would pay nothing."""
    assert asked(prompt).asked().input >= 1000
