"""Which requests are an Exchange's: the one thing that both shells ask before they part ways."""

from __future__ import annotations

import time

from msgspec import Struct

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.ports import Downstream, Surface
from switchboard.core.types import Envelope, Lines, Outcome, RequestHead
from switchboard.engine.exchange import Exchange, Kit
from switchboard.surface import problem as shapes
from switchboard.surface.envelope import Envelopes
from switchboard.telemetry.records import Record


class Routes(Struct, frozen=True):
    """What a runtime gives the shells: hot paths (all POST) by name, the kit of their exchanges, the envelopes."""

    hot: dict[str, Surface]
    kit: Kit
    envelopes: Envelopes


class Switch:
    """Holds the current `routes`; a reload puts others in their place, and an exchange keeps those it began with."""

    def __init__(self, routes: Routes) -> None:
        self.routes = routes

    def exchange(self, head: RequestHead, down: Downstream, envelope: Envelope | None = None) -> Exchange | None:
        """A new exchange for a hot request, not started yet; None for every other request."""
        routes = self.routes
        surface = routes.hot.get(head.path)
        if surface is None or head.method != "POST":
            return None
        return Exchange(routes.kit, surface, head, envelope or routes.envelopes.open(head), down)

    def reject(self, problem: Problem, head: RequestHead | None) -> tuple[int, Lines, bytes]:
        """Answer a request that broke off or is malformed; its head may not even be known. Logs it."""
        head = head or RequestHead("?", "?", b"", {}, "")
        envelope = self.routes.envelopes.open(head)
        status, headers, body = shapes.for_path(head.path, problem, envelope.request_id)
        self.record(head, envelope, status, problem, now())
        return status, headers + envelope.headers, body

    def record(
        self,
        head: RequestHead,
        envelope: Envelope,
        status: int,
        problem: Problem | None,
        began: float,
        caller: str = "",
    ) -> None:
        """Note a request that no exchange settles."""
        self.routes.kit.ledger.put(
            Record(
                at=time.time(),
                request_id=envelope.request_id,
                method=head.method,
                path=head.path,
                status=status,
                outcome=Outcome.REFUSED if problem is not None else Outcome.COMPLETE,
                duration=now() - began,
                caller=caller,
                error="" if problem is None else problem.code,
                detail="" if problem is None else problem.detail or problem.message,
            )
        )
