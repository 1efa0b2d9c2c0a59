"""OpenAI's older wire for text, both halves: ``POST /v1/completions``.

Source: the OpenAI API reference, "Completions (legacy)". Most models are asked as chats today: the prompt becomes the
only message, and what has no counterpart is named. A server that still has this wire gets the request as it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Problem
from switchboard.core.events import Answer, Choice, Done, Event, Finish, Metered, Text
from switchboard.core.ports import Context, Meter
from switchboard.core.types import Generate, Lines, Native, Usage, estimated_tokens
from switchboard.dialects import _openai_shapes as shapes
from switchboard.dialects._openai_media import OpenAIErrors, read_members
from switchboard.dialects.openai_chat import OpenAIDecoder, OpenAITap, error_body, meter_answer, usage_of, usage_out
from switchboard.dialects.openai_chat.call import read_completion, with_usage
from switchboard.dialects.openai_chat.encoder import DONE_EVENT

NAME: Final = "openai_completions"
#: What a chat takes by the same names.
_SHARED: Final = (
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "user",
    "stream_options",
)


_NULL: Final = (b"null",)
#: Members that ask a chat for nothing where they hold these values, or never.
_IDLE: Final = {"suffix": (b"null", b'""'), "best_of": (b"null", b"1")}


class CompletionRequest(Struct):
    """A request as far as it is checked; other members pass to a provider that has this wire."""

    prompt: str | list[Any]
    model: str | None = None
    stream: bool | None = None
    stream_options: shapes.StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    stop: str | list[str] | None = None
    logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    user: str | None = None


def read_request(body: Any, raw: bytes) -> tuple[OpenAICompletions, Generate]:
    """The operation that a completion request asks for, and the dialect to answer it in. Raises `Problem` that names the
    field at fault."""
    request, members = read_members(body, raw, CompletionRequest)
    for name, value in (("max_tokens", request.max_tokens), ("n", request.n)):
        if value is not None and value < 1:
            raise Problem("INVALID_REQUEST", f"{name}: must be at least 1.", param=name)
    if request.n is not None and request.n > shapes.MOST_CHOICES:
        raise Problem("INVALID_REQUEST", f"n: must be at most {shapes.MOST_CHOICES}.", param="n")
    prompts = _prompts(request.prompt)
    text = prompts[0] if len(prompts) == 1 and isinstance(prompts[0], str) else None
    members.pop("stream", None)
    lost = [
        n for n, v in members.items() if n not in (*_SHARED, "prompt", "echo") and bytes(v) not in _IDLE.get(n, _NULL)
    ]
    native = Native(NAME, members, None, lost=lost, bound="" if text is not None else "prompt")
    options = request.stream_options
    op = Generate(
        request.model or "",
        request.stream is True,
        bool(options and options.include_usage),
        choices=(request.n or 1) * len(prompts),
        messages=[{"role": "user", "content": text or ""}],
        params={name: members[name] for name in _SHARED if name in members},
        native=native,
        besides=0
        if text is not None
        else sum([len(p) if isinstance(p, list) else estimated_tokens(len(p)) for p in prompts]),
    )
    return OpenAICompletions(text if request.echo and text is not None else ""), op


def _prompts(value: str | list[Any]) -> list[Any]:
    """The prompts, each a text or a list of token ids. Raises `Problem`."""
    prompts = [value] if isinstance(value, str) or (value and all(type(x) is int for x in value)) else value
    if not prompts or prompts == [""]:
        raise Problem("INVALID_REQUEST", "prompt: must not be empty.", param="prompt")
    if len(prompts) > shapes.MOST_CHOICES:
        raise Problem("INVALID_REQUEST", f"prompt: at most {shapes.MOST_CHOICES} at once.", param="prompt")
    for p in prompts:
        if not (isinstance(p, str) or (isinstance(p, list) and all(type(x) is int for x in p))):
            raise Problem("INVALID_REQUEST", "prompt: a text, or token ids, are expected.", param="prompt")
    return prompts


def _behind(said: str, prompt: Any) -> Any:
    """`prompt` behind what the server `said`. Raises `Problem` for token ids, before which no text can stand."""
    if isinstance(prompt, str):
        return f"{said}\n\n{prompt}"
    if all(isinstance(p, str) for p in prompt):
        return [f"{said}\n\n{p}" for p in prompt]
    raise Problem("FIELD_NOT_SUPPORTED", "prompt: token ids are not taken here.", param="prompt")


class CompletionsEncoder:
    """Writes ``text_completion`` objects. `prompt` stands before each answer where it is to be echoed."""

    content_type = b"text/event-stream"
    whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b": keep-alive\n\n"

    def __init__(self, context: Context, prompt: str) -> None:
        self._c = context
        self._prompt = prompt
        self._begun: set[int] = set()
        self._usage: Usage | None = None

    def _object(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        c = self._c
        name = "cmpl-" + c.id.removeprefix("chatcmpl-")
        body = {"id": name, "object": "text_completion", "created": c.created, "model": c.model}
        return shapes.encode(body | {"choices": choices} | more)

    def _choice(self, index: int, text: str, finish: str | None) -> dict[str, Any]:
        if index not in self._begun:
            self._begun.add(index)
            text = self._prompt + text
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}

    def _one(self, e: Event) -> bytes:
        match e:
            case Text():
                return b"data: " + self._object([self._choice(e.choice, e.text, None)]) + b"\n\n"
            case Finish():
                return b"data: " + self._object([self._choice(e.choice, "", e.reason)]) + b"\n\n"
            case Metered():
                self._usage = e.usage
                return b""
            case Done():
                usage = b""
                if self._c.include_usage and self._usage is not None:
                    usage = b"data: " + self._object([], usage=usage_out(self._usage)) + b"\n\n"
                return usage + DONE_EVENT
            case _:
                return b""

    def encode(self, events: Sequence[Event]) -> bytes:
        """Chunks for `events`."""
        return b"".join([self._one(e) for e in events])

    def whole(self, answer: Answer) -> bytes:
        """A ``text_completion``."""
        choices = [self._choice(i, x.text or x.refusal, x.finish or "stop") for i, x in enumerate(answer.choices)]
        more = {} if answer.usage is None else {"usage": usage_out(answer.usage)}
        return self._object(choices, **more)

    def error(self, problem: Problem) -> bytes:
        """A ``data:`` frame with ``error``."""
        return b"data: " + shapes.encode({"error": error_body(problem)}) + b"\n\n"


class OpenAICompletions(OpenAIErrors):
    """The dialect itself; as a client's half it is made with the prompt that is to be `echo`ed, if one is."""

    name = NAME

    def __init__(self, echo: str = "") -> None:
        self._echo = echo

    def encoder(self, context: Context) -> CompletionsEncoder:
        return CompletionsEncoder(context, self._echo)

    def build(self, op: Generate, model: str, capabilities: Capabilities) -> bytes:
        native = op.native_to(NAME)
        assert native is not None
        members: dict[str, Any] = {"model": model, **native.members}
        for name, value in op.edits.items():
            if value is None:
                members.pop(name, None)
            else:
                members[name] = value
        if op.prompt:
            members["prompt"] = _behind(op.prompt, shapes.decode_any(native.members["prompt"]))
        if op.stream:
            members["stream"] = True
            if capabilities.stream_usage:
                members["stream_options"] = with_usage(members.get("stream_options"))
        else:
            members.pop("stream_options", None)
        return shapes.encode(members)

    def headers(self, op: Generate) -> Lines:
        return b""

    def decoder(self, context: Context) -> OpenAIDecoder:
        return OpenAIDecoder(context)

    def answer(self, body: bytes) -> Answer:
        completion, whole = read_completion(body)
        usage = usage_of(completion.usage) if completion.usage is not None else None
        return Answer([Choice(c.text or "", finish=c.finish_reason or "stop") for c in whole], completion.model, usage)

    def passed(self, op: Generate, body: bytes, meter: Meter) -> bytes:
        meter_answer(body, meter)
        return body

    def tap(self, context: Context, meter: Meter) -> OpenAITap:
        return OpenAITap(context, meter)
