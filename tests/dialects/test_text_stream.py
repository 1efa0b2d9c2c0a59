"""The answer's text and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from switchboard.core.errors import Problem
from switchboard.core.events import Answer, Choice, Done, Event, Finish, Ping, Reasoning, Refusal, Text, ToolCallBegin
from switchboard.core.ports import Context
from switchboard.dialects.text_stream import TextEncoder, TextStream


def test_only_the_first_choices_text() -> None:
    events: list[Event] = [
        Ping(),
        Reasoning("hm"),
        Text("Hé"),
        Text("other", 1),
        Text("llo"),
        ToolCallBegin(0, "c", "f"),
        Refusal("!"),
        Refusal("other", 1),
        Finish("stop"),
        Done(),
    ]
    assert TextStream().encoder(Context("id", "m", 1)).encode(events) == "Héllo!".encode()


@given(texts=st.lists(st.text()))
def test_the_text_is_untouched(texts: list[str]) -> None:
    e = TextEncoder()
    assert b"".join(e.encode([Text(t)]) for t in texts).decode() == "".join(texts)
    assert e.encode([Text(t) for t in texts]).decode() == "".join(texts)


def test_a_whole_answer_is_text_too() -> None:
    assert TextEncoder().whole(Answer([Choice("a"), Choice("b")])) == b"a"
    assert TextEncoder().whole(Answer([Choice(refusal="no")])) == b"no"
    assert TextEncoder().whole(Answer([Choice()])) == b""


def test_nothing_can_be_put_between_or_after() -> None:
    """A comment or an error would become part of the text."""
    e = TextEncoder()
    assert e.error(Problem("PROVIDER_CUT")) == b""
    assert e.keepalive == b""
    assert (e.content_type, e.whole_type) == (b"text/plain; charset=utf-8",) * 2
