"""The side of an exchange that faces providers: which target is asked, in which words, and the call that is under way."""

from __future__ import annotations

import re
from typing import Any, Final

from switchboard.core.clock import now
from switchboard.core.errors import Problem, UpstreamError
from switchboard.core.ports import Flow, ProviderDialect
from switchboard.core.types import Call, Lines, Op
from switchboard.engine.exchange.attempt import Attempt, Upstreamed
from switchboard.engine.exchange.parts import Kit
from switchboard.engine.exchange.plan import Plan
from switchboard.policy.target import Target

_UNTOLD: Final = re.compile(r"[^A-Za-z0-9_.,\[\] -]")  # a client may have named its members as it likes


class Asking:
    """Asks the targets of `plan` for `op`, one after the other. Whose it is it does not know: what is over
    leaves no cycle of references behind for the garbage collector to look for.

    `target` is the one that is asked, `dialect` how; both hold from the first `build` on. `began` is when the attempt
    began, and `until` when the next one is to be made (monotonic).
    """

    __slots__ = (
        "_attempt",
        "_call",
        "_kit",
        "_op",
        "_plan",
        "_unasked",
        "_uplink",
        "began",
        "dialect",
        "target",
        "until",
    )

    def __init__(self, kit: Kit, op: Op, plan: Plan) -> None:
        self._kit = kit
        self._op = op
        self._plan = plan
        self._unasked = op.dropped  # what was not taken over before any target was looked at
        self._call: Call | None = None
        self._attempt: Attempt | None = None
        self._uplink: Flow | None = None
        self.target: Target = plan.target
        self.dialect: ProviderDialect[Any] | None = None
        self.began = self.until = 0.0

    @property
    def asked(self) -> int:
        """How many calls were made."""
        return self._plan.asked

    @property
    def takes_growing(self) -> bool:
        """Whether the next target takes a file whose end is not there yet."""
        return self._plan.target.provider.capabilities.uploads_grow

    def build(self, client: str, trace: Lines) -> Lines:
        """Make the call for the plan's target, for a client of the dialect `client`; `trace` goes along. Gives the header
        lines that the client is to be told. Raises `Problem`."""
        op, plan = self._op, self._plan
        while True:
            target = self.target = plan.target
            provider = target.provider
            if not provider.configured:
                raise Problem("API_KEY_NOT_CONFIGURED", f"{provider.title} API key not configured")
            dialect = self.dialect = provider.dialect(op.operation, client)
            op.dropped = [*self._unasked]
            body = dialect.build(op, target.model, provider.capabilities)
            if not op.dropped or not self._kit.gate.profile.strict:
                break
            if not plan.skip():
                names = ", ".join(op.dropped)
                raise Problem("FIELD_NOT_SUPPORTED", f"This is not taken here: {names}.", param=op.dropped[0])
        self._call = provider.call(dialect.name, target.model, body, trace + dialect.headers(op))
        # told once the call is built, which may drop more
        told = b""
        if target.renamed:
            told += b"x-switchboard-model: %b\r\n" % target.model.encode()
        if op.dropped:
            names = _UNTOLD.sub("?", ", ".join(op.dropped)[:1024])
            told += b"x-switchboard-dropped: %b\r\n" % names.encode()
        return told

    def send(self, owner: Upstreamed, *, paused: bool) -> None:
        """Send the call; `owner` is told of its answer. `paused`: the client takes nothing at the moment."""
        assert self._call is not None
        self._plan.asked += 1
        self.began = now()
        self._attempt = Attempt(owner)
        self._uplink = self.target.provider.transport.send(self._call, self._attempt)
        if paused:
            self._uplink.pause()

    def after(self, error: UpstreamError) -> float | None:
        """The call has failed: seconds to wait before the next one, to another target perhaps; None where nothing is left to
        try."""
        assert self._call is not None
        return self._plan.after(error, self._call, self._kit.targets)

    def more(self) -> None:
        """More of an upload is there."""
        body = self._call.body if self._call is not None else b""
        if not isinstance(body, bytes) and body.on_more is not None:
            body.on_more()

    def ended(self) -> None:
        """The call is over by itself."""
        self._uplink = None

    def pause(self) -> None:
        """Take no more of the answer."""
        if self._uplink is not None:
            self._uplink.pause()

    def resume(self) -> None:
        """Take more of it."""
        if self._uplink is not None:
            self._uplink.resume()

    def let_go(self) -> None:
        """Stop the call that is under way, and hear no more of it."""
        if self._attempt is not None:
            self._attempt.detach()
        uplink, self._uplink = self._uplink, None
        if uplink is not None:
            uplink.abort()
