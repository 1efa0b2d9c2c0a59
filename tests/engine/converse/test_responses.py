"""One response at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.dialects.realtime import RealtimeFrameError
from switchboard.engine.converse.responses import MOST, PATIENCE, Responses

ACTIVE = "conversation_already_has_active_response"


def create(**response: Any) -> dict[str, Any]:
    return {"type": "response.create", "response": response}


def ids(frames: list[bytes]) -> list[str]:
    return [json.loads(f)["event_id"] for f in frames]


def test_the_second_waits_for_the_first() -> None:
    r = Responses()
    assert len(r.ask(create(), 0.0)) == 1 and r.busy
    assert r.ask(create(metadata={"n": 2}), 0.0) == []
    r.begun({"id": "r1", "conversation_id": "c"})
    assert r.active == "r1" and r.ask(create(metadata={"n": 3}), 1.0) == []
    (second,) = r.done({"id": "r1"}, 2.0)
    assert json.loads(second)["response"] == {"metadata": {"n": 2}}
    r.begun({"id": "r2"})
    (third,) = r.done({"id": "r2"}, 3.0)
    assert json.loads(third)["response"] == {"metadata": {"n": 3}}
    r.begun({"id": "r3"})
    assert r.done({"id": "r3"}, 4.0) == [] and not r.busy


def test_one_out_of_band_does_not_wait() -> None:
    r = Responses()
    r.begun({"id": "r1"})
    assert len(r.ask(create(conversation="none"), 0.0)) == 1
    r.begun({"id": "side", "conversation_id": None})
    assert r.active == "r1"
    r.done({"id": "side"}, 0.0)
    assert r.active == "r1"


def test_one_that_crossed_with_the_provider_s_own_is_asked_for_again() -> None:
    """The voice of the user made the provider begin at the same moment."""
    r = Responses()
    (asked,) = r.ask(create(), 0.0)
    hidden, frames = r.refused({"code": ACTIVE, "event_id": ids([asked])[0]}, 0.0)
    assert hidden and frames == [] and r.busy
    r.begun({"id": "own"})
    again = r.done({"id": "own"}, 1.0)
    assert ids(again) == ids([asked])


def test_one_that_is_refused_makes_room() -> None:
    r = Responses()
    (asked,) = r.ask(create(voice="nobody"), 0.0)
    r.ask(create(), 0.0)
    assert r.refused({"code": "invalid_value", "event_id": "another"}, 0.0) == (False, [])
    hidden, frames = r.refused({"code": "invalid_value", "event_id": ids([asked])[0]}, 0.0)
    assert not hidden and len(frames) == 1


def test_the_client_s_own_id_is_kept() -> None:
    assert ids(Responses().ask(create() | {"event_id": "mine"}, 0.0)) == ["mine"]


def test_too_many_are_told() -> None:
    r = Responses()
    for _ in range(MOST + 1):
        r.ask(create(), 0.0)
    with pytest.raises(RealtimeFrameError) as e:
        r.ask(create(), 0.0)
    assert e.value.code == ACTIVE


def test_one_that_nothing_is_heard_of_is_given_up() -> None:
    r = Responses()
    r.ask(create(), 0.0)
    r.ask(create(), 0.0)
    assert r.tick(PATIENCE) == []
    assert len(r.tick(PATIENCE + 1)) == 1


def test_what_waits_outlives_the_provider_s_session() -> None:
    r = Responses()
    r.ask(create(), 0.0)
    r.begun({"id": "r1"})
    r.ask(create(metadata={"n": "2"}), 0.0)
    assert r.lost(again=False) == "r1" and not r.busy
    (sent,) = r.go_on(1.0)
    assert json.loads(sent)["response"] == {"metadata": {"n": "2"}} and r.busy


def test_what_was_lost_is_asked_for_again_as_it_was() -> None:
    r = Responses()
    r.ask(create(metadata={"n": "1"}), 0.0)
    r.begun({"id": "r1"})
    r.ask(create(metadata={"n": "2"}), 0.0)
    assert r.lost(again=True) == "r1"
    (sent,) = r.go_on(1.0)
    assert json.loads(sent)["response"] == {"metadata": {"n": "1"}}
    # one that was sent and never begun is asked for again in any case
    assert r.lost(again=False) == ""
    (sent,) = r.go_on(2.0)
    assert json.loads(sent)["response"] == {"metadata": {"n": "1"}}


def test_one_that_the_provider_began_by_itself_is_asked_for_again() -> None:
    r = Responses()
    r.begun({"id": "r1"})
    r.lost(again=True)
    assert [json.loads(f)["type"] for f in r.go_on(1.0)] == ["response.create"]


def test_a_refusal_behind_the_provider_s_own_is_known() -> None:
    """It tells of its own first, and then of what it refuses because of that."""
    r = Responses()
    (asked,) = r.ask(create(metadata={"n": "1"}), 0.0)
    r.begun({"id": "own"})
    assert r.refused({"code": ACTIVE, "event_id": ids([asked])[0]}, 0.0) == (True, [])
    (again,) = r.done({"id": "own"}, 1.0)
    assert json.loads(again)["response"] == {"metadata": {"n": "1"}}


def test_an_error_of_something_else_takes_nothing_away() -> None:
    r = Responses()
    r.ask(create(), 0.0)
    assert r.refused({"code": "invalid_value", "event_id": None}, 0.0) == (False, [])
    assert r.ask(create(), 0.0) == []


def test_who_cancels_wants_no_answer() -> None:
    r = Responses()
    r.ask(create(), 0.0)
    r.begun({"id": "r1"})
    r.ask(create(), 0.0)
    r.cancelled()
    assert r.done({"id": "r1", "status": "cancelled"}, 1.0) == []


def test_no_more_than_so_many_run_beside() -> None:
    r = Responses()
    for n in range(MOST):
        r.ask(create(conversation="none"), 0.0)
        if n % 2:
            r.begun({"id": f"aside{n}", "conversation_id": None})
    with pytest.raises(RealtimeFrameError):
        r.ask(create(conversation="none"), 0.0)
    r.done({"id": "aside1"}, 0.0)
    assert len(r.ask(create(conversation="none"), 0.0)) == 1
    r.tick(PATIENCE + 1)
    assert len(r.ask(create(conversation="none"), 0.0)) == 1


@given(st.lists(st.sampled_from(["ask", "begun", "done", "refused", "crossed", "lost"]), max_size=60))
def test_never_two_at_once(steps: list[str]) -> None:
    """Whatever a provider does: nothing is sent while one is sent and unanswered, or under way."""
    r, n, under_way, sent = Responses(), 0, "", ""
    for step in steps:
        frames: list[bytes] = []
        if step == "ask":
            try:
                frames = r.ask(create(), 0.0)
            except RealtimeFrameError:
                continue
        elif step == "begun" and not under_way:
            n += 1
            under_way, sent = f"r{n}", ""
            r.begun({"id": under_way})
        elif step == "done" and under_way:
            done, under_way = under_way, ""
            frames = r.done({"id": done}, 0.0)
        elif step == "refused" and sent:
            frames = r.refused({"code": "other", "event_id": sent}, 0.0)[1]
            sent = ""
        elif step == "crossed" and sent:
            n += 1
            assert r.refused({"code": ACTIVE, "event_id": sent}, 0.0) == (True, [])
            sent, under_way = "", f"r{n}"
            r.begun({"id": under_way})
        elif step == "lost":
            r.lost(again=False)
            under_way = sent = ""
            frames = r.go_on(0.0)
        if frames:
            assert len(frames) == 1 and not under_way and not sent
            (sent,) = ids(frames)
