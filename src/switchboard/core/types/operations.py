"""What is asked, and what it used."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from msgspec import Raw, Struct

from switchboard.core.types.bodies import FilePart, Form
from switchboard.core.types.requests import Lines


class Operation(StrEnum):
    """What is asked of a provider."""

    GENERATE = "generate"  # text: chat, completions, responses
    EMBED = "embed"
    DRAW = "draw"
    SPEAK = "speak"
    TRANSCRIBE = "transcribe"
    CONVERSE = "converse"  # by voice, over a WebSocket


class Outcome(StrEnum):
    """Why a request ended: one word for the log, the metrics and the bill."""

    COMPLETE = "complete"
    CLIENT_LEFT = "client_left"
    CLIENT_STALLED = "client_stalled"  # did not read for as long as a write may block
    REFUSED = "refused"  # by us, before a provider was asked
    UPSTREAM_ERROR = "upstream_error"  # the provider failed before it sent anything
    UPSTREAM_CUT = "upstream_cut"  # it failed after it had begun
    TIMEOUT = "timeout"  # the whole answer took too long
    BUDGET_EXHAUSTED = "budget_exhausted"  # cut in the middle, for nothing was left to pay it
    SERVER_STOPPING = "server_stopping"
    INTERNAL_ERROR = "internal_error"


class Usage(Struct, gc=False):
    """Tokens as the provider counted them; `estimated` where it did not and we guessed from the text's length.

    Of `input`, `cached` were read from the provider's cache and `cache_written` put into it; of `output`, `reasoning`
    were spent on thinking. Where something else is counted: `characters` that were spoken, `seconds` of sound that were
    listened to, `images` that were drawn. `audio_input` of `input` and `audio_output` of `output` are sound.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: bool = False
    cache_written: int = 0
    reasoning: int = 0
    characters: int = 0
    seconds: float = 0.0
    images: int = 0
    audio_input: int = 0
    audio_output: int = 0


#: Characters of text that are taken for one token where nobody counted.
CHARACTERS_PER_TOKEN = 4


def estimated_tokens(characters: int) -> int:
    """About how many tokens a text of so many characters has."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def message_text(message: dict[str, Any]) -> str:
    """The text of a message in OpenAI's chat shape; its other parts (images, say) are left out."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (p.get("text") for p in content if isinstance(p, dict) and p.get("type") == "text")
        return "".join(t for t in parts if isinstance(t, str))
    return ""


class Native(Struct):
    """A request as its client wrote it, for a provider that speaks the same dialect: `members` are those of its body but
    for model, stream and messages; `messages` is None once somebody changed them. `headers` are lines that belong to
    the dialect (its version, say) and go along. `lost` names what its translation to OpenAI's shape lacks, `lost_said`
    that part of it which stood in the messages. `bound` names the member that only a provider which speaks this
    dialect can take (what is kept there, say); "": none."""

    dialect: str
    members: dict[str, Raw]
    messages: Raw | None
    headers: Lines = b""
    lost: list[str] = []
    lost_said: list[str] = []
    bound: str = ""


class Op(Struct):
    """What is asked, whatever it is.

    `model` is "" where the client named none. `stream` is whether the answer is wanted as it comes; `include_usage`
    whether usage is wanted in a stream; `dropped` names what was asked for and not taken over; `choices` is how many
    answers are wanted.
    """

    operation: ClassVar[Operation]

    model: str
    stream: bool = False
    include_usage: bool = False
    dropped: list[str] = []
    choices: int = 1

    def drop(self, name: str) -> None:
        """Note that `name` was not taken over; told in ``x-switchboard-dropped``."""
        if name not in self.dropped:
            self.dropped.append(name)

    def asked(self) -> Usage:
        """What the request alone says of its use: estimated input tokens, characters to be spoken."""
        return Usage(estimated=True)


