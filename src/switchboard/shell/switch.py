"""Which requests are an Exchange's: the one thing that both shells ask before they part ways."""

from __future__ import annotations

import time

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.ports import Downstream
from switchboard.core.sockets import Handshake
from switchboard.core.types import Envelope, Lines, Outcome, RequestHead
from switchboard.engine.converse import Asked, Hub, Relay
from switchboard.engine.exchange import Exchange
from switchboard.policy import api_keys, tickets
from switchboard.policy.authenticate import digest, presented
from switchboard.policy.tokens import PREFIX, profile_of
from switchboard.shell.routes import Routes
from switchboard.surface import problem as shapes
from switchboard.surface import realtime
from switchboard.telemetry.records import Record


class Switch:
    """Holds the current `routes`; a reload puts others in their place, and an exchange keeps those it began with. `hub` is what
    conversations by voice share."""

    def __init__(self, routes: Routes, hub: Hub) -> None:
        self.routes = routes
        self._hub = hub

    def choose(self, head: RequestHead) -> tuple[Routes, str]:
        """The routes of the profile that `head` chooses, by its path, its key or its origin, and the path in them."""
        routes, path = self.routes, head.path
        if not routes.profiles:
            return routes, path
        if path.startswith("/p/"):
            name, slash, rest = path[3:].partition("/")
            chosen = routes.profiles.get(name)
            return (routes, path) if chosen is None else (chosen, slash + rest or "/")
        key = presented(head.headers)
        if key:
            if key.startswith(PREFIX):
                name = profile_of(key)
            else:
                name = api_keys.profile_of(key) if key.startswith(b"sb_") else tickets.profile_of(key)
            chosen = routes.profiles.get(name) if name else routes.by_key.get(digest(key))
            if chosen is not None:
                return chosen, path
        origin = head.headers.get(b"origin")
        chosen = routes.by_origin.get(origin) if origin is not None else None
        return (routes if chosen is None else chosen), path

    def exchange(self, head: RequestHead, down: Downstream, envelope: Envelope | None = None) -> Exchange | None:
        """A new exchange for a hot request, not started yet; None for every other request."""
        routes, path = self.choose(head)
        surface = routes.hot.get(path)
        if surface is None or head.method != "POST":
            return None
        return Exchange(routes.kit, surface, head, envelope or routes.envelopes.open(head), down)

    def relay(self, head: RequestHead, handshake: Handshake) -> Relay | None:
        """A new conversation by voice, not started yet; None for what is no path of one."""
        head = realtime.known_by(head, handshake.offered)
        routes, path = self.choose(head)
        if path not in realtime.PATHS:
            return None
        envelope = routes.envelopes.open(head)
        try:
            asked = realtime.read(head, path, handshake.offered)
        except Problem as p:
            envelope.problem = envelope.problem or p
            asked = Asked(head, "", realtime.PATHS[path])
        if head.headers.get(b"origin") is not None and b"access-control-allow-origin: " not in envelope.headers:
            text = "This origin is not allowed; add it to `cors.origins`."
            envelope.problem = envelope.problem or Problem("ORIGIN_NOT_ALLOWED", text)

        def tell(problem: Problem) -> tuple[int, Lines, bytes]:
            return realtime.refused(path, problem, envelope.request_id)

        return Relay(routes.kit, self._hub, routes.session, asked, envelope, handshake, tell)

    def reject(self, problem: Problem, head: RequestHead | None) -> tuple[int, Lines, bytes]:
        """Answer a request that broke off or is malformed; its head may not even be known. Logs it."""
        head = head or RequestHead("?", "?", b"", {}, "")
        envelope = self.choose(head)[0].envelopes.open(head)
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
                span=envelope.span,
            )
        )
