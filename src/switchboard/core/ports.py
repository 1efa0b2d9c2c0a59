"""The ports between the layers: what one part may ask of another, and nothing of how it is done.

Everything here is synchronous and returns at once. Bytes are pushed: from a client's connection into an `Exchange`,
from an upstream connection into an `UpstreamSink`, from there through a `Pipe` into a `Downstream`. Whoever cannot
take more calls `pause` on the one that pushes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Protocol, TypeVar

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Problem, UpstreamError
from switchboard.core.events import Event
from switchboard.core.types import (
    Call,
    Form,
    Headers,
    Lines,
    Op,
    Operation,
    Outcome,
    RequestHead,
    SocketCall,
    Timeouts,
    Upload,
    Usage,
)

OpT = TypeVar("OpT", bound=Op, contravariant=True)


class Flow(Protocol):
    """Something that pushes bytes and can be asked to hold on, go on, or stop for good."""

    def pause(self) -> None:
        """Push no more until `resume`."""

    def resume(self) -> None:
        """Push again."""

    def abort(self) -> None:
        """Stop at once and for good; may be called in any state and more than once."""


class UpstreamSink(Protocol):
    """Takes what comes back from a call. After `on_end` or `on_error` nothing follows."""

    def on_head(self, status: int, headers: Headers) -> None:
        """The answer's status and headers."""

    def on_data(self, data: bytes) -> None:
        """Some bytes of its body, decompressed."""

    def on_end(self) -> None:
        """The body is whole, as HTTP sees it."""

    def on_error(self, error: UpstreamError) -> None:
        """The call failed: before the head, or in the middle of the body."""


class Transport(Protocol):
    """Sends calls: the pool in `net.http`, or a provider that needs no network."""

    def send(self, call: Call, sink: UpstreamSink) -> Flow:
        """Begin `call`. The sink is never called before this returns."""


class Downstream(Protocol):
    """Where an answer goes: a client's connection, in either shell."""

    def head(self, status: int, headers: Lines) -> None:
        """Status and headers of an answer whose length is not known yet."""

    def whole(self, status: int, headers: Lines, body: bytes) -> None:
        """All of an answer at once, in place of `head` and `end`."""

    def write(self, data: bytes) -> None:
        """Some of the body. Pushes back through the Exchange's `pause`."""

    def end(self, data: bytes = b"") -> None:
        """The body is whole with `data`."""

    def fail(self, last: bytes) -> None:
        """Send `last` and close without the end that a whole answer has, so that a client sees the cut."""

    def continue_(self) -> None:
        """The body is wanted: tell a client that waits for ``100 Continue``."""


class Whole(Protocol):
    """An answer that came whole, whatever it is of (`core.events.Answer`, say)."""

    usage: Usage | None

    def size(self) -> int:
        """Characters of text in it."""

    def events(self) -> list[Event]:
        """The same as a stream would have said it."""


class Encoder(Protocol):
    """An answer in the dialect of the client."""

    content_type: bytes  # of a streamed answer
    whole_type: bytes  # of one that is not streamed
    headers: Lines  # further headers of a streamed answer
    keepalive: bytes  # may stand between two events; b"" where the dialect has no such thing

    def encode(self, events: Sequence[Event]) -> bytes:
        """Bytes for `events`; ends the stream cleanly on `Done`."""

    def whole(self, answer: Any) -> bytes:
        """A body that is not streamed, of the `Whole` that belongs to the operation."""

    def error(self, problem: Problem) -> bytes:
        """The last bytes of a stream that failed."""


class Decoder(Protocol):
    """A provider's stream in, events out."""

    def feed(self, data: bytes) -> list[Event]:
        """Events that are whole with `data`, in order."""

    def eof(self) -> list[Event]:
        """The stream ended: `Done` if it was complete all the same, else `Failed` with `Fault.CUT`."""


class Phase(IntEnum):
    """How far an answer has come. Nothing is sent to a client before CONTENT."""

    PREAMBLE = 0
    CONTENT = 1
    DONE = 2
    FAILED = 3


class Meter(Protocol):
    """Counts one request, and settles it exactly once."""

    def saw(self, events: int, size: int) -> bool:
        """`events` with `size` characters of content went by. False: the budget is gone."""

    def usage(self, usage: Usage) -> None:
        """What the provider counted, replacing what was counted before."""

    def settle(self, why: Outcome) -> Usage:
        """The end; what was used in all, estimated where nobody counted."""


class Pipe(Protocol):
    """What one upstream stream becomes on its way to the client."""

    phase: Phase
    error: UpstreamError | None  # why the phase is FAILED

    def feed(self, data: bytes) -> bytes:
        """Bytes for the client that `data` completes."""

    def eof(self) -> bytes:
        """The upstream's body ended; `phase` then is DONE or FAILED."""


