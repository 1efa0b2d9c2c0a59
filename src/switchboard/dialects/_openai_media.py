"""What OpenAI's wires for sound, images and vectors have in common: their usage, their requests, their event streams.

Source: the types of the official ``openai`` SDK. Unlike a chat's, their events carry a ``type``, and the last one has
the usage; no ``[DONE]`` follows.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.events import Event
from switchboard.core.ports import Context, Meter, Phase
from switchboard.core.types import Headers, Usage
from switchboard.dialects import _openai_shapes as shapes
from switchboard.dialects._streams import EventTap, cut
from switchboard.dialects.openai_chat import invalid, read_error
from switchboard.dialects.openai_chat.call import NOT_JSON

_ENDED: Final = Phase.DONE  # or FAILED
T = TypeVar("T")


class _InputDetails(Struct):
    audio_tokens: int | None = None


class MediaUsage(Struct):
    """Tokens, or seconds of sound."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    seconds: float | None = None
    input_token_details: _InputDetails | None = None

    def read(self) -> Usage:
        """As ours."""
        tokens = self.input_tokens if self.input_tokens is not None else self.prompt_tokens
        details = self.input_token_details
        audio = details.audio_tokens if details is not None else None
        return Usage(tokens or 0, self.output_tokens or 0, seconds=self.seconds or 0.0, audio_input=audio or 0)


class _Frame(Struct):
    type: str = ""
    delta: str | None = None
    usage: MediaUsage | None = None
    error: Raw | UnsetType = UNSET


_decode_frame: Final = msgspec.json.Decoder(_Frame).decode


def read_members(body: Any, raw: bytes, shape: type[T]) -> tuple[T, dict[str, Raw]]:
    """A request of the `shape`, and its members but for the model as they came. `body` is `raw` decoded.

    Raises `Problem` that names the field at fault.
    """
    if not isinstance(body, dict):
        raise Problem("INVALID_REQUEST", "The body must be a JSON object.")
    try:
        request = msgspec.convert(body, shape)
    except msgspec.ValidationError as e:
        raise invalid(str(e)) from None
    members: dict[str, Raw] = shapes.decode_members(raw)
    members.pop("model", None)
    return request, members


def required_text(value: str, name: str, most: int) -> str:
    """`value`, if it is neither blank nor longer than `most` characters. Raises `Problem` that names the field."""
    if not value.strip():
        raise Problem("INVALID_REQUEST", f"{name}: must not be empty.", param=name)
    if len(value) > most:
        text = f"{name}: {len(value)} characters are more than the {most} that are taken."
        raise Problem("INVALID_REQUEST", text, param=name)
    return value


def decode(decoder: msgspec.json.Decoder[T], body: bytes, what: str) -> T:
    """`body` as it should be. Raises `UpstreamError` where it is not a `what`."""
    try:
        return decoder.decode(body)
    except NOT_JSON as e:
        raise UpstreamError(Fault.PROTOCOL, f"not {what} ({e}): {body[:200]!r}") from None


def told_error(error: Raw | UnsetType) -> None:
    """Raises `UpstreamError` if the member ``error`` of an answer tells one."""
    if error is not UNSET and bytes(error) != b"null":
        raise read_error(error, Fault.EVENT)


class OpenAIErrors:
    """Errors with a status, as on all of OpenAI's wires."""

    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """See `core.ports.ProviderDialect`."""
        retry_after = headers.get(b"retry-after", b"").decode("latin-1") or None
        return read_error(body, Fault.STATUS, status, retry_after)


class TypedTap(EventTap):
    """Leaves a stream of typed events as it is: reads along for usage and errors. It is complete once an event came whose
    type is one of `last`, each of which counts as an image if it is of `images`. A `core.ports.Pipe`."""

    def __init__(self, context: Context, meter: Meter, last: frozenset[str], *, images: bool = False) -> None:
        super().__init__(context, meter)
        self._counts = images
        self._usage = Usage()
        self._last = last
        self._complete = False

    def eof(self) -> bytes:
        """The stream ended: complete if its last event came."""
        if self.phase < _ENDED:
            if self._complete:
                self.phase = _ENDED
            else:
                self._fail(cut())
        return b""

    def _passes(self, payload: bytes | None) -> bool:
        if self.phase >= _ENDED:
            return False
        if payload is None:  # a comment
            return self.phase is Phase.CONTENT
        if payload == b"[DONE]":
            return self._complete
        try:
            frame = _decode_frame(payload)
        except NOT_JSON:
            return self._fail(
                UpstreamError(Fault.PROTOCOL, f"an event that is not what it should be: {payload[:200]!r}")
            )
        if frame.type == "error" or (frame.error is not UNSET and bytes(frame.error) != b"null"):
            return self._fail(read_error(payload if frame.error is UNSET else frame.error, Fault.EVENT))
        self.phase = Phase.CONTENT
        if self._counts and frame.type in self._last:
            images = self._usage.images + 1
            self._usage = frame.usage.read() if frame.usage is not None else self._usage
            self._usage.images = images
            self._meter.usage(self._usage)
        elif frame.usage is not None:
            self._meter.usage(frame.usage.read())
        elif frame.delta is not None:
            self._meter.saw(1, len(frame.delta))
        self._complete = self._complete or frame.type in self._last
        return True


class NoDecoder:
    """Stands where a wire is only ever passed on, never translated: whatever comes is not what was asked for."""

    def feed(self, data: bytes) -> list[Event]:
        """Nothing is read."""
        return []

    def eof(self) -> list[Event]:
        """Raises `UpstreamError`."""
        raise UpstreamError(Fault.PROTOCOL, "an answer of another kind than was asked for")


def typed_event(event: dict[str, Any]) -> bytes:
    """One event of such a stream."""
    return b"data: " + shapes.encode(event) + b"\n\n"
