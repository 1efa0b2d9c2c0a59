"""The upstream pool: HTTP/1.1 to providers over kept-alive connections, pushed, with backpressure.

`UpstreamPool` is a `core.ports.Transport`. A call goes out on an idle connection of its origin, or on a new one (TLS, and
through ``HTTPS_PROXY`` where the environment names one). A connection that turns out to have been closed while it was
idle is replaced once, when nothing of an answer has come. What can go wrong is told as `core.errors.UpstreamError`:

- connecting: `Fault.REFUSED`, `DNS`, `TLS`, `PROXY`, `CONNECT_TIMEOUT`, `FULL`
- afterwards: `Fault.RESET` (broken before an answer), `CUT` (in the middle of it), `PROTOCOL` (not HTTP, or a coding nobody asked for)
"""

from switchboard.net.http.pool import UpstreamPool

__all__ = ["UpstreamPool"]
