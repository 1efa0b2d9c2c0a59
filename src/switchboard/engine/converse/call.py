"""A call: a client converses with the provider over WebRTC, and this server has joined, so that limits, tools and transcripts hold there too.

Source: OpenAI's Realtime interface, ``/realtime/calls`` and its WebSocket with a ``call_id``.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from switchboard.core.clock import now
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.ports import ForClients, Provider
from switchboard.core.types import Caller, Envelope, Headers, Outcome, RequestHead, Usage
from switchboard.dialects.realtime import JsonObject, RealtimeFrameError, Shape, dump_event
from switchboard.engine.converse.bill import Bill
from switchboard.engine.converse.entrance import Admitted, Entrance
from switchboard.engine.converse.held import HeldSession
from switchboard.engine.converse.hub import Hub
from switchboard.engine.converse.line import Closed, Line
from switchboard.engine.converse.renewal import merge
from switchboard.engine.converse.talk import Talk
from switchboard.engine.exchange import Kit
from switchboard.engine.fetch import fetch, fetch_by_any_key
from switchboard.engine.problems import problem_for
from switchboard.engine.voice import EndReason, Ticket

_log: Final = logging.getLogger("switchboard.relay")
#: Seconds that a provider may take to answer an offer, and to end a call.
_PATIENCE: Final = 15.0
_ENDING: Final = 5.0
#: Seconds in which the call has to be joined.
_JOINING: Final = 10.0
_LARGEST: Final = 1024 * 1024  # bytes of an answer
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Offer(Struct, frozen=True):
    """What a client offers: its SDP, and the session that it asks for, in GA's shape."""

    sdp: str
    session: JsonObject


class Answer(Struct, frozen=True):
    """What it gets: the provider's SDP, the id of the call, and of the voice session that it is ("": nothing is kept)."""

    sdp: bytes
    call: str
    session: str


