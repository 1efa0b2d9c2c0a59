"""What the tests of OpenAI's wires for sound, images, vectors and older text stand on."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from switchboard.core.errors import Problem, UpstreamError
from switchboard.core.ports import Context
from switchboard.core.types import FilePart, Form, Outcome, Upload, Usage
from switchboard.wire.json_body import load_json
from switchboard.wire.multipart import FormReader

MANY = settings(max_examples=250, deadline=None)
T = TypeVar("T")
#: What is wrong with a request: its body, the field that is named, and the message behind the field's name.
Bad = tuple[Any, str, str]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
cuts = st.lists(st.integers(0, 3000), max_size=10)


def any_of(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with members `names` of any value."""
    return st.fixed_dictionaries({}, optional={n: values | st.sampled_from(["", "a", "b", 1, 0, True]) for n in names})


class Meter:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.size = 0
        self.counted: list[Usage] = []

    def saw(self, events: int, size: int) -> bool:
        self.size += size
        return True

    def usage(self, usage: Usage) -> None:
        self.counted.append(usage)

    def settle(self, why: Outcome) -> Usage:
        raise NotImplementedError


def read(reader: Callable[[Any, bytes], T], body: Any) -> T:
    """What `reader` makes of a body, which is bytes or what becomes JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return reader(load_json(raw), raw)


def refused(run: Callable[[], object]) -> tuple[str | None, str]:
    """The field and the message of the `Problem` that `run` raises; its status is 400."""
    with pytest.raises(Problem) as e:
        run()
    assert e.value.status == 400
    return e.value.param, e.value.message


def wrong(run: Callable[[], object]) -> UpstreamError:
    """What `run` raises of an upstream."""
    with pytest.raises(UpstreamError) as e:
        run()
    return e.value


def named(p: Problem | None) -> bool:
    """Whether a refusal, if it is one, names the field at fault where there is one."""
    if p is None or p.message == "The body must be a JSON object.":
        return True
    return p.status == 400 and p.message.startswith(f"{p.param}: ") and len(p.message) < 500


def problem_of(run: Callable[[], object]) -> Problem | None:
    """The `Problem` that `run` raises, if it does; whatever else it raises comes through."""
    try:
        run()
    except Problem as p:
        return p
    return None


def upstream_error_of(run: Callable[[], object]) -> UpstreamError | None:
    """The same of an `UpstreamError`."""
    try:
        run()
    except UpstreamError as e:
        return e
    return None


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    """`stream` in pieces; every number is a place to cut."""
    edges = [0, *sorted(n % (len(stream) + 1) for n in at), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def events(stream: bytes) -> list[Any]:
    """The data of a stream's events: JSON where it is JSON, else text."""
    out: list[Any] = []
    assert stream == b"" or stream.endswith(b"\n\n")
    for frame in stream.decode().split("\n\n")[:-1]:
        assert frame.startswith("data: ")
        data = frame.removeprefix("data: ")
        out.append(json.loads(data) if data != "[DONE]" else data)
    return out


def stream_of(*payloads: dict[str, Any] | bytes) -> bytes:
    """An event stream as a provider may write it: with names, and spaces where it likes."""
    out = b""
    for p in payloads:
        if isinstance(p, bytes):
            out += b"data: " + p + b"\n\n"
        else:
            out += b"event: " + p["type"].encode() + b"\ndata: " + json.dumps(p).encode() + b"\n\n"
    return out


def context(**more: Any) -> Context:
    return Context("chatcmpl-7", "some-model", 1_750_000_000, **more)


def form(fields: list[tuple[str, str]], *files: tuple[str, str, str, bytes]) -> Form:
    """A form with `fields` and `files` (name, name of the file, type, data)."""
    reader = FormReader(b"B")
    for name, filename, kind, data in files:
        head = f'content-disposition: form-data; name="{name}"; filename="{filename}"\r\ncontent-type: {kind}\r\n\r\n'
        reader.feed(b"--B\r\n" + head.encode() + data + b"\r\n")
    reader.feed(b"--B--\r\n")
    f = reader.end()
    f.fields = list(fields)
    return f


def content(part: FilePart) -> bytes:
    return b"".join(Upload((part.data,)).chunks())


def read_back(body: bytes, boundary: bytes) -> Form:
    """A form as a provider reads it."""
    reader = FormReader(boundary)
    reader.feed(body)
    return reader.end()
