"""What readers of event streams have in common, whatever the events are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from mypy_extensions import mypyc_attr

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import Event, Failed
from switchboard.core.ports import Context, Meter, Phase
from switchboard.wire.sse import EventSplitter, EventTooLargeError, SSEvent

_ENDED: Final = Phase.DONE  # or FAILED


def whole_events(splitter: EventSplitter, data: bytes) -> tuple[list[SSEvent], UpstreamError | None]:
    """The events that `data` completes; where one is too large, those before it and the error that follows them."""
    try:
        return splitter.feed(data), None
    except EventTooLargeError as e:
        return e.events, _too_large(e)


def _too_large(e: EventTooLargeError) -> UpstreamError:
    return UpstreamError(Fault.TOO_LARGE, str(e))


def cut() -> UpstreamError:
    """The error of a stream that ended too early."""
    return UpstreamError(Fault.CUT, "the stream ended before it was complete")


@mypyc_attr(allow_interpreted_subclasses=True)
class EventDecoder(ABC):
    """A stream in, events out: a `core.ports.Decoder`. It ends with `Done`, which its kind adds to `out` when it sets `_ended`,
    or with `Failed`."""

    def __init__(self, context: Context) -> None:
        self._splitter = EventSplitter(context.max_event)
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """Events that are whole with `data`; after `Done` or `Failed` none."""
        frames, error = whole_events(self._splitter, data)
        out: list[Event] = []
        for f in frames:
            if not self._ended:
                self._frame(f, out)
        if error is not None and not self._ended:
            self._fail(error, out)
        return out

    @abstractmethod
    def _frame(self, frame: SSEvent, out: list[Event]) -> None:
        """Add to `out` what `frame` says."""

    def _fail(self, error: UpstreamError, out: list[Event]) -> None:
        self._ended = True
        out.append(Failed(error))

    def eof(self) -> list[Event]:
        """`Failed` (cut), unless the stream has ended."""
        out: list[Event] = []
        if not self._ended:
            self._fail(cut(), out)
        return out


@mypyc_attr(allow_interpreted_subclasses=True)
class EventTap(ABC):
    """Leaves a stream as it is, event by event, and reads along for usage and errors: a `core.ports.Pipe`."""

    __slots__ = ("_meter", "_splitter", "error", "phase")

    def __init__(self, context: Context, meter: Meter) -> None:
        self.phase = Phase.PREAMBLE
        self.error: UpstreamError | None = None
        self._meter = meter
        self._splitter = EventSplitter(context.max_event)

    def feed(self, data: bytes) -> bytes:
        """The events that are whole with `data`, as they came."""
        try:
            return b"".join([f.raw for f in self._splitter.feed(data) if self._passes(f.data)])
        except EventTooLargeError as e:  # not `whole_events`, which costs a twentieth of this
            passed = b"".join([f.raw for f in e.events if self._passes(f.data)])
            if self.phase < _ENDED:
                self._fail(_too_large(e))
            return passed

    @abstractmethod
    def _passes(self, payload: bytes | None) -> bool:
        """Read one event's data, None of a comment; whether the event goes on to the client."""

    def _fail(self, error: UpstreamError) -> bool:
        self.phase = Phase.FAILED
        self.error = error
        return False

    @abstractmethod
    def eof(self) -> bytes:
        """See `core.ports.Pipe`."""
