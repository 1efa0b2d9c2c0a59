"""How much of a conversation goes to the model: the newest messages, and never half of a tool call."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.policy.conversation import trim

Message = dict[str, Any]


def user(n: int = 0) -> Message:
    return {"role": "user", "content": f"u{n}"}


def call(*ids: str) -> Message:
    return {"role": "assistant", "content": None, "tool_calls": [{"id": i} for i in ids]}


def result(i: str) -> Message:
    return {"role": "tool", "tool_call_id": i, "content": "r"}


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Conversations as clients send them: guides first, each call followed by all of its results."""
    messages: list[Message] = [
        {"role": draw(st.sampled_from(["system", "developer"])), "content": "s"} for _ in range(draw(st.integers(0, 2)))
    ]
    for turn in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(["user", "assistant", "tools", "system"]))
        if kind == "tools":
            ids = [f"{turn}-{k}" for k in range(draw(st.integers(1, 4)))]
            messages += [call(*ids), *[result(i) for i in ids]]
        else:
            messages.append({"role": kind, "content": f"{kind}{turn}"})
    return messages


def guides(messages: list[Message]) -> int:
    n = 0
    while n < len(messages) and messages[n]["role"] in ("system", "developer"):
        n += 1
    return n


@given(conversations(), st.integers(1, 20))
@settings(max_examples=1000)
def test_whatever_the_conversation(messages: list[Message], newest: int) -> None:
    before = [dict(m) for m in messages]
    kept = trim(messages, newest)
    assert messages == before
    first = guides(messages)
    # the guides stay, what follows is the conversation's end
    assert kept[:first] == messages[:first]
    tail = kept[first:]
    assert tail == messages[len(messages) - len(tail) :]
    # every result has its call, every call its results
    asked = {c["id"] for m in kept for c in m.get("tool_calls", ())}
    answered = {m["tool_call_id"] for m in kept if m["role"] == "tool"}
    assert asked == answered
    # the newest message is always there
    if len(messages) > first:
        assert tail != []
    # nothing is kept that need not be: more than `newest` only where one call and its results are more
    if len(tail) > newest:
        assert tail[0].get("tool_calls") and all(m["role"] == "tool" for m in tail[1:])
    # nothing is cut that may stay
    if len(messages) - first <= newest:
        assert kept == messages
    elif len(tail) < newest:
        left_out = messages[len(messages) - newest : len(messages) - len(tail)]
        assert all(m["role"] == "tool" for m in left_out)


@given(conversations(), st.integers(1, 20))
def test_twice_is_once(messages: list[Message], newest: int) -> None:
    once = trim(messages, newest)
    assert trim(once, newest) == once


def test_the_newest_after_the_guides() -> None:
    system = {"role": "system", "content": "s"}
    messages = [system, *[user(n) for n in range(5)]]
    assert trim(messages, 2) == [system, user(3), user(4)]
    assert trim(messages, 5) is messages


def test_a_result_without_its_call_goes_with_it() -> None:
    messages = [user(1), call("a", "b"), result("a"), result("b"), user(2)]
    assert trim(messages, 2) == [user(2)]
    assert trim(messages, 3) == [user(2)]
    assert trim(messages, 4) == messages[1:]


def test_where_only_results_would_remain_the_call_is_kept() -> None:
    messages = [user(1), call("a", "b"), result("a"), result("b")]
    assert trim(messages, 1) == messages[1:]
    assert trim(messages, 2) == messages[1:]


def test_results_alone() -> None:
    messages = [result("a"), result("b"), result("c")]
    assert trim(messages, 1) == messages
    assert trim([], 1) == []


def test_the_older_kind_of_function_result() -> None:
    messages = [
        user(1),
        {"role": "assistant", "function_call": {"name": "f"}},
        {"role": "function", "content": "r"},
        user(2),
    ]
    assert trim(messages, 2) == [user(2)]
