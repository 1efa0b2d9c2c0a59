"""The relay: a client's WebSocket and a provider's own Realtime socket, with a `Talk` between them.

The provider's is opened first; then the client is let in, or refused with a status and a reason. Each side's end closes the other.
"""

from switchboard.engine.converse.relay.relay import Relay
from switchboard.engine.converse.relay.state import Asked

__all__ = ["Asked", "Relay"]
