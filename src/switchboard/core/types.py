"""The nouns of the house: what a request, an operation, a target and a call are."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Raw, Struct

from switchboard.core.errors import Problem

#: Header names in lower case; repeated headers are joined with ", " ("; " for cookies).
Headers = dict[bytes, bytes]
#: Header lines of an answer or a call, as they go over the wire, each ended by CRLF.
Lines = bytes


class RequestHead(Struct, gc=False):
    """A request before its body: what either shell knows when the headers are in.

    `path` is decoded; `query` is raw; `peer` is the address of the other end of the socket; `scheme` is "http" or
    "https" on that socket. What a trusted proxy says about either is decided in `surface.envelope`.
    """

    method: str
    path: str
    query: bytes
    headers: Headers
    peer: str
    scheme: str = "http"


class Operation(StrEnum):
    """What is asked of a provider."""

    GENERATE = "generate"


class Outcome(StrEnum):
    """Why a request ended: one word for the log, the metrics and the bill."""

    COMPLETE = "complete"
    CLIENT_LEFT = "client_left"
    CLIENT_STALLED = "client_stalled"  # did not read for as long as a write may block
    REFUSED = "refused"  # by us, before a provider was asked
    UPSTREAM_ERROR = "upstream_error"  # the provider failed before it sent anything
    UPSTREAM_CUT = "upstream_cut"  # it failed after it had begun
    TIMEOUT = "timeout"  # the whole answer took too long
    SERVER_STOPPING = "server_stopping"
    INTERNAL_ERROR = "internal_error"


class Usage(Struct, gc=False):
    """Tokens as the provider counted them; `estimated` where it did not and we guessed from the text's length.

    Of `input`, `cached` were read from the provider's cache and `cache_written` put into it; of `output`, `reasoning`
    were spent on thinking.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: bool = False
    cache_written: int = 0
    reasoning: int = 0


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
    that part of it which stood in the messages."""

    dialect: str
    members: dict[str, Raw]
    messages: Raw | None
    headers: Lines = b""
    lost: list[str] = []
    lost_said: list[str] = []


class Generate(Struct):
    """The operation *generate*: a conversation in; text, reasoning and tool calls out.

    `messages` are in the shape of OpenAI's chat, which every dialect can be brought to, members that nobody here knows
    included; `raw_messages` are the same in bytes as long as nobody changed one of them, so that they go on untouched.
    `model` is "" where the client named none. `params` are the other members of an OpenAI chat request: Python values,
    or `Raw` where they came in that shape. `include_usage` is whether the client asked for usage in its stream.
    `dropped` names what was asked for and not taken over; `choices` is how many answers are wanted. `prompt` is the
    server's own, to be put before everything. `native` is the request in another dialect's shape, where it came in one;
    `edits` are the params that the server set since (None: taken out).

    Members of messages that are not OpenAI's: an assistant's ``thinking_blocks``, whose items are Anthropic's
    ``thinking`` and ``redacted_thinking`` blocks, signatures included.
    """

    model: str
    messages: list[dict[str, Any]]
    stream: bool
    params: dict[str, Any]
    raw_messages: Raw | None = None
    include_usage: bool = False
    dropped: list[str] = []
    choices: int = 1
    prompt: str = ""
    native: Native | None = None
    edits: dict[str, Any] = {}

    def drop(self, name: str) -> None:
        """Note that `name` was not taken over; told in ``x-switchboard-dropped``."""
        if name not in self.dropped:
            self.dropped.append(name)

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


def header(name: bytes, value: bytes) -> Lines:
    """One header line. Raises `ValueError` for a value that would break out of it."""
    if b"\r" in value or b"\n" in value or b"\0" in value:
        raise ValueError("a header's value has no line ends")
    return b"%b: %b\r\n" % (name, value)


class Caller(Struct, frozen=True, gc=False):
    """Who asks. `id` is what limits and bills go by; `kind` is how they were known: "open" or "access_key"."""

    id: str
    kind: str = "open"


class Timeouts(Struct, frozen=True, gc=False):
    """Seconds a call may take: to connect, to the first event, between bytes, and in all."""

    connect: float = 5.0
    first_event: float = 120.0
    idle: float = 60.0
    total: float = 600.0


class Call(Struct, gc=False):
    """One HTTP call to a provider, ready to be sent.

    `origin` is (scheme, host, port); `target` is path and query; `head` are the header lines that do not change from
    call to call, each ended by CRLF, secrets included, so a call is never logged whole. `key` says which of the
    provider's keys it carries.
    """

    origin: tuple[str, str, int]
    method: bytes
    target: bytes
    head: bytes
    body: bytes = b""
    connect_timeout: float = 5.0
    key: int = 0

    def __repr__(self) -> str:
        scheme, host, port = self.origin
        return f"<Call {self.method.decode()} {scheme}://{host}:{port}{self.target.decode()} {len(self.body)} bytes>"


class SpanIds(Struct, frozen=True, gc=False):
    """Ids of a request that is traced, in hexadecimal: of the trace, of the span above ("": none), of the request's own,
    and of that for the call to a provider."""

    trace: str
    parent: str
    server: str
    client: str


class Envelope(Struct, gc=False):
    """What every request gets, whatever it asks: made from its head by `surface.envelope`, used by both shells.

    `headers` go on the answer, errors included (request id, CORS, …). `peer` is the client's address as far as trusted
    proxies can tell. `trace` is a header line to pass on to the provider, or b"". `problem` is why the request is
    refused before anything else (an unknown host, say). `span` is set where the request is traced.
    """

    request_id: str
    headers: Lines
    peer: str
    trace: Lines = b""
    problem: Problem | None = None
    span: SpanIds | None = None
