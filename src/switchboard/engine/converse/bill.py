"""What a conversation is in the log and on the bill: each of its responses, for it may last, and itself at the end."""

from __future__ import annotations

import time

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.types import Envelope, Outcome, Usage
from switchboard.engine.converse.entrance import Entrance
from switchboard.engine.exchange import Kit
from switchboard.telemetry.records import Record


class Bill:
    """The records of one conversation, which was asked for by `method` and `path` as `envelope` has it, and of whoever came in by `entrance`."""

    def __init__(self, kit: Kit, entrance: Entrance, envelope: Envelope, method: str, path: str) -> None:
        self._kit = kit
        self._entrance = entrance
        self._envelope = envelope
        self._asked = (method, path)
        self._began = now()
        self._first: float | None = None

    @property
    def began(self) -> float:
        """When it was asked for, monotonic."""
        return self._began

    def let_in(self) -> None:
        """The conversation begins."""
        self._first = now() - self._began

    def response(self, usage: Usage, began: float, model: str = "") -> None:
        """A response that began at `began` (monotonic) is over; `model` is who made it, where it is another than the conversation's."""
        self._put(200, Outcome.COMPLETE, now() - began, None, usage, None, model)

    def whole(self, status: int, why: Outcome, problem: Problem | None) -> None:
        """It is over."""
        self._put(status, why, now() - self._began, self._first, Usage(), problem)

    def _put(
        self,
        status: int,
        why: Outcome,
        duration: float,
        first: float | None,
        usage: Usage,
        problem: Problem | None,
        model: str = "",
    ) -> None:
        caller, target = self._entrance.caller, self._entrance.target
        self._kit.ledger.put(
            Record(
                time.time(),
                self._envelope.request_id,
                *self._asked,
                status,
                why,
                duration,
                first,
                self._kit.gate.profile.name,
                "" if caller is None else caller.id,
                "realtime",
                "" if target is None else target.provider.name,
                model or ("" if target is None else target.model),
                usage,
                True,
                "" if problem is None else problem.code,
                "" if problem is None else problem.detail or problem.message,
                int(target is not None),
                span=self._envelope.span,
                user="" if caller is None else caller.user,
            )
        )
