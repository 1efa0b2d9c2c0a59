"""Conversations by voice: a client's WebSocket and what answers it."""

from switchboard.engine.converse.call import Answer, Call, Offer
from switchboard.engine.converse.held import HeldSession
from switchboard.engine.converse.hub import Hub
from switchboard.engine.converse.relay import Asked, Relay
from switchboard.engine.converse.stats import FIRST_SOUND, Stats

__all__ = ["FIRST_SOUND", "Answer", "Asked", "Call", "HeldSession", "Hub", "Offer", "Relay", "Stats"]
