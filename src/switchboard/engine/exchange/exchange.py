"""The Exchange: one request, whatever it asks for, from its head to its settlement.

Everything here happens in callbacks and returns at once. The client's shell calls `start`, `on_body`, `client_left`,
`pause` and `resume`; the upstream's transport calls the `Attempt` that was made for it; the registry calls `tick`. The
answer's head is held back until the upstream has shown that it will answer (or for `Limits.head_after` seconds), so
that a failure before that has a real status. However it ends, `_settle` runs exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from switchboard.core.clock import now
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.ports import (
    Context,
    Phase,
    Whole,
)
from switchboard.core.types import (
    Headers,
    Lines,
    Outcome,
    Speak,
    header,
)
from switchboard.engine.exchange.admission import Admission
from switchboard.engine.exchange.collected import Collected
from switchboard.engine.exchange.parts import State
from switchboard.engine.pipes import Translate
from switchboard.engine.problems import problem_for

_DRAIN_TIME: Final = 5.0  # seconds that an upstream has to end its HTTP after its last event

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


class Exchange(Admission):
    """One request; made by a shell, which then calls `start`."""

    __slots__ = ()

    # ---- from the client

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

    # ---- the clock, and the server's end

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
