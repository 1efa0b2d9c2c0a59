"""Tool calls put together from their pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.events import (
    Done,
    Event,
    Finish,
    Ping,
    Text,
    ToolCall,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.dialects._tool_calls import ToolCalls


def gathered(events: list[Event]) -> list[list[ToolCall]]:
    """What is whole with each of `events`."""
    calls = ToolCalls()
    return [calls.whole_with(e) for e in events]


def test_a_call_is_whole_with_the_choice() -> None:
    out = gathered(
        [ToolCallBegin(0, "c", "f"), ToolCallArguments(0, "{"), ToolCallArguments(0, "}"), Finish("x"), Done()]
    )
    assert out == [[], [], [], [ToolCall("c", "f", "{}")], []]


def test_without_a_finish_it_is_whole_with_the_end() -> None:
    assert gathered([ToolCallBegin(0, "c", "f"), Done()])[-1] == [ToolCall("c", "f", "")]


def test_other_choices_do_not_count() -> None:
    out = gathered(
        [
            ToolCallBegin(0, "x", "f", 1),
            ToolCallArguments(0, "{}", 1),
            ToolCallBegin(0, "c", "g"),
            ToolCallArguments(0, "[", 1),
            Finish("tool_calls", 1),
            Finish("tool_calls"),
        ]
    )
    assert out == [[], [], [], [], [], [ToolCall("c", "g", "")]]


def test_arguments_of_a_call_that_never_began_are_passed_over() -> None:
    assert gathered([ToolCallArguments(3, "{}"), Text("x"), Ping(), Done()]) == [[], [], [], []]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), arguments=st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_pieces_of_several_calls_may_come_in_any_order(data: st.DataObject, arguments: list[str]) -> None:
    lines: list[list[Event]] = []
    for i, whole in enumerate(arguments):
        at = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=3)))
        edges = [0, *at, len(whole)]
        lines.append(
            [ToolCallBegin(i, f"c{i}", f"f{i}"), *[ToolCallArguments(i, whole[a:b]) for a, b in pairwise(edges)]]
        )
    events: list[Event] = []
    while any(lines):
        line = data.draw(st.sampled_from([x for x in lines if x]))
        events.append(line.pop(0))
    whole_calls = gathered([*events, Finish("tool_calls")])
    assert whole_calls[:-1] == [[]] * len(events)
    begun = [e.index for e in events if isinstance(e, ToolCallBegin)]
    assert whole_calls[-1] == [ToolCall(f"c{i}", f"f{i}", arguments[i]) for i in begun]
