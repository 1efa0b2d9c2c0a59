"""The tap: an OpenAI stream goes to an OpenAI client as it came, but for what the client did not ask for."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.errors import Fault
from switchboard.core.ports import Context, Phase
from switchboard.core.types import Outcome, Usage
from switchboard.dialects.openai_chat import OpenAITap

MANY = settings(max_examples=300, deadline=None)
DONE = b"[DONE]"
USAGE = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'
FINISH = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
HELLO = b'{"choices":[{"index":0,"delta":{"content":"Hello"}}]}'


class Meter:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.size = 0
        self.events = 0
        self.counted: list[Usage] = []

    def saw(self, events: int, size: int) -> bool:
        self.events += events
        self.size += size
        return True

    def usage(self, usage: Usage) -> None:
        self.counted.append(usage)

    def settle(self, why: Outcome) -> Usage:
        raise NotImplementedError


def tap(*, include_usage: bool = False, max_event: int = 1 << 20) -> tuple[OpenAITap, Meter]:
    meter = Meter()
    context = Context("chatcmpl-1", "m", 1, include_usage=include_usage, max_event=max_event)
    return OpenAITap(context, meter), meter


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(n % (len(stream) + 1) for n in at), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def event(payload: bytes, end: bytes = b"\n") -> bytes:
    return b"data: " + payload + end * 2


def chunk(content: str, choice: int = 0, **more: Any) -> bytes:
    """A chunk as a provider may write it: members of its own, spaces where it likes."""
    delta: dict[str, Any] = {"content": content}
    return json.dumps({"id": "x", "choices": [{"index": choice, "delta": delta}], "x-own": [1.50]} | more).encode()


def finish(choice: int = 0) -> bytes:
    return json.dumps({"choices": [{"index": choice, "delta": {}, "finish_reason": "stop"}]}).encode()


cuts = st.lists(st.integers(0, 3000), max_size=10)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
contents = st.builds(chunk, st.text(max_size=6), st.integers(0, 2))
usage_within = st.builds(lambda text: chunk(text, usage={"prompt_tokens": 1, "completion_tokens": 2}), st.text())
others = st.sampled_from([b"{}", b'{"type":"ping"}', b'{"choices":[]}', b'{ "choices" : null }', b'{"usage":null}'])
#: (the lines of an event, whether only a client that asked for usage gets it)
passing = st.tuples(
    contents.map(lambda p: [b"data: " + p])
    | usage_within.map(lambda p: [b"data: " + p])
    | others.map(lambda p: [b"data:" + p])
    | st.just([b": ping"])
    | st.just([b"event: chunk", b"id: 7", b"data: " + HELLO, b"retry: 5"])
    | st.just([b'data: {"choices":', b'data: [{"index":0,"delta":{"content":"in two lines"}}]}']),
    st.just(False),
)
stripped = st.tuples(st.just([b"data: " + USAGE]), st.just(True))


def whole(lines: list[bytes], end: bytes) -> bytes:
    return b"".join(line + end for line in lines) + end


def same(out: bytes, wanted: bytes, end: bytes) -> bool:
    """Whether it is the same bytes. Where lines end in CRLF and the last one of an event was cut in two, its LF is passed
    on (or not) with the next event, which changes no event: then it is the same lines, blank ones counted once."""
    if end != b"\r\n":
        return out == wanted
    return _LINES.sub(b"\n", _BLANKS.sub(b"\n\n", out)) == _LINES.sub(b"\n", _BLANKS.sub(b"\n\n", wanted))


_BLANKS = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2,}")
_LINES = re.compile(rb"\r\n|\r")


def expected(events: list[tuple[list[bytes], bool]], end: bytes, include_usage: bool) -> bytes:
    return b"".join(whole(lines, end) for lines, usage_only in events if include_usage or not usage_only)


@MANY
@given(events=st.lists(passing | stripped, max_size=8), end=ends, at=cuts, include_usage=st.booleans())
def test_events_pass_byte_for_byte_however_they_are_cut(
    events: list[tuple[list[bytes], bool]], end: bytes, at: list[int], include_usage: bool
) -> None:
    events = [([b"data: " + HELLO], False), *events, ([b"data: " + DONE], False)]
    t, _ = tap(include_usage=include_usage)
    out = b"".join(t.feed(piece) for piece in cut(b"".join(whole(lines, end) for lines, _ in events), at))
    out += t.eof()
    assert same(out, expected(events, end, include_usage), end)
    assert t.phase is Phase.DONE
    assert t.error is None


@MANY
@given(events=st.lists(passing | stripped, max_size=4), end=ends, at=cuts, bad=st.integers(0, 4))
def test_a_stream_that_fails_passes_up_to_there_and_nothing_of_the_fault(
    events: list[tuple[list[bytes], bool]], end: bytes, at: list[int], bad: int
) -> None:
    fault, payload = [
        (Fault.EVENT, b'{"error":{"message":"key sk-secret-12345 at https://inside.example","type":"server_error"}}'),
        (Fault.EVENT, b'{"error":"sk-secret-12345"}'),
        (Fault.EVENT, b'{"choices":[],"error":{"message":"sk-secret-12345","code":500}}'),
        (Fault.PROTOCOL, b"<html>sk-secret-12345"),
        (Fault.PROTOCOL, b'["sk-secret-12345"]'),
    ][bad]
    events = [([b"data: " + HELLO], False), *events]
    stream = b"".join(whole(lines, end) for lines, _ in events)
    stream += b"data: " + payload + end * 2 + b"data: " + HELLO + end * 2 + b"data: " + DONE + end * 2
    t, _ = tap()
    out = b"".join(t.feed(piece) for piece in cut(stream, at)) + t.eof()
    assert same(out, expected(events, end, include_usage=False), end)
    assert t.phase is Phase.FAILED
    assert t.error is not None
    assert t.error.fault is fault
    assert payload not in out


@MANY
@given(choices=st.integers(1, 3), end=ends, at=cuts, data=st.data())
def test_a_stream_without_its_end_is_whole_if_every_choice_was(
    choices: int, end: bytes, at: list[int], data: st.DataObject
) -> None:
    finished = data.draw(st.sets(st.integers(0, choices - 1)))
    payloads = [chunk("x", c) for c in range(choices)] + [finish(c) for c in sorted(finished)]
    stream = b"".join(event(p, end) for p in payloads)
    t, _ = tap()
    out = b"".join(t.feed(piece) for piece in cut(stream, at))
    assert same(out, stream, end)
    last = t.eof()
    if len(finished) == choices:
        assert (t.phase, last) == (Phase.DONE, event(DONE))
    else:
        assert (t.phase, last) == (Phase.FAILED, b"")
        assert t.error is not None
        assert t.error.fault is Fault.CUT


@pytest.mark.parametrize("tail", [b"", b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n", b": x", USAGE[:20]])
def test_an_end_that_is_not_whole_counts_as_one(tail: bytes) -> None:
    t, _ = tap()
    assert t.feed(event(HELLO) + event(FINISH) + tail) == event(HELLO) + event(FINISH)
    assert (t.eof(), t.phase) == (event(DONE), Phase.DONE)
    assert t.eof() == b""


@pytest.mark.parametrize("tail", [b"data: [DONE]", b"data: [DONE]\n"])
def test_an_end_that_is_not_whole_counts_without_a_finish_too(tail: bytes) -> None:
    t, _ = tap()
    t.feed(event(HELLO) + tail)
    assert (t.eof(), t.phase) == (event(DONE), Phase.DONE)


@pytest.mark.parametrize("stream", [b"", b"\n", b": ping\n\n", event(b"{}"), event(HELLO), event(HELLO) + b"data: [DO"])
def test_a_stream_that_ends_early_is_cut(stream: bytes) -> None:
    t, _ = tap()
    t.feed(stream)
    assert (t.eof(), t.phase) == (b"", Phase.FAILED)
    assert t.error is not None
    assert t.error.fault is Fault.CUT


# ---- before the content


@pytest.mark.parametrize(
    "early", [b": OPENROUTER PROCESSING\n\n", b"\n\n", b'data: {"type":"ping"}\n\n', b"event: x\n\n"]
)
def test_pings_before_the_content_do_not_begin_the_answer(early: bytes) -> None:
    """As long as only these came, a failure still gets a real status."""
    t, _ = tap()
    assert (t.feed(early), t.phase) == (b"", Phase.PREAMBLE)
    assert t.feed(event(HELLO)) == event(HELLO)
    assert t.phase is Phase.CONTENT
    assert t.feed(b": ping\n\n") == b": ping\n\n"


def test_an_error_as_the_first_event_fails_before_anything_was_said() -> None:
    t, _ = tap()
    assert t.feed(event(b'{"error":{"message":"m","type":"overloaded_error","code":"529","param":"p"}}')) == b""
    assert t.phase is Phase.FAILED
    assert t.error is not None
    e = t.error
    assert (e.fault, e.message, e.type, e.code, e.param, e.status) == (
        Fault.EVENT,
        "m",
        "overloaded_error",
        "529",
        "p",
        529,
    )


@pytest.mark.parametrize(
    "first",
    [
        b'{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}',  # Azure's first event
        b'{"id":"x","choices":[]}',
        b'{"choices":[{"index":0,"delta":{"role":"assistant"}}]}',
        # Mistral's thinking models: content as a list of parts, which nobody here reads, but the client may
        b'{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[]}]}}]}',
        b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":{}}}]}}]}',
    ],
)
def test_whatever_has_choices_begins_the_answer_and_passes(first: bytes) -> None:
    """What the phase does not show as begun is not sent, and would be lost."""
    t, _ = tap()
    assert (t.feed(event(first)), t.phase) == (event(first), Phase.CONTENT)


# ---- what is read along


def test_usage_is_read_whether_it_passes_or_not() -> None:
    for include_usage in (False, True):
        t, meter = tap(include_usage=include_usage)
        out = t.feed(event(HELLO) + event(FINISH) + event(USAGE) + event(DONE))
        assert (USAGE in out) is include_usage
        assert meter.counted == [Usage(3, 4)]
        assert t.phase is Phase.DONE


def test_usage_within_the_last_content_chunk_passes_and_counts() -> None:
    last = b'{"choices":[{"delta":{"content":"!"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":2}}}'
    t, meter = tap()
    assert t.feed(event(HELLO) + event(last) + event(DONE)) == event(HELLO) + event(last) + event(DONE)
    assert meter.counted == [Usage(5, 6, 2)]


def test_usage_in_every_chunk_is_told_each_time() -> None:
    t, meter = tap()
    for n in (1, 2):
        t.feed(event(chunk("x", usage={"prompt_tokens": 1, "completion_tokens": n})))
    assert meter.counted == [Usage(1, 1), Usage(1, 2)]


@pytest.mark.parametrize("usage", [b"null", b"{}", b'{"prompt_tokens":null}', b'{"prompt_tokens_details":null}'])
def test_usage_that_says_little(usage: bytes) -> None:
    t, meter = tap()
    payload = b'{"choices":[{"delta":{"content":"x"}}],"usage":%b}' % usage
    assert t.feed(event(payload)) == event(payload)
    assert meter.counted == ([] if usage == b"null" else [Usage(0, 0)])


@pytest.mark.parametrize(
    ("delta", "size"),
    [
        ('{"content":"h\\u00e9llo"}', 5),
        ('{"reasoning_content":"think"}', 5),
        ('{"reasoning":"think"}', 5),
        ('{"refusal":"never"}', 5),
        ('{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{\\"a\\""}},{"index":1,"function":{"arguments":"{}"}}]}', 6),
        ('{"content":"ab","reasoning_content":"cd"}', 4),
        ("{}", 0),
    ],
)  # fmt: skip
def test_all_that_the_model_wrote_is_metered(delta: str, size: int) -> None:
    """An answer whose provider does not count is billed by its length, and thoughts cost as much as words."""
    t, meter = tap()
    t.feed(event(f'{{"choices":[{{"index":0,"delta":{delta}}}]}}'.encode()))
    assert meter.size == size


# ---- the edges


@pytest.mark.parametrize("stream", [event(HELLO), event(HELLO) + b"data: "])
def test_an_event_over_the_limit_fails(stream: bytes) -> None:
    """Whether or not it comes in one piece of its own."""
    t, _ = tap(max_event=len(event(HELLO)) - 1)
    assert (t.feed(stream), t.phase) == (b"", Phase.FAILED)
    assert t.error is not None
    assert t.error.fault is Fault.TOO_LARGE


def test_what_came_before_an_event_over_the_limit_passes() -> None:
    t, _ = tap(max_event=200)
    assert t.feed(event(HELLO) + event(chunk("x" * 300)) + event(HELLO)) == event(HELLO)
    assert t.phase is Phase.FAILED
    assert t.feed(event(DONE)) == b""
    assert t.eof() == b""


def test_a_limit_broken_after_the_end_is_no_matter() -> None:
    t, _ = tap(max_event=100)
    assert t.feed(event(HELLO) + event(DONE) + b"x" * 200) == event(HELLO) + event(DONE)
    assert t.phase is Phase.DONE
    assert t.error is None


@pytest.mark.parametrize(
    "stream",
    [
        b"data: [DONE]\r\n\n",
        b"data: [DONE]\r\r\n",
        b"data:[DONE]\n\n",
        b"data: [DONE]\rid: 1\n\n",
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\r\rdata: [DONE]\n\n',
    ],
)
@pytest.mark.parametrize("at", [[], [7], [13, 14], [15]])
def test_line_ends_of_any_kind_end_the_stream(stream: bytes, at: list[int]) -> None:
    """In a piece that looks like one simple event, too."""
    t, _ = tap()
    t.feed(event(HELLO))
    for piece in cut(stream, at):
        t.feed(piece)
    assert (t.error, t.phase) == (None, Phase.DONE)


def test_nothing_follows_the_end() -> None:
    t, _ = tap()
    assert t.feed(event(HELLO) + event(DONE) + event(HELLO) + b": x\n\n") == event(HELLO) + event(DONE)
    assert t.feed(event(HELLO)) == b""
    assert t.eof() == b""


@pytest.mark.parametrize(
    "payload",
    [
        b'{"error":{"message":"sk-secret-12345"},"choices":"none"}',
        b'{"error":{"message":"sk-secret-12345"},"usage":5}',
        b'{"error":{"message":"sk-secret-12345"},"choices":[{"index":"0"}]}',
    ],
)
def test_an_error_is_one_whatever_stands_beside_it(payload: bytes) -> None:
    """A provider's words must not pass because another member is not as expected."""
    t, _ = tap()
    out = t.feed(event(HELLO)) + t.feed(event(payload))
    assert b"secret" not in out
    assert t.phase is Phase.FAILED


def test_an_error_that_is_null_is_none() -> None:
    payload = b'{"error":null,"choices":[{"delta":{"content":"x"}}]}'
    t, _ = tap()
    assert t.feed(event(payload)) == event(payload)


@pytest.mark.parametrize("payload", [b"", b"x", b"5", b"null", b"[]", b'"x"', b"{", b"\xff", b'{"a":' * 100_000])
def test_garbage_fails_and_does_not_pass(payload: bytes) -> None:
    t, _ = tap()
    assert (t.feed(event(HELLO)), t.feed(event(payload))) == (event(HELLO), b"")
    assert t.error is not None
    assert t.error.fault is Fault.PROTOCOL
    assert len(str(t.error)) < 1500


@MANY
@given(data=st.binary(max_size=120), at=cuts)
def test_any_bytes_at_all(data: bytes, at: list[int]) -> None:
    t, _ = tap()
    out = t.feed(event(HELLO)) + b"".join(t.feed(piece) for piece in cut(data, at)) + t.eof()
    assert out.startswith(event(HELLO))
    assert t.phase in (Phase.DONE, Phase.FAILED)
    assert (t.phase is Phase.FAILED) == (t.error is not None)
