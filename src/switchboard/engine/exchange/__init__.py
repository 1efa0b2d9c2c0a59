"""The Exchange: one request, whatever it asks for, from its head to its settlement.

Everything here happens in callbacks and returns at once. The client's shell calls `start`, `on_body`, `client_left`,
`pause` and `resume`; the upstream's transport calls the `_Attempt` that was made for it; the registry calls `tick`. The
answer's head is held back until the upstream has shown that it will answer (or for `Limits.head_after` seconds), so
that a failure before that has a real status. However it ends, `_settle` runs exactly once.
"""

from switchboard.engine.exchange.exchange import Exchange
from switchboard.engine.exchange.parts import Kit, Limits

__all__ = ["Exchange", "Kit", "Limits"]
