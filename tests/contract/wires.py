"""The wires that providers speak, as scripts of bytes: the same scenes on each, and what a request on it says.

A scene is what a provider does: it says "Hello there" (`text`), calls two tools at once (`tools`), ends for some reason, or
fails in some way. `streamed` is how it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from switchboard.net.script import Again, Script, Step, answer, chunk, stream_head

#: What the scene `tools` calls: id, name, arguments.
CALLS = (("t1", "look", {"at": 1}), ("t2", "find", {"for": "x y"}))
PNG = "iVBORw0KGgo="


class Said(Struct):
    """What a request says, whichever wire it came on."""

    model: str
    text: str
    images: list[str]
    tools: list[str]
    streamed: bool


class Wire(Struct):
    """`play` is the script of a scene behind its request; `read` looks into a request's body."""

    path: str
    play: Callable[[str, bool], Script]
    read: Callable[[Any], Said]


def _sse(*payloads: dict[str, Any], named: bool = False) -> bytes:
    out = b""
    for p in payloads:
        name = b"event: %b\n" % p["type"].encode() if named else b""
        out += name + b"data: " + json.dumps(p).encode() + b"\n\n"
    return out


def _stream(*pieces: bytes, end: bool = True) -> Iterator[Step]:
    """A chunked event stream; without its `end` the connection closes."""
    yield stream_head()
    for p in pieces:
        yield chunk(p)
    if end:
        yield from (chunk(b""), Again())


def _failing(scene: str, streamed: bool, body: bytes) -> Script:
    """Failures that are the same on every wire; `body` is an error in the wire's own shape."""
    if scene.isdigit():
        wait = "retry-after: 7\r\n" if scene == "429" else ""
        return [answer(body, status=int(scene), headers=wait), Again()]
    if scene == "garbage":
        return [answer(b"<html>", kind="text/html"), Again()]
    assert scene == "cut" and not streamed
    return [answer(b"x" * 100)[:-50]]


# ---- OpenAI's


def _delta(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice]} | more


_OPENAI_ERROR = {"error": {"message": "sk-secret-of-theirs: busy", "type": "server_error", "param": None, "code": None}}
_OPENAI_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
_OPENAI_REASONS = {"text": "stop", "tools": "tool_calls", "length": "length", "filter": "content_filter"}


def _openai(scene: str, streamed: bool) -> Script:
    finish = _OPENAI_REASONS.get(scene)
    if not streamed:
        if scene == "first_event":
            return [answer(json.dumps(_OPENAI_ERROR).encode()), Again()]
        if finish is None:
            return _failing(scene, streamed, json.dumps(_OPENAI_ERROR).encode())
        message: dict[str, Any] = {"role": "assistant", "content": "Hello there"}
        if scene == "tools":
            functions = [
                {"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}} for i, n, a in CALLS
            ]
            message = {"role": "assistant", "content": None, "tool_calls": functions}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return [answer(json.dumps({"choices": [choice], "usage": _OPENAI_USAGE}).encode()), Again()]
    role = _sse(_delta({"role": "assistant", "content": ""}))
    hello = [role, _sse(_delta({"content": "Hello "}))]
    done = b"data: [DONE]\n\n"
    end = _sse(_delta({}, finish), {"choices": [], "usage": _OPENAI_USAGE}) + done
    match scene:
        case "tools":
            begun = [_call_piece(i, c[0], c[1]) for i, c in enumerate(CALLS)]
            halves = [(i, json.dumps(c[2])) for i, c in enumerate(CALLS)]
            first = [_arguments_piece(i, a[:4]) for i, a in halves]
            rest = [_arguments_piece(i, a[4:]) for i, a in halves]
            return _stream(role, _sse(*begun), _sse(*first), _sse(*rest) + end)
        case "first_event":
            return _stream(_sse(_OPENAI_ERROR))
        case "midstream":
            return _stream(*hello, _sse(_OPENAI_ERROR))
        case "cut":
            return _stream(*hello, end=False)
        case "garbled":
            return _stream(*hello, b"data: <html>\n\n")
    if finish is None:
        return _failing(scene, streamed, json.dumps(_OPENAI_ERROR).encode())
    return _stream(*hello, _sse(_delta({"content": "there"})), end)


def _call_piece(index: int, call: str, name: str) -> dict[str, Any]:
    piece = {"index": index, "id": call, "type": "function", "function": {"name": name, "arguments": ""}}
    return _delta({"tool_calls": [piece]})


def _arguments_piece(index: int, arguments: str) -> dict[str, Any]:
    return _delta({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})


def _read_openai(body: Any) -> Said:
    content = body["messages"][-1]["content"]
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return Said(
        body["model"],
        "".join(p["text"] for p in parts if p["type"] == "text"),
        [p["image_url"]["url"] for p in parts if p["type"] == "image_url"],
        [t["function"]["name"] for t in body.get("tools", [])],
        body.get("stream", False),
    )


# ---- Anthropic's


_ANTHROPIC_ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "sk-secret-of-theirs: busy"}}
_ANTHROPIC_REASONS = {"text": "end_turn", "tools": "tool_use", "length": "max_tokens", "filter": "refusal"}


