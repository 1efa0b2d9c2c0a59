"""Answers as events and events as answers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import (
    Answer,
    AnswerBuilder,
    Choice,
    Done,
    Event,
    Failed,
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
from switchboard.core.types import Usage

counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts)
calls = st.builds(ToolCall, st.text(), st.text(), st.text())
choices = st.builds(
    Choice,
    text=st.text(),
    reasoning=st.text(),
    refusal=st.text(),
    tool_calls=st.lists(calls, max_size=3),
    finish=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
)
answers = st.builds(Answer, st.lists(choices, min_size=1, max_size=3), usage=st.none() | usages)


def built(events: list[Event]) -> Answer:
    builder = AnswerBuilder()
    builder.add(events)
    assert builder.error is None
    return builder.answer()


@settings(max_examples=200, deadline=None)
@given(answer=answers)
def test_an_answer_told_as_events_is_the_same_answer(answer: Answer) -> None:
    assert built(answer.events()) == answer


@settings(max_examples=200, deadline=None)
@given(answer=answers, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_events_may_come_in_any_portions(answer: Answer, cuts: list[int]) -> None:
    events = answer.events()
    builder = AnswerBuilder()
    last = 0
    for edge in [*sorted(c % (len(events) + 1) for c in cuts), len(events)]:
        builder.add(events[last:edge])
        last = edge
    assert builder.answer() == answer


def test_the_order_in_which_a_stream_would_say_it() -> None:
    usage = Usage(3, 4)
    answer = Answer(
        [Choice("text", "thought", "no", [ToolCall("a", "f", "{}"), ToolCall("b", "g", "[]")], "tool_calls")],
        "some-model",
        usage,
    )
    assert answer.events() == [
        Reasoning("thought"),
        Text("text"),
        Refusal("no"),
        ToolCallBegin(0, "a", "f"),
        ToolCallArguments(0, "{}"),
        ToolCallBegin(1, "b", "g"),
        ToolCallArguments(1, "[]"),
        Finish("tool_calls"),
        Metered(usage),
        Done(),
    ]


def test_an_answer_without_a_reason_to_end_just_stopped() -> None:
    assert Answer([Choice("hi")]).events() == [Text("hi"), Finish("stop"), Done()]


def test_pieces_of_several_calls_and_choices_may_be_mixed() -> None:
    answer = built(
        [
            Text("second", 1),
            ToolCallBegin(1, "b", "g"),
            ToolCallBegin(0, "a", "f"),
            ToolCallBegin(0, "z", "h", 1),
            ToolCallArguments(1, '{"y"'),
            ToolCallArguments(0, "{"),
            ToolCallArguments(0, "[", 1),
            ToolCallArguments(1, ":1}"),
            ToolCallArguments(0, "]", 1),
            ToolCallArguments(0, "}"),
            Text("first "),
            Text("choice"),
            Finish("tool_calls", 1),
            Finish("stop"),
        ]
    )
    assert answer.choices == [
        Choice("first choice", tool_calls=[ToolCall("b", "g", '{"y":1}'), ToolCall("a", "f", "{}")], finish="stop"),
        Choice("second", tool_calls=[ToolCall("z", "h", "[]")], finish="tool_calls"),
    ]


def test_usage_is_cumulative_so_the_last_count_stays() -> None:
    assert built([Metered(Usage(1, 1)), Text("x"), Metered(Usage(1, 9, 1))]).usage == Usage(1, 9, 1)


def test_arguments_of_a_call_that_never_began_are_passed_over() -> None:
    assert built([ToolCallArguments(4, "{}"), Text("x")]).choices == [Choice("x")]


def test_nothing_at_all_is_one_empty_choice() -> None:
    assert built([]) == Answer([Choice()])
    assert built([Ping(), Done()]) == Answer([Choice()])


def test_answers_do_not_share_their_lists() -> None:
    a, b = Choice(), Choice()
    a.tool_calls.append(ToolCall("a", "f", ""))
    assert b.tool_calls == []


def test_a_failure_is_kept_beside_what_had_come() -> None:
    error = UpstreamError(Fault.CUT, "gone")
    builder = AnswerBuilder()
    builder.add([Text("half")])
    builder.add([Failed(error)])
    assert builder.error is error
    assert builder.answer().choices == [Choice("half")]
