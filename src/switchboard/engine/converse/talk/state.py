"""What a conversation knows of itself, and what it is between."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.types import Usage
from switchboard.dialects.realtime import RealtimeFrameError, Shape, Translator, dump_event
from switchboard.dialects.realtime.script import Script
from switchboard.engine.converse.held import HeldSession
from switchboard.engine.converse.rate import Resampler
from switchboard.engine.converse.renewal import Renewal
from switchboard.engine.converse.responses import Responses
from switchboard.engine.converse.stats import Stats
from switchboard.engine.converse.toolbox import Toolbox

_log: Final = logging.getLogger("switchboard.relay")
#: Hz of the sound of both interfaces.
RATE: Final = 24_000
#: Tells a client that the server lives.
PONG: Final = dump_event({"type": "switchboard.pong"})
#: Bytes of a millisecond of sound in PCM.
PCM: Final = 48


class Ends(Protocol):
    """What a conversation is between."""

    def to_client(self, frame: bytes) -> None:
        """Send an event."""

    def sound_to_client(self, frame: bytes, *, binary: bool) -> None:
        """Send sound, as an event or by itself."""

    def sound_is_stale(self) -> None:
        """The user broke in: what waits of the sound is not to be heard any more."""

    def to_provider(self, frame: bytes, *, sound: bool = False) -> None:
        """Send an event."""

    def answered(self, usage: Usage, began: float, model: str = "") -> None:
        """A response is over, which began at `began` on the monotonic clock, or something was written down, by `model`."""

    def broken(self, problem: Problem) -> None:
        """The conversation cannot go on."""


class TalkState:
    """The part of a `Talk` that both sides share."""

    def __init__(
        self,
        session: HeldSession,
        client: Shape,
        provider: Shape,
        ends: Ends,
        stats: Stats,
        *,
        binary: bool = False,
        rate: int = RATE,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._secrets = secrets
        self._secret_bytes = [s.encode() for s in secrets]
        self._session = session
        self._ends = ends
        self._stats = stats
        self._translator = Translator(client, provider)
        self._binary = binary
        self._up = self._down = None
        if rate != RATE:
            self._up, self._down = Resampler(rate, RATE), Resampler(RATE, rate)
        self.script = Script()
        self._responses = Responses()
        self._renewal = Renewal()
        self._toolbox: Toolbox | None = None
        if session.tools.described():
            self._toolbox = Toolbox(session.tools, self._tool_answered, self._ask)
        self._first = True  # nothing has come from the client yet
        self._bytes_per_ms = PCM
        self._turns = True  # the provider finds out when the user has said all
        self._unheard = False  # sound of the user that was not committed
        self._speaking = False  # the user
        self._ended: float | None = None  # when the user had said all, until something is answered
        self._calls: set[str] = set()  # of the client's tools, that are not answered
        self._response_began = 0.0
        self._made_characters, self._made_ms = 0, 0.0  # of the responses under way
        self._billed = ""  # the response that was billed without a word of the provider
        self._scribe = ""  # the model that writes down what the user says
        self._renewed = False

    # ---- tools

    def _tool_answered(self, call: str, output: str) -> None:
        self._stats.tool_calls += 1
        item = {"type": "function_call_output", "call_id": call, "output": output}
        self._ends.to_provider(dump_event({"type": "conversation.item.create", "item": item}))

    def _ask(self) -> None:
        """The model is to go on."""
        try:
            self._to_provider(self._responses.ask({"type": "response.create"}, now()))
        except RealtimeFrameError:
            _log.debug("the model goes on with what else it was asked for")

    def _to_provider(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._ends.to_provider(frame)


def error_event(message: str, code: str = "invalid_event", event_id: str | None = None) -> bytes:
    """An error event, the same in both shapes. `event_id` is that of the client's event that it is about."""
    error = {"type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": event_id}
    return dump_event({"type": "error", "event_id": "evt_switchboard_error", "error": error})