class Context:
    """What a dialect may know of the exchange that it works for.

    `id` and `created` (seconds since the epoch) name the answer; `model` is what the client is told answered;
    `include_usage` is whether the client asked for usage in its stream; `choices` is how many answers
    it asked for; `max_event` is in bytes; `kind` is the content type of the provider's answer, b"" until it is known.
    """

    __slots__ = ("choices", "created", "id", "include_usage", "kind", "max_event", "model")

    def __init__(
        self,
        id: str,  # noqa: A002  the field's name on the wire
        model: str,
        created: int,
        *,
        include_usage: bool = False,
        choices: int = 1,
        max_event: int = 16 * 1024 * 1024,
    ) -> None:
        self.id = id
        self.model = model
        self.created = created
        self.include_usage = include_usage
        self.choices = choices
        self.max_event = max_event
        self.kind = b""


class ClientDialect(Protocol):
    """The server's half of a wire: how a request is read and an answer is written."""

    name: str

    def encoder(self, context: Context) -> Encoder:
        """What writes one answer."""


class ProviderDialect(Protocol[OpT]):
    """The client's half of a wire: how a provider is asked and its answer is read."""

    name: str

    def build(self, op: OpT, model: str, capabilities: Capabilities) -> bytes | Upload:
        """The body of a call for `op` to `model`; notes in `op.dropped` what this wire cannot carry, and leaves `op` as it is
        otherwise, for it may be asked of another target yet. Raises `Problem` for what the provider takes in no way."""

    def headers(self, op: OpT) -> Lines:
        """Header lines of the call that belong to this wire, over those that the provider always sends."""

    def decoder(self, context: Context) -> Decoder:
        """What reads one streamed answer."""

    def answer(self, body: bytes) -> Whole:
        """Read a whole answer. Raises `UpstreamError` when it is not one."""

    def passed(self, op: OpT, body: bytes, meter: Meter) -> bytes:
        """Look into a whole answer that passes to a client of this very dialect; gives it, or what has to go in its place.
        Raises `UpstreamError` when it is not one."""

    def tap(self, context: Context, meter: Meter) -> Pipe:
        """A pipe that leaves the stream as it is, for a client that speaks this very dialect."""

    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """Read an answer with an error status."""


class ForClients(Protocol):
    """How clients converse with a provider by themselves, as OpenAI has it. Bodies and sessions are JSON in its shape."""

    def client_secret(self, body: bytes) -> Call:
        """The call that asks for a secret with which a client converses."""

    def offer(self, sdp: str, session: bytes) -> Call:
        """The call that passes a client's offer of a call over WebRTC on."""

    def joined(self, call_id: str) -> SocketCall:
        """The WebSocket on which the server hears along, and speaks, in a call that an `offer` began."""

    def hang_up(self, call_id: str) -> Call:
        """The call that ends it."""


class Provider(Protocol):
    """Who does the work: a declaration of where it is, how it is asked and what it can do."""

    name: str
    title: str  # what people call it, for messages
    capabilities: Capabilities
    transport: Transport
    timeouts: Timeouts
    models: tuple[str, ...]  # from the settings; empty: not listed
    secrets: tuple[str, ...]  # never shown, whatever a provider echoes

    @property
    def configured(self) -> bool:
        """Whether it has what it needs (a key, say) to be asked."""

    def serves(self, operation: Operation, model: str) -> bool:
        """Whether `model` may be asked for `operation`, as far as is known here."""

    def default_model(self, operation: Operation) -> str:
        """What answers `operation` where nobody names a model; "" where nothing is known."""

    def dialect(self, operation: Operation, prefer: str) -> ProviderDialect[Any]:
        """The wire to ask it on; the client's own (`prefer`) where the provider speaks it."""

    def call(self, wire: str, model: str, body: bytes | Upload, lines: Lines) -> Call:
        """The HTTP call that carries `body`, in the dialect `wire`, for `model`; `lines` are header lines to send along."""

    def another_key(self, call: Call | SocketCall, tried: int) -> bool:
        """The key of `call` was refused: have the next one used. False where `tried` keys are all there are."""

    def socket(self, model: str) -> SocketCall | None:
        """The WebSocket on which `model` converses; None where it does not."""

    def for_clients(self, model: str) -> ForClients | None:
        """How clients converse with `model` without this server between; None where they do not."""

    def list_models(self) -> Call | None:
        """The call that asks which models there are; None where there is nothing to ask."""

    def probe(self) -> Call | None:
        """A call without cost that shows whether it can be reached and takes its key; None where there is none."""


class Surface(Protocol):
    """What is asked and answered on a family of paths."""

    name: str
    documents: bool  # the rules of the documents' paths hold, not those of /v1
    failure: str  # the code of an error that has no better name
    files: bool  # it takes files: a form, or where `bare` a body that is one
    bare: bool

    def read(self, head: RequestHead, body: bytes | Form) -> tuple[ClientDialect, Op]:
        """Read a request's body, which is a `Form` where the surface takes files. Raises `Problem`."""

    def problem(self, problem: Problem, request_id: str, dialect: ClientDialect | None) -> tuple[int, Lines, bytes]:
        """An error in this surface's own shape: status, header lines, body. `dialect` is None where it is not known yet."""
