"""What the tests of the translation stand on: the fixtures, and checkers that read both wires as strictly as the official
SDKs do. Requests lie in ``*.json``, several to a file; a stream in ``NAME.sse``, what is expected of it in ``NAME.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

from switchboard.core.events import (
    Event,
    Failed,
    Finish,
    Metered,
    Reasoning,
    ReasoningEnd,
    Refusal,
    Text,
    ToolCallArguments,
    ToolCallBegin,
)
from switchboard.core.ports import Context
from switchboard.core.types import Outcome, Usage

HERE = Path(__file__).parent
Case = dict[str, Any]


def cases(folder: str) -> list[ParameterSet]:
    """The cases in the files of `folder`, as pytest's parameters."""
    found = []
    for file in sorted((HERE / folder).glob("*.json")):
        found += [pytest.param(c, id=f"{file.stem}: {c['name']}") for c in json.loads(file.read_text())]
    assert found
    return found


def streams(folder: str) -> list[ParameterSet]:
    """The streams in `folder` with what is expected of them, as pytest's parameters."""
    found = []
    for file in sorted((HERE / folder).glob("*.sse")):
        expected = json.loads(file.with_suffix(".json").read_text())
        found.append(pytest.param(file.read_bytes(), expected, id=file.stem))
    assert found
    return found


def context(**more: Any) -> Context:
    return Context("chatcmpl-7", "some-model", 1_750_000_000, **({"include_usage": True} | more))


class Counted:
    """A `core.ports.Meter` that remembers."""

    def __init__(self) -> None:
        self.size = 0
        self.used: Usage | None = None

    def saw(self, events: int, size: int) -> bool:
        self.size += size
        return True

    def usage(self, usage: Usage) -> None:
        self.used = usage

    def settle(self, why: Outcome) -> Usage:
        return self.used or Usage()


# ---- events as the fixtures write them


def usage_list(usage: Usage) -> list[int]:
    """input, output, cached, cache_written, reasoning"""
    return [usage.input, usage.output, usage.cached, usage.cache_written, usage.reasoning]


def told(event: Event) -> list[Any]:
    """`event` as a fixture writes it."""
    match event:
        case Text():
            return ["text", event.text]
        case Reasoning():
            return ["reasoning", event.text]
        case ReasoningEnd():
            return ["reasoned", event.signature, event.redacted]
        case Refusal():
            return ["refusal", event.text]
        case ToolCallBegin():
            return ["call", event.index, event.id, event.name]
        case ToolCallArguments():
            return ["arguments", event.index, event.json]
        case Finish():
            return ["finish", event.reason]
        case Metered():
            return ["metered", *usage_list(event.usage)]
        case Failed():
            return ["failed", str(event.error.fault), event.error.type]
        case _:
            return [type(event).__name__.lower()]


# ---- Anthropic's wire, read strictly


def frames(stream: bytes) -> list[tuple[str, Any]]:
    """Named events: name and data."""
    assert stream == b"" or stream.endswith(b"\n\n")
    out = []
    for frame in stream.split(b"\n\n")[:-1]:
        name, data = frame.split(b"\n")
        assert name.startswith(b"event: ") and data.startswith(b"data: ")
        value = json.loads(data[6:])
        assert value["type"] == name[7:].decode()
        out.append((value["type"], value))
    return out


_STARTS: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
    "redacted_thinking": {},
}
_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
}
_USAGE = {"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"}


