"""The front door: the protocol class that uvicorn is handed as ``http=``.

It parses requests (httptools), holds their deadlines and sizes, and keeps pipelined requests apart. A request that the
`Door` takes goes to its `Intake` by callback, the hot way; every other one runs in uvicorn's own ASGI cycle, the
ordinary way. What is wrong with the HTTP itself is answered here, in the words of `Door.reject`.

While a request is answered the socket is read on, so that a client that leaves is seen at once; what a client sends
ahead meanwhile is kept up to `FrontLimits.pipeline` bytes.

Where a `SocketDoor` is given, it is asked about handshakes of WebSockets, and decides in its own time (`core.sockets.Handshake`).
A connection that becomes one is `net.websocket`'s; those that nobody takes are answered as ordinary requests.
"""

from switchboard.net.front.limits import Door, FrontLimits
from switchboard.net.front.opening import SocketDoor
from switchboard.net.front.protocol import FrontProtocol
from switchboard.net.front.request import Intake, Request

__all__ = ["Door", "FrontLimits", "FrontProtocol", "Intake", "Request", "SocketDoor"]
