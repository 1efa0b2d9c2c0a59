"""What a translation has to remember: items that were told of, functions that are called, what a session is for."""

from __future__ import annotations

from dialects.realtime.fixtures import BETA, GA, Json, asked, check_server, frame, told
from switchboard.dialects.realtime import Translator
from switchboard.dialects.realtime.state import Recent


def _message(item_id: str, status: str = "completed", role: str = "user") -> Json:
    return {"id": item_id, "object": "realtime.item", "type": "message", "role": role, "status": status, "content": []}


def _event(kind: str, item: Json, **more: object) -> Json:
    return {"type": kind, "event_id": f"e-{kind}", "item": item} | more


def test_a_beta_client_is_told_of_an_item_once() -> None:
    translator = Translator(BETA, GA)
    item = _message("i1", "in_progress", "assistant")
    out = [
        told(BETA, _event(f"conversation.item.{kind}", item, previous_item_id="i0"), translator)
        for kind in ("added", "created", "done")
    ]
    assert [[e["type"] for e in o] for o in out] == [["conversation.item.created"], [], []]
    assert out[0][0]["previous_item_id"] == "i0"
    assert translator.warnings == []


def test_an_item_that_is_only_told_to_be_whole_is_told_of() -> None:
    (event,) = told(BETA, _event("conversation.item.done", _message("i1")))
    assert event["type"] == "conversation.item.created"


def test_an_id_may_come_again_after_its_item_was_deleted() -> None:
    translator = Translator(BETA, GA)
    added = _event("conversation.item.added", _message("i1"))
    assert len(told(BETA, added, translator)) == 1
    deleted = frame({"type": "conversation.item.deleted", "event_id": "e", "item_id": "i1"})
    assert translator.from_provider(deleted)[0] is deleted
    assert len(told(BETA, added, translator)) == 1


def test_a_ga_client_is_told_twice_of_an_item_that_is_whole() -> None:
    item = _message("i1")
    added, done = told(GA, _event("conversation.item.created", item, previous_item_id="i0"))
    assert added == _event("conversation.item.added", item, previous_item_id="i0") | {"event_id": added["event_id"]}
    assert (done["type"], done["item"], done["previous_item_id"]) == ("conversation.item.done", item, "i0")
    assert added["event_id"] == "e-conversation.item.created" != done["event_id"]
    check_server(GA, done)


def test_a_ga_client_is_told_that_an_answer_is_whole_when_it_is() -> None:
    translator = Translator(GA, BETA)
    begun, whole = _message("i1", "in_progress", "assistant"), _message("i1", "completed", "assistant")
    whole["content"] = [{"type": "audio", "transcript": "Hello."}]
    created = _event("conversation.item.created", begun, previous_item_id="i0")
    assert [e["type"] for e in told(GA, created, translator)] == ["conversation.item.added"]
    event = _event("response.output_item.done", whole, response_id="r", output_index=0)
    done, item_done = told(GA, event, translator)
    assert (done["type"], item_done["type"]) == ("conversation.item.done", "response.output_item.done")
    assert done["item"] == item_done["item"]
    assert done["item"]["content"] == [{"type": "output_audio", "transcript": "Hello."}]
    assert done["previous_item_id"] == "i0"
    assert len(told(GA, event, translator)) == 1
    check_server(GA, done)


def test_an_answer_is_whole_at_the_latest_when_its_response_is() -> None:
    translator = Translator(GA, BETA)
    for n in (1, 2):
        told(GA, _event("conversation.item.created", _message(f"i{n}", "in_progress", "assistant")), translator)
    response = {"status": "cancelled", "output": [_message(f"i{n}", "incomplete", "assistant") for n in (1, 2, 3)]}
    event = {"type": "response.done", "event_id": "e", "response": response}
    out = told(GA, event, translator)
    assert [e["type"] for e in out] == ["conversation.item.done"] * 2 + ["response.done"]
    assert len({e["event_id"] for e in out}) == 3
    assert len(told(GA, event, translator)) == 1


def test_an_answer_out_of_band_is_in_no_conversation() -> None:
    event = _event("response.output_item.done", _message("i1", role="assistant"))
    assert [e["type"] for e in told(GA, event)] == ["response.output_item.done"]


def test_the_name_of_a_function_is_said_again() -> None:
    translator = Translator(GA, BETA)
    item = {"id": "i1", "type": "function_call", "name": "look_up", "call_id": "c", "status": "in_progress"}
    (added,) = told(GA, _event("response.output_item.added", item), translator)
    assert added["item"]["arguments"] == ""
    done = {"type": "response.function_call_arguments.done", "event_id": "e", "item_id": "i1", "arguments": "{}"}
    assert told(GA, done, translator) == [done | {"name": "look_up"}]
    assert told(GA, done | {"item_id": "i2"}, translator) == [done | {"item_id": "i2", "name": ""}]
    assert told(GA, done | {"name": "own"}, translator) == [done | {"name": "own"}]


def test_a_transcription_session_stays_one() -> None:
    translator = Translator(BETA, GA)
    created = {"type": "session.created", "event_id": "e", "session": {"type": "transcription"}}
    assert told(BETA, created, translator)[0]["type"] == "transcription_session.created"
    (update,) = asked(BETA, {"type": "session.update", "session": {"turn_detection": None}}, translator)
    assert update["session"] == {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
    (updated,) = told(BETA, {"type": "session.updated", "event_id": "e", "session": {}}, translator)
    assert updated["type"] == "transcription_session.updated"

    back = Translator(GA, BETA)
    told(GA, {"type": "transcription_session.created", "event_id": "e", "session": {}}, back)
    (update,) = asked(GA, {"type": "session.update", "session": {}}, back)
    assert update == {"type": "transcription_session.update", "session": {}}


def test_the_clients_shape_may_be_corrected() -> None:
    translator = Translator(BETA, GA)
    told(BETA, {"type": "session.created", "event_id": "e", "session": {"type": "transcription"}}, translator)
    translator.correct(GA)
    sent = frame({"type": "session.update", "session": {"type": "transcription"}})
    assert translator.from_client(sent)[0] is sent
    assert translator.from_provider(sent)[0] is sent
    translator.correct(BETA)
    assert asked(BETA, {"type": "session.update", "session": {}}, translator)[0]["session"]["type"] == "transcription"


def test_what_is_remembered_is_bounded() -> None:
    recent: Recent[int] = Recent()
    for n in range(5000):
        recent.put(str(n), n)
    assert len(recent) == 4096
    assert "4999" in recent
    assert "0" not in recent