def read_messages_stream(stream: bytes, *, whole: bool = True, ours: bool = True) -> dict[str, Any]:
    """The message that an Anthropic stream builds, as the SDK puts it together.

    Asserts the grammar: ``message_start`` first; blocks one after the other with rising indexes, each started and stopped
    once; deltas for the open block only, and of its kind; then one ``message_delta`` and ``message_stop``. Not `whole`: an
    ``error`` event stands in place of the rest. `ours`: we wrote it, so that its usage is complete.
    """
    message: dict[str, Any] = {}
    open_at: int | None = None
    pieces = ""
    state = "before"
    for kind, e in frames(stream):
        if kind == "ping":
            continue
        assert state not in ("after", "error"), f"{kind} after the end"
        if kind == "error":
            assert isinstance(e["error"]["type"], str) and isinstance(e["error"]["message"], str)
            message["error"] = e["error"]
            state = "error"
        elif kind == "message_start":
            assert state == "before"
            message = e["message"]
            assert (message["type"], message["role"], message["content"]) == ("message", "assistant", [])
            assert (message["stop_reason"], message["stop_sequence"]) == (None, None)
            assert message["id"].startswith("msg_") and (not ours or set(message["usage"]) == _USAGE)
            state = "content"
        elif kind == "content_block_start":
            assert state == "content" and open_at is None
            assert e["index"] == len(message["content"])
            block = e["content_block"]
            assert {k: block[k] for k in _STARTS[block["type"]]} == _STARTS[block["type"]]
            message["content"].append(block)
            open_at, pieces = e["index"], ""
        elif kind == "content_block_delta":
            assert e["index"] == open_at is not None
            block, delta = message["content"][open_at], e["delta"]
            of, member = _DELTAS[delta["type"]]
            assert block["type"] == of
            if member == "partial_json":
                pieces += delta[member]
            else:
                block[member] += delta[member]
        elif kind == "content_block_stop":
            assert e["index"] == open_at is not None
            if pieces:
                message["content"][open_at]["input"] = _json(pieces)
            open_at = None
        elif kind == "message_delta":
            assert state == "content" and open_at is None
            assert e["delta"]["stop_reason"] is not None and (not ours or set(e["usage"]) == _USAGE)
            message |= e["delta"] | {"usage": message["usage"] | e["usage"]}
            state = "delta"
        else:
            assert (kind, state) == ("message_stop", "delta")
            state = "after"
    assert state == ("after" if whole else "error")
    return message


def _json(text: str) -> Any:
    """What the SDK makes of a tool's input; broken JSON stays text, so that a fixture can tell."""
    try:
        return json.loads(text)
    except ValueError:
        return text


# ---- OpenAI's wire, read strictly


def read_chunks(stream: bytes, *, whole: bool = True) -> dict[str, Any]:
    """The message that OpenAI chunks build: content, reasoning, thinking blocks, tool calls, finish, usage.

    Asserts the grammar: the role in the first chunk only, nothing but usage behind the ``finish_reason``, ``[DONE]`` last.
    """
    out: dict[str, Any] = {}
    payloads = [p.removeprefix(b"data: ") for p in stream.split(b"\n\n")[:-1]]
    assert b"".join(b"data: %b\n\n" % p for p in payloads) == stream
    if whole:
        assert payloads.pop() == b"[DONE]"
    calls: dict[int, dict[str, Any]] = {}
    for n, chunk in enumerate(json.loads(p) for p in payloads):
        assert chunk["object"] == "chat.completion.chunk"
        assert "usage" not in out
        if not chunk["choices"]:
            out["usage"] = chunk["usage"]
            continue
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        assert ("role" in delta) is (n == 0)
        assert "finish" not in out
        for member in ("content", "reasoning_content", "refusal"):
            if delta.get(member):
                out[member] = out.get(member, "") + delta[member]
        if "thinking_blocks" in delta:
            out.setdefault("thinking_blocks", []).extend(delta["thinking_blocks"])
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert call["index"] == len(calls) and call["type"] == "function"
                calls[call["index"]] = {"id": call["id"]} | call["function"]
            else:
                calls[call["index"]]["arguments"] += call["function"]["arguments"]
        if choice["finish_reason"] is not None:
            out["finish"] = choice["finish_reason"]
    if calls:
        out["tool_calls"] = list(calls.values())
    return out
