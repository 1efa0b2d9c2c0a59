"""The Exchange: one request of the operation *generate*, from its head to its settlement.

Everything here happens in callbacks and returns at once. The client's shell calls `start`, `on_body`, `client_left`,
`pause` and `resume`; the upstream's transport calls the `Attempt` that was made for it; the registry calls `tick`. The
answer's head is held back until the upstream has shown that it will answer (or for `Limits.head_after` seconds), so
that a failure before that has a real status. However it ends, `_settle` runs exactly once.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any, Final

from switchboard.core.clock import now
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.ports import (
    Context,
    Downstream,
    Flow,
    Phase,
    Pipe,
    Provider,
    ProviderDialect,
    Surface,
    Whole,
)
from switchboard.core.types import (
    Call,
    Caller,
    Envelope,
    Form,
    Generate,
    Headers,
    Lines,
    Op,
    Outcome,
    RequestHead,
    Usage,
    header,
)
from switchboard.engine.exchange.body import Body, Files, InMemory
from switchboard.engine.exchange.collected import Collected
from switchboard.engine.exchange.parts import Attempt, Kit, State
from switchboard.engine.exchange.plan import Plan
from switchboard.engine.exchange.reply import Reply
from switchboard.engine.pipes import Translate
from switchboard.engine.problems import problem_for
from switchboard.policy.metering import UsageMeter
from switchboard.policy.routing import Target
from switchboard.telemetry.records import Record

_DRAIN_TIME: Final = 5.0  # seconds that an upstream has to end its HTTP after its last event
_UNTOLD: Final = re.compile(r"[^A-Za-z0-9_.,\[\] -]")  # a client may have named its members as it likes
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
        "_attempt",
        "_attempt_began",
        "_began",
        "_body",
        "_call",
        "_caller",
        "_collected",
        "_continue",
        "_envelope",
        "_forwarded",
        "_head",
        "_kit",
        "_last_in",
        "_meter",
        "_op",
        "_paused",
        "_pipe",
        "_plan",
        "_provider_dialect",
        "_receiving",
        "_reply",
        "_state",
        "_surface",
        "_target",
        "_unasked",
        "_uplink",
        "_wait_until",
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
        self._body: Body = InMemory(kit.limits.body)
        self._caller: Caller | None = None
        self._admitted: Lines = b""  # how much of the rate limit is left
        self._op: Op | None = None
        self._plan: Plan | None = None
        self._call: Call | None = None
        self._attempt_began = self._wait_until = 0.0
        self._unasked: list[str] = []  # what was not taken over before any target was looked at
        self._target: Target | None = None
        self._provider_dialect: ProviderDialect[Any] | None = None
        self._pipe: Pipe | None = None
        self._meter: UsageMeter | None = None
        self._attempt: Attempt | None = None
        self._uplink: Flow | None = None
        self._collected: Collected | None = None
        self._last_in = self._began
        self._paused = False
        self._receiving = True  # the body
        self._forwarded = 0  # parts of a form that were there when a provider was asked

    # ---- from the client

    def start(self) -> None:
        """The head is in: decide on it alone whether the body is wanted."""
        kit = self._kit
        kit.registry.open.add(self)
        try:
            if self._envelope.problem is not None:
                raise self._envelope.problem
            self._caller = kit.gate.identify(self._head, self._envelope.peer)
            if self._surface.files:
                kit.gate.check_files(self._head, kit.limits.upload, bare=self._surface.bare)
                self._body = Files(self._head.headers, kit.limits.upload)
            else:
                kit.gate.check(self._head, kit.limits.body)
            self._admitted = self._reply.extra = kit.gate.admit(self._caller, self._began)
        except Problem as p:
            self._fail(p, Outcome.REFUSED)
        except Exception as e:
            self._crash(e)
        else:
            self._continue()

    def on_body(self, data: bytes, end: bool) -> None:
        """Some of the body; `end` with the last of it."""
        if not self._receiving:
            return
        try:
            if data:
                self._body.add(data)
            if end:
                self._receiving = False
                self._received()
            elif self._surface.files:
                self._forward()
        except Problem as p:
            self._fail(p, Outcome.REFUSED)
        except Exception as e:
            self._crash(e)

    def refuse(self, problem: Problem) -> None:
        """Something is wrong with the body, as the front door sees it."""
        if self._receiving:
            self._fail(problem, Outcome.REFUSED)

    def client_left(self, why: Outcome = Outcome.CLIENT_LEFT) -> None:
        """The client is gone: whatever is under way stops now."""
        if self._state is _OVER:
            return
        self._over(why)

    def pause(self) -> None:
        """The client reads more slowly than is written."""
        self._paused = True
        if self._uplink is not None:
            self._uplink.pause()

    def resume(self) -> None:
        """The client has caught up."""
        self._paused = False
        self._last_in = now()  # it was not the upstream that was slow
        if self._uplink is not None:
            self._uplink.resume()

    # ---- to the provider

    def _received(self) -> None:
        """The body is whole. Where a provider was asked before, it gets the rest, or, if that changes what is asked, all of
        it anew."""
        body = self._body.whole()
        if self._state is _READING:
            self._ask(body)
        elif isinstance(body, Form) and body.parts != self._forwarded:
            self._let_go()
            self._ask(body)
        else:
            self._more()

    def _forward(self) -> None:
        """Send a file on while it comes in, if the provider takes that."""
        form = self._body.begun
        if self._state is not _READING:
            self._more()
        elif form is not None and form.parts != self._forwarded:
            self._forwarded = form.parts
            op = self._surface.read(self._head, form)[1]
            first = self._kit.gate.plan(op, documents=self._surface.documents)[0]
            if first.provider.capabilities.uploads_grow:
                self._ask(form)

    def _more(self) -> None:
        body = self._call.body if self._call is not None else b""
        if not isinstance(body, bytes) and body.on_more is not None:
            body.on_more()

    def _ask(self, body: bytes | Form) -> None:
        """Enough of the body is there: read it, find what answers, and call."""
        kit = self._kit
        if kit.log.debug and isinstance(body, bytes):
            kit.log.body("request", self._envelope.request_id, body)
        self._reply.dialect, op = self._surface.read(self._head, body)
        self._op = op
        self._plan = Plan(kit.targets.order(kit.gate.plan(op, documents=self._surface.documents), self._began))
        self._unasked = op.dropped
        self._meter = kit.gate.meter(op)
        self._try()

    def _try(self) -> None:
        """Ask the plan's target. Raises `Problem`."""
        op, client, plan = self._op, self._reply.dialect, self._plan
        assert op is not None and client is not None and plan is not None
        while True:
            target = self._target = plan.target
            provider = target.provider
            if not provider.configured:
                raise Problem("API_KEY_NOT_CONFIGURED", f"{provider.title} API key not configured")
            dialect = self._provider_dialect = provider.dialect(op.operation, client.name)
            op.dropped = [*self._unasked]
            body = dialect.build(op, target.model, provider.capabilities)
            if not op.dropped or not self._kit.gate.profile.strict:
                break
            if not plan.skip():
                names = ", ".join(op.dropped)
                raise Problem("FIELD_NOT_SUPPORTED", f"This is not taken here: {names}.", param=op.dropped[0])
        call = provider.call(dialect.name, target.model, body, self._envelope.trace + dialect.headers(op))
        # told once the call is built, which may drop more
        extra = self._admitted
        if target.renamed:
            extra += b"x-switchboard-model: %b\r\n" % target.model.encode()
        if op.dropped:
            names = _UNTOLD.sub("?", ", ".join(op.dropped)[:1024])
            extra += b"x-switchboard-dropped: %b\r\n" % names.encode()
        self._reply.extra = extra
        self._send(call, provider)

    def _send(self, call: Call, provider: Provider) -> None:
        assert self._plan is not None
        self._plan.asked += 1
        self._call = call
        self._state = _CALLING
        self._attempt_began = self._last_in = now()
        self._attempt = Attempt(self)
        self._uplink = provider.transport.send(call, self._attempt)
        if self._paused:
            self._uplink.pause()

    def _goes_on(self, error: UpstreamError) -> bool:
        """Whether something else is tried now that a call has failed: another key, another target, the same ones later.
        Never once there was content."""
        target, call, plan, kit = self._target, self._call, self._plan, self._kit
        assert target is not None and call is not None and plan is not None
        at = now()
        kit.targets.failed(target, error, at)
        if self._reply.first_byte is not None:
            return False
        wait = plan.after(error, call, kit.targets)
        if wait is None:
            return False
        self._let_go()
        if wait:
            self._state = _WAITING
            self._wait_until = at + wait
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
        if self._attempt is not None:
            self._attempt.detach()
        uplink, self._uplink = self._uplink, None
        if uplink is not None:
            uplink.abort()
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
        dialect, provider_dialect, meter, context = (
            self._reply.dialect,
            self._provider_dialect,
            self._meter,
            self._about(),
        )
        assert dialect is not None and provider_dialect is not None and meter is not None
        if dialect.name == provider_dialect.name:
            self._pipe = provider_dialect.tap(context, meter)
        else:
            self._pipe = Translate(provider_dialect.decoder(context), self._reply.encoder, meter)
        self._state = _STREAMING

    def _about(self) -> Context:
        op, target = self._op, self._target
        assert op is not None and target is not None
        return self._reply.about(op, target.model, self._kit.limits.event)

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
            self._reply.end(out)
        elif out and phase is not _PREAMBLE:
            self._reply.begin()
            self._reply.write(out, self._last_in)

    def upstream_end(self) -> None:
        """The upstream's answer is whole, as HTTP sees it; see `Attempt`."""
        state = self._state
        self._uplink = None
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
        dialect, own, meter, op = self._provider_dialect, self._reply.dialect, self._meter, self._op
        assert dialect is not None and own is not None and meter is not None and op is not None
        if collected.passes_as(own, dialect, op.stream):
            body = dialect.passed(op, collected.body, meter)
            self._answer(collected.content_type, body)
            return
        answer = collected.read(dialect, self._about())
        meter.saw(1, answer.size())
        if answer.usage is not None:
            meter.usage(answer.usage)
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
        self._reply.end(out)

    def _answer(self, kind: Lines, body: bytes) -> None:
        self._reply.status = 200
        self._reply.first_byte = now()
        self._state = _OVER
        self._kit.registry.open.discard(self)
        self._settle(Outcome.COMPLETE)
        self._reply.whole(kind, body)

    def upstream_error(self, error: UpstreamError) -> None:
        """The call failed; see `Attempt`."""
        self._uplink = None
        try:
            # a text says itself when it is whole; of sound only HTTP knows
            if self._state is _STREAMING and error.fault is Fault.CUT and isinstance(self._op, Generate):
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
        assert self._target is not None
        if error.status == 401 or error.status == 403:
            _log.error("%s refuses this server's key: %s", self._target.provider.name, error)
        if self._goes_on(error):
            return
        problem = problem_for(error, self._target.provider)
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
        if self._attempt is not None:
            self._attempt.detach()
        uplink, self._uplink = self._uplink, None
        settled = self._state is _DRAINING
        self._state = _OVER
        self._kit.registry.open.discard(self)
        if uplink is not None:
            uplink.abort()
        if not settled:
            self._settle(why, problem)

    def _settle(self, why: Outcome, problem: Problem | None = None) -> None:
        end = now()
        usage = self._meter.settle(why) if self._meter is not None else Usage()
        op, target, caller, reply = self._op, self._target, self._caller, self._reply
        answered = why is Outcome.COMPLETE or (why is Outcome.CLIENT_LEFT and reply.first_byte is not None)
        if answered and target is not None:
            self._kit.targets.answered(target)
        self._receiving = False
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
                0 if self._plan is None else self._plan.asked,
                self._attempt_began - self._began if self._attempt_began else 0.0,
                self._envelope.span,
            )
        )

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
        if state is _WAITING and at >= self._wait_until:
            self._again()
            return
        assert self._target is not None and self._op is not None
        times = self._target.provider.timeouts
        if self._receiving:
            self._attempt_began = self._last_in = at  # it is the client that takes its time
        if at - self._began > times.total:
            text = f"the whole answer took more than {times.total:g} s"
            self._timed_out(text, Outcome.TIMEOUT)
            return
        if not self._op.stream or self._paused:
            return
        if not self._has_begun:
            if at - self._attempt_began > times.first_event and state is not _WAITING:
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
        assert self._target is not None
        error = UpstreamError(Fault.TIMEOUT, text)
        self._kit.targets.failed(self._target, error, now())
        self._fail(problem_for(error, self._target.provider), why)
