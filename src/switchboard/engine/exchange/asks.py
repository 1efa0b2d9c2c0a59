"""The way to a provider: what is asked, of whom, and what becomes of a call that failed."""

from __future__ import annotations

import logging
from typing import Final, cast

from switchboard.core.clock import now
from switchboard.core.errors import Problem, UpstreamError
from switchboard.core.ports import (
    Context,
    Downstream,
)
from switchboard.core.types import (
    Form,
    Generate,
    Lines,
    Op,
    Outcome,
    header,
)
from switchboard.engine.conversations import Conversations, Turn
from switchboard.engine.exchange.asking import Asking
from switchboard.engine.exchange.attempt import Upstreamed
from switchboard.engine.exchange.body import Body
from switchboard.engine.exchange.parts import State
from switchboard.engine.exchange.plan import Plan
from switchboard.engine.exchange.standing import Standing
from switchboard.engine.journal import Running
from switchboard.engine.problems import problem_for
from switchboard.policy.metering import UsageMeter

_log: Final = logging.getLogger("switchboard.exchange")

# members of an enumeration are looked up more slowly than names of a module, and these are asked for every chunk
_READING: Final = State.READING
_CALLING: Final = State.CALLING
_WAITING: Final = State.WAITING


class Asks(Standing):
    """Reads what is asked, remembers what was said before, sets aside what it may use, and asks."""

    __slots__ = ()

    def _received(self, collected: Body) -> None:
        """The body is whole. Where a provider was asked before, it gets the rest, or, if that changes what is asked, all of
        it anew."""
        body = collected.whole()
        if self._asking is None:
            self._ask(body)
        elif isinstance(body, Form) and body.parts != self._forwarded and self._reply.first_byte is None:
            self._let_go()
            self._ask(body)
        else:
            self._asking.more()

    def _forward(self, collected: Body) -> None:
        """Send a file on while it comes in, if the provider takes that."""
        form = collected.begun
        if self._asking is not None:
            self._asking.more()
        elif form is not None and form.parts != self._forwarded:
            self._forwarded = form.parts
            try:
                op = self._surface.read(self._head, form)[1]
                first = self._kit.gate.plan(op, self._known, documents=self._surface.documents)[0]
            except Problem:
                return  # what is missing may stand behind the file
            if first.provider.capabilities.uploads_grow:
                self._ask(form)

    def _ask(self, body: bytes | Form) -> None:
        """Enough of the body is there: read it, find what answers, and call."""
        kit = self._kit
        self._unreserve()  # it may be asked anew
        if kit.log.debug and isinstance(body, bytes):
            kit.log.body("request", self._envelope.request_id, body)
        self._reply.dialect, op = self._surface.read(self._head, body)
        self._op = op
        if kit.conversations is not None and isinstance(op, Generate) and op.conversation is not None:
            self._when(kit.conversations.begin(op, self._known, kit.gate.profile), self._remembered)
        else:
            self._plan(op)

    def _remembered(self, turn: Turn) -> None:
        """What was said before is in the operation now."""
        self._turn = turn
        self._admitted += turn.told
        op, kept, dialect = self._op, self._kit.conversations, self._reply.dialect
        assert op is not None and kept is not None and dialect is not None
        if self._kit.gate.profile.resumable and op.stream and dialect.name != "text_stream":
            self._reply.through(lambda down: self._journaled(kept, turn, down))
        self._plan(op)

    def _journaled(self, kept: Conversations, turn: Turn, down: Downstream) -> Downstream:
        journal = self._journal = kept.journals.begin(turn.key, cast("Running", self), down)
        assert self._reply.dialect is not None
        encoder = self._reply.dialect.encoder(Context("", "", 0))
        journal.announce(header(b"content-type", encoder.content_type) + encoder.headers)
        return journal

    def _plan(self, op: Op) -> None:
        """It is known what is asked: find what answers, see whether it may be used, and call."""
        kit = self._kit
        order = kit.targets.order(kit.gate.plan(op, self._known, documents=self._surface.documents), self._began)
        self._asking = Asking(kit, op, Plan(order))
        reservation = self._reservation = kit.gate.reservation(op, self._known, self._envelope.peer)
        self._meter = UsageMeter(op, reservation)
        if reservation is None:
            self._try()
        else:
            self._when(kit.gate.reserve(reservation, order[0]), self._reserved)

    def _unreserve(self) -> None:
        """What is asked has changed: what was set aside for it is free again."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._meter is not None:
            self._meter.settle(Outcome.REFUSED)

    def _reserved(self, told: Lines) -> None:
        """What the answer may use is set aside."""
        self._admitted += told
        self._try()

    def _try(self) -> None:
        """Ask the plan's target. Raises `Problem`."""
        asking, client = self._asking, self._reply.dialect
        assert asking is not None and client is not None
        if self._receiving and not asking.takes_growing:
            self._asking, self._state = None, _READING  # the rest of the file has to come first
            return
        self._reply.extra = self._admitted + asking.build(client.name, self._envelope.trace)
        if self._reservation is not None:
            self._kit.gate.price(self._reservation, asking.target)
        self._state = _CALLING
        asking.send(cast("Upstreamed", self), paused=self._paused)
        self._last_in = asking.began

    def _goes_on(self, error: UpstreamError) -> bool:
        """Whether something else is tried now that a call has failed: another key, another target, the same ones later.
        Never once there was content."""
        asking, at = self._asking, now()
        assert asking is not None
        if not self._receiving:  # else it may be the client's slowness that it could not bear
            self._kit.targets.failed(asking.target, error, at)
        if self._reply.first_byte is not None:
            return False
        wait = asking.after(error)
        if wait is None:
            return False
        self._let_go()
        if wait:
            self._state = _WAITING
            asking.until = at + wait
        else:
            self._again()
        return True

    def _again(self) -> None:
        try:
            self._try()
        except Problem as p:
            self._fail(p, Outcome.REFUSED)
        except Exception as e:
            self._crash(e)

    def _failed(self, error: UpstreamError, out: bytes = b"") -> None:
        """The upstream failed: a real status while nothing was sent, else the stream ends with an error."""
        assert self._asking is not None
        provider = self._asking.target.provider
        if error.status == 401 or error.status == 403:
            _log.error("%s refuses this server's key: %s", provider.name, error)
        if self._goes_on(error):
            return
        problem = problem_for(error, provider)
        self._fail(problem, Outcome.UPSTREAM_CUT if self._reply.head_sent else Outcome.UPSTREAM_ERROR, out)
