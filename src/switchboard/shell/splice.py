"""The hot way: an Exchange that the front door's callbacks drive, with nothing in between. The front door's own
`net.front.Request` is its `core.ports.Downstream`, and the Exchange is that request's `net.front.Intake`."""

from __future__ import annotations

from switchboard.core.errors import Problem
from switchboard.core.sockets import Handshake, SocketIntake
from switchboard.core.types import Lines, RequestHead
from switchboard.engine.exchange import Exchange
from switchboard.net.front import FrontLimits, Request
from switchboard.net.websocket import Sockets
from switchboard.shell.switch import Switch


class SpliceDoor:
    """What the front door is given; a `net.front.Door` and a `net.front.SocketDoor`. `sockets` are the WebSockets of clients."""

    def __init__(self, switch: Switch, limits: FrontLimits, sockets: Sockets) -> None:
        self._switch = switch
        self.limits = limits
        self.sockets = sockets

    def enter_socket(self, head: RequestHead, handshake: Handshake) -> SocketIntake | None:
        """Take the conversations by voice."""
        return self._switch.relay(head, handshake)

    def enter(self, head: RequestHead, down: Request) -> Exchange | None:
        """Take the hot routes."""
        return self._switch.exchange(head, down)

    def reject(self, problem: Problem, head: RequestHead | None) -> tuple[int, Lines, bytes]:
        """Answer what is not even HTTP as it should be."""
        return self._switch.reject(problem, head)
