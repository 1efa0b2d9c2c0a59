"""``switchboard serve --workers N``: a supervisor that forks N workers, each a server of its own on the one port.

The supervisor (`supervisor`) serves nothing: it has no event loop and no threads (`system` is what it has in their place), so
that it can fork at any time. It holds the sockets (`places`), starts workers and takes new ones for those that die (`slot`), reads
the settings anew (`reloading`), and tells the workers over a socket each (`line`), whose end is how they know of the supervisor's.
What a worker does is in `worker`; what all of them share is made in `shared`.
"""

from switchboard.cli.supervisor.supervisor import supervise

__all__ = ["supervise"]
