"""The ports of WebSockets: what is said over one, who listens, and how one comes about, on either side.

As in `core.ports`, everything is synchronous and returns at once; messages are pushed, and who cannot take more calls
`pause` on the one that pushes. Messages are whole: nobody behind these ports sees frames.
"""

from __future__ import annotations

from typing import Protocol

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Flow
from switchboard.core.types import Headers, Lines, Outcome

#: Close codes of RFC 6455 (7.4) and the registry that it began.
NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_CODE = 1005  # told where a close frame named none; never sent
VANISHED = 1006  # told where there was no close frame; never sent
BAD_TEXT = 1007
POLICY = 1008
TOO_BIG = 1009
INTERNAL = 1011
RESTARTING = 1012
TRY_LATER = 1013
BAD_GATEWAY = 1014


class Socket(Flow, Protocol):
    """One open WebSocket. Whatever is asked of one that is closed or closing does nothing."""

    @property
    def waiting(self) -> int:
        """Bytes that were sent and that the network has not taken yet."""

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on in the handshake."""

    def send_text(self, data: bytes) -> None:
        """Send a text message; `data` is UTF-8, which is not looked at again."""

    def send_binary(self, data: bytes) -> None:
        """Send a binary message."""

    def ping(self) -> None:
        """Ask for a pong, which `SocketSink.on_pong` tells. One that does not come in time closes the socket with 1011."""

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Begin to close: nothing is sent or delivered any more but `SocketSink.on_close`, when the other side has
        answered or its time is up. A `reason` of more than 123 bytes is cut. 1005 goes out as a close without a code;
        other codes that may not be sent (1006, 1015, …) go out as 1011."""

    # `abort` (of `Flow`) breaks the connection off, and the sink hears nothing more, not even `on_close`.


class SocketSink(Protocol):
    """Takes what comes over a WebSocket. After `on_close` nothing follows."""

    def on_open(self, socket: Socket) -> None:
        """The handshake is done; comes first, once."""

    def on_text(self, data: bytes) -> None:
        """A whole text message, in UTF-8 that was checked."""

    def on_binary(self, data: bytes) -> None:
        """A whole binary message."""

    def on_pong(self) -> None:
        """The other side answered the last ping."""

    def on_close(self, code: int, reason: str, clean: bool) -> None:
        """The socket is over; exactly once, unless it was aborted. `clean`: both sides said so, and `code` and `reason` are
        the other side's (1005 where it named none). Else it broke (1006), or it was closed from here for what the other
        side did, with `code`."""

    def on_full(self) -> None:
        """More is waiting to be sent than should be: send no more for now."""

    def on_drain(self) -> None:
        """What was waiting has gone out, but for little."""


class ClientSink(SocketSink, Protocol):
    """A sink of a WebSocket that is opened from here: may hear `on_error` in place of `on_open`."""

    def on_error(self, error: UpstreamError) -> None:
        """There will be no socket; nothing follows. `SocketRefused` where the server said no."""


class Handshake(Protocol):
    """A client asks for a WebSocket. It waits until one of these is called; both are deaf once it has left."""

    @property
    def offered(self) -> tuple[str, ...]:
        """The subprotocols that the client speaks, those it likes best first."""

    def accept(self, sink: SocketSink, subprotocol: str | None = None, headers: Lines = b"") -> Socket | None:
        """Open it; `headers` are further lines of the answer. `sink` hears `on_open` before this returns, and messages only
        afterwards. None where the client has left. Raises `ValueError` for a subprotocol that was not offered."""

    def refuse(self, status: int, headers: Lines, body: bytes) -> None:
        """Answer with HTTP instead; the connection stays open for further requests if the client wants that."""


class SocketIntake(Protocol):
    """Who decides about one `Handshake`, and may take its time."""

    def start(self) -> None:
        """The handshake is a valid one: go on. May accept or refuse at once."""

    def client_left(self, why: Outcome) -> None:
        """The client has left, or (`Outcome.TIMEOUT`) was sent away since this took too long; nothing follows."""


class SocketRefused(UpstreamError):  # noqa: N818  what it is called where it is told
    """A server answered a handshake with HTTP: its `status`, `headers`, and the first 64 KiB of its `body`.

    None of it is safe to show. Neither headers nor body appear in its text.
    """

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        retry_after = headers.get(b"retry-after")
        super().__init__(
            Fault.STATUS,
            "the server did not open a WebSocket",
            status=status,
            retry_after=retry_after.decode("latin-1") if retry_after is not None else None,
        )
        self.headers = headers
        self.body = body
