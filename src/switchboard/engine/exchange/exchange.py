"""The Exchange: one request, whatever it asks for, from its head to its settlement.

Everything here happens in callbacks and returns at once. The client's shell calls `start`, `on_body`, `client_left`,
`pause` and `resume`; the upstream's transport calls the `Attempt` that was made for it; the registry calls `tick`. The
answer's head is held back until the upstream has shown that it will answer (or for `Limits.head_after` seconds), so
that a failure before that has a real status. However it ends, `_settle` runs exactly once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Final, TypeVar, cast

from switchboard.core.clock import now
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.ports import (
    Context,
    Downstream,
    Phase,
    Pipe,
    Surface,
    Whole,
)
from switchboard.core.types import (
    Caller,
    Envelope,
    Form,
    Generate,
    Headers,
    Lines,
    Op,
    Outcome,
    RequestHead,
    Speak,
    Usage,
    header,
)
from switchboard.engine.conversations import Conversations, Turn
from switchboard.engine.exchange.asking import Asking
from switchboard.engine.exchange.body import Body, Files, InMemory
from switchboard.engine.exchange.collected import Collected
from switchboard.engine.exchange.parts import Kit, State
from switchboard.engine.exchange.plan import Plan
from switchboard.engine.exchange.reply import Reply
from switchboard.engine.journal import Journal
from switchboard.engine.pipes import Translate
from switchboard.engine.problems import problem_for
from switchboard.engine.reservation import Reservation
from switchboard.policy.metering import UsageMeter
from switchboard.telemetry.records import Record

T = TypeVar("T")
_DRAIN_TIME: Final = 5.0  # seconds that an upstream has to end its HTTP after its last event
_log: Final = logging.getLogger("switchboard.exchange")

# members of an enumeration are looked up more slowly than names of a module, and these are asked for every chunk
_READING: Final = State.READING
_CALLING: Final = State.CALLING
_WAITING: Final = State.WAITING
_COLLECTING: Final = State.COLLECTING
_STREAMING: Final = State.STREAMING
_DRAINING: Final = State.DRAINING
_OVER: Final = State.OVER
_PREAMBLE: Final = Phase.PREAMBLE
_CONTENT: Final = Phase.CONTENT
_DONE: Final = Phase.DONE
_FAILED: Final = Phase.FAILED


class Exchange:
    """One request; made by a shell, which then calls `start`."""

    __slots__ = (
        "__weakref__",
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
        "_pending",
        "_pipe",
        "_receiving",
        "_reply",
        "_reservation",
        "_state",
        "_surface",
        "_turn",
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
        self._pending: asyncio.Task[None] | None = None  # something that is waited for
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

    # ---- from the client

    def start(self) -> None:
        """The head is in: decide on it alone whether the body is wanted."""
        self._kit.registry.open.add(self)
        try:
            if self._envelope.problem is not None:
                raise self._envelope.problem
            self._when(self._kit.gate.identify(self._head, self._envelope.peer, self._surface.name), self._identified)
        except Problem as p:
            self._fail(p, Outcome.REFUSED)
        except Exception as e:
            self._crash(e)

    def _identified(self, caller: Caller) -> None:
        """It is known who asks: is the body one that is read here, and is there room for the request?"""
        self._caller = caller
        gate, limits = self._kit.gate, self._kit.limits
        if self._surface.files:
            gate.check_files(self._head, limits.upload, bare=self._surface.bare)
            self._body = Files(self._head.headers, limits.upload)
        else:
            gate.check(self._head, limits.body)
        told = gate.admit(caller, self._envelope.peer, self._surface.name)
        if type(told) is bytes:
            self._let_in(told)
        else:
            self._when(told, self._let_in)

    def _let_in(self, told: Lines) -> None:
        """The request is admitted: its body is wanted."""
        self._admitted = self._reply.extra = told
        early, self._early = self._early, None
        self._continue()
        if early or self._early_end:
            self._on_body(bytes(early or b""), self._early_end)

    def _when(self, found: T | Coroutine[Any, Any, T], go_on: Callable[[T], None]) -> None:
        """Go on with `found`: at once, or, where it has to be waited for, once it is there. Raises what either raises at once."""
        if type(found) is not CoroutineType:
            go_on(cast("T", found))
            return

        async def later() -> None:
            try:
                try:
                    value = await found
                finally:
                    if self._pending is task:  # else it was given up, and something else is waited for by now
                        self._pending = None
                go_on(value)
            except Problem as p:
                self._fail(p, Outcome.REFUSED)
            except Exception as e:
                self._crash(e)

        task = self._pending = asyncio.get_running_loop().create_task(later())
        task.add_done_callback(lambda _: found.close())  # where it was given up before it began

    def on_body(self, data: bytes, end: bool) -> None:
        """Some of the body; `end` with the last of it."""
        if not self._receiving:
            return
        try:
            if self._early is None:
                self._on_body(data, end)
                return
            self._early += data
            self._early_end = end
            limit = self._kit.limits.body
            if len(self._early) > limit:
                if not self._surface.files:
                    raise Problem("PAYLOAD_TOO_LARGE", f"The body is larger than {limit} bytes.")
                raise Problem("OVERLOADED")  # it is not even known yet who asks
        except Problem as p:
            self._fail(p, Outcome.REFUSED)
        except Exception as e:
            self._crash(e)

    def _on_body(self, data: bytes, end: bool) -> None:
        body = self._body
        if body is None:
            if end and len(data) <= self._kit.limits.body:  # all there is
                self._receiving = False
                self._ask(data)
                return
            body = self._body = InMemory(self._kit.limits.body)
        if data:
            body.add(data)
        if end:
            self._receiving = False
            self._received(body)
        elif self._surface.files:
            self._forward(body)

    def refuse(self, problem: Problem) -> None:
        """Something is wrong with the body, as the front door sees it."""
        if self._receiving:
            self._fail(problem, Outcome.REFUSED)

    def client_left(self, why: Outcome = Outcome.CLIENT_LEFT) -> None:
        """The client is gone: whatever is under way stops now."""
        if self._state is _OVER or (self._journal is not None and self._journal.goes_on()):
            return
        self._over(why)

    def pause(self) -> None:
        """The client reads more slowly than is written."""
        self._paused = True
        if self._asking is not None:
            self._asking.pause()

    def resume(self) -> None:
        """The client has caught up."""
        self._paused = False
        self._last_in = now()  # it was not the upstream that was slow
        if self._asking is not None:
            self._asking.resume()

    # ---- to the provider

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
        journal = self._journal = kept.journals.begin(turn.key, self, down)
        assert self._reply.dialect is not None
        encoder = self._reply.dialect.encoder(Context("", "", 0))
        journal.announce(header(b"content-type", encoder.content_type) + encoder.headers)
        return journal

    def _plan(self, op: Op) -> None:
        """It is known what is asked: find what answers, see whether it may be used, and call."""
        kit = self._kit
        order = kit.targets.order(kit.gate.plan(op, self._known, documents=self._surface.documents), self._began)
        self._asking = Asking(self, kit, op, Plan(order))
        reservation = self._reservation = kit.gate.reservation(op, self._known, self._envelope.peer)
        self._meter = UsageMeter(op, reservation)
        if reservation is None:
            self._try()
        else:
            self._when(kit.gate.reserve(reservation, order[0]), self._reserved)

    def _unreserve(self) -> None:
        """What is asked has changed: what was set aside for it is free again."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._meter is not None:
            self._meter.settle(Outcome.REFUSED)

    def _reserved(self, told: Lines) -> None:
        """What the answer may use is set aside."""
        self._admitted += told
        self._try()

    @property
    def _known(self) -> Caller:
        assert self._caller is not None
        return self._caller

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
        asking.send(paused=self._paused)
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

    def _let_go(self) -> None:
        """Forget the attempt that failed."""
        assert self._asking is not None
        self._asking.let_go()
        self._pipe = self._collected = None
        self._reply.forget()

    # ---- from the provider

    def upstream_head(self, status: int, headers: Headers) -> None:
        """The upstream answers; see `Attempt`."""
        self._last_in = now()
        assert self._op is not None
        kind = headers.get(b"content-type", b"")
        if status == 200 and self._op.stream and not kind.startswith((b"application/json", b"text/html")):
            try:
                self._about().kind = kind
                self._open_pipe()
            except Exception as e:
                self._crash(e)
        else:
            self._state = _COLLECTING
            self._collected = Collected(status, headers, self._kit.limits.answer)

    def _open_pipe(self) -> None:
        dialect, asking, meter, context = self._reply.dialect, self._asking, self._meter, self._about()
        assert dialect is not None and asking is not None and asking.dialect is not None and meter is not None
        provider_dialect = asking.dialect
        turn = self._turn
        if turn is None and dialect.name == provider_dialect.name:
            self._pipe = provider_dialect.tap(context, meter)
        else:
            kept = None if turn is None else turn.answer
            self._pipe = Translate(provider_dialect.decoder(context), self._reply.encoder, meter, kept)
        self._state = _STREAMING

    def _about(self) -> Context:
        assert self._op is not None and self._asking is not None
        return self._reply.about(self._op, self._asking.target.model, self._kit.limits.event)

    def upstream_data(self, data: bytes) -> None:
        """Some of the upstream's answer; see `Attempt`."""
        if self._kit.log.debug:
            self._kit.log.body("answer", self._envelope.request_id, data)
        try:
            if self._state is _STREAMING:
                pipe = self._pipe
                assert pipe is not None
                self._last_in = now()
                out = pipe.feed(data)
                if pipe.phase is _CONTENT and self._reply.first_byte is not None:
                    if out:
                        self._reply.write(out, self._last_in)
                else:
                    self._stream(out)
                assert self._meter is not None
                if self._meter.exhausted and self._state is _STREAMING:
                    self._fail(Problem("BUDGET_EXHAUSTED"), Outcome.BUDGET_EXHAUSTED)
            elif self._state is _COLLECTING:
                assert self._collected is not None
                self._last_in = now()
                self._collected.add(data)
        except UpstreamError as e:
            self._failed(e)
        except Exception as e:
            self._crash(e)

    def _stream(self, out: bytes) -> None:
        pipe = self._pipe
        assert pipe is not None
        phase = pipe.phase
        if phase is _FAILED:
            assert pipe.error is not None
            if out:
                self._reply.begin()  # it failed after all, but there was content before
            self._failed(pipe.error, out)
            return
        if phase is _DONE:
            self._reply.begin()
            self._reply.last_out = self._last_in
            self._state = _DRAINING
            self._settle(Outcome.COMPLETE)
            self._kept(lambda: self._reply.end(out))
        elif out and phase is not _PREAMBLE:
            self._reply.begin()
            self._reply.write(out, self._last_in)

    def upstream_end(self) -> None:
        """The upstream's answer is whole, as HTTP sees it; see `Attempt`."""
        state, asking = self._state, self._asking
        assert asking is not None
        asking.ended()
        try:
            if state is _STREAMING:
                assert self._pipe is not None
                self._stream(self._pipe.eof())
                if self._state is _DRAINING:
                    self._state = _OVER
                    self._kit.registry.open.discard(self)
            elif state is _COLLECTING:
                assert self._collected is not None
                self._collected_whole(self._collected)
            elif state is _DRAINING:
                self._state = _OVER
                self._kit.registry.open.discard(self)
            elif state is _CALLING:
                self._failed(UpstreamError(Fault.CUT, "the answer ended before it began"))
        except UpstreamError as e:
            self._failed(e)
        except Exception as e:
            self._crash(e)

    def _collected_whole(self, collected: Collected) -> None:
        own, meter, op = self._reply.dialect, self._meter, self._op
        dialect = None if self._asking is None else self._asking.dialect
        assert dialect is not None and own is not None and meter is not None and op is not None
        if collected.passes_as(own, dialect, op.stream) and self._turn is None:
            body = dialect.passed(op, collected.body, meter)
            self._answer(collected.content_type, body)
            return
        answer = collected.read(dialect, self._about())
        meter.saw(1, answer.size())
        if answer.usage is not None:
            meter.usage(answer.usage)
        if self._turn is not None:
            self._turn.answer.add(answer.events())
        if op.stream:
            self._stream_whole(answer)
        else:
            encoder = self._reply.encoder
            self._answer(header(b"content-type", encoder.whole_type), encoder.whole(answer))

    def _stream_whole(self, answer: Whole) -> None:
        """A stream from an answer that came whole."""
        out = self._reply.encoder.encode(answer.events())
        self._reply.begin()
        self._state = _OVER
        self._kit.registry.open.discard(self)
        self._settle(Outcome.COMPLETE)
        self._kept(lambda: self._reply.end(out))

    def _answer(self, kind: Lines, body: bytes) -> None:
        self._reply.status = 200
        self._reply.first_byte = now()
        self._state = _OVER
        self._kit.registry.open.discard(self)
        self._settle(Outcome.COMPLETE)
        if self._turn is None:
            self._reply.whole(kind, body)
        else:
            self._kept(lambda: self._reply.whole(kind, body))

    def _kept(self, tell: Callable[[], None]) -> None:
        """`tell` the client of the end, once the conversation that this belongs to is kept: it may go on at once."""
        conversations, turn = self._kit.conversations, self._turn
        if conversations is None or turn is None:
            tell()
        else:
            conversations.keep(turn, tell)

    def upstream_error(self, error: UpstreamError) -> None:
        """The call failed; see `Attempt`."""
        assert self._asking is not None
        self._asking.ended()
        try:
            # what is told in events says itself when it is whole; of sound only HTTP knows
            if self._state is _STREAMING and error.fault is Fault.CUT and not isinstance(self._op, Speak):
                assert self._pipe is not None
                out = self._pipe.eof()
                if self._pipe.phase is _DONE:  # all that matters had come
                    self._stream(out)
                    self._state = _OVER
                    self._kit.registry.open.discard(self)
                    return
            if self._state is _DRAINING:
                self._state = _OVER
                self._kit.registry.open.discard(self)
            elif self._state is not _OVER:
                self._failed(error)
        except Exception as e:
            self._crash(e)

    # ---- the answer

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

    # ---- the end

    @property
    def over(self) -> bool:
        """Whether it has ended, and is settled."""
        return self._state is _OVER

    def _over(self, why: Outcome, problem: Problem | None = None) -> None:
        """Let go of everything, and settle."""
        settled = self._state is _DRAINING
        self._state = _OVER
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
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

    def stop(self) -> None:
        """The server stops."""
        if self._state is _DRAINING:
            self._over(Outcome.SERVER_STOPPING)
        elif self._state is not _OVER:
            self._fail(Problem("SERVER_RESTARTING"), Outcome.SERVER_STOPPING)

    def tick(self, at: float) -> None:
        """Hold the deadlines, and keep quiet streams alive; `at` is on the monotonic clock."""
        state = self._state
        if state is _READING:
            return  # the front door's to watch
        if state is _DRAINING:
            if at - self._reply.last_out > _DRAIN_TIME:
                self._over(Outcome.COMPLETE)
            return
        if self._journal is not None and self._journal.expired(at):
            self._journal.stop()
            return
        asking = self._asking
        assert asking is not None and self._op is not None
        if state is _WAITING and at >= asking.until:
            self._again()
            return
        times = asking.target.provider.timeouts
        if self._receiving:
            asking.began = self._last_in = at  # it is the client that takes its time
            if at - self._began > times.total:
                text = f"The body took more than {times.total:g} s to arrive."
                self._fail(Problem("REQUEST_TIMEOUT", text), Outcome.TIMEOUT)
            return
        if at - self._began > times.total:
            text = f"the whole answer took more than {times.total:g} s"
            self._timed_out(text, Outcome.TIMEOUT)
            return
        if not self._op.stream or self._paused:
            return
        if not self._has_begun:
            if at - asking.began > times.first_event and state is not _WAITING:
                self._failed(UpstreamError(Fault.TIMEOUT, f"no event within {times.first_event:g} s"))
                return
        elif at - self._last_in > times.idle:
            self._timed_out(f"nothing for {times.idle:g} s", Outcome.UPSTREAM_CUT)
            return
        limits = self._kit.limits
        self._about()  # a head may have to go out before anything is known
        self._reply.keep_alive(at, self._began, limits.head_after, limits.quiet)

    @property
    def _has_begun(self) -> bool:
        return self._pipe is not None and self._pipe.phase is not _PREAMBLE

    def _timed_out(self, text: str, why: Outcome) -> None:
        assert self._asking is not None
        target, error = self._asking.target, UpstreamError(Fault.TIMEOUT, text)
        self._kit.targets.failed(target, error, now())
        self._fail(problem_for(error, target.provider), why)
