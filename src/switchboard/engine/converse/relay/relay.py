"""The handshake of a relay, what comes from either side, and the time."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from msgspec.structs import replace

from switchboard.core.clock import now
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.masking import mask_all
from switchboard.core.sockets import (
    BAD_GATEWAY,
    GOING_AWAY,
    NO_CODE,
    NORMAL,
    POLICY,
    RESTARTING,
    TRY_LATER,
    VANISHED,
    Socket,
)
from switchboard.core.types import Caller, Outcome
from switchboard.dialects.realtime import Shape
from switchboard.engine.converse import rate
from switchboard.engine.converse.entrance import Admitted
from switchboard.engine.converse.line import Closed, Line
from switchboard.engine.converse.outbox import Outbox
from switchboard.engine.converse.relay.state import RelayState
from switchboard.engine.converse.talk import RATE, Talk
from switchboard.engine.problems import problem_for
from switchboard.engine.voice import EndReason, Ticket

_log: Final = logging.getLogger("switchboard.relay")


class Relay(RelayState):
    """One conversation: the `core.sockets.SocketIntake` of a client's handshake, the sink of its socket, and the ends of what is said. `tell` gives a
    refusal in the words of its surface."""

    # ---- the handshake

    def start(self) -> None:
        """See `SocketIntake`."""
        self._kit.registry.open.add(self)
        try:
            asked = self._asked
            self._entrance.identify(asked.head, self._envelope, asked.ticket, self._identified)
        except Exception as e:
            self._failed(e)

    def _identified(self, caller: Caller, ticket: Ticket | None) -> None:
        if ticket is not None and ticket.session is not None and self._kit.voice is not None:
            self._session = self._session.written_down()
            self._ends_at = min(self._ends_at, now() + ticket.session.expires / 1000 - time.time())
            self._carried = ticket.session.id
            self._kit.voice.carry(ticket, self)
        asked, peer = self._asked, self._envelope.peer
        if asked.documents:
            self._session = self._session.held_alone()
        if caller.models is not None:
            self._session = replace(self._session, bound=True)

        def place(_: object) -> None:
            self._entrance.place(caller, peer, asked.model, ticket, documents=asked.documents)

        if asked.rate == RATE:
            place(None)
        else:  # what resamples takes its time when it is imported
            self._waiting.when(asyncio.to_thread(rate.load), place)

    def _admitted(self, admitted: Admitted) -> None:
        self._admission = admitted
        session = self._session
        asked = self._asked
        provider = Shape.BETA if admitted.call.shape == "beta" else Shape.GA
        self._talk = Talk(
            session,
            asked.shape,
            provider,
            self,
            self._hub.stats,
            binary=asked.binary,
            rate=asked.rate,
            secrets=admitted.target.provider.secrets,
        )
        self._line = Line(lambda sink: self._hub.connect(admitted.call, sink), self, mended=session.renew is not None)
        self._line.open()

    def client_left(self, why: Outcome) -> None:
        """See `SocketIntake`."""
        self._handshake = None
        self._over(why)

    def line_open(self, *, again: bool) -> list[bytes]:
        """The provider is there: let the client in, and tell the provider what the session is."""
        talk, admission = self._talk, self._admission
        assert talk is not None and admission is not None
        if again:
            return talk.begin(again=True)
        handshake, self._handshake = self._handshake, None
        if handshake is None:
            return []
        self._status = 101
        self._bill.let_in()
        self._client = handshake.accept(self, self._asked.subprotocol, self._envelope.headers)
        if self._client is None:
            self._over(Outcome.CLIENT_LEFT)
            return []
        self._outbox = Outbox(self._client)
        self._hub.stats.open += 1
        frames = talk.begin(again=False)
        if admission.ticket is not None and admission.ticket.fields:
            frames += talk.configured(admission.ticket.fields)
        return frames

    @property
    def quiet(self) -> bool:
        """See `Listener`."""
        return self._talk is None or self._talk.quiet

    # ---- from the client

    def on_open(self, socket: Socket) -> None:
        """See `SocketSink`."""
        self._client = socket

    def on_text(self, data: bytes) -> None:
        """See `SocketSink`."""
        self._heard(data)
        if self._talk is not None:
            self._talk.from_client(data)

    def on_binary(self, data: bytes) -> None:
        """See `SocketSink`: sound, 16 bits, mono."""
        self._heard(data)
        if self._talk is not None:
            self._talk.sound_from_client(data)

    def _heard(self, data: bytes) -> None:
        self._last = now()
        stats = self._hub.stats
        stats.frames_in += 1
        stats.bytes_in += len(data)

    def on_pong(self) -> None:
        """It lives."""

    def on_full(self) -> None:
        """The client reads too slowly."""
        if self._outbox is not None:
            self._outbox.on_full()

    def on_drain(self) -> None:
        """It has caught up."""
        if self._outbox is not None:
            self._outbox.on_drain()
            if not self._outbox.over and self._line is not None:
                self._line.resume()
                self._let_speak()

    def on_close(self, code: int, reason: str, clean: bool) -> None:
        """See `SocketSink`: the provider's socket is closed with what the client said."""
        self._client = None
        if self._line is not None:
            self._line.close(_passed(code), reason)
        self._over(Outcome.COMPLETE if clean else Outcome.CLIENT_LEFT)

    # ---- to both

    def to_provider(self, frame: bytes, *, sound: bool = False) -> None:
        """See `Ends`."""
        if self._line is not None:
            self._line.send(frame, sound=sound)

    # ---- from the provider

    def line_text(self, data: bytes) -> None:
        """An event of the provider."""
        self._last = now()
        if self._talk is not None:
            self._talk.from_provider(data)

    def line_dropped(self) -> None:
        """The provider's session broke off, and a new one is being opened."""
        if self._talk is not None:
            self._talk.dropped()

    def line_closed(self, closed: Closed) -> None:
        """The provider closed: the client's socket is closed with what it said."""
        assert self._admission is not None
        provider, told = self._admission.target.provider, f"closed with {closed.code} {closed.reason!r}"
        if closed.broken:  # its code would blame the client
            problem = problem_for(UpstreamError(Fault.PROTOCOL, told), provider)
            self._ended(problem, BAD_GATEWAY, Outcome.UPSTREAM_CUT)
            return
        over = closed.code in (NORMAL, GOING_AWAY, NO_CODE)
        if not over:
            self._problem = problem_for(UpstreamError(Fault.CUT, told), provider)
        self._close(_passed(closed.code), mask_all(closed.reason, provider.secrets))
        self._over(Outcome.COMPLETE if over else Outcome.UPSTREAM_CUT)

    def line_refused(self, error: UpstreamError) -> bool:
        """See `Listener`: another of the provider's keys may be good."""
        admission = self._admission
        if admission is None or error.fault is not Fault.STATUS or error.status != 401:
            return False
        target = admission.target
        found = target.provider.another_key(admission.call, self._keys)
        call = target.provider.socket(target.model) if found else None
        if call is None:
            return False
        self._keys += 1
        admission.call = call
        return True

    def line_failed(self, error: UpstreamError) -> None:
        """There is no provider."""
        admission = self._admission
        assert admission is not None
        target = admission.target
        self._kit.targets.failed(target, error, now())
        if error.fault is Fault.STATUS and error.status in (401, 403):
            _log.error("%s refuses this server's key: %s", target.provider.name, error)
        self._failed(problem_for(error, target.provider), Outcome.UPSTREAM_ERROR)

    def line_full(self) -> None:
        """The provider reads too slowly: the client has to wait."""
        self._line_full = True
        if self._client is not None:
            self._client.pause()

    def line_drain(self) -> None:
        """It has caught up."""
        self._line_full = False
        self._let_speak()

    def tick(self, at: float) -> None:
        """Hold the deadlines; `at` is on the monotonic clock."""
        line, talk = self._line, self._talk
        if self._client is None or line is None or talk is None:
            return
        session = self._session
        if at > self._ends_at:
            if self._carried:
                self.session_over(EndReason.EXPIRED)
            else:
                self._ended(Problem("REQUEST_TIMEOUT", "The conversation took too long."), POLICY, Outcome.TIMEOUT)
            return
        if at - self._last > session.idle:
            self._ended(Problem("REQUEST_TIMEOUT", "Nothing was said for too long."), NORMAL, Outcome.TIMEOUT)
            return
        line.tick(at)
        talk.tick(at)
        if session.renew is not None and at - line.since > session.renew and line.since and talk.quiet:
            line.renew()
        beat = self._asked.heartbeat or session.heartbeat
        if beat is not None and at - self._told >= beat:
            self._told = at
            talk.heartbeat()


def _passed(code: int) -> int:
    """What one side is closed with where the other was closed with `code`."""
    if code == VANISHED:
        return BAD_GATEWAY
    return TRY_LATER if code == RESTARTING else code
