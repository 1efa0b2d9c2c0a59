"""The relay: a client's WebSocket and a provider's own Realtime socket, and what stands between them.

The provider's is opened first; then the client is let in, or refused with a status and a reason. What passes is guarded (what a
client may change of the session), translated where the two speak different shapes, and read along for what it uses. Each
side's end closes the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from switchboard.core.clock import now
from switchboard.core.counting import Change, Taken
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.ports import Flow
from switchboard.core.sockets import (
    BAD_GATEWAY,
    GOING_AWAY,
    INTERNAL,
    NO_CODE,
    NORMAL,
    POLICY,
    RESTARTING,
    TRY_LATER,
    VANISHED,
    ClientSink,
    Handshake,
    Socket,
)
from switchboard.core.types import Caller, Converse, Envelope, Lines, Outcome, RequestHead, SocketCall, Usage
from switchboard.dialects.realtime import (
    RealtimeFrameError,
    Shape,
    Translator,
    binary_to_append,
    delta_to_pcm,
    dump_event,
    event_type,
    field_guard,
    guess,
)
from switchboard.engine.converse.held import UPDATE, HeldSession
from switchboard.engine.converse.usage import added, usage_of
from switchboard.engine.exchange import Kit
from switchboard.engine.problems import problem_for
from switchboard.engine.waiting import Waiting
from switchboard.policy.quotas import refusal
from switchboard.policy.routing import Target
from switchboard.telemetry.records import Record

_log: Final = logging.getLogger("switchboard.relay")
#: What a client sends that changes a session, or asks for what it may not.
_GUARDED: Final = frozenset({"session.update", "transcription_session.update", "response.create"})


class Asked(Struct, frozen=True):
    """What a request for a WebSocket asks for: its `model` ("": the profile's), the `shape` that the client is taken to speak,
    whether it wants sound as `binary` messages, the `subprotocol` that is agreed on, and the `head` by which it is known, its token put where
    others have theirs."""

    head: RequestHead
    model: str
    shape: Shape
    binary: bool = False
    subprotocol: str | None = None


class Connect(Protocol):
    """Opens a WebSocket to a provider."""

    def __call__(self, call: SocketCall, sink: ClientSink) -> Flow:
        """The sink hears `on_open` or `on_error`, never before this returns. Raises `ValueError`."""


Tell = Callable[[Problem], tuple[int, Lines, bytes]]


class Relay:
    """One conversation: the `core.sockets.SocketIntake` of a client's handshake, and the sink of its socket. `tell` gives a
    refusal in the words of its surface."""

    def __init__(
        self,
        kit: Kit,
        connect: Connect,
        session: HeldSession,
        asked: Asked,
        envelope: Envelope,
        handshake: Handshake,
        tell: Tell,
    ) -> None:
        self._kit = kit
        self._connect = connect
        self._session = session
        self._asked = asked
        self._envelope = envelope
        self._handshake: Handshake | None = handshake
        self._tell = tell
        self._began = self._last = now()
        self._waiting = Waiting(self._failed)
        self._caller: Caller | None = None
        self._target: Target | None = None
        self._held: list[Change] = []  # what is given back at the end
        self._dialling: Flow | None = None
        self._client: Socket | None = None
        self._upstream: _Upstream | None = None
        self._translator: Translator | None = None
        self._first = True  # nothing has come from the client yet
        self._usage = Usage()
        self._problem: Problem | None = None
        self._settled = False
        self._status = 0
        self._first_byte: float | None = None

    # ---- the handshake

    def start(self) -> None:
        """See `SocketIntake`."""
        self._kit.registry.open.add(self)
        try:
            if self._envelope.problem is not None:
                raise self._envelope.problem
            gate = self._kit.gate
            found = gate.identify(self._asked.head, self._envelope.peer, "realtime")
            self._waiting.when(found, self._identified)
        except Exception as e:
            self._failed(e)

    def _identified(self, caller: Caller) -> None:
        self._caller = caller
        gate = self._kit.gate
        if caller.surfaces is not None and "realtime" not in caller.surfaces:
            raise Problem("FORBIDDEN", "This caller may not use realtime.")
        rules = gate.quotas.rules(caller, self._envelope.peer)
        wanted = (*rules.connects, *rules.sessions)
        taken = gate.counters.take([r.take(1) for r in wanted])

        def held(taken: Taken) -> None:
            if taken.refused < 0:
                self._held = [Change(r.key, r.window, -1, taken.at) for r in rules.sessions]

        def admitted(taken: Taken) -> None:
            held(taken)
            if taken.refused >= 0:
                raise refusal(wanted[taken.refused], taken.resets[taken.refused])
            self._dial(caller)

        if isinstance(taken, Taken):
            admitted(taken)
            return
        # it goes on when nobody waits for it any more: what it takes then has to be given back
        asking = asyncio.ensure_future(taken)

        def late(asking: asyncio.Future[Taken]) -> None:
            if self._settled and not asking.cancelled() and asking.exception() is None:
                held(asking.result())
                gate.counters.give(self._held)

        asking.add_done_callback(late)

        async def later() -> Taken:
            return await asyncio.shield(asking)

        self._waiting.when(later(), admitted)

    def _dial(self, caller: Caller) -> None:
        """There is room: ask the provider."""
        target = self._target = self._kit.gate.plan(Converse(self._asked.model), caller, documents=True)[0]
        provider = target.provider
        if not provider.configured:
            raise Problem("API_KEY_NOT_CONFIGURED", f"{provider.title} API key not configured", headers=b"")
        call = provider.socket(target.model)
        if call is None:
            raise Problem("INVALID_REQUEST", f"{provider.title} does not converse by voice.")
        self._translator = Translator(self._asked.shape, Shape.BETA if call.shape == "beta" else Shape.GA)
        self._upstream = _Upstream(self)
        self._dialling = self._connect(call, self._upstream)

    def client_left(self, why: Outcome) -> None:
        """See `SocketIntake`."""
        self._handshake = None
        self._over(why)

    def upstream_open(self) -> None:
        """The provider is there: let the client in, and tell the provider what the session is."""
        handshake, self._handshake = self._handshake, None
        upstream, translator = self._upstream, self._translator
        if handshake is None or upstream is None or translator is None:
            return
        self._status = 101
        self._first_byte = now()
        self._client = handshake.accept(self, self._asked.subprotocol, self._envelope.headers)
        if self._client is None:
            self._over(Outcome.CLIENT_LEFT)
            return
        update = self._session.update(translator.provider)
        if update is not None:
            upstream.send(update)

    # ---- from the client

    def on_open(self, socket: Socket) -> None:
        """See `SocketSink`."""
        self._client = socket

    def on_text(self, data: bytes) -> None:
        """See `SocketSink`."""
        self._last = now()
        upstream, translator = self._upstream, self._translator
        if upstream is None or translator is None:
            return
        try:
            kind = event_type(data)
            if not kind:
                raise RealtimeFrameError("The event has no type.", "invalid_event")
            if self._first:
                self._first = False
                spoken = guess(data)
                if spoken is not None and spoken is not translator.client:
                    translator.correct(spoken)
            if kind in _GUARDED:
                data, removed = field_guard(data, self._session.allowed)
                for name in removed:
                    _log.debug("a client may not set %s", name)
            for frame in translator.from_client(data, kind):
                upstream.send(frame)
        except RealtimeFrameError as e:
            self._say(_error(str(e), e.code))

    def on_binary(self, data: bytes) -> None:
        """See `SocketSink`: sound, 16 bits at 24 kHz, mono."""
        self._last = now()
        self._first = False
        if self._upstream is not None:
            self._upstream.send(binary_to_append(data))

    def on_pong(self) -> None:
        """It lives."""

    def on_full(self) -> None:
        """The client reads too slowly: the provider has to wait."""
        if self._upstream is not None:
            self._upstream.pause()

    def on_drain(self) -> None:
        """It has caught up."""
        if self._upstream is not None:
            self._upstream.resume()

    def on_close(self, code: int, reason: str, clean: bool) -> None:
        """See `SocketSink`: the provider's socket is closed with what the client said."""
        self._client = None
        if self._upstream is not None:
            self._upstream.close(_passed(code), reason)
        self._over(Outcome.COMPLETE if clean else Outcome.CLIENT_LEFT)

    # ---- from the provider

    def upstream_text(self, data: bytes) -> None:
        """An event of the provider."""
        self._last = now()
        client, translator = self._client, self._translator
        if client is None or translator is None:
            return
        try:
            kind = event_type(data)
            if kind == "response.done":
                used = usage_of(data)
                if used is not None:
                    added(self._usage, used)
            elif kind == "error" and UPDATE.encode() in data:
                # whoever talks on now talks to a model that was told nothing
                raise Problem(
                    "PROVIDER_REJECTED",
                    "The session could not be set up.",
                    detail=data[:500].decode("utf-8", "replace"),
                )
            if self._asked.binary and kind in ("response.audio.delta", "response.output_audio.delta"):
                sound = delta_to_pcm(data)
                if sound is not None:
                    client.send_binary(sound)
                    return
            for frame in translator.from_provider(data, kind):
                client.send_text(frame)
        except RealtimeFrameError as e:
            _log.warning("the provider sent what is no event: %s", e)
        except Problem as p:
            self._end(p, INTERNAL)

    def upstream_closed(self, code: int, reason: str) -> None:
        """The provider's socket is over: the client's is closed with what it said."""
        self._upstream = None
        if self._client is not None:
            self._client.close(_passed(code), reason)
            self._client = None
        self._over(Outcome.COMPLETE if code in (NORMAL, GOING_AWAY, NO_CODE) else Outcome.UPSTREAM_CUT)

    def upstream_failed(self, error: UpstreamError) -> None:
        """There is no socket to the provider."""
        self._upstream = None
        target = self._target
        assert target is not None
        self._kit.targets.failed(target, error, now())
        if error.fault is Fault.STATUS and error.status in (401, 403):
            _log.error("%s refuses this server's key: %s", target.provider.name, error)
        self._failed(problem_for(error, target.provider), Outcome.UPSTREAM_ERROR)

    def on_upstream_full(self) -> None:
        """The provider reads too slowly: the client has to wait."""
        if self._client is not None:
            self._client.pause()

    def on_upstream_drain(self) -> None:
        """It has caught up."""
        if self._client is not None:
            self._client.resume()

    # ---- the end

    def _say(self, frame: bytes) -> None:
        if self._client is not None:
            self._client.send_text(frame)

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

    def _end(self, problem: Problem, code: int, why: Outcome = Outcome.UPSTREAM_ERROR) -> None:
        """End an open conversation with an error that the client is told."""
        self._problem = problem
        self._say(_error(problem.message, problem.code.lower()))
        if self._client is not None:
            self._client.close(code, problem.message)
            self._client = None
        self._over(why)

    def _over(self, why: Outcome) -> None:
        self._kit.registry.open.discard(self)
        self._waiting.cancel()
        if self._upstream is not None:
            self._upstream.let_go(self._dialling)
            self._upstream = None
        if not self._settled:
            self._settled = True
            self._settle(why)

    def _settle(self, why: Outcome) -> None:
        if self._held:
            self._kit.gate.counters.give(self._held)
        caller, target, end = self._caller, self._target, now()
        if target is not None and self._status == 101:
            self._kit.targets.answered(target)
        problem = self._problem
        self._kit.ledger.put(
            Record(
                time.time(),
                self._envelope.request_id,
                "GET",
                self._asked.head.path,
                self._status,
                why,
                end - self._began,
                None if self._first_byte is None else self._first_byte - self._began,
                self._kit.gate.profile.name,
                "" if caller is None else caller.id,
                "realtime",
                "" if target is None else target.provider.name,
                "" if target is None else target.model,
                self._usage,
                True,
                "" if problem is None else problem.code,
                "" if problem is None else problem.detail or problem.message,
                int(target is not None),
                span=self._envelope.span,
                user="" if caller is None else caller.user,
            )
        )

    def stop(self) -> None:
        """The server stops."""
        if self._client is not None:
            self._client.close(RESTARTING, "The server is restarting.")
            self._client = None
            self._over(Outcome.SERVER_STOPPING)
        else:
            self._failed(Problem("SERVER_RESTARTING"), Outcome.SERVER_STOPPING)

    def tick(self, at: float) -> None:
        """Hold the deadlines; `at` is on the monotonic clock."""
        if self._client is None:
            return
        if at - self._last > self._session.idle:
            self._end(Problem("REQUEST_TIMEOUT", "Nothing was said for too long."), NORMAL, Outcome.TIMEOUT)
        elif at - self._began > self._session.longest:
            self._end(Problem("REQUEST_TIMEOUT", "The conversation took too long."), POLICY, Outcome.TIMEOUT)


class _Upstream:
    """The provider's side of a relay: a `core.sockets.ClientSink`."""

    __slots__ = ("_relay", "_socket")

    def __init__(self, relay: Relay) -> None:
        self._relay: Relay | None = relay
        self._socket: Socket | None = None

    def on_open(self, socket: Socket) -> None:
        self._socket = socket
        if self._relay is not None:
            self._relay.upstream_open()

    def on_text(self, data: bytes) -> None:
        if self._relay is not None:
            self._relay.upstream_text(data)

    def on_binary(self, data: bytes) -> None:
        """There is nothing that would say it so."""

    def on_pong(self) -> None:
        """It lives."""

    def on_close(self, code: int, reason: str, clean: bool) -> None:
        relay, self._relay, self._socket = self._relay, None, None
        if relay is not None:
            relay.upstream_closed(code, reason)

    def on_error(self, error: UpstreamError) -> None:
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.upstream_failed(error)

    def on_full(self) -> None:
        if self._relay is not None:
            self._relay.on_upstream_full()

    def on_drain(self) -> None:
        if self._relay is not None:
            self._relay.on_upstream_drain()

    def send(self, frame: bytes) -> None:
        """Say something to the provider."""
        if self._socket is not None:
            self._socket.send_text(frame)

    def pause(self) -> None:
        """Take nothing from the provider for now."""
        if self._socket is not None:
            self._socket.pause()

    def resume(self) -> None:
        """Go on taking."""
        if self._socket is not None:
            self._socket.resume()

    def close(self, code: int, reason: str) -> None:
        """The client has closed its side."""
        self._relay = None
        if self._socket is not None:
            self._socket.close(code, reason)

    def let_go(self, dialling: Flow | None) -> None:
        """Nobody listens any more."""
        self._relay = None
        if self._socket is not None:
            self._socket.close(GOING_AWAY, "")
        elif dialling is not None:
            dialling.abort()


def _passed(code: int) -> int:
    """What one side is closed with where the other was closed with `code`."""
    if code == VANISHED:
        return BAD_GATEWAY
    return TRY_LATER if code == RESTARTING else code


def _error(message: str, code: str = "invalid_event") -> bytes:
    """An error event, the same in both shapes."""
    error = {"type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": None}
    return dump_event({"type": "error", "event_id": "evt_switchboard_error", "error": error})
