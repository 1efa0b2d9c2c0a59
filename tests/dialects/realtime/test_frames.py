"""What an event is, told without reading all of it, and frames that hold none."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialects.realtime.fixtures import BETA, GA, frame
from switchboard.dialects.realtime import (
    RealtimeFrameError,
    Translator,
    append_to_pcm,
    clamp_truncate,
    delta_to_pcm,
    dump_event,
    event_type,
    field_guard,
    guess,
    load_event,
)
from switchboard.dialects.realtime.frames import rename

_KEYS = st.sampled_from(["type", "\u0074ype", "Type", "typ", "audio", "delta", 'a"type"', "session", "item"]) | st.text(
    max_size=4
)
_KINDS = st.sampled_from(
    [
        "response.output_audio.delta",
        "response.audio.delta",
        "session.update",
        "session.created",
        "conversation.item.created",
        "conversation.item.added",
        "response.create",
        "response.done",
        "error",
        "type",
        '"type":"x"',
        "",
    ]
)
_SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | _KINDS
)
_VALUES = st.recursive(
    _SCALAR, lambda v: st.lists(v, max_size=3) | st.lists(st.tuples(_KEYS, v), max_size=4).map(dict), max_leaves=12
)
#: Long enough to be cut out, and what looks like it.
_SOUND = st.sampled_from(
    [
        "A" * 600,
        "A" * 600 + '"',
        "A" * 600 + "\\",
        "\\" * 3 + "A" * 600,
        '","type":"x","y":"' + "A" * 600,
        '"delta":"' + "A" * 600,
        "é" * 600,
        {"delta": "A" * 600, "type": "inner"},
        ["delta", "A" * 600],
    ]
)
_SOUND_MEMBER = st.tuples(st.sampled_from(["delta", "audio", 'x"delta', "a", "delta\\"]), _SOUND)
_MEMBERS = st.builds(
    lambda before, sound, after: before + sound + after,
    st.lists(st.tuples(_KEYS, _KINDS | _VALUES), max_size=3),
    st.lists(_SOUND_MEMBER, max_size=2),
    st.lists(st.tuples(_KEYS, _KINDS | _VALUES), max_size=3),
)


def _written(data: st.DataObject, members: list[tuple[str, Any]]) -> bytes:
    """An object with these members, keys that come again included, with space and escapes where they may be."""

    def text(value: str) -> str:
        plain = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
        if value and data.draw(st.booleans()) and ord(value[0]) < 0x10000:
            plain = f'"\\u{ord(value[0]):04x}' + json.dumps(value[1:])[1:]
        return plain

    space = st.sampled_from(["", "", " ", "\n\t", "\r"])
    pieces = []
    for key, value in members:
        said = text(value) if isinstance(value, str) else json.dumps(value)
        pieces.append(
            "".join([data.draw(space), text(key), data.draw(space), ":", data.draw(space), said, data.draw(space)])
        )
    return ("{" + ",".join(pieces) + "}" + data.draw(space)).encode()


@settings(max_examples=600, deadline=None)
@given(data=st.data(), members=_MEMBERS)
def test_the_type_is_the_one_that_a_full_decode_finds(data: st.DataObject, members: list[tuple[str, Any]]) -> None:
    sent = _written(data, members)
    kind = json.loads(sent).get("type", "")
    assert event_type(sent) == (kind if isinstance(kind, str) else "")


@settings(max_examples=600, deadline=None)
@given(data=st.data(), members=_MEMBERS)
def test_a_new_type_changes_nothing_else(data: st.DataObject, members: list[tuple[str, Any]]) -> None:
    old = "response.audio.delta"
    members.insert(data.draw(st.integers(0, len(members))), ("type", old))
    sent = _written(data, members)
    whole = json.loads(sent)
    if whole["type"] != old:  # another follows
        return
    got, _ = rename(sent, {old: (old.encode(), b"new")})
    assert json.loads(got, object_pairs_hook=_last) == json.loads(
        json.dumps(whole | {"type": "new"}), object_pairs_hook=_last
    )


def _last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


_LONG = frame({"type": "response.audio.delta", "event_id": "e", "delta": "A" * 600, "n": [1, {"type": "x"}]})
_EDGES = [n for n in range(len(_LONG)) if not 60 < n < 640]


@settings(max_examples=800, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.sampled_from(_EDGES) | st.integers(0, len(_LONG)),
            st.integers(0, 2),
            st.sampled_from(
                ['"', "\\", "{", "}", "[", "]", ",", ":", " ", "1", "A", '"delta":"', '"type":"y",', "\xff"]
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_frame_that_is_damaged_is_seen_to_be(edits: list[tuple[int, int, str]]) -> None:
    sent = _LONG
    for at, cut, put in edits:
        sent = sent[:at] + put.encode("latin-1") + sent[at + cut :]
    try:
        whole = load_event(sent)
    except RealtimeFrameError:
        with pytest.raises(RealtimeFrameError):
            event_type(sent)
        return
    kind = whole.get("type", "")
    assert event_type(sent) == (kind if isinstance(kind, str) else "")


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b'{"type":"a"}', "a"),
        (b' \n{ "type" : "a" } ', "a"),
        (b'{"x":{"type":"b"},"type":"a"}', "a"),
        (b'{"type":"a","x":{"type":"b"}}', "a"),
        (b'{"type":"a","x":"\\",\\"type\\":\\"b\\""}', "a"),
        (b'{"x":"\\\\","type":"a"}', "a"),
        (b'{"\\u0074ype":"a"}', "a"),
        (b'{"type":"a","\\u0074ype":"b"}', "b"),
        (b'{"type":"a","type":"b"}', "b"),
        (b'{"type":"\\u0061"}', "a"),
        ('{"type":"é"}'.encode(), "é"),
        (b'{"type":1}', ""),
        (b'{"type":null}', ""),
        (b'{"type":{"type":"a"}}', ""),
        (b'{"Type":"a"}', ""),
        (b'{"x":"type","y":"a"}', ""),
        (b"{}", ""),
        (b'{"delta":5,"type":"a","x":"%b"}' % (b"A" * 600), "a"),
        (b'{"delta":{"type":"b"},"type":"a","x":"%b"}' % (b"A" * 600), "a"),
        (b'{"x":"delta","type":"a","y":"%b"}' % (b"A" * 600), "a"),
        (b'{"delta":"%b\\",\\"type\\":\\"b","type":"a"}' % (b"A" * 600), "a"),
        (b'{"delta":"%b","type":"a"}' % (b"A" * 600), "a"),
        (b'{"type":"b","delta":"%b","type":"a"}' % (b"A" * 600), "a"),
        (b'{"type":"b","delta":"%b","\\u0074ype":"a"}' % (b"A" * 600), "a"),
    ],
)
def test_types(sent: bytes, kind: str) -> None:
    assert event_type(sent) == kind


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [
        (b"", "invalid_json", "The event is empty; a JSON object is expected."),
        (b"hello", "invalid_json", "The event is not valid JSON"),
        (b'{"type":"a"', "invalid_json", "The event is not valid JSON"),
        (b'{"type":"a"} {', "invalid_json", "The event is not valid JSON"),
        (b'{"type":"a","x":NaN}', "invalid_json", "The event is not valid JSON"),
        (b'{"type":"a","x":"\x01"}', "invalid_json", "The event is not valid JSON"),
        (b'{"type":"a","x":"\xff"}', "invalid_json", "bytes that are not UTF-8"),
        (b'{"type":"a","x":"\\ud800"}', "invalid_json", "The event is not valid JSON"),
        (b"[]", "invalid_event", "The event is not a JSON object."),
        (b'"type"', "invalid_event", "The event is not a JSON object."),
        (b"null", "invalid_event", "The event is not a JSON object."),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nesting_too_deep", "more than 64 levels"),
    ],
)
def test_frames_without_an_event(sent: bytes, code: str, message: str) -> None:
    for read in (event_type, load_event, guess, Translator(BETA, GA).from_client, Translator(GA, BETA).from_provider):
        with pytest.raises(RealtimeFrameError) as error:
            read(sent)
        assert error.value.code == code
        assert message in error.value.message


@pytest.mark.parametrize("deep", [b"[" * 65 + b"]" * 65, b'{"a":' * 65 + b"1" + b"}" * 65])
def test_an_event_that_is_reshaped_is_not_nested_too_deeply(deep: bytes) -> None:
    sent = b'{"type":"session.update","session":%b}' % deep
    with pytest.raises(RealtimeFrameError) as error:
        Translator(BETA, GA).from_client(sent)
    assert error.value.code == "nesting_too_deep"


def _readers() -> list[Callable[[bytes], Any]]:
    pairs = [Translator(a, b) for a in (BETA, GA) for b in (BETA, GA)]
    return [
        event_type,
        load_event,
        guess,
        append_to_pcm,
        delta_to_pcm,
        lambda f: field_guard(f, frozenset({"voice"})),
        lambda f: clamp_truncate(f, 5),
        *[t.from_client for t in pairs],
        *[t.from_provider for t in pairs],
    ]


_ANY_EVENT = st.builds(
    lambda kind, members: frame({"type": kind} | members),
    _KINDS | st.sampled_from(["transcription_session.update", "transcription_session.updated", "session.updated"]) |
    st.sampled_from(
        [
            "conversation.item.create",
            "conversation.item.done",
            "conversation.item.retrieved",
            "conversation.item.deleted",
            "conversation.item.truncate",
            "response.created",
            "response.output_item.added",
            "response.output_item.done",
            "response.content_part.added",
            "response.function_call_arguments.done",
            "input_audio_buffer.append",
        ]
    ),
    st.dictionaries(
        st.sampled_from(["session", "response", "item", "part", "error", "item_id", "audio", "delta", "audio_end_ms", "event_id"]),
        st.recursive(
            _SCALAR,
            lambda v: st.lists(v, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["audio", "input", "output", "format", "voice", "type", "content", "role", "tools", "tool_choice", "id",
                     "turn_detection", "transcription", "modalities", "output_modalities", "input_audio_format", "rate",
                     "status", "param", "message", "name"]
                ),
                v | st.sampled_from(["message", "assistant", "mcp", "output_text", "text", "function_call", "realtime", "transcription"]),
                max_size=4,
            ),
            max_leaves=15,
        ),
        max_size=3,
    ),
)  # fmt: skip


@settings(max_examples=800, deadline=None)
@given(sent=st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | _VALUES.map(frame) | _ANY_EVENT)
def test_no_frame_raises_anything_else(sent: bytes) -> None:
    for read in _readers():
        with suppress(RealtimeFrameError):
            read(sent)


@pytest.mark.parametrize("number", ["1" * 30, "1" * 5000, "1e400", "-0.0", "1E5"])
def test_numbers_of_any_size(number: str) -> None:
    for name in ("session.update", "input_audio_buffer.append"):
        sent = b'{"type":"%b","session":{"speed":%b}}' % (name.encode(), number.encode())
        for read in _readers():
            with suppress(RealtimeFrameError):
                read(sent)


def test_events_are_written_as_they_were_read() -> None:
    sent = '{"type":"a","x":[1,2.5,null,true,"é\\n"]}'.encode()
    assert dump_event(load_event(sent)) == sent


@pytest.mark.parametrize("pad", [b"", b"A" * 600])
@pytest.mark.parametrize(
    "sent",
    [
        b'{"type":"response.audio.delta","delta":"%b","type":"response.audio.delta"}',
        b'{"type":"response.audio.delta","delta":"%b","\\u0074ype":"response.audio.delta"}',
        b'{"\\u0074ype":"response.audio.delta","delta":"%b"}',
        b'{"type":"response.\\u0061udio.delta","delta":"%b"}',
        b'{"x":{"type":"response.audio.delta"},"delta":"%b","type":"response.audio.delta"}',
    ],
)
def test_a_type_that_is_not_plain_to_see_is_renamed_all_the_same(sent: bytes, pad: bytes) -> None:
    (got,) = Translator(GA, BETA).from_provider(sent % pad)
    assert json.loads(got) == json.loads(sent % pad) | {"type": "response.output_audio.delta"}
    assert got.count(b"response.audio.delta") == sent.count(b"x")  # none but the inner one


@pytest.mark.parametrize(("client", "old", "new"), [(BETA, "output_audio", "audio"), (GA, "audio", "output_audio")])
def test_sound_passes_byte_for_byte(client: Any, old: str, new: str) -> None:
    sent = b'{ "event_id":"e","type" :\n"response.%b.delta", "delta":"AA+/=", "n":1.50, "s":"\xc3\xa9" }'
    translator = Translator(client, GA if client is BETA else BETA)
    assert translator.from_provider(sent % old.encode()) == [sent % new.encode()]


@pytest.mark.parametrize("shape", [BETA, GA])
@pytest.mark.parametrize("sent", [b'{"type":"session.update","session":{"voice":1}}', b'{"type":"error"}', b"no event"])
def test_where_both_speak_one_shape_frames_are_not_looked_at(shape: Any, sent: bytes) -> None:
    translator = Translator(shape, shape)
    (to_provider,) = translator.from_client(sent)
    (to_client,) = translator.from_provider(sent)
    assert to_provider is sent
    assert to_client is sent
