"""What was said, told by the events of either shape in whatever order they come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialects.realtime.fixtures import BETA, GA, SERVER, Json
from switchboard.core.clock import wall_iso
from switchboard.dialects.realtime import Shape, conversation
from switchboard.dialects.realtime.script import Script

T0 = 1_760_000_000.0
AUDIO = "conversation.item.input_audio_transcription"


class Told:
    """A script, and a provider of one shape that tells it of things, a second each."""

    def __init__(self, shape: Shape = GA) -> None:
        self.script = Script()
        self.shape = shape
        self.clock = 0

    def __call__(self, kind: str, **members: Any) -> None:
        if self.shape is BETA:
            kind = kind.replace("output_audio_transcript", "audio_transcript").replace("output_text", "text")
            kind = kind.replace("conversation.item.added", "conversation.item.created")
        assert kind in Script.WANTED
        self.clock += 1
        self.script.event(kind, {"type": kind, "event_id": f"e{self.clock}", **members}, T0 + self.clock)

    def user(self, item_id: str, text: str | None = None, **more: Any) -> None:
        part = {"type": "input_audio", "transcript": None} if text is None else {"type": "input_text", "text": text}
        self("conversation.item.added", item=message(item_id, "user", [part]), **more)

    def answer(self, item_id: str, response: str = "r", **more: Any) -> None:
        item = message(item_id, "assistant", [], status="in_progress")
        self("response.output_item.added", item=item, response_id=response, output_index=0)
        self("conversation.item.added", item=item, **more)

    def spoken(self, item_id: str, text: str, **more: Any) -> None:
        self("response.output_audio_transcript.delta", item_id=item_id, delta=text, **({"content_index": 0} | more))

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(m["role"][0] + ("!" if "truncated" in m else ""), m["content"]) for m in self.script.messages()]


def message(item_id: str, role: str, content: list[Json], status: str = "completed") -> Json:
    item = {"id": item_id, "object": "realtime.item", "type": "message", "role": role, "status": status}
    return item | {"content": content}


@pytest.fixture(params=[BETA, GA])
def told(request: pytest.FixtureRequest) -> Told:
    return Told(request.param)


def test_it_reads_events_that_there_are() -> None:
    known = SERVER[BETA].keys() | SERVER[GA].keys()
    assert not Script.WANTED - known
    words = {n for n in known if n.endswith((".delta", ".done", ".completed")) and ("text" in n or "transcript" in n)}
    assert words <= Script.WANTED


def test_a_conversation_by_voice(told: Told) -> None:
    told("input_audio_buffer.committed", item_id="u", previous_item_id=None)
    told.user("u", previous_item_id=None)
    told.answer("a", previous_item_id="u")
    told.spoken("a", "Hello ")
    told(f"{AUDIO}.delta", item_id="u", content_index=0, delta="Hi")
    told.spoken("a", "there")
    assert told.said == [("u", "Hi"), ("a", "Hello there")]
    told(f"{AUDIO}.completed", item_id="u", content_index=0, transcript="Hi!")
    told("response.output_audio_transcript.done", item_id="a", content_index=0, transcript="Hello there.")
    assert told.script.messages() == [
        {"role": "user", "content": "Hi!", "timestamp": wall_iso(T0 + 1)},
        {"role": "assistant", "content": "Hello there.", "timestamp": wall_iso(T0 + 3)},
    ]
    assert told.script.messages()[0]["timestamp"].endswith("Z")


def test_a_transcription_that_fails_says_nothing(told: Told) -> None:
    told.user("u")
    told(f"{AUDIO}.delta", item_id="u", content_index=0, delta="Hi")
    told(f"{AUDIO}.failed", item_id="u", content_index=0, error={"message": "no"})
    assert told.said == []


def test_what_is_told_of_an_item_twice_is_there_once(told: Told) -> None:
    told.user("u", "Hi")
    for kind in ("added", "created", "done"):
        told(f"conversation.item.{kind}", item=message("u", "user", [{"type": "input_text", "text": "Hi"}]))
    assert told.said == [("u", "Hi")]


def test_parts_are_joined_in_order(told: Told) -> None:
    told.answer("a")
    told.spoken("a", "two", content_index=1)
    told("response.output_text.delta", item_id="a", content_index=0, delta="one")
    told.spoken("a", " three", content_index=2)
    assert told.said == [("a", "one two three")]
    told("response.output_text.done", item_id="a", content_index=0, text="1")
    assert told.said == [("a", "1 two three")]


def test_words_of_an_item_that_is_whole(told: Told) -> None:
    """As the item says at its end, where nothing told them before; where it does not say them, those told before stay."""
    told.answer("a")
    told.answer("b")
    told.spoken("b", "kept")
    for item_id, part in (("a", {"transcript": "whole"}), ("b", {"transcript": None})):
        kind = "audio" if told.shape is BETA else "output_audio"
        told("response.output_item.done", item=message(item_id, "assistant", [{"type": kind} | part]))
    told.spoken("a", " too late")
    assert told.said == [("a", "whole"), ("a", "kept")]


def test_only_what_a_response_puts_out_is_the_models(told: Told) -> None:
    part = [{"type": "text" if told.shape is BETA else "output_text", "text": "not said"}]
    told("conversation.item.added", item=message("a", "assistant", part))
    told("conversation.item.added", item=message("s", "system", [{"type": "input_text", "text": "Be nice."}]))
    told("conversation.item.added", item={"id": "f", "type": "function_call", "name": "f", "arguments": "{}"})
    told("response.output_item.done", item={"id": "f", "type": "function_call", "name": "f", "arguments": "{}"})
    told("conversation.item.added", item={"id": "o", "type": "function_call_output", "output": "text"})
    assert told.said == [] and not told.script.changed


def test_items_have_the_places_that_they_were_told(told: Told) -> None:
    told.user("b", "b", previous_item_id="unknown")
    told.user("a", "a", previous_item_id=None)
    told.user("d", "d")
    told.user("c", "c", previous_item_id="b")
    told.user("e", "e", previous_item_id={"not": "an id"})
    assert "".join(text for _, text in told.said) == "abcde"
    told("conversation.item.deleted", item_id="c")
    assert "".join(text for _, text in told.said) == "abde"


def test_an_item_that_has_its_place_keeps_it(told: Told) -> None:
    told.user("a", "a", previous_item_id=None)
    told.answer("c", previous_item_id="a")
    told.user("b", "b", previous_item_id="a")
    told("conversation.item.done", item=message("c", "assistant", []), previous_item_id="a")
    told.spoken("c", "c")
    assert "".join(text for _, text in told.said) == "abc"


def test_another_order_is_a_change_and_the_same_words_are_none(told: Told) -> None:
    told.user("b", "b")
    told.user("a", "a")
    told(f"{AUDIO}.completed", item_id="b", content_index=0, transcript="b")
    told.script.changed = False
    told(f"{AUDIO}.completed", item_id="b", content_index=0, transcript="b")
    told.user("b", "b")
    assert not told.script.changed
    told.user("a", "a", previous_item_id=None)
    assert told.script.changed and told.said == [("u", "a"), ("u", "b")]


def test_words_that_were_final_stay(told: Told) -> None:
    told("input_audio_buffer.committed", item_id="u")
    told(f"{AUDIO}.completed", item_id="u", content_index=0, transcript="Hi!")
    told(f"{AUDIO}.delta", item_id="u", content_index=0, delta=" there")
    told("conversation.item.created", item=message("u", "user", [{"type": "input_audio", "transcript": "H"}]))
    assert told.said == [("u", "Hi!")]


def test_words_that_a_response_puts_out_are_the_models(told: Told) -> None:
    told("conversation.item.added", item=message("a", "assistant", []))
    told.spoken("a", "Hello")
    part = {"type": "text" if told.shape is BETA else "output_text", "text": "Hello!"}
    told("conversation.item.done", item=message("a", "assistant", [part]))
    assert told.said == [("a", "Hello!")]


def test_what_is_neither_a_users_nor_the_models_says_nothing(told: Told) -> None:
    told("response.output_item.done", response_id="r", item=message("s", "system", [{"type": "text", "text": "no"}]))
    told.user("u", "yes")
    told("response.output_item.added", response_id="r", item=message("u", "user", []))
    told("response.done", response={"id": "r", "status": "cancelled", "output": [message("u", "user", [], "")]})
    assert told.said == [("u", "yes")]


def test_silence_says_nothing(told: Told) -> None:
    told.user("u", " \n")
    assert told.said == []


def test_what_comes_late_of_an_item_that_was_deleted_does_not_bring_it_back(told: Told) -> None:
    told.user("u")
    told.answer("a")
    told("conversation.item.deleted", item_id="u")
    told("conversation.item.deleted", item_id="a")
    told(f"{AUDIO}.completed", item_id="u", content_index=0, transcript="Hi")
    told.spoken("a", "Hello")
    told("response.output_item.done", item=message("a", "assistant", [{"type": "text", "text": "Hello"}]))
    assert told.said == []
    told.user("u", "again")  # an id may come again
    assert told.said == [("u", "again")]


def test_what_the_server_put_there_itself_is_left_out(told: Told) -> None:
    told.script.leave_out("r1")
    told.user("r1", "before")
    told.user("r2", "before")
    told.user("u", "now", previous_item_id="r1")
    told.script.changed = False
    told.script.leave_out("r2")
    assert told.script.changed and told.said == [("u", "now")]


TRUNCATED = [
    (1000, "The quick brown fox"),  # at its end: all of it was heard
    (999, "The quick brown"),
    (800, "The quick brown"),
    (790, "The quick brown"),  # 15.01 characters of 19
    (780, "The quick"),  # 14.82
    (474, "The quick"),
    (473, "The"),
    (160, "The"),
    (150, None),
    (0, None),
    (-5, None),
    (0.0, None),
    (10**400, "The quick brown fox"),
]


@pytest.mark.parametrize(("end", "heard"), TRUNCATED)
def test_a_truncated_answer_says_what_was_heard(told: Told, end: int, heard: str | None) -> None:
    told.answer("a")
    told.spoken("a", "The quick ")
    told.script.sound("a", 400)
    told.spoken("a", "brown fox")
    told.script.sound("a", 600)
    assert told.script.played("a") == 1000
    told("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=end)
    expected = [] if heard is None else [("a!", heard)]
    assert told.said == expected
    told.spoken("a", " jumps")
    told("response.output_audio_transcript.done", item_id="a", content_index=0, transcript="The quick brown fox jumps")
    part = {"type": "audio", "transcript": "The quick brown fox jumps"}
    told("response.output_item.done", item=message("a", "assistant", [part]))
    told("response.done", response={"id": "r", "status": "cancelled", "output": []})
    assert told.said == expected


def test_an_answer_can_be_truncated_again(told: Told) -> None:
    told.answer("a")
    told.spoken("a", "one two three four")
    told.script.sound("a", 1800)
    told("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=1300)
    assert told.said == [("a!", "one two three")] and told.script.played("a") == 1300
    told.script.sound("a", 500)  # was on its way
    told("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=700)
    assert told.said == [("a!", "one two")] and told.script.played("a") == 700


@pytest.mark.parametrize(
    ("text", "heard"),
    [("今天天气很好我们出去", "今天天气很"), ("x" * 100, "x" * 50), ("ab 今天天气很好我们", "ab 今天")],
)
def test_text_without_spaces_is_cut_where_it_was_heard_to(text: str, heard: str) -> None:
    told = Told()
    told.answer("a")
    told.spoken("a", text)
    told.script.sound("a", 200)
    told("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=100)
    assert told.said == [("a!", heard)]


@pytest.mark.parametrize("end", [None, "5", True, False, [5], {}])
def test_an_end_that_is_none_truncates_nothing(end: Any) -> None:
    told = Told()
    told.answer("a")
    told.spoken("a", "Hello")
    told("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=end)
    assert told.said == [("a", "Hello")]


def test_where_no_sound_is_known_only_nothing_is_nothing(told: Told) -> None:
    told.answer("a")
    told.spoken("a", "Hello")
    told("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=5)
    assert told.said == [("a!", "Hello")] and told.script.played("a") == told.script.played("x") == 0
    told("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=0)
    assert told.said == []


@pytest.mark.parametrize("status", ["cancelled", "incomplete", "completed", "failed"])
@pytest.mark.parametrize("listed", [True, False])
def test_an_answer_that_is_cut_short(told: Told, status: str, listed: bool) -> None:
    told.answer("a")
    told.answer("b")
    told.answer("other", response="r2")
    for item_id in ("a", "b", "other"):
        told.spoken(item_id, "Hello")
    for item_id, ended in (("a", "completed"), ("b", "incomplete")):
        told("response.output_item.done", response_id="r", item=message(item_id, "assistant", [], ended))
    output = [message("a", "assistant", [], ""), message("b", "assistant", [], "incomplete")] if listed else []
    told("response.done", response={"id": "r", "status": status, "output": output})
    cut = "a!" if status in ("cancelled", "incomplete") else "a"
    assert told.said == [("a", "Hello"), (cut, "Hello"), ("a", "Hello")]


# ---- random conversations, and a model of them


class Model:
    """One turn as it should be in the end; `steps` make its events happen, in this order."""

    def __init__(self, told: Told, number: int, turns: list[Model], random: Random) -> None:
        self.told, self.id, self.turns, self.random = told, f"i{number}", turns, random
        self.since: float | None = None
        self.placed = self.gone = self.cut = self.frozen = self.complete = False
        self.shown = True
        self.content = ""
        self.ms = 0
        self.text = " ".join(random.choice(["a", "bird", "sings", "loudly."]) for _ in range(random.randint(1, 8)))
        self.role, self.steps = random.choice(
            [self.typed, self.voiced, self.failed, self.answer, self.answer, self.put]
        )()
        if random.random() < 0.2:
            self.steps.insert(random.randint(1, len(self.steps)), self.delete)
        if random.random() < 0.15:
            self.steps.insert(random.randint(0, len(self.steps)), self.leave)

    def tell(self, kind: str, **members: Any) -> None:
        self.told(kind, **members)
        if self.since is None:
            self.since = T0 + self.told.clock

    def where(self) -> Json:
        """Behind the nearest of those before it that have their place."""
        at = self.turns.index(self)
        before = [t.id for t in self.turns[:at] if t.placed and not t.gone]
        self.placed = True
        return {"previous_item_id": before[-1] if before else None}

    def added(self, role: str, content: list[Json], status: str = "completed") -> Callable[[], None]:
        def told() -> None:
            self.tell("conversation.item.added", item=message(self.id, role, content, status), **self.where())

        return told

    def says(self, text: str) -> None:
        if not self.frozen:
            self.content = text

    def typed(self) -> tuple[str, list[Callable[[], None]]]:
        def added() -> None:
            self.says(self.text)
            self.added("user", [{"type": "input_text", "text": self.text}])()

        return "user", [added]

    def heard(self) -> list[Callable[[], None]]:
        def committed() -> None:
            self.tell("input_audio_buffer.committed", item_id=self.id, **self.where())

        def delta(text: str) -> Callable[[], None]:
            def told() -> None:
                self.says(self.content + text)
                self.tell(f"{AUDIO}.delta", item_id=self.id, content_index=0, delta=text)

            return told

        part = {"type": "input_audio", "transcript": None}
        return [committed, self.added("user", [part]), *map(delta, self.pieces())]

    def voiced(self) -> tuple[str, list[Callable[[], None]]]:
        def completed() -> None:
            self.says(self.text + "!")
            self.tell(f"{AUDIO}.completed", item_id=self.id, content_index=0, transcript=self.text + "!")

        return "user", [*self.heard(), completed]

    def failed(self) -> tuple[str, list[Callable[[], None]]]:
        def failed() -> None:
            self.says("")
            self.tell(f"{AUDIO}.failed", item_id=self.id, content_index=0, error={})

        return "user", [*self.heard(), failed]

    def put(self) -> tuple[str, list[Callable[[], None]]]:
        self.shown = False
        role = self.random.choice(["assistant", "system"])
        return role, [self.added(role, [{"type": "output_text", "text": self.text}])]

    def answer(self) -> tuple[str, list[Callable[[], None]]]:
        name = self.random.choice(["output_audio_transcript", "output_text"])
        member = "text" if name == "output_text" else "transcript"
        part = {"type": name.removesuffix("_transcript"), member: self.text}

        def begun() -> None:
            item = message(self.id, "assistant", [], "in_progress")
            self.tell("response.output_item.added", item=item, response_id=f"r-{self.id}", output_index=0)

        def delta(text: str) -> Callable[[], None]:
            def told() -> None:
                self.says(self.content + text)
                self.tell(f"response.{name}.delta", item_id=self.id, content_index=0, delta=text)
                self.told.script.sound(self.id, 100 * len(text))
                self.ms += 0 if self.frozen or self.gone else 100 * len(text)

            return told

        def done() -> None:
            self.says(self.text)
            self.tell(f"response.{name}.done", item_id=self.id, content_index=0, **{member: self.text})

        def whole() -> None:
            self.says(self.text)
            self.complete = True
            item = message(self.id, "assistant", [part])
            self.tell("response.output_item.done", item=item, response_id=f"r-{self.id}", output_index=0)

        end = [done, whole] if self.random.random() < 0.7 else [whole]
        steps = [begun, self.added("assistant", [], "in_progress"), *map(delta, self.pieces()), *end]
        if self.random.random() < 0.4:
            steps.insert(self.random.randint(2, len(steps)), self.truncate)
        if self.random.random() < 0.3:
            steps = [*steps[: self.random.randint(2, len(steps) - len(end))], self.cancel]
        return "assistant", steps

    def pieces(self) -> list[str]:
        size = self.random.randint(1, 7)
        return [self.text[n : n + size] for n in range(0, len(self.text), size)]

    def truncate(self) -> None:
        end = self.random.randint(0, self.ms + 200)
        self.tell("conversation.item.truncated", item_id=self.id, content_index=0, audio_end_ms=end)
        if end < self.ms:
            words, most = self.content.split(), len(self.content) * end // self.ms
            self.content = max((t for k in range(len(words) + 1) if len(t := " ".join(words[:k])) <= most), key=len)
            self.ms = end
        elif end == 0:
            self.content = ""
        self.cut = self.frozen = True

    def cancel(self) -> None:
        self.cut = self.cut or not self.complete
        self.tell("response.done", response={"id": f"r-{self.id}", "status": "cancelled", "output": []})

    def delete(self) -> None:
        self.gone = True
        self.tell("conversation.item.deleted", item_id=self.id)

    def leave(self) -> None:
        self.shown = False
        self.told.script.leave_out(self.id)

    @property
    def expected(self) -> Json:
        out = {"role": self.role, "content": self.content, "timestamp": wall_iso(self.since)}
        return out | {"truncated": True} if self.cut else out


@settings(max_examples=300, deadline=None)
@given(shape=st.sampled_from([BETA, GA]), random=st.randoms(use_true_random=False))
def test_random_conversations(shape: Shape, random: Random) -> None:
    told, turns = Told(shape), list[Model]()
    turns += [Model(told, n, turns, random) for n in range(random.randint(1, 7))]
    open_turns = list(turns)
    before: list[Json] = []
    while open_turns:
        turn = random.choice(open_turns)
        step = turn.steps.pop(0)
        # after it was deleted, only what does not make an item anew
        if not turn.gone or step.__name__ in ("delta", "done", "whole", "completed", "failed", "truncate", "cancel"):
            step()
        open_turns = [t for t in open_turns if t.steps]
        now = told.script.messages()
        assert told.script.changed or now == before
        told.script.changed, before = False, now
    placed = [t for t in turns if t.placed or t.since is not None]
    assert before == [t.expected for t in placed if t.shown and not t.gone and t.content]
    assert all(told.script.played(t.id) == (0 if t.gone else t.ms) for t in turns)


# ---- whatever comes

_IDS = st.sampled_from(["a", "b", "c", "d", "e", "f", "g"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | _IDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | _IDS, inner, max_size=3),
    max_leaves=5,
)
_PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["input_text", "input_audio", "output_text", "audio"]) | _JSON},
    optional={"text": st.text(max_size=60) | _JSON, "transcript": st.text(max_size=60) | _JSON},
)
_ITEMS = st.fixed_dictionaries(
    {"id": _IDS | _JSON, "type": st.just("message") | _JSON, "role": st.sampled_from(["user", "assistant"]) | _JSON},
    optional={"content": st.lists(_PARTS | _JSON, max_size=3) | _JSON, "status": st.just("completed") | _JSON},
)
_EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "item": _ITEMS | _JSON,
        "item_id": _IDS | _JSON,
        "previous_item_id": _IDS | _JSON,
        "response_id": _IDS | _JSON,
        "content_index": st.integers(-1, 70) | _JSON,
        "delta": st.text(max_size=60) | _JSON,
        "text": st.text(max_size=60) | _JSON,
        "transcript": st.text(max_size=60) | _JSON,
        "audio_end_ms": st.integers(-5, 500) | _JSON,
        "response": _JSON
        | st.fixed_dictionaries(
            {"id": _IDS, "status": st.sampled_from(["cancelled", "completed"]) | _JSON},
            optional={"output": st.lists(_ITEMS | _JSON, max_size=3) | _JSON},
        ),
    },
)


def held(script: Script) -> Iterator[Any]:
    yield from script._conversation


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(Script.WANTED)), _EVENTS, st.floats(0, 900)), max_size=30))
def test_whatever_comes_it_stays_within_its_bounds(events: list[tuple[str, Any, float]]) -> None:
    script = Script()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversation, "MAX_ITEMS", 4)
        patch.setattr(conversation, "MAX_TEXT", 200)
        before: list[Json] = []
        for kind, event, ms in events:
            script.event(kind, event, T0)
            for item in held(script):
                script.sound(item.id, ms)
            items, now = list(held(script)), script.messages()
            assert script.changed or now == before
            script.changed, before = False, now
            inside = script._conversation
            assert {i.id for i in items} == inside._items.keys() and len(items) == len(inside._items) <= 4
            assert sum(i.size for i in items) == inside._size <= 200
            assert all(i.size == sum(map(len, i.parts.values())) for i in items)
            assert all(len(i.whole) <= 64 and len(i.parts) <= 64 for i in items)
            assert len(inside.gone) <= 4
            assert sum(map(len, inside._answers.values())) <= 4 >= len(inside._answers)
            assert sum(len(m["content"].encode()) for m in now) <= 200 + 64 * 4
            assert all(m["content"] and m["role"] in ("user", "assistant") for m in now)
        json.dumps(before)


def test_the_oldest_items_go_first() -> None:
    told = Told()
    for n in range(conversation.MAX_ITEMS + 3):
        told.user(f"u{n}", str(n), previous_item_id=f"u{n - 1}" if n else None)
    assert [t for _, t in told.said] == [str(n) for n in range(3, conversation.MAX_ITEMS + 3)]
    for n in range(conversation.MAX_ITEMS + 3):
        told.answer(f"a{n}")
    assert [len(a) for a in told.script._conversation._answers.values()] == [conversation.MAX_ITEMS]
    for n in range(conversation.MAX_ITEMS + 3):
        told.script.leave_out(f"x{n}")
    assert len(told.script._left_out) == conversation.MAX_ITEMS


def test_the_oldest_words_go_first() -> None:
    told, half = Told(), "é" * (conversation.MAX_TEXT // 4)
    told.answer("a")
    told.spoken("a", "first")
    told.user("b", "b")
    told.user("c", half)
    told.spoken("a", half)  # is older than the others, but it is said now
    assert [t for _, t in told.said] == ["first" + half]
    told.spoken("a", half)
    (last,) = told.said
    assert len(last[1].encode()) == conversation.MAX_TEXT - 1  # no half of a character
    told.user("d", "d")
    assert told.said == [("u", "d")]
    told.spoken("a", "gone")
    assert told.said == [("u", "d")]


def test_ids_that_are_none_are_not_held() -> None:
    told = Told()
    for item_id in ("", "x" * 257, 5, None, ["a"], {"a": 1}):
        told("conversation.item.added", item=message(item_id, "user", [{"type": "input_text", "text": "Hi"}]))  # type: ignore[arg-type]
        told("input_audio_buffer.committed", item_id=item_id)
    assert told.said == [] and not list(held(told.script))


def test_an_event_costs_no_more_in_a_long_conversation() -> None:
    def cost(items: int) -> float:
        told = Told()
        for n in range(items):
            told.user(f"u{n}", "Hello", previous_item_id=f"u{n - 1}" if n else None)
        told.answer("a")
        event, best = {"item_id": "a", "content_index": 0, "delta": "word "}, 1.0
        for _ in range(5):
            began = time.process_time()
            for n in range(400):
                told.script.event("response.output_audio_transcript.delta", event, T0)
                told.user(f"{items}-{n}", "x", previous_item_id="a")
            best = min(best, time.process_time() - began)
        return best

    assert cost(2000) < 5 * cost(20)
