"""Where an exchange stands, how it waits, and how it ends: what all of its parts share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.ports import (
    Downstream,
    Pipe,
    Surface,
)
from switchboard.core.types import (
    Caller,
    Envelope,
    Generate,
    Lines,
    Op,
    Outcome,
    RequestHead,
    Usage,
)
from switchboard.engine.conversations import Turn
from switchboard.engine.exchange.asking import Asking
from switchboard.engine.exchange.body import Body
from switchboard.engine.exchange.collected import Collected
from switchboard.engine.exchange.parts import Kit, State
from switchboard.engine.exchange.reply import Reply
from switchboard.engine.journal import Journal
from switchboard.engine.reservation import Reservation
from switchboard.engine.waiting import Waiting
from switchboard.policy.metering import UsageMeter
from switchboard.telemetry.records import Record

T = TypeVar("T")
_log: Final = logging.getLogger("switchboard.exchange")

# members of an enumeration are looked up more slowly than names of a module, and these are asked for every chunk
_READING: Final = State.READING
_DRAINING: Final = State.DRAINING
_OVER: Final = State.OVER


class Standing:
    """One request and all that is known of it. However it ends, `_settle` runs exactly once."""

    __slots__ = (
        "_admitted",
        "_asking",
        "_began",
        "_body",
        "_caller",
        "_collected",
        "_continue",
        "_early",
        "_early_end",
        "_envelope",
        "_forwarded",
        "_head",
        "_journal",
        "_kit",
        "_last_in",
        "_meter",
        "_op",
        "_paused",
        "_pipe",
        "_receiving",
        "_reply",
        "_reservation",
        "_state",
        "_surface",
        "_turn",
        "_waiting",
    )

    def __init__(self, kit: Kit, surface: Surface, head: RequestHead, envelope: Envelope, down: Downstream) -> None:
        self._kit = kit
        self._surface = surface
        self._head = head
        self._envelope = envelope
        self._began = now()
        self._reply = Reply(down, surface, envelope, self._began)
        self._continue = down.continue_
        self._state = _READING
        self._body: Body | None = None  # most come in one piece, and need none
        self._caller: Caller | None = None
        self._waiting: Waiting | None = None  # made when there is something to wait for
        self._early: bytearray | None = bytearray()  # of the body, until the request is admitted
        self._early_end = False  # … that is all of it
        self._admitted: Lines = b""  # how much of the rate limit is left
        self._op: Op | None = None
        self._asking: Asking | None = None
        self._pipe: Pipe | None = None
        self._meter: UsageMeter | None = None
        self._reservation: Reservation | None = None
        self._collected: Collected | None = None
        self._journal: Journal | None = None  # of an answer that may go on without its client
        self._turn: Turn | None = None  # of a conversation that the server holds
        self._last_in = self._began
        self._paused = False
        self._receiving = True  # the body
        self._forwarded = 0  # parts of a form that were there when a provider was asked

    def _when(self, found: T | Coroutine[Any, Any, T], go_on: Callable[[T], None]) -> None:
        """Go on with `found`: at once, or, where it has to be waited for, once it is there. Raises what either raises at once."""
        if self._waiting is None:
            self._waiting = Waiting(self._raised)
        self._waiting.when(found, go_on)

    def _raised(self, e: Exception) -> None:
        """Something that was waited for did not come, or could not be gone on with."""
        if isinstance(e, Problem):
            self._fail(e, Outcome.REFUSED)
        else:
            self._crash(e)

    def _fail(self, problem: Problem, why: Outcome, out: bytes = b"") -> None:
        """End with an error: a status of its own while nothing was sent, else the last bytes of a stream behind `out`."""
        tell = self._reply.failing(problem, out)
        self._over(why, problem)
        tell()

    def _crash(self, e: Exception) -> None:
        """A fault of ours: say so in the log, and to the client no more than that."""
        _log.error("request %s failed", self._envelope.request_id, exc_info=e)
        if self._state in (_OVER, _DRAINING):
            return
        try:
            self._fail(Problem(self._surface.failure, detail=repr(e)), Outcome.INTERNAL_ERROR)
        except Exception as again:
            _log.error("request %s could not be ended", self._envelope.request_id, exc_info=again)
            if not self.over:
                self._over(Outcome.INTERNAL_ERROR)
            self._reply.cut()

    @property
    def over(self) -> bool:
        """Whether it has ended, and is settled."""
        return self._state is _OVER

    def _over(self, why: Outcome, problem: Problem | None = None) -> None:
        """Let go of everything, and settle."""
        settled = self._state is _DRAINING
        self._state = _OVER
        if self._waiting is not None:
            self._waiting.cancel()
        self._kit.registry.open.discard(self)
        if self._asking is not None:
            self._asking.let_go()
        if not settled:
            self._settle(why, problem)
            if self._turn is not None and self._kit.conversations is not None:
                self._kit.conversations.broke_off(self._turn)

    def _settle(self, why: Outcome, problem: Problem | None = None) -> None:
        end = now()
        op, asking, caller, reply = self._op, self._asking, self._caller, self._reply
        used = why if asking is not None and asking.asked else Outcome.REFUSED  # who was not asked did nothing
        usage = self._meter.settle(used) if self._meter is not None else Usage()
        target = None if asking is None else asking.target
        answered = why is Outcome.COMPLETE or (why is Outcome.CLIENT_LEFT and reply.first_byte is not None)
        if answered and target is not None:
            self._kit.targets.answered(target)
        self._receiving = False
        if self._body is not None:
            self._body.close()
        self._kit.ledger.put(
            Record(
                time.time(),
                self._envelope.request_id,
                self._head.method,
                self._head.path,
                reply.status,
                why,
                end - self._began,
                None if reply.first_byte is None else reply.first_byte - self._began,
                self._kit.gate.profile.name,
                "" if caller is None else caller.id,
                self._surface.name if reply.dialect is None else reply.dialect.name,
                "" if target is None else target.provider.name,
                "" if target is None else target.model,
                usage,
                op is not None and op.stream,
                "" if problem is None else problem.code,
                "" if problem is None else problem.detail or problem.message,
                0 if asking is None else asking.asked,
                asking.began - self._began if asking is not None and asking.began else 0.0,
                self._envelope.span,
                None,
                self._user(),
            )
        )

    def _user(self) -> str:
        caller, op = self._caller, self._op
        if caller is None:
            return ""
        return op.user if caller.act_as and isinstance(op, Generate) and op.user else caller.user

    @property
    def _known(self) -> Caller:
        assert self._caller is not None
        return self._caller

    def _let_go(self) -> None:
        """Forget the attempt that failed."""
        assert self._asking is not None
        self._asking.let_go()
        self._pipe = self._collected = None
        self._reply.forget()