class Generate(Op, kw_only=True):
    """The operation *generate*: a conversation in; text, reasoning and tool calls out.

    `messages` are in the shape of OpenAI's chat, which every dialect can be brought to, members that nobody here knows
    included; `raw_messages` are the same in bytes as long as nobody changed one of them, so that they go on untouched.
    `params` are the other members of an OpenAI chat request: Python values, or `Raw` where they came in that shape.
    `prompt` is the server's own, to be put before everything. `native` is the request in another dialect's shape, where
    it came in one; `edits` are the params that the server set since (None: taken out).

    `conversation` names one that the server holds ("": a new one; None: none), `user` for whom it is held where the caller
    acts for others; `whole` is whether the client always sends all of it.
    `besides` are about how many tokens it asks with that stand in no message.

    Members of messages that are not OpenAI's: an assistant's ``thinking_blocks``, whose items are Anthropic's
    ``thinking`` and ``redacted_thinking`` blocks, signatures included.
    """

    operation = Operation.GENERATE

    messages: list[dict[str, Any]]
    params: dict[str, Any]
    raw_messages: Raw | None = None
    prompt: str = ""
    native: Native | None = None
    edits: dict[str, Any] = {}
    conversation: str | None = None
    user: str = ""
    whole: bool = False
    besides: int = 0

    def asked(self) -> Usage:
        size = len(self.prompt) + sum([len(message_text(m)) for m in self.messages])
        return Usage(estimated_tokens(size) + self.besides, estimated=True)

    def replace_messages(self, messages: list[dict[str, Any]]) -> None:
        """Put `messages` in place of those that came."""
        self.messages = messages
        self.raw_messages = None
        if self.native is not None:
            self.native.messages = None

    def set_param(self, name: str, value: Any) -> None:
        """Put `value` in the place of the param `name`; None takes it out."""
        if value is None:
            self.params.pop(name, None)
        else:
            self.params[name] = value
        self.edits[name] = value

    def asks_for(self, name: str) -> bool:
        """Whether the request has a member `name` that says something, in whichever shape it came."""
        native = self.native.members.get(name) if self.native is not None else None
        return self.params.get(name) is not None or (native is not None and bytes(native) != b"null")

    def native_to(self, dialect: str) -> Native | None:
        """The request in the shape of `dialect`, if it came in that."""
        return self.native if self.native is not None and self.native.dialect == dialect else None


class Embed(Op, kw_only=True):
    """The operation *embed*: texts in, a vector for each out.

    `members` are those of an OpenAI embeddings request but for the model, as they came. `texts` is the input as a list:
    of texts, or of lists of token ids. `base64` is whether vectors are wanted in base64 (of little-endian 32-bit floats)
    rather than as numbers; `dimensions` how long, None: as the model has them.
    """

    operation = Operation.EMBED

    members: dict[str, Raw]
    texts: list[str] | list[list[int]]
    base64: bool = False
    dimensions: int | None = None

    def asked(self) -> Usage:
        return Usage(
            sum([estimated_tokens(len(t)) if isinstance(t, str) else len(t) for t in self.texts]), estimated=True
        )


class Draw(Op, kw_only=True):
    """The operation *draw*: a prompt in, images out.

    `members` are those of an OpenAI images request but for the model. `size` is "" where none is named. `form` holds the
    images to be edited, its fields in place of `members`, and is None where one is drawn from nothing. `addresses`: each
    image is wanted with an address (one that holds the data itself, where the provider gives none).
    """

    operation = Operation.DRAW

    members: dict[str, Raw]
    prompt: str
    size: str = ""
    form: Form | None = None
    addresses: bool = False

    def asked(self) -> Usage:
        return Usage(estimated_tokens(len(self.prompt)), estimated=True)


class Speak(Op, kw_only=True):
    """The operation *speak*: a text in, sound out.

    `members` are those of an OpenAI speech request but for the model, as they came. `voice` is "" where none is named;
    `format` is one of mp3, opus, aac, flac, wav, pcm; `speed` is a factor. `events`: the sound is wanted in events
    (``stream_format: sse``).
    """

    operation = Operation.SPEAK

    members: dict[str, Raw]
    text: str
    voice: str = ""
    format: str = "mp3"
    speed: float = 1.0
    events: bool = False

    def asked(self) -> Usage:
        return Usage(estimated_tokens(len(self.text)), estimated=True, characters=len(self.text))


class Transcribe(Op, kw_only=True):
    """The operation *transcribe*: sound in, text out.

    `form` holds the sound and the fields that came with it; `file` is the sound. `format` is one of json, text, srt,
    verbose_json, vtt, diarized_json. `language` is a code of ISO 639-1, "" where none is named.
    """

    operation = Operation.TRANSCRIBE

    form: Form
    file: FilePart
    format: str = "json"
    language: str = ""
    words: bool = False  # timestamps of words are wanted


class Converse(Op, kw_only=True):
    """The operation *converse*: sound and events in, sound and events out, for as long as both sides like."""

    operation = Operation.CONVERSE
