"""OpenAI's wire for embeddings: what is refused, what goes to a provider, and vectors in the form that was asked for."""

from __future__ import annotations

import array
import json
import math
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.media import (
    MANY,
    Bad,
    Meter,
    any_of,
    context,
    named,
    problem_of,
    read,
    refused,
    stream_of,
    upstream_error_of,
    values,
    wrong,
)
from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault
from switchboard.core.events import Done, Embeddings
from switchboard.core.ports import Phase
from switchboard.core.types import Embed, Usage
from switchboard.dialects.openai_embeddings import OpenAIEmbeddings, packed, read_request, unpacked

WIRE = OpenAIEmbeddings()
KINDS = "a text or a list of token ids is expected, all of one kind."
FIRST, SECOND = [0.5, -0.25, 1.0], [2.0, 0.0, -8.5]


def in_base64(vector: list[float]) -> str:
    return b64encode(array.array("f", vector).tobytes()).decode()


def body(*embeddings: Any, **more: Any) -> bytes:
    """An answer as a provider may write it, with members of its own."""
    data = [{"object": "embedding", "embedding": e, "index": i, "x-own": 1.50} for i, e in enumerate(embeddings)]
    return json.dumps({"object": "list", "model": "theirs", "data": data, "x-own": [1]} | more, indent=1).encode()


def op(*, base64: bool = False) -> Embed:
    return read(read_request, {"input": ["a", "b"], "encoding_format": "base64" if base64 else "float"})


# ---- what is asked


BAD: list[Bad] = [
    ({}, "input", "this field is required."),
    ({"input": None}, "input", "expected str | array, got null."),
    ({"input": {"a": 1}}, "input", "expected str | array, got object."),
    ({"input": 5}, "input", "expected str | array, got int."),
    ({"input": ""}, "input", "must not be empty."),
    ({"input": []}, "input", "at least one text is needed."),
    ({"input": ["a", ""]}, "input[1]", "must not be empty."),
    ({"input": [[1], []]}, "input[1]", "must not be empty."),
    ({"input": ["a", [1]]}, "input[1]", KINDS),
    ({"input": [1, "a"]}, "input[0]", KINDS),
    ({"input": [None]}, "input", KINDS),
    ({"input": [{"a": 1}]}, "input", KINDS),
    ({"input": [True]}, "input", KINDS),
    ({"input": [1.5]}, "input", KINDS),
    ({"input": [-1]}, "input", KINDS),
    ({"input": [[1, "a"]]}, "input", KINDS),
    ({"input": [[1], [[1]]]}, "input[1]", KINDS),
    ({"input": ["a"] * 2049}, "input", "2049 texts are more than the 2048 that are taken."),
    ({"input": "a", "dimensions": 0}, "dimensions", "must be at least 1."),
    ({"input": "a", "dimensions": 1.5}, "dimensions", "expected int | null, got float."),
    ({"input": "a", "dimensions": True}, "dimensions", "expected int | null, got bool."),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid enum value 'hex'."),
    ({"input": "a", "model": 5}, "model", "expected str | null, got int."),
    ({"input": "a", "user": 5}, "user", "expected str | null, got int."),
]


@pytest.mark.parametrize(("asked", "param", "message"), BAD)
def test_bad_requests(asked: Any, param: str, message: str) -> None:
    assert refused(lambda: read(read_request, asked)) == (param, f"{param}: {message}")


@pytest.mark.parametrize("asked", [[], "x", 5, None, True])
def test_what_is_no_object(asked: Any) -> None:
    assert refused(lambda: read(read_request, asked)) == (None, "The body must be a JSON object.")


@pytest.mark.parametrize(
    ("given", "texts", "tokens"),
    [
        ("Hello there", ["Hello there"], 3),
        ("  ", ["  "], 1),
        (["a", "12345"], ["a", "12345"], 3),
        ([1, 2, 3], [[1, 2, 3]], 3),
        ([[1], [2, 3]], [[1], [2, 3]], 3),
        (["a"] * 2048, ["a"] * 2048, 2048),
    ],
)
def test_texts_and_token_ids(given: Any, texts: Any, tokens: int) -> None:
    o = read(read_request, {"input": given})
    assert o.texts == texts
    assert (o.model, o.stream, o.base64, o.dimensions) == ("", False, False, None)
    assert o.asked() == Usage(tokens, estimated=True)


