"""Conversations by voice: a client's WebSocket and what answers it."""

from switchboard.engine.converse.held import HeldSession
from switchboard.engine.converse.relay import Asked, Connect, Relay

__all__ = ["Asked", "Connect", "HeldSession", "Relay"]
