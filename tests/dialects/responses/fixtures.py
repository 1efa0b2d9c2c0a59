"""What the tests of the Responses dialect stand on: requests as data, and a reader of streams that is as strict as the types
of the official SDK and puts a response together as the SDK does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from _pytest.mark.structures import ParameterSet
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from switchboard.core.ports import Context
from switchboard.core.types import Generate
from switchboard.dialects.openai_responses import read_request

HERE = Path(__file__).parent
Case = dict[str, Any]
#: The SDK's type of each event.
TYPES: dict[str, Any] = {
    name: kind
    for kind in get_args(get_args(ResponseStreamEvent)[0])
    for name in get_args(kind.model_fields["type"].annotation)
}
_LAST = ("response.completed", "response.incomplete")


def cases(file: str) -> list[ParameterSet]:
    """The cases in `file`, as pytest's parameters."""
    return [pytest.param(c, id=c["name"]) for c in json.loads((HERE / file).read_text())]


def request(body: Any) -> Generate:
    raw = json.dumps(body).encode()
    return read_request(json.loads(raw), raw)


def context(**more: Any) -> Context:
    return Context("chatcmpl-7", "some-model", 1_750_000_000, **({"include_usage": True} | more))


def frame(value: Any, end: bytes = b"\n") -> bytes:
    """An event as a server writes it."""
    return b"event: %b%bdata: %b%b%b" % (value["type"].encode(), end, json.dumps(value).encode(), end, end)


def events(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream that was written here: names repeated, numbers without a gap, each of the SDK's type."""
    assert stream == b"" or stream.endswith(b"\n\n")
    out = []
    for n, piece in enumerate(stream.split(b"\n\n")[:-1]):
        name, data = piece.split(b"\n")
        assert name.startswith(b"event: ") and data.startswith(b"data: ")
        value = json.loads(data[6:])
        assert (value["type"], value["sequence_number"]) == (name[7:].decode(), n)
        TYPES[value["type"]].model_validate(value)
        out.append(value)
    return out


def read_stream(stream: bytes) -> dict[str, Any]:
    """The whole response that a stream ends with, once the SDK's accumulator has come to the same by the pieces."""
    told = events(stream)
    assert [e["type"] for e in told[:2]] == ["response.created", "response.in_progress"]
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    for e in told:
        state.handle_event(TYPES[e["type"]].model_validate(e))
    last = told[-1]
    assert last["type"] in _LAST and last["type"] == f"response.{last['response']['status']}"
    assert not any(e["type"] in _LAST for e in told[:-1])
    whole: dict[str, Any] = last["response"]
    Response.model_validate(whole)
    output = whole["output"]
    assert sorted(state._output_items) == list(range(len(output)))
    assert [state._completed_output[i].to_dict(mode="json") for i in range(len(output))] == output
    for i, item in enumerate(output):
        pieces = state._output_items[i].to_dict(mode="json")
        assert pieces["id"] == item["id"]
        if item["type"] == "function_call":
            assert (pieces["call_id"], pieces["name"], pieces["arguments"]) == (
                item["call_id"],
                item["name"],
                item["arguments"],
            )
        elif item["type"] == "message":
            assert [p.get("text") for p in pieces["content"]] == [p.get("text") for p in item["content"]]
    _check_pieces(told, output)
    return whole


def _check_pieces(told: list[dict[str, Any]], output: list[dict[str, Any]]) -> None:
    """What the SDK does not put together itself: each part is its pieces, told between its item's begin and end."""
    said: dict[tuple[Any, ...], str] = {}
    open_: set[int] = set()
    for e in told:
        kind: str = e["type"]
        at: Any = e.get("output_index")
        if kind == "response.output_item.added":
            open_.add(at)
            assert e["item"].get("status", "in_progress") == "in_progress"
        elif kind == "response.output_item.done":
            open_.remove(at)
            assert e["item"] == output[at]
        elif at is not None:
            assert at in open_ and e["item_id"] == output[at]["id"]
        if kind.endswith(".delta"):
            place = (at, kind[:-6], e.get("content_index", e.get("summary_index", 0)))
            said[place] = said.get(place, "") + e["delta"]
    wanted = {}
    for i, item in enumerate(output):
        if item["type"] == "function_call":
            wanted[i, "response.function_call_arguments", 0] = item["arguments"]
        for j, part in enumerate(item.get("content", item.get("summary", []))):
            kind = "reasoning_summary_text" if part["type"] == "summary_text" else part["type"]
            wanted[i, f"response.{kind}", j] = part.get("text", part.get("refusal"))
    assert said == wanted and not open_
