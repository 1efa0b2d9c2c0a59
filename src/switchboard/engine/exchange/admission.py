"""Letting a request in: who asks, whether its body is wanted, and the body as it comes."""

from __future__ import annotations

from typing import cast

from switchboard.core.errors import Problem
from switchboard.core.types import (
    Caller,
    Lines,
    Outcome,
)
from switchboard.engine.exchange.asks import Asks
from switchboard.engine.exchange.body import Files, InMemory
from switchboard.engine.registry import Ticking


class Admission(Asks):
    """Decides on the head alone whether the body is wanted, and collects it."""

    __slots__ = ()

    def start(self) -> None:
        """The head is in: decide on it alone whether the body is wanted."""
        self._kit.registry.open.add(cast("Ticking", self))
        try:
            if self._envelope.problem is not None:
                raise self._envelope.problem
            found = self._kit.gate.identify(self._head, self._envelope.peer, self._surface.name)
            if type(found) is Caller:  # nearly always, and a call less
                self._identified(found)
            else:
                self._when(found, self._identified)
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
