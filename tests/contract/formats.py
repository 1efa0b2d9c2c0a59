"""The formats that clients ask in, a row each: how each asks, and where in its answer everything is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from contract.wires import PNG
from dialects.anthropic.fixtures import read_messages_stream
from support.client import Answer

Calls = list[tuple[str, Any]]


class Format(Struct):
    """How one format asks and answers. What is None is not part of it.

    `body` asks with a text; `image` with a picture besides. `text`, `calls`, `stop` (in OpenAI's words) and `usage`
    (input, output) read an answer, streamed or not; `problem` reads an error's message, `broken` that of a stream that
    failed after "Hello ". `accept` makes it stream where the body has no member for it.
    """

    path: str
    body: Callable[[str], dict[str, Any]]
    image: Callable[[str], dict[str, Any]] | None
    tools: list[dict[str, Any]] | None
    text: Callable[[Answer, bool], str]
    calls: Callable[[Answer, bool], Calls] | None
    stop: Callable[[Answer, bool], str] | None
    usage: Callable[[Answer, bool], tuple[int, int]] | None
    problem: Callable[[Answer], str]
    broken: Callable[[Answer], str] | None
    picks: bool = True  # it names models, on whichever path


def _messages(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _image(text: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": text}, part]}]}


def _message(answer: Answer) -> str:
    return str(answer.json["error"]["message"])


_PARAMETERS = {"type": "object", "properties": {}}
_TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": name, "parameters": _PARAMETERS}} for name in ("look", "find")
]

# ---- OpenAI's


def _usage_asked(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"stream_options": {"include_usage": True}}


def _openai_text(a: Answer, streamed: bool) -> str:
    if not streamed:
        return a.json["choices"][0]["message"]["content"] or ""
    events = a.events[:-1] if a.events[-1] == "[DONE]" else a.events
    return "".join(c["delta"].get("content") or "" for e in events for c in e.get("choices", ()))


def _openai_calls(a: Answer, streamed: bool) -> Calls:
    if not streamed:
        calls = a.json["choices"][0]["message"]["tool_calls"]
        return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls]
    made: dict[int, list[str]] = {}
    for e in a.events[:-1]:
        for c in e["choices"]:
            for piece in c["delta"].get("tool_calls", ()):
                name, arguments = piece["function"].get("name"), piece["function"].get("arguments", "")
                made.setdefault(piece["index"], [name or "", ""])[1] += arguments
    return [(name, json.loads(arguments)) for name, arguments in made.values()]


def _openai_stop(a: Answer, streamed: bool) -> str:
    if not streamed:
        return str(a.json["choices"][0]["finish_reason"])
    assert a.events[-1] == "[DONE]"
    (reason,) = [c["finish_reason"] for e in a.events[:-1] for c in e["choices"] if c["finish_reason"]]
    return str(reason)


def _openai_usage(a: Answer, streamed: bool) -> tuple[int, int]:
    if streamed:
        *_, last, done = a.events
        assert (last["choices"], done) == ([], "[DONE]")
        usage = last["usage"]
    else:
        usage = a.json["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


# ---- simple


def _simple_text(a: Answer, streamed: bool) -> str:
    if not streamed:
        assert a.json["done"] is True
        return str(a.json["content"])
    return "".join(e["content"] for e in a.events)


def _simple_calls(a: Answer, streamed: bool) -> Calls:
    calls = [e["tool_call"] for e in a.events if "tool_call" in e] if streamed else a.json["tool_calls"]
    return [(c["name"], json.loads(c["arguments"])) for c in calls]


# ---- the Vercel AI SDK's


def _ui(text: str, *more: dict[str, Any]) -> dict[str, Any]:
    parts = [{"type": "text", "text": text}, *more]
    return {"id": "c", "trigger": "submit-message", "messages": [{"id": "m", "role": "user", "parts": parts}]}


def _ui_image(text: str) -> dict[str, Any]:
    return _ui(text, {"type": "file", "mediaType": "image/png", "url": f"data:image/png;base64,{PNG}"})


def _ui_text(a: Answer, streamed: bool) -> str:
    if not streamed:
        return "".join(p["text"] for p in a.json["parts"])
    return "".join(e["delta"] for e in a.events if e != "[DONE]" and e["type"] == "text-delta")


def _ui_calls(a: Answer, streamed: bool) -> Calls:
    if not streamed:
        return [(p["type"].removeprefix("tool-"), p["input"]) for p in a.json["parts"]]
    return [(e["toolName"], e["input"]) for e in a.events[:-1] if e["type"] == "tool-input-available"]


# ---- deep-chat's


def _deep_text(a: Answer, streamed: bool) -> str:
    return "".join(e.get("text", "") for e in a.events) if streamed else str(a.json["text"])


# ---- Anthropic's


def _anthropic(text: Any) -> dict[str, Any]:
    return {"max_tokens": 100, "messages": [{"role": "user", "content": text}]}


def _anthropic_image(text: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    return _anthropic([{"type": "text", "text": text}, {"type": "image", "source": source}])


def _anthropic_message(a: Answer, streamed: bool) -> dict[str, Any]:
    """The message, put together as the SDK does."""
    message: dict[str, Any] = read_messages_stream(a.body, whole=a.whole, ours=False) if streamed else a.json
    assert message["type"] == "message"
    return message


def _anthropic_text(a: Answer, streamed: bool) -> str:
    return "".join(b["text"] for b in _anthropic_message(a, streamed)["content"] if b["type"] == "text")


def _anthropic_calls(a: Answer, streamed: bool) -> Calls:
    return [(b["name"], b["input"]) for b in _anthropic_message(a, streamed)["content"] if b["type"] == "tool_use"]


_STOPS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}


def _anthropic_stop(a: Answer, streamed: bool) -> str:
    return _STOPS[_anthropic_message(a, streamed)["stop_reason"]]


def _anthropic_usage(a: Answer, streamed: bool) -> tuple[int, int]:
    """As the SDK has it in the end: what a ``message_delta`` says goes over what ``message_start`` said."""
    usage = _anthropic_message(a, streamed)["usage"]
    return usage["input_tokens"], usage["output_tokens"]


# ---- OpenAI's other wires for text


def _completions_text(a: Answer, streamed: bool) -> str:
    if not streamed:
        return str(a.json["choices"][0]["text"])
    events = a.events[:-1] if a.events[-1] == "[DONE]" else a.events
    return "".join(c["text"] for e in events for c in e.get("choices", ()))


def _named(a: Answer) -> list[dict[str, Any]]:
    """The data of events that have names."""
    pieces = [x.partition("data: ") for x in a.text.split("\n\n")]
    assert all(begin.startswith("event: ") for begin, data, _ in pieces if data)
    return [json.loads(payload) for _, data, payload in pieces if data]


def _responses_image(text: str) -> dict[str, Any]:
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": text}, image]}]}


def _response(a: Answer, streamed: bool) -> dict[str, Any]:
    """The response, as the last event has it."""
    response: dict[str, Any] = _named(a)[-1]["response"] if streamed else a.json
    assert response["object"] == "response"
    return response


def _responses_text(a: Answer, streamed: bool) -> str:
    if streamed:
        return "".join(e["delta"] for e in _named(a) if e["type"] == "response.output_text.delta")
    return "".join(p["text"] for o in a.json["output"] if o["type"] == "message" for p in o["content"])


def _responses_calls(a: Answer, streamed: bool) -> Calls:
    output = _response(a, streamed)["output"]
    return [(o["name"], json.loads(o["arguments"])) for o in output if o["type"] == "function_call"]


def _responses_stop(a: Answer, streamed: bool) -> str:
    response = _response(a, streamed)
    if response["status"] == "incomplete":
        reason = response["incomplete_details"]["reason"]
        return "length" if reason == "max_output_tokens" else str(reason)
    return "tool_calls" if _responses_calls(a, streamed) else "stop"


def _responses_usage(a: Answer, streamed: bool) -> tuple[int, int]:
    usage = _response(a, streamed)["usage"]
    return usage["input_tokens"], usage["output_tokens"]


FORMATS = {
    "v1": Format(
        "/v1/chat/completions",
        lambda t: _usage_asked(_messages(t)),
        _image,
        _TOOLS,
        _openai_text,
        _openai_calls,
        _openai_stop,
        _openai_usage,
        _message,
        lambda a: str(a.events[-1]["error"]["message"]),
    ),
    "openai": Format(
        "/api/chat?format=openai",
        lambda t: _usage_asked(_messages(t)),
        _image,
        _TOOLS,
        _openai_text,
        _openai_calls,
        _openai_stop,
        _openai_usage,
        _message,
        lambda a: str(a.events[-1]["error"]["message"]),
    ),
    "simple": Format(
        "/api/chat?format=simple",
        _messages,
        _image,
        _TOOLS,
        _simple_text,
        _simple_calls,
        None,
        None,
        _message,
        lambda a: str(a.events[-1]["error"]["message"]),
    ),
    "ui": Format(
        "/api/chat",
        _ui,
        _ui_image,
        _TOOLS,
        _ui_text,
        _ui_calls,
        None,
        None,
        _message,
        lambda a: str(a.events[-1]["errorText"]),
    ),
    "text": Format(
        "/api/chat?format=text", _messages, _image, None, lambda a, _: a.text, None, None, None, _message, None
    ),
    "deep_chat": Format(
        "/api/chat",
        lambda t: {"messages": [{"role": "user", "text": t}]},
        None,
        None,
        _deep_text,
        None,
        None,
        None,
        lambda a: str(a.json["error"]),
        lambda a: str(a.events[-1]["error"]),
    ),
    "completions": Format(
        "/v1/completions",
        lambda t: _usage_asked({"prompt": t}),
        None,
        None,
        _completions_text,
        None,
        _openai_stop,
        _openai_usage,
        _message,
        lambda a: str(a.events[-1]["error"]["message"]),
    ),
    "responses": Format(
        "/v1/responses",
        lambda t: {"input": t},
        _responses_image,
        [{"type": "function", "name": name, "parameters": _PARAMETERS} for name in ("look", "find")],
        _responses_text,
        _responses_calls,
        _responses_stop,
        _responses_usage,
        _message,
        lambda a: str(next(e for e in _named(a) if e["type"] == "error")["error"]["message"]),
    ),
    "anthropic": Format(
        "/v1/messages",
        _anthropic,
        _anthropic_image,
        [{"name": name, "input_schema": _PARAMETERS} for name in ("look", "find")],
        _anthropic_text,
        _anthropic_calls,
        _anthropic_stop,
        _anthropic_usage,
        _message,
        lambda a: str(read_messages_stream(a.body, whole=False, ours=False)["error"]["message"]),
    ),
}
