"""What a question adds to a conversation that is held, and how much of it goes to the model."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from switchboard.policy.conversation import merged, message_tokens, title_of, trim

Message = dict[str, Any]
roles = st.sampled_from(["user", "assistant"])
messages = st.lists(st.builds(lambda r, t: {"role": r, "content": t}, roles, st.text(max_size=8)), max_size=8)


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


GUIDE = {"role": "system", "content": "Be kind."}
HELD = [user("a"), assistant("b")]


def test_only_the_tail_is_new() -> None:
    assert merged(HELD, [*HELD, user("c")], whole=False) == ([*HELD, user("c")], [user("c")], False)


def test_else_it_is_appended() -> None:
    assert merged(HELD, [user("c")], whole=False) == ([*HELD, user("c")], [user("c")], False)
    # what is held and no more is a question that is asked again
    assert merged(HELD, HELD, whole=False)[1] == HELD


def test_a_client_that_sends_all_of_it_may_have_changed_it() -> None:
    edited = [user("a, but better")]
    assert merged(HELD, edited, whole=True) == (edited, edited, True)
    assert merged(HELD, [user("a")], whole=True) == ([user("a")], [user("a")], True)  # asked anew


def test_system_messages_guide_one_request() -> None:
    said, new, _ = merged(HELD, [GUIDE, user("c")], whole=False)
    assert said == [GUIDE, *HELD, user("c")] and new == [user("c")]


def test_what_a_client_may_have_lost() -> None:
    """Images and tool calls of messages that were held: their text tells that they are the same."""
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    held = [{"role": "user", "content": [{"type": "text", "text": "a"}, image]}, assistant("b")]
    assert merged(held, [user("a"), assistant("b"), user("c")], whole=False)[1] == [user("c")]


@given(messages, messages, st.booleans())
def test_nothing_new_is_lost(held: list[Message], asked: list[Message], whole: bool) -> None:
    said, new, replaced = merged(held, asked, whole=whole)
    assert said[len(said) - len(new) :] == new
    assert said == (new if replaced else [*held, *new] if said[: len(held)] == held else said)
    if asked:
        assert new and new[-1] == asked[-1]


@given(messages.filter(bool), st.integers(1, 10), st.integers(0, 60))
def test_trimmed_by_tokens(said: list[Message], newest: int, tokens: int) -> None:
    kept = trim(said, newest, tokens)
    assert kept and kept == said[len(said) - len(kept) :] and len(kept) <= newest
    if len(kept) > 1:
        assert sum(map(message_tokens, kept)) <= tokens
    if len(kept) < min(len(said), newest):  # one more would have been too much
        assert sum(map(message_tokens, said[len(said) - len(kept) - 1 :])) > tokens


def test_a_tool_call_stays_with_its_result() -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
    }
    result = {"role": "tool", "tool_call_id": "1", "content": "x" * 400}
    said = [user("q" * 400), call, result, user("and?")]
    for tokens in range(0, 400, 3):
        kept = trim(said, 50, tokens)
        assert (call in kept) == (result in kept), tokens


def test_titles() -> None:
    assert title_of([assistant("hi"), user("  What \n is  it? ")]) == "What is it?"
    assert title_of([user("x" * 200)]) == "x" * 79 + "…" and title_of([]) == ""
