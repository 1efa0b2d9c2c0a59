"""What the other side of a WebSocket is held to, and what is kept for it."""

from __future__ import annotations

from msgspec import Struct


class SocketLimits(Struct, frozen=True, gc=False):
    """Bytes: `message` is the largest one that is taken; `full` and `drained` are how much waits to be sent when the sink is
    told `on_full` and `on_drain`; at `unsent` the connection is broken off. Seconds: `ping_time` between pings (0: none
    but those asked for), `pong_time` until the answer to one, `close_time` until that to a close. `controls` is how many pings, pongs and empty
    fragments may come in a second.
    """

    message: int = 16 * 1024 * 1024
    full: int = 256 * 1024
    drained: int = 64 * 1024
    unsent: int = 32 * 1024 * 1024
    ping_time: float = 20.0
    pong_time: float = 20.0
    close_time: float = 5.0
    controls: int = 100
