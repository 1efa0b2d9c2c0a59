"""What a relay knows of itself, what it tells its client, and how it ends."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.sockets import (
    INTERNAL,
    NORMAL,
    POLICY,
    RESTARTING,
    Handshake,
    Socket,
)
from switchboard.core.types import Envelope, Lines, Outcome, RequestHead, Usage
from switchboard.dialects.realtime import Shape
from switchboard.engine.converse.bill import Bill
from switchboard.engine.converse.entrance import Admitted, Entrance
from switchboard.engine.converse.held import HeldSession
from switchboard.engine.converse.hub import Hub
from switchboard.engine.converse.line import Line
from switchboard.engine.converse.outbox import Outbox
from switchboard.engine.converse.talk import RATE, Talk, error_event
from switchboard.engine.exchange import Kit
from switchboard.engine.voice import EndReason
from switchboard.engine.waiting import Waiting

_log: Final = logging.getLogger("switchboard.relay")
#: What a client is told whose voice session is over.
_OVER: Final = {
    EndReason.ENDED: "The session has ended.",
    EndReason.DELETED: "The session has ended.",
    EndReason.EXPIRED: "The session has expired.",
    EndReason.LOST: "The session has ended.",
    EndReason.REPLACED: "The session goes on in another connection.",
}


class Asked(Struct, frozen=True):
    """What a request for a WebSocket asks for: its `model` ("": the profile's), the `shape` that the client is taken to speak,
    whether it wants sound as `binary` messages, the `rate` of its sound (Hz), the `subprotocol` that is agreed on, the `head` by which it is known, its token put where
    others have theirs, and the `ticket` of this server that it came with ("": none). `heartbeat` is every how many seconds it wants to be told that the server lives; `documents`: it came by a path
    of the documents, and not of ``/v1``."""

    head: RequestHead
    model: str
    shape: Shape
    binary: bool = False
    rate: int = RATE
    subprotocol: str | None = None
    ticket: str = ""
    heartbeat: float | None = None
    documents: bool = True


Tell = Callable[[Problem], tuple[int, Lines, bytes]]


class RelayState(ABC):
    """The part of a `Relay` that talks to the client, and ends."""

    def __init__(
        self,
        kit: Kit,
        hub: Hub,
        session: HeldSession,
        asked: Asked,
        envelope: Envelope,
        handshake: Handshake,
        tell: Tell,
    ) -> None:
        self._kit = kit
        self._hub = hub
        self._session = session
        self._asked = asked
        self._envelope = envelope
        self._handshake: Handshake | None = handshake
        self._tell = tell
        self._entrance = Entrance(kit, self._admitted, self._failed, self._over_budget)
        self._waiting = Waiting(self._failed)
        self._bill = Bill(kit, self._entrance, envelope, "GET", asked.head.path)
        self._last = self._told = now()
        self._ends_at = self._last + session.longest
        self._admission: Admitted | None = None
        self._line: Line | None = None
        self._talk: Talk | None = None
        self._client: Socket | None = None
        self._outbox: Outbox | None = None
        self._carried = ""  # the voice session
        self._why_over = EndReason.ENDED
        self._problem: Problem | None = None
        self._settled = self._line_full = False
        self._status = 0
        self._keys = 1  # of the provider that were tried

    @abstractmethod
    def _admitted(self, admitted: Admitted) -> None:
        """They may talk: reach the provider."""

    # ---- to the client

    def to_client(self, frame: bytes) -> None:
        """See `Ends`."""
        outbox = self._outbox
        if outbox is not None:
            self._sent(frame)
            outbox.event(frame)
            if outbox.over and self._line is not None and self._client is not None:
                self._line.pause()
                self._client.pause()  # it may be what it says itself that is answered

    def sound_to_client(self, frame: bytes, *, binary: bool) -> None:
        """See `Ends`."""
        if self._outbox is not None:
            self._sent(frame)
            self._outbox.sound(frame, binary=binary)

    def _sent(self, frame: bytes) -> None:
        stats = self._hub.stats
        stats.frames_out += 1
        stats.bytes_out += len(frame)

    def sound_is_stale(self) -> None:
        """See `Ends`."""
        if self._outbox is not None:
            self._outbox.stale()

    def _let_speak(self) -> None:
        """Listen to the client, unless there is a reason not to."""
        if self._client is not None and not self._line_full and not (self._outbox is not None and self._outbox.over):
            self._client.resume()

    # ---- what is carried

    def script(self) -> list[dict[str, Any]] | None:
        """See `Carried`."""
        return None if self._talk is None else self._talk.news()

    def session_over(self, reason: EndReason) -> None:
        """See `Carried`."""
        self._why_over = reason
        expired = reason is EndReason.EXPIRED
        problem = Problem("REQUEST_TIMEOUT" if expired else "FORBIDDEN", _OVER[reason])
        if self._client is None:
            self._failed(problem)
        elif expired:
            self._ended(problem, NORMAL, Outcome.TIMEOUT)
        else:
            self._close(NORMAL, problem.message)
            self._over(Outcome.COMPLETE)

    # ---- what is used

    def answered(self, usage: Usage, began: float, model: str = "") -> None:
        """A response is over: a line of the log and of the bill of its own, for a conversation may last."""
        self._bill.response(usage, began, model)
        if self._admission is not None:
            self._admission.meter.used(usage)

    def _over_budget(self, problem: Problem) -> None:
        self._ended(problem, POLICY, Outcome.BUDGET_EXHAUSTED)

    # ---- the end

    def broken(self, problem: Problem) -> None:
        """See `Ends`."""
        self._ended(problem, INTERNAL)

    def _failed(self, error: Exception, why: Outcome = Outcome.REFUSED) -> None:
        """Nothing comes of the handshake."""
        if isinstance(error, Problem):
            problem = error
        else:
            _log.error("a conversation could not begin", exc_info=error)
            problem, why = Problem("INTERNAL_ERROR", detail=repr(error)), Outcome.INTERNAL_ERROR
        self._problem = problem
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            status, headers, body = self._tell(problem)
            self._status = status
            handshake.refuse(status, headers + self._envelope.headers, body)
        self._over(why)

    def _ended(self, problem: Problem, code: int, why: Outcome = Outcome.UPSTREAM_ERROR) -> None:
        """End an open conversation with an error that the client is told."""
        self._problem = problem
        self.to_client(error_event(problem.message, problem.code.lower()))
        self._close(code, problem.message)
        self._over(why)

    def _close(self, code: int, reason: str) -> None:
        if self._client is not None:
            if self._outbox is not None:
                self._outbox.last()
            self._client.close(code, reason)
            self._client = None

    def _over(self, why: Outcome) -> None:
        self._kit.registry.open.discard(self)
        if self._line is not None:
            self._line.close()
        if not self._settled:
            self._settled = True
            self._settle(why)

    def _settle(self, why: Outcome) -> None:
        self._waiting.cancel()
        self._entrance.leave()
        admission, talk = self._admission, self._talk
        if admission is not None:
            admission.meter.close()
        if talk is not None:
            talk.close()
        if self._status == 101:
            stats = self._hub.stats
            stats.open -= self._outbox is not None
            stats.seconds += now() - self._bill.began
            stats.dropped += (0 if self._outbox is None else self._outbox.dropped) + (
                0 if self._line is None else self._line.dropped
            )
        if admission is not None and self._status == 101:
            self._kit.targets.answered(admission.target)
        if self._carried and self._kit.voice is not None:
            self._kit.voice.release(self._carried, self, self._why_over)
        self._bill.whole(self._status, why, self._problem)

    def stop(self) -> None:
        """The server stops."""
        if self._client is not None:
            self._close(RESTARTING, "The server is restarting.")
            self._over(Outcome.SERVER_STOPPING)
        else:
            self._failed(Problem("SERVER_RESTARTING"), Outcome.SERVER_STOPPING)
