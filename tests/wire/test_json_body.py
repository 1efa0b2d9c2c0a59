"""Bodies as they come from outside: either values, or a refusal that says why."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.errors import Problem
from switchboard.wire.json_body import MAX_NESTING, load_json

MANY = settings(max_examples=300, deadline=None)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def refused(body: bytes, **more: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        load_json(body, **more)
    assert caught.value.status == 400
    return caught.value


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((depth(v) for v in inner), default=0)


@MANY
@given(value=values, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_whatever_json_can_say_is_read(value: Any, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert load_json(body) == value


@MANY
@given(body=st.binary(max_size=60) | st.text('{}[]":,0123456789.eE+-\\u truefalsn', max_size=30).map(str.encode))
def test_any_bytes_are_a_value_or_a_refusal(body: bytes) -> None:
    problem = None
    try:
        value = load_json(body)
    except Problem as p:
        problem = p
    if problem is None:
        # whatever is accepted is JSON to a second reader too, and can be written again
        assert json.loads(body) == value
        assert json.dumps(value, allow_nan=False).encode()
    else:
        assert (problem.status, problem.code) == (400, "INVALID_JSON")
        assert problem.message.startswith("The body is ")
        assert len(problem.message) < 200


@MANY
@given(value=values, limit=st.integers(1, 6))
def test_nesting_is_counted_in_levels(value: Any, limit: int) -> None:
    body = json.dumps(value).encode()
    if depth(value) <= limit:
        assert load_json(body, limit) == value
    else:
        assert refused(body, max_nesting=limit).code == "NESTING_TOO_DEEP"


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]"), (b'[0,{"b":1,"a":', b"}]")]
)
def test_sixty_four_levels_and_no_more(opening: bytes, closing: bytes) -> None:
    levels = opening.count(b"[") + opening.count(b"{")
    times = MAX_NESTING // levels
    deepest = opening * times + b"0" + closing * times
    assert depth(load_json(deepest)) == 64
    problem = refused(b"[" + deepest + b"]")
    assert problem.code == "NESTING_TOO_DEEP"
    assert "64" in problem.message


def test_brackets_in_strings_and_side_by_side_are_no_nesting() -> None:
    assert load_json(json.dumps(["[{" * 500]).encode()) == ["[{" * 500]
    assert len(load_json(b"[" + b"[[]]," * 5000 + b"{}]")) == 5001


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000])
def test_endless_nesting_is_refused_quickly(body: bytes) -> None:
    start = time.process_time()
    assert refused(body).code == "NESTING_TOO_DEEP"
    assert time.process_time() - start < 0.5  # it is not parsed first


@pytest.mark.parametrize("body", [b"NaN", b"[NaN]", b'{"a":NaN}', b"Infinity", b"-Infinity", b"nan"])
def test_numbers_that_json_does_not_have(body: bytes) -> None:
    assert refused(body).code == "INVALID_JSON"


@pytest.mark.parametrize("body", [b"1e999", b"-1e999", b'{"a":1e400}', b"1" * 5000, b'{"n":-' + b"9" * 5000 + b"}"])
def test_numbers_out_of_range(body: bytes) -> None:
    problem = refused(body)
    assert problem.code == "INVALID_JSON"
    assert "number out of range" in problem.message


@pytest.mark.parametrize("body", [b"2.5", b"1e308", b"-0", b"123456789012345678901234567890", b"1e-999"])
def test_numbers_at_the_edges(body: bytes) -> None:
    value = load_json(body)
    assert value == json.loads(body)
    assert math.isfinite(value)


@pytest.mark.parametrize(
    "body", [b'"\xff"', b'{"\xff":1}', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'["ok", "\xf5\x80\x80\x80"]', b'"\xe2\x82"']
)
def test_bytes_that_are_not_utf8(body: bytes) -> None:
    problem = refused(body)
    assert problem.code == "INVALID_JSON"
    assert "UTF-8" in problem.message


@pytest.mark.parametrize(
    "body", [rb'"\ud800"', rb'"\udc00"', rb'"\udc00\ud800"', rb'"\ud800x"', rb'{"\ud800":1}', rb'"\ud83d\ud83d"']
)
def test_lone_surrogates(body: bytes) -> None:
    """They cannot be written as UTF-8 again, so nothing behind this could pass them on."""
    assert refused(body).code == "INVALID_JSON"


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert load_json(rb'"\ud83d\ude00"') == "😀"


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t "])
def test_an_empty_body_is_called_empty(body: bytes) -> None:
    assert refused(body).message == "The body is empty; a JSON object is expected."


@pytest.mark.parametrize(
    ("body", "at"), [(b"{} x", 3), (b"[1.]", 3), (b"01", 1), (b'{"a" 1}', 5), (b"[1,]", 3), (b'"\x01"', 1), (b"'a'", 0)]
)
def test_the_place_of_the_fault_is_named(body: bytes, at: int) -> None:
    """Within a byte: at the character that is wrong, or right after it."""
    message = refused(body).message
    assert message in [f"The body is not valid JSON: {why} (byte {n})." for n in (at, at + 1) for why in _WHYS]


_WHYS = (
    "trailing characters",
    "invalid number",
    "expected ':'",
    "invalid character",
    "expected ',' or ']'",
    "trailing comma in array",
)


def test_the_last_of_doubled_keys_counts() -> None:
    assert load_json(b'{"a":1,"b":2,"a":{"c":3,"c":4}}') == {"a": {"c": 4}, "b": 2}


def test_a_byte_order_mark_is_no_json() -> None:
    assert refused(b"\xef\xbb\xbf{}").code == "INVALID_JSON"
