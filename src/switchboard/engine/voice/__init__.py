"""Voice sessions: begun, listed, ended and forgotten by those whose they are, and carried by the relays of this process."""

from switchboard.engine.voice.carrying import Carried
from switchboard.engine.voice.direct import Minted, mint_at_provider
from switchboard.engine.voice.voice import Connected, Ticket, Voice
from switchboard.store.voice_sessions import EndReason, VoiceSession

__all__ = [
    "Carried",
    "Connected",
    "EndReason",
    "Minted",
    "Ticket",
    "Voice",
    "VoiceSession",
    "mint_at_provider",
]