def test_what_else_is_asked() -> None:
    o = read(read_request, {"input": "a", "model": "m", "encoding_format": "base64", "dimensions": 256, "user": "u"})
    assert (o.model, o.base64, o.dimensions) == ("m", True, 256)


def test_null_is_as_good_as_nothing() -> None:
    o = read(read_request, {"input": "a"} | dict.fromkeys(("model", "encoding_format", "dimensions", "user")))
    assert (o.model, o.base64, o.dimensions) == ("", False, None)


def test_the_model_is_replaced_and_nothing_else() -> None:
    raw = b'{"x-own": {"a":[1.50, 1e2,"\\u00e9"]} ,"model":"theirs","input" : ["a" ,"b"], "encoding_format":"base64"}'
    built = WIRE.build(read(read_request, raw), "m1", Capabilities())
    assert json.loads(built) == json.loads(raw) | {"model": "m1"}
    for as_it_came in (b'{"a":[1.50, 1e2,"\\u00e9"]}', b'["a" ,"b"]', b'"base64"'):
        assert as_it_came in built
    assert built.count(b"model") == 1


# ---- vectors


def test_packing() -> None:
    assert packed(FIRST) == in_base64(FIRST)
    assert unpacked(packed(SECOND).encode()) == SECOND


@MANY
@given(vector=st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_what_is_packed_unpacks_the_same(vector: list[float]) -> None:
    assert unpacked(packed(vector).encode()) == vector


@pytest.mark.parametrize("given", [[FIRST, SECOND], [in_base64(FIRST), in_base64(SECOND)], [FIRST, in_base64(SECOND)]])
@pytest.mark.parametrize("base64", [True, False])
def test_vectors_are_in_the_form_that_was_asked_for_whatever_the_provider_gives(given: list[Any], base64: bool) -> None:
    meter = Meter()
    out = WIRE.passed(op(base64=base64), body(*given, usage={"prompt_tokens": 7, "total_tokens": 7}), meter)
    told = json.loads(out)
    wanted: list[Any] = [in_base64(FIRST), in_base64(SECOND)] if base64 else [FIRST, SECOND]
    assert [x["embedding"] for x in told["data"]] == wanted
    assert [(x["index"], x["x-own"]) for x in told["data"]] == [(0, 1.5), (1, 1.5)]
    assert (told["model"], told["x-own"], told["usage"]["total_tokens"]) == ("theirs", [1], 7)
    assert meter.counted == [Usage(7)]


@pytest.mark.parametrize("base64", [True, False])
def test_what_is_right_passes_byte_for_byte(base64: bool) -> None:
    answer = body(in_base64(FIRST)) if base64 else body(FIRST)
    meter = Meter()
    assert WIRE.passed(op(base64=base64), answer, meter) is answer
    assert meter.counted == []


def test_what_is_told_in_another_form_keeps_its_members_as_they_came() -> None:
    answer = b'{"data": [{"own": 1.50, "embedding":[ 1, 2.5 ]}], "other": [ 1e2 ]}'
    out = WIRE.passed(op(base64=True), answer, Meter())
    assert b"1.50" in out and b"[ 1e2 ]" in out
    assert json.loads(out)["data"][0]["embedding"] == in_base64([1.0, 2.5])


def test_an_answer_that_is_read() -> None:
    read_ = WIRE.answer(body(FIRST, in_base64(SECOND), usage={"prompt_tokens": 3}))
    assert (read_.vectors, read_.usage, read_.size(), read_.events()) == ([FIRST, SECOND], Usage(3), 0, [Done()])
    assert WIRE.answer(body([1])).usage is None


def test_vectors_are_in_the_order_of_their_texts() -> None:
    data = [{"embedding": SECOND, "index": 1}, {"embedding": FIRST, "index": 0}]
    assert WIRE.answer(json.dumps({"data": data}).encode()).vectors == [FIRST, SECOND]


@pytest.mark.parametrize("base64", [True, False])
def test_an_answer_that_is_written(base64: bool) -> None:
    encoder = OpenAIEmbeddings(base64).encoder(context())
    told = json.loads(encoder.whole(Embeddings([FIRST, SECOND], Usage(5))))
    assert told == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": in_base64(v) if base64 else v}
            for i, v in enumerate((FIRST, SECOND))
        ],
        "model": "some-model",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    assert (encoder.whole_type, encoder.keepalive) == (b"application/json", b"")
    assert WIRE.answer(encoder.whole(Embeddings([FIRST]))).vectors == [FIRST]
    assert json.loads(encoder.whole(Embeddings([FIRST])))["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


# ---- answers that are none


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": [1]}',
        b'{"data": [{}]}',
        b'{"data": [{"embedding": [1]}], "usage": 5}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_of_embeddings(answer: bytes) -> None:
    for run in (lambda: WIRE.answer(answer), lambda: WIRE.passed(op(), answer, Meter())):
        assert wrong(run).fault is Fault.PROTOCOL


@pytest.mark.parametrize("vector", [b'["a"]', b"null", b"{}", b"5", b'"AAA"', b'"AAAA"', b'"?"', b'"\\u00e9"', b"true"])
def test_what_is_no_vector(vector: bytes) -> None:
    answer = b'{"data": [{"embedding": %b}]}' % vector
    asked = op(base64=vector[:1] != b'"')  # so that it has to be read
    for run in (lambda: WIRE.answer(answer), lambda: WIRE.passed(asked, answer, Meter())):
        assert wrong(run).fault is Fault.PROTOCOL


def test_an_error_in_place_of_vectors() -> None:
    e = wrong(lambda: WIRE.passed(op(), b'{"error": {"message": "busy", "type": "rate_limit_error"}}', Meter()))
    assert (e.fault, e.status, e.message) == (Fault.EVENT, 429, "busy")
    assert WIRE.answer(body(FIRST, error=None)).vectors == [FIRST]


def test_an_error_with_a_status() -> None:
    e = WIRE.error(429, {b"retry-after": b"7"}, b'{"error": {"message": "slowly", "code": "c", "param": "input"}}')
    assert (e.fault, e.status, e.retry_after, e.code, e.param) == (Fault.STATUS, 429, "7", "c", "input")
    assert WIRE.error(500, {}, b"<html>").status == 500


def test_vectors_are_not_streamed() -> None:
    tap = WIRE.tap(context(), Meter())
    tap.feed(stream_of({"type": "something"}))
    tap.eof()
    assert tap.phase is Phase.FAILED
    assert wrong(WIRE.decoder(context()).eof).fault is Fault.PROTOCOL


# ---- anything at all


inputs = st.sampled_from(["a", ["a"], [1], [[1], [2]]]) | st.lists(values, max_size=4) | values


@MANY
@given(asked=values | any_of("input", "model", "dimensions", "encoding_format", "user") | st.builds(dict, input=inputs))
def test_any_request_is_read_or_refused_by_name(asked: Any) -> None:
    p = problem_of(lambda: WIRE.build(read(read_request, asked), "m", Capabilities()))
    assert named(p)


items = values | st.fixed_dictionaries({}, optional={"embedding": values | st.lists(st.floats(-9, 9)), "index": values})


@MANY
@given(
    answer=st.binary(max_size=60)
    | values.map(lambda v: json.dumps(v).encode())
    | st.lists(items, max_size=3).map(lambda v: json.dumps({"data": v}).encode()),
    base64=st.booleans(),
)
def test_any_answer_is_passed_or_refused(answer: bytes, base64: bool) -> None:
    asked = op(base64=base64)
    upstream_error_of(lambda: OpenAIEmbeddings(base64).encoder(context()).whole(WIRE.answer(answer)))
    e = upstream_error_of(lambda: WIRE.passed(asked, answer, Meter()))
    assert e is None or e.fault in (Fault.PROTOCOL, Fault.EVENT)


def test_numbers_too_large_for_a_float_of_32_bits() -> None:
    told = json.loads(WIRE.passed(op(base64=True), body([1e300, 1e-300]), Meter()))["data"][0]["embedding"]
    first, second = unpacked(told.encode())
    assert math.isinf(first) and second == 0