def _block(index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    return _sse(
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": d} for d in deltas),
        {"type": "content_block_stop", "index": index},
        named=True,
    )


def _anthropic(scene: str, streamed: bool) -> Script:
    stop = _ANTHROPIC_REASONS.get(scene)
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m1", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
    if not streamed:
        if scene == "first_event":
            return [answer(json.dumps(_ANTHROPIC_ERROR).encode()), Again()]
        if stop is None:
            return _failing(scene, streamed, json.dumps(_ANTHROPIC_ERROR).encode())
        content: list[dict[str, Any]] = [{"type": "text", "text": "Hello there"}]
        if scene == "tools":
            content = [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in CALLS]
        message |= {"content": content, "stop_reason": stop, "usage": {"input_tokens": 3, "output_tokens": 2}}
        return [answer(json.dumps(message).encode()), Again()]
    begin = _sse({"type": "message_start", "message": message}, {"type": "ping"}, named=True)
    said = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello "}}
    opened = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    hello = begin + _sse(opened, said, named=True)
    delta = {
        "type": "message_delta",
        "delta": {"stop_reason": stop, "stop_sequence": None},
        "usage": {"output_tokens": 2},
    }
    end = _sse(delta, {"type": "message_stop"}, named=True)
    match scene:
        case "tools":
            blocks = []
            for i, (call, name, arguments) in enumerate(CALLS):
                text = json.dumps(arguments)
                pieces = [{"type": "input_json_delta", "partial_json": p} for p in ("", text[:4], text[4:])]
                blocks.append(_block(i, {"type": "tool_use", "id": call, "name": name, "input": {}}, *pieces))
            return _stream(begin, *blocks, end)
        case "first_event":
            return _stream(_sse(_ANTHROPIC_ERROR, named=True))
        case "midstream":
            return _stream(hello, _sse(_ANTHROPIC_ERROR, named=True))
        case "cut":
            return _stream(hello, end=False)
        case "garbled":
            return _stream(hello, b"data: <html>\n\n")
    if stop is None:
        return _failing(scene, streamed, json.dumps(_ANTHROPIC_ERROR).encode())
    there = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there"}}
    return _stream(hello, _sse(there, {"type": "content_block_stop", "index": 0}, named=True) + end)


def _read_anthropic(body: Any) -> Said:
    content = body["messages"][-1]["content"]
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    images = [p["source"] for p in parts if p["type"] == "image"]
    assert body["max_tokens"] > 0
    return Said(
        body["model"],
        "".join(p["text"] for p in parts if p["type"] == "text"),
        [f"data:{s['media_type']};{s['type']},{s['data']}" for s in images],
        [t["name"] for t in body.get("tools", [])],
        body.get("stream", False),
    )


OPENAI = Wire("/v1/chat/completions", _openai, _read_openai)
ANTHROPIC = Wire("/v1/messages", _anthropic, _read_anthropic)
