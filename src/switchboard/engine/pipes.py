"""What one upstream stream becomes on its way to a client of another dialect."""

from __future__ import annotations

from switchboard.core.errors import UpstreamError
from switchboard.core.events import (
    AnswerBuilder,
    Done,
    Event,
    Failed,
    Metered,
    Ping,
    Reasoning,
    Refusal,
    Text,
    ToolCallArguments,
)
from switchboard.core.ports import Decoder, Encoder, Meter, Phase

_PREAMBLE = Phase.PREAMBLE
_CONTENT = Phase.CONTENT


class Translate:
    """Decodes one dialect and encodes another; a `core.ports.Pipe`. `kept` gathers what is said, where it is to be kept."""

    __slots__ = ("_decoder", "_encoder", "_kept", "_meter", "error", "phase")

    def __init__(self, decoder: Decoder, encoder: Encoder, meter: Meter, kept: AnswerBuilder | None = None) -> None:
        self._kept = kept
        self.phase = _PREAMBLE
        self.error: UpstreamError | None = None
        self._decoder = decoder
        self._encoder = encoder
        self._meter = meter

    def feed(self, data: bytes) -> bytes:
        return self._pass(self._decoder.feed(data))

    def eof(self) -> bytes:
        return self._pass(self._decoder.eof())

    def _pass(self, events: list[Event]) -> bytes:
        content: list[Event] = []
        for e in events:
            if isinstance(e, Text | Reasoning | Refusal):
                self._meter.saw(1, len(e.text))
            elif isinstance(e, ToolCallArguments):
                self._meter.saw(1, len(e.json))
            elif isinstance(e, Metered):
                self._meter.usage(e.usage)
            elif isinstance(e, Ping):
                continue
            elif isinstance(e, Failed):
                self.phase = Phase.FAILED
                self.error = e.error
                break
            elif isinstance(e, Done):
                self.phase = Phase.DONE
            content.append(e)
        if self._kept is not None:
            self._kept.add(content)
        if not content:
            return b""
        if self.phase is _PREAMBLE:
            self.phase = _CONTENT
        return self._encoder.encode(content)
