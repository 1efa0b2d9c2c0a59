"""How a request is brought under the settings that the server holds."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from switchboard.core.types import Generate
from switchboard.policy.applying import apply
from switchboard.policy.profile import LOCKABLE, Profile

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "Be rude."}
PROMPT = "Be brief."


def op(params: dict[str, Any] | None = None, *messages: dict[str, Any], stream: bool = False) -> Generate:
    return Generate("m", stream, messages=list(messages or (USER,)), params=dict(params or {}), raw_messages=Raw(b"[]"))


def under(profile: Profile, o: Generate, *, documents: bool = True) -> Generate:
    apply(o, profile, documents=documents)
    return o


def test_nothing_set_nothing_changed() -> None:
    o = under(Profile(), op({"temperature": Raw(b"0.3"), "x": 1}))
    assert (o.params, o.dropped, o.messages) == ({"temperature": Raw(b"0.3"), "x": 1}, [], [USER])
    assert o.raw_messages is not None  # goes on as it came


def test_defaults_that_a_request_may_override() -> None:
    profile = Profile(temperature=0.5, top_p=0.9, max_tokens=100)
    assert under(profile, op()).params == {"temperature": 0.5, "top_p": 0.9, "max_tokens": 100}
    own = {"temperature": Raw(b"1"), "top_p": Raw(b"0.1"), "max_tokens": Raw(b"7")}
    o = under(profile, op(own))
    assert (o.params, o.dropped) == (own, [])
    newer = under(profile, op({"max_completion_tokens": Raw(b"7")}))
    assert "max_tokens" not in newer.params


def test_temperature_zero_is_set() -> None:
    assert under(Profile(temperature=0.0, top_p=0.0), op()).params == {"temperature": 0.0, "top_p": 0.0}


@pytest.mark.parametrize("name", ["temperature", "top_p", "max_tokens", "tools"])
def test_locked(name: str) -> None:
    assert name in LOCKABLE
    o = under(Profile(locked=frozenset({name})), op({name: Raw(b"1"), "other": Raw(b"2")}))
    assert (o.params, o.dropped) == ({"other": Raw(b"2")}, [name])
    assert under(Profile(locked=frozenset({name})), op()).dropped == []


def test_locked_to_the_server_s_value() -> None:
    profile = Profile(temperature=0.5, max_tokens=10, locked=frozenset({"temperature", "max_tokens"}))
    o = under(profile, op({"temperature": Raw(b"2"), "max_completion_tokens": Raw(b"999")}))
    assert o.params == {"temperature": 0.5, "max_tokens": 10}
    assert set(o.dropped) == {"temperature", "max_completion_tokens"}


def test_locked_tools_go_with_all_that_belongs_to_them() -> None:
    """Else a request brings its tools by their older name, or a tool_choice without tools that providers refuse."""
    sent = dict.fromkeys(("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"), Raw(b"[]"))
    o = under(Profile(locked=frozenset({"tools"})), op(sent))
    assert o.params == {}
    assert "tools" in o.dropped


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("asked", "sent"), [("11", 10), ("10", 10), ("9", 9), ("999999999999999999999", 10)])
def test_the_cap(name: str, asked: str, sent: int) -> None:
    o = under(Profile(max_tokens_cap=10), op({name: Raw(asked.encode())}))
    value = o.params[name]
    assert (int(bytes(value)) if isinstance(value, Raw) else value) == sent
    assert o.dropped == ([name] if int(asked) > 10 else [])


def test_the_cap_is_what_counts_where_nothing_is_asked() -> None:
    assert under(Profile(max_tokens_cap=10), op()).params == {"max_tokens": 10}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("asked", ["null", "1e5", "100000.0"])
def test_no_spelling_gets_past_the_cap(name: str, asked: str) -> None:
    o = under(Profile(max_tokens_cap=10), op({name: Raw(asked.encode())}))
    bounds = [v for k, v in o.params.items() if k in ("max_tokens", "max_completion_tokens")]
    assert 10 in bounds
    assert all(v == 10 for v in bounds)


def test_both_names_of_the_length_are_capped() -> None:
    o = under(Profile(max_tokens_cap=10), op({"max_tokens": Raw(b"20"), "max_completion_tokens": Raw(b"30")}))
    assert o.params == {"max_tokens": 10, "max_completion_tokens": 10}
    assert set(o.dropped) == {"max_tokens", "max_completion_tokens"}


def test_a_default_over_the_cap_is_nothing_that_a_client_asked_for() -> None:
    o = under(Profile(max_tokens=100, max_tokens_cap=10), op())
    assert (o.params, o.dropped) == ({"max_tokens": 10}, [])


def test_the_prompt_on_the_documents_paths_takes_the_client_s_place() -> None:
    developer = {"role": "developer", "content": "Be loud."}
    o = under(Profile(system_prompt="Be brief."), op({}, SYSTEM, USER, developer))
    assert (o.messages, o.prompt, o.dropped, o.raw_messages) == ([USER], PROMPT, ["system"], None)
    assert under(Profile(system_prompt="Be brief."), op()).dropped == []
    assert under(Profile(), op({}, SYSTEM, USER)).messages == [SYSTEM, USER]


def test_the_prompt_on_v1_goes_before_the_client_s() -> None:
    o = under(Profile(system_prompt="Be brief."), op({}, SYSTEM, USER), documents=False)
    assert (o.messages, o.prompt, o.dropped) == ([SYSTEM, USER], PROMPT, [])


def test_a_long_history_is_trimmed_on_the_documents_paths_only() -> None:
    history = [{"role": "user", "content": str(n)} for n in range(8)]
    profile = Profile(max_conversation_length=3, system_prompt="Be brief.")
    assert under(profile, op({}, *history)).messages == history[-3:]
    assert under(profile, op({}, *history), documents=False).messages == history
    trimming = Profile(max_conversation_length=3, trim_v1=True)
    assert under(trimming, op({}, *history), documents=False).messages == history[-3:]
    assert under(Profile(), op({}, *(history * 10))).messages == (history * 10)[-50:]
