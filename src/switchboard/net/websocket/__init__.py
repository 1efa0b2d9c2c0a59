"""WebSockets (RFC 6455, without extensions), of both sides, made to relay sound: messages are pushed, nothing awaits.

- `WebSocket`: one that is open, on a connection of either side; a `core.sockets.Socket`.
- `Sockets`: those that are open, what they share, their deadlines and their common end.
- `Turn`: what is sent while something is read goes out together.
- `SocketDialer`: opens them to providers. The server's side of the handshake is in `net.front.opening`.

The codec is our own: what a message may be, how it is closed and when it is given up is decided in one place, and an idle
socket holds no buffers. picows, which was tried, keeps some for each connection, and gives no word about some of its
ends.
"""

from switchboard.net.websocket.connection import WebSocket
from switchboard.net.websocket.dialer import SocketCall, SocketDialer, SocketTimeouts
from switchboard.net.websocket.limits import SocketLimits
from switchboard.net.websocket.sockets import Sockets
from switchboard.net.websocket.turn import Turn

__all__ = ["SocketCall", "SocketDialer", "SocketLimits", "SocketTimeouts", "Sockets", "Turn", "WebSocket"]
