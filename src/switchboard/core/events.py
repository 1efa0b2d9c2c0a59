"""The events of an answer: what every provider's stream is decoded to and every client's stream is made from."""

from __future__ import annotations

from msgspec import Struct

from switchboard.core.errors import UpstreamError
from switchboard.core.types import Usage


class Text(Struct, gc=False):
    """A piece of the answer's text. `choice` is its index where several answers were asked for (``n``)."""

    text: str
    choice: int = 0


class Reasoning(Struct, gc=False):
    """A piece of the model's thinking, where the provider shows it."""

    text: str
    choice: int = 0


class ReasoningEnd(Struct, gc=False):
    """A passage of thinking is whole. `signature` is by which the provider knows it again in a later turn; `redacted`
    is thinking that is not shown at all, in the provider's own cipher."""

    signature: str = ""
    redacted: str = ""
    choice: int = 0


class Refusal(Struct, gc=False):
    """A piece of the text by which the model declines to answer."""

    text: str
    choice: int = 0


class ToolCallBegin(Struct, gc=False):
    """The model starts to call a tool. `index` tells calls of one answer apart."""

    index: int
    id: str
    name: str
    choice: int = 0


class ToolCallArguments(Struct, gc=False):
    """A piece of the JSON text of a tool call's arguments."""

    index: int
    json: str
    choice: int = 0


class Sound(Struct, gc=False):
    """A piece of speech, in the format that was asked for."""

    data: bytes


class Picture(Struct, gc=False):
    """An image in base64; `partial` is the number of one that is not finished yet, else None."""

    base64: str
    partial: int | None = None


class Finish(Struct, gc=False):
    """One choice is whole. `reason` as OpenAI names it: stop, length, tool_calls, content_filter."""

    reason: str
    choice: int = 0


class Metered(Struct, gc=False):
    """What the provider counted so far; cumulative."""

    usage: Usage


class Failed(Struct):
    """The provider gave up, or what it sent is not its dialect."""

    error: UpstreamError


class Done(Struct, gc=False):
    """The stream ended as the dialect says it ends."""


class Ping(Struct, gc=False):
    """A well-formed event that says nothing."""


Event = (
    Text
    | Reasoning
    | ReasoningEnd
    | Refusal
    | ToolCallBegin
    | ToolCallArguments
    | Sound
    | Picture
    | Finish
    | Metered
    | Failed
    | Done
    | Ping
)


class ToolCall(Struct, gc=False):
    """A whole tool call; `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class Thinking(Struct, gc=False):
    """One passage of thinking; see `ReasoningEnd`."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


class Choice(Struct):
    """One whole answer. `thinking` holds the passages of `reasoning` where the provider signs them."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[ToolCall] = []
    finish: str = ""
    thinking: list[Thinking] = []


class Answer(Struct):
    """What a call that does not stream gives: its choices, and what they cost."""

    choices: list[Choice]
    model: str = ""
    usage: Usage | None = None

    def size(self) -> int:
        """Characters of text in it."""
        return sum([len(c.text) + len(c.reasoning) for c in self.choices])

    def events(self) -> list[Event]:
        """The same as a stream would have said it."""
        out: list[Event] = []
        for n, c in enumerate(self.choices):
            for passage in c.thinking:
                if passage.text:
                    out.append(Reasoning(passage.text, n))
                out.append(ReasoningEnd(passage.signature, passage.redacted, n))
            if c.reasoning and not c.thinking:
                out.append(Reasoning(c.reasoning, n))
            if c.text:
                out.append(Text(c.text, n))
            if c.refusal:
                out.append(Refusal(c.refusal, n))
            for i, call in enumerate(c.tool_calls):
                out += [ToolCallBegin(i, call.id, call.name, n), ToolCallArguments(i, call.arguments, n)]
            out.append(Finish(c.finish or "stop", n))
        if self.usage is not None:
            out.append(Metered(self.usage))
        return [*out, Done()]


class Embeddings(Struct):
    """Vectors, in the order of the texts."""

    vectors: list[list[float]]
    usage: Usage | None = None

    def size(self) -> int:
        """See `core.ports.Whole`."""
        return 0

    def events(self) -> list[Event]:
        """Vectors are not streamed."""
        return [Done()]


class Images(Struct):
    """Images, each in base64."""

    pictures: list[str]
    usage: Usage | None = None

    def size(self) -> int:
        """See `core.ports.Whole`."""
        return 0

    def events(self) -> list[Event]:
        """See `core.ports.Whole`."""
        out: list[Event] = [Picture(p) for p in self.pictures]
        if self.usage is not None:
            out.append(Metered(self.usage))
        return [*out, Done()]


class Passage(Struct):
    """A passage of what was said, or a word of it, with its times in seconds."""

    text: str
    start: float
    end: float


class Transcription(Struct):
    """What was said. `language` is its name or code, `duration` in seconds; both as the provider tells them, if it does."""

    text: str
    language: str = ""
    duration: float | None = None
    passages: list[Passage] = []
    words: list[Passage] = []
    usage: Usage | None = None

    def size(self) -> int:
        """See `core.ports.Whole`."""
        return len(self.text)

    def events(self) -> list[Event]:
        """See `core.ports.Whole`."""
        out: list[Event] = [Text(self.text)] if self.text else []
        if self.usage is not None:
            out.append(Metered(self.usage))
        return [*out, Done()]


class AnswerBuilder:
    """Gathers events into an `Answer`. `error` is set where one of them was `Failed`."""

    def __init__(self) -> None:
        self._choices: dict[int, Choice] = {}
        self._calls: dict[tuple[int, int], ToolCall] = {}
        self._passages: dict[int, str] = {}
        self._usage: Usage | None = None
        self.error: UpstreamError | None = None

    def _choice(self, index: int) -> Choice:
        if index not in self._choices:
            self._choices[index] = Choice()
        return self._choices[index]

    def add(self, events: list[Event]) -> None:
        """Take in `events`; what is not content or usage is passed over."""
        for e in events:
            if isinstance(e, Text):
                self._choice(e.choice).text += e.text
            elif isinstance(e, Reasoning):
                self._choice(e.choice).reasoning += e.text
                self._passages[e.choice] = self._passages.get(e.choice, "") + e.text
            elif isinstance(e, ReasoningEnd):
                text = "" if e.redacted else self._passages.pop(e.choice, "")
                self._choice(e.choice).thinking.append(Thinking(text, e.signature, e.redacted))
            elif isinstance(e, Refusal):
                self._choice(e.choice).refusal += e.text
            elif isinstance(e, ToolCallBegin):
                call = ToolCall(e.id, e.name, "")
                self._calls[e.choice, e.index] = call
                self._choice(e.choice).tool_calls.append(call)
            elif isinstance(e, ToolCallArguments):
                known = self._calls.get((e.choice, e.index))
                if known is not None:
                    known.arguments += e.json
            elif isinstance(e, Finish):
                self._choice(e.choice).finish = e.reason
            elif isinstance(e, Metered):
                self._usage = e.usage
            elif isinstance(e, Failed):
                self.error = e.error

    def answer(self) -> Answer:
        """The answer as gathered so far, choices in order."""
        return Answer([self._choices[i] for i in sorted(self._choices)] or [Choice()], usage=self._usage)
