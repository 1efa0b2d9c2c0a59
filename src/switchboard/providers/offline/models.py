"""The offline models: each is a script of what a server would send.

| model | what it does |
|---|---|
| ``echo`` | repeats the last user message, word by word when streamed |
| ``tool-call`` | calls every tool that the request offers, with the last user message as JSON arguments if it is an object |
| ``slow`` | ``echo``, its first word after two seconds |
| ``cut-midstream`` | breaks off after three words |
| ``error-401``, ``error-429``, ``error-500``, ``error-529`` | answers with that status |
| ``error-first-event`` | answers 200, and an error is the first event |
| ``error-midstream`` | an error is the fourth event |
| ``garbage`` | three words, then something that is not JSON |
| ``endless`` | never ends |
| ``silent`` | never answers |
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from os import urandom
from typing import Any, Final

import msgspec
from msgspec import Struct

from switchboard.core.events import Answer, Choice, Done, Event, Finish, Metered, Text, ToolCall
from switchboard.core.events import ToolCallArguments as Arguments
from switchboard.core.events import ToolCallBegin as Begin
from switchboard.core.ports import Context
from switchboard.core.types import Headers, Usage, message_text
from switchboard.dialects.openai_chat import OpenAIEncoder


class Head(Struct):
    """The script's answer begins."""

    status: int
    headers: Headers


class Wait(Struct):
    """Nothing happens for a while."""

    seconds: float


class Cut(Struct):
    """The connection breaks."""


Script = Generator[Head | Wait | Cut | bytes, None, None]

_SSE: Final[Headers] = {b"content-type": b"text/event-stream"}
_JSON: Final[Headers] = {b"content-type": b"application/json"}
_WORD: Final = re.compile(r"\s*\S+\s*|\s+")
_FOREVER: Final = 3600.0


class _Request(Struct):
    """What a script may go by."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    n: int | None = None

    @property
    def text(self) -> str:
        """The last user message."""
        for m in reversed(self.messages):
            if m.get("role") == "user":
                return message_text(m)
        return ""

    @property
    def usage(self) -> Usage:
        """Words, for want of a tokenizer."""
        return Usage(sum(len(message_text(m).split()) for m in self.messages), len(self.text.split()))


def _context(r: _Request) -> Context:
    wanted = bool((r.stream_options or {}).get("include_usage"))
    return Context(f"chatcmpl-offline-{urandom(9).hex()}", r.model, int(time.time()), include_usage=wanted)


def words(text: str) -> list[str]:
    """`text` in words, white space kept: joined they are `text` again."""
    return _WORD.findall(text)


def _echo(r: _Request, pace: float) -> Script:
    encoder = OpenAIEncoder(_context(r))
    choices = range(r.n or 1)
    if not r.stream:
        yield Head(200, _JSON)
        yield encoder.whole(Answer([Choice(r.text, finish="stop") for _ in choices], r.model, r.usage))
        return
    yield Head(200, _SSE)
    for i, word in enumerate(words(r.text)):
        if i and pace:
            yield Wait(pace)
        yield encoder.encode([Text(word, c) for c in choices])
    finish: list[Event] = [Finish("stop", c) for c in choices]
    yield encoder.encode([*finish, Metered(r.usage), Done()])


def _tool_call(r: _Request, pace: float) -> Script:
    encoder = OpenAIEncoder(_context(r))
    try:
        arguments = r.text if isinstance(msgspec.json.decode(r.text.encode()), dict) else "{}"
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        arguments = "{}"
    functions = [t.get("function") for t in r.tools or []]
    names = [str(f.get("name")) for f in functions if isinstance(f, dict)]
    if not names:
        yield from _echo(r, pace)
        return
    calls = [ToolCall(f"call_offline_{i}", name, arguments) for i, name in enumerate(names)]
    if not r.stream:
        yield Head(200, _JSON)
        yield encoder.whole(Answer([Choice(tool_calls=calls, finish="tool_calls")], r.model, r.usage))
        return
    yield Head(200, _SSE)
    for i, call in enumerate(calls):
        yield encoder.encode([Begin(i, call.id, call.name)])
        half = len(arguments) // 2
        for piece in (arguments[:half], arguments[half:]):
            yield Wait(pace)
            yield encoder.encode([Arguments(i, piece)])
    yield encoder.encode([Finish("tool_calls"), Metered(r.usage), Done()])


def _slow(r: _Request, pace: float) -> Script:
    yield Wait(2.0)
    yield from _echo(r, pace)


def _cut_midstream(r: _Request, pace: float) -> Script:
    yield from _three_words(r, pace)
    yield Cut()


def _three_words(r: _Request, pace: float) -> Script:
    encoder = OpenAIEncoder(_context(r))
    yield Head(200, _SSE)
    for word in ("one ", "two ", "three "):
        yield Wait(pace)
        yield encoder.encode([Text(word)])


def _error(status: int, kind: str, text: str, headers: Headers | None = None) -> Callable[[_Request, float], Script]:
    body = msgspec.json.encode({"error": {"message": text, "type": kind, "param": None, "code": kind}})

    def script(r: _Request, pace: float) -> Script:
        yield Head(status, _JSON | (headers or {}))
        yield body

    return script


def _error_first_event(r: _Request, pace: float) -> Script:
    yield Head(200, _SSE if r.stream else _JSON)
    error = b'{"error":{"message":"The model is overloaded.","type":"server_error","param":null,"code":null}}'
    yield b"data: " + error + b"\n\n" if r.stream else error


def _error_midstream(r: _Request, pace: float) -> Script:
    yield from _three_words(r, pace)
    yield b'data: {"error":{"message":"The model is overloaded.","type":"server_error","param":null,"code":null}}\n\n'


def _garbage(r: _Request, pace: float) -> Script:
    yield from _three_words(r, pace)
    yield b"data: <html>\xff\xfe{{{\n\n"


def _endless(r: _Request, pace: float) -> Script:
    encoder = OpenAIEncoder(_context(r))
    yield Head(200, _SSE)
    while True:
        yield encoder.encode([Text("again ")])
        yield Wait(max(pace, 0.001))


def _silent(r: _Request, pace: float) -> Script:
    yield Wait(_FOREVER)


MODELS: Final[dict[str, Callable[[_Request, float], Script]]] = {
    "echo": _echo,
    "tool-call": _tool_call,
    "slow": _slow,
    "cut-midstream": _cut_midstream,
    "error-401": _error(401, "invalid_api_key", "Incorrect API key provided."),
    "error-429": _error(429, "rate_limit_exceeded", "Rate limit reached.", {b"retry-after": b"7"}),
    "error-500": _error(500, "server_error", "The server had an error."),
    "error-529": _error(529, "overloaded_error", "Overloaded."),
    "error-first-event": _error_first_event,
    "error-midstream": _error_midstream,
    "garbage": _garbage,
    "endless": _endless,
    "silent": _silent,
}


def script_for(body: bytes, pace: float) -> Script:
    """The script that answers a chat request."""
    try:
        request = msgspec.json.decode(body, type=_Request)
    except msgspec.DecodeError as e:
        return _error(400, "invalid_request_error", str(e))(_Request("", []), pace)
    model = MODELS.get(request.model)
    if model is None:
        return _error(404, "model_not_found", f"The model '{request.model}' does not exist.")(request, pace)
    return model(request, pace)
