"""The hot way: an Exchange driven by the front door's callbacks, with nothing in between."""

from __future__ import annotations

from switchboard.core.errors import Problem
from switchboard.core.types import HeaderList, Outcome, RequestHead
from switchboard.engine.exchange import Exchange
from switchboard.net.front import FrontLimits, Reply
from switchboard.shell.switch import Switch


class Splice:
    """One hot request; a `net.front.Intake`."""

    __slots__ = ("_exchange", "_reply", "on_body", "pause", "resume")

    def __init__(self, exchange: Exchange, reply: Reply) -> None:
        self._exchange = exchange
        self._reply = reply
        # bound once: the front door calls these for every piece
        self.on_body = exchange.on_body
        self.pause = exchange.pause
        self.resume = exchange.resume

    def left(self, why: Outcome) -> None:
        self._reply.detach()
        self._exchange.client_left(why)


class SpliceDoor:
    """What the front door is given; a `net.front.Door`."""

    def __init__(self, switch: Switch, limits: FrontLimits) -> None:
        self._switch = switch
        self.limits = limits

    def enter(self, head: RequestHead, reply: Reply) -> Splice | None:
        """Take the hot routes."""
        exchange = self._switch.exchange(head, reply)
        if exchange is None:
            return None
        splice = Splice(exchange, reply)
        exchange.start()
        return splice

    def reject(self, problem: Problem, head: RequestHead | None) -> tuple[int, HeaderList, bytes]:
        """Answer what is not even HTTP as it should be."""
        return self._switch.reject(problem, head)