class Call:
    """One call, from the offer to its end: `open` it once. A `Listener`, `Ends` and `Carried`."""

    def __init__(self, kit: Kit, hub: Hub, session: HeldSession, envelope: Envelope, path: str) -> None:
        self._kit = kit
        self._hub = hub
        self._session = session.written_down() if kit.voice is not None else session
        self._envelope = envelope
        self._entrance = Entrance(kit, self._admitted, self._failed, self._over_budget)
        self._bill = Bill(kit, self._entrance, envelope, "POST", path)
        self._last = self._bill.began
        self._ends_at = self._last + session.longest
        self._step: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._admission: Admitted | None = None
        self._access: ForClients | None = None
        self._line: Line | None = None
        self._talk: Talk | None = None
        self._id = ""
        self._carried = ""
        self._hanging_up: asyncio.Task[None] | None = None
        self._problem: Problem | None = None
        self._over = False

    async def open(self, head: RequestHead, ticket: str, read: Callable[[], Awaitable[Offer]]) -> Answer:
        """Begin the call that `read` gives the offer of, once it is known who asks. Raises `Problem`."""
        self._kit.registry.open.add(self)
        try:
            caller, given = await self._identified(head, ticket)
            offer = await read()
            self._goes_on()
            fields: JsonObject = {}
            merge(fields, {} if given is None else given.fields)
            merge(fields, offer.session)
            model = offer.session.get("model", "")
            if not isinstance(model, str):
                raise Problem("INVALID_REQUEST", "session.model: it is a text.", param="session.model")
            placed = await self._with_session(caller, given)
            self._goes_on()
            admitted = await self._placed(caller, model, placed)
            sdp = await self._offered(admitted, offer.sdp, fields)
            self._goes_on()
            await self._join()
        except BaseException as e:
            problem = e if isinstance(e, Problem) else None
            self._end(problem, Outcome.REFUSED if problem is not None else Outcome.INTERNAL_ERROR)
            self._hang_up()
            raise
        return Answer(sdp, self._id, self._carried)

    def _goes_on(self) -> None:
        """Raises `Problem` where the call is over before it began."""
        if self._over:
            raise self._problem or Problem("FORBIDDEN", "The session has ended.")

    # ---- the steps

    async def _identified(self, head: RequestHead, ticket: str) -> tuple[Caller, Ticket | None]:
        self._entrance.identify(head, self._envelope, ticket, lambda *who: self._step.set_result(who))
        who: tuple[Caller, Ticket | None] = await self._step
        return who

    async def _with_session(self, caller: Caller, given: Ticket | None) -> Ticket | None:
        """The call is a voice session of its own, where anything is kept."""
        voice, gate = self._kit.voice, self._kit.gate
        if voice is None:
            return given
        name, seconds = "call_" + secrets.token_hex(16), int(self._session.longest)
        connected = await voice.connect(gate, caller, self._envelope.peer, name, "", seconds=seconds)
        ticket = await voice.redeem(connected.token.encode(), gate.profile.name)
        if ticket is None:
            raise Problem("STORE_UNAVAILABLE")
        self._carried = name
        voice.carry(ticket, self)
        return replace(ticket, caller=caller, fields={} if given is None else given.fields)

    async def _placed(self, caller: Caller, model: str, ticket: Ticket | None) -> Admitted:
        self._step = asyncio.get_running_loop().create_future()
        if caller.models is not None:
            self._session = replace(self._session, bound=True)
        self._entrance.place(caller, self._envelope.peer, model, ticket, documents=False)
        admitted: Admitted = await self._step
        return admitted

    def _admitted(self, admitted: Admitted) -> None:
        self._admission = admitted
        self._step.set_result(admitted)

    def _failed(self, error: Exception) -> None:
        if not self._step.done():
            self._step.set_exception(error)
            self._step.exception()  # nobody may be waiting any more

    async def _offered(self, admitted: Admitted, sdp: str, fields: JsonObject) -> bytes:
        """Pass the offer on; the provider's answer."""
        target = admitted.target
        provider = target.provider
        access = self._access = provider.for_clients(target.model)
        if access is None:
            raise Problem("INVALID_REQUEST", f"{provider.title} does not converse over WebRTC.")
        try:
            session = dump_event(self._session.whole(fields, target.model))
        except RealtimeFrameError as e:
            raise Problem("INVALID_REQUEST", f"session: {e}", param="session") from None
        try:
            status, headers, body = await fetch_by_any_key(
                provider, lambda: access.offer(sdp, session), timeout=_PATIENCE, limit=_LARGEST
            )
            if not 200 <= status < 300:
                raise UpstreamError(Fault.STATUS, body[:500].decode("utf-8", "replace"), status=status)
            self._id = _id_in(headers)
        except UpstreamError as e:
            self._kit.targets.failed(target, e, now())
            raise problem_for(e, provider) from None
        return body

    async def _join(self) -> None:
        """Join the call, before the client can say anything in it."""
        assert self._access is not None
        call = self._access.joined(self._id)
        self._talk = Talk(self._session, Shape.GA, Shape.GA, self, self._hub.stats)
        self._line = Line(lambda sink: self._hub.connect(call, sink), self, mended=True)
        self._step = asyncio.get_running_loop().create_future()
        self._line.open()
        try:
            async with asyncio.timeout(_JOINING):
                await self._step
        except TimeoutError:
            raise Problem("PROVIDER_TIMEOUT", "The call could not be joined in time.") from None

    # ---- the provider

    @property
    def quiet(self) -> bool:
        """See `Listener`: it is the call that is talked in, and not this line."""
        return True

    def line_open(self, *, again: bool) -> list[bytes]:
        """See `Listener`. The session was told with the offer."""
        if not again:
            self._hub.stats.open += 1
            self._bill.let_in()
            self._step.set_result(None)
        return []

    def line_text(self, data: bytes) -> None:
        """See `Listener`."""
        self._last = now()
        if self._talk is not None:
            self._talk.from_provider(data)

    def line_dropped(self) -> None:
        """See `Listener`. The call goes on meanwhile."""

    def line_closed(self, closed: Closed) -> None:
        """See `Listener`: the call is over, or nobody can look after it any more."""
        self._end(None, Outcome.COMPLETE)

    def line_refused(self, error: UpstreamError) -> bool:
        """See `Listener`: the key was good for the offer."""
        return False

    def line_failed(self, error: UpstreamError) -> None:
        """See `Listener`. Whatever the provider says of it: the offer was good."""
        self._failed(Problem("PROVIDER_UNREACHABLE", "The call could not be joined.", detail=str(error)))

    def line_full(self) -> None:
        """See `Listener`. What is said to it is little."""

    def line_drain(self) -> None:
        """See `Listener`."""

    # ---- the ends

    def to_client(self, frame: bytes) -> None:
        """See `Ends`: it hears the provider itself."""

    def sound_to_client(self, frame: bytes, *, binary: bool) -> None:
        """See `Ends`: it hears the provider itself."""

    def sound_is_stale(self) -> None:
        """See `Ends`: it has all of it."""

    def to_provider(self, frame: bytes, *, sound: bool = False) -> None:
        """See `Ends`."""
        if self._line is not None:
            self._line.send(frame, sound=sound)

    def answered(self, usage: Usage, began: float, model: str = "") -> None:
        """See `Ends`."""
        self._bill.response(usage, began, model)
        if self._admission is not None:
            self._admission.meter.used(usage)

    def broken(self, problem: Problem) -> None:
        """See `Ends`."""
        self._end(problem, Outcome.UPSTREAM_ERROR)

    # ---- what is carried

    def script(self) -> list[dict[str, Any]] | None:
        """See `Carried`."""
        return None if self._talk is None else self._talk.news()

    def session_over(self, reason: EndReason) -> None:
        """See `Carried`."""
        self._end(None, Outcome.TIMEOUT if reason is EndReason.EXPIRED else Outcome.COMPLETE, reason)

    # ---- the end

    def _over_budget(self, problem: Problem) -> None:
        self._end(problem, Outcome.BUDGET_EXHAUSTED)

    def _end(self, problem: Problem | None, why: Outcome, reason: EndReason = EndReason.ENDED) -> None:
        """The call is over, here and at the provider."""
        if self._over:
            return
        self._over = True
        self._problem = problem
        self._failed(problem or Problem("SERVER_RESTARTING"))
        begun = self._line is not None and self._line.since > 0
        if self._line is not None:
            self._line.close()
        if self._admission is not None:
            self._admission.meter.close()
        if self._talk is not None:
            self._talk.close()
        self._entrance.leave()
        if self._carried and self._kit.voice is not None:
            self._kit.voice.release(self._carried, self, reason)
        stats = self._hub.stats
        if begun:
            stats.open -= 1
            stats.seconds += now() - self._bill.began
        self._bill.whole(201 if begun else 0 if problem is None else problem.status, why, problem)
        self._hang_up()

    def _hang_up(self) -> None:
        """End the call at the provider, once."""
        if self._id and self._admission is not None and self._access is not None:
            if self._hanging_up is None:
                work = self._hung_up(self._admission.target.provider, self._access)
                self._hanging_up = asyncio.get_running_loop().create_task(work)
        else:
            self._kit.registry.open.discard(self)

    async def _hung_up(self, provider: Provider, access: ForClients) -> None:
        try:
            status, _, _ = await fetch(provider.transport, access.hang_up(self._id), timeout=_ENDING)
            if status >= 400 and status != 404:  # which it says where the call was over by itself
                _log.warning("a call could not be ended: %s says %d", provider.name, status)
        except UpstreamError as e:
            _log.warning("a call could not be ended: %s", e)
        finally:
            self._kit.registry.open.discard(self)

    def stop(self) -> None:
        """The server stops: nobody would look after it."""
        self._end(Problem("SERVER_RESTARTING"), Outcome.SERVER_STOPPING)

    def tick(self, at: float) -> None:
        """Hold the deadlines; `at` is on the monotonic clock."""
        if self._over or self._line is None or self._talk is None:
            return
        if at > self._ends_at:
            self.session_over(EndReason.EXPIRED)
        elif at - self._last > self._session.idle:
            self._end(Problem("REQUEST_TIMEOUT", "Nothing was said for too long."), Outcome.TIMEOUT)
        else:
            self._line.tick(at)
            self._talk.tick(at)


def _id_in(headers: Headers) -> str:
    """The id of the call that the answer to an offer is about. Raises `UpstreamError`."""
    found = headers.get(b"location", b"").decode("latin-1").partition("?")[0].rstrip("/").rpartition("/")[2]
    if _ID.fullmatch(found) is None:
        raise UpstreamError(Fault.PROTOCOL, "the answer to an offer names no call")
    return found
