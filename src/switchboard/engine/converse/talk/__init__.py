"""What stands between a client and a provider in a conversation by voice: the stages that an event goes through, both ways.

From the client: what it may change of the session → the provider's shape → one response at a time. From the provider: usage, transcript,
server tools → the client's shape. Most frames are sound, which no stage wants: they pass as bytes. Nothing here knows of sockets.
"""

from switchboard.engine.converse.talk.state import RATE, Ends, error_event
from switchboard.engine.converse.talk.talk import Talk

__all__ = ["RATE", "Ends", "Talk", "error_event"]
