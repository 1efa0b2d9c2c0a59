"""Samples to sound in a format, as they come. `feed` and `end` give the bytes that are ready."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Protocol

from switchboard.dialects.openai_speech import FORMATS
from switchboard.providers.offline.studio.jobs import Refused

if TYPE_CHECKING:
    import av

#: Samples a second of all speech: 16 bits, little-endian, one channel.
RATE: Final = 24_000
_MP3_BITS: Final = 64  # kbit/s
_WAV_HELD: Final = 1024 * 1024  # bytes of samples: 21 seconds, spoken in about 50 ms
_UNKNOWN: Final = 0xFFFFFFFF


class SoundEncoder(Protocol):
    """Makes one file."""

    def feed(self, samples: bytes) -> bytes:
        """What is ready with `samples`."""

    def end(self) -> bytes:
        """The rest."""


def encoder_for(name: str) -> SoundEncoder:
    """The encoder of format `name`. Raises `Refused`."""
    if name == "pcm":
        return _Plain()
    if name == "wav":
        return _Wav()
    if name == "mp3":
        return _Mp3()
    if name in _MUXED:
        return _Muxed(*_MUXED[name])
    known = ", ".join(FORMATS)
    raise Refused(f"There is no such format; there are {known}.", "response_format", "invalid_value")


class _Plain:
    """The samples as they are."""

    def feed(self, samples: bytes) -> bytes:
        return samples

    def end(self) -> bytes:
        return b""


class _Wav:
    """WAV, whose header stands in front and says how long all is. What is short waits for its end; for what is long, the
    header says that the length is unknown, as everybody's who streams WAV."""

    def __init__(self) -> None:
        self._held: bytearray | None = bytearray()

    def feed(self, samples: bytes) -> bytes:
        if self._held is None:
            return samples
        self._held += samples
        return self._release(_UNKNOWN) if len(self._held) > _WAV_HELD else b""

    def end(self) -> bytes:
        return self._release(len(self._held)) if self._held is not None else b""

    def _release(self, size: int) -> bytes:
        held, self._held = self._held, None
        whole = _UNKNOWN if size == _UNKNOWN else size + 36
        form = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", whole, b"WAVE", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16)
        return form + struct.pack("<4sI", b"data", size) + bytes(held or b"")


class _Mp3:
    """MP3 of a constant bit rate."""

    def __init__(self) -> None:
        import lameenc

        self._lame = lameenc.Encoder()
        self._lame.silence()
        self._lame.set_in_sample_rate(RATE)
        self._lame.set_out_sample_rate(RATE)
        self._lame.set_channels(1)
        self._lame.set_bit_rate(_MP3_BITS)
        self._lame.set_quality(5)
        self._fed = False

    def feed(self, samples: bytes) -> bytes:
        self._fed = True
        return bytes(self._lame.encode(samples))

    def end(self) -> bytes:
        return bytes(self._lame.flush()) if self._fed else b""


#: Container and its options, codec and its options, bits a second (0: as many as it takes).
_MUXED: Final[dict[str, tuple[str, dict[str, str], str, dict[str, str], int]]] = {
    "opus": ("ogg", {"page_duration": "40000", "flush_packets": "1"}, "libopus", {"application": "voip"}, 32_000),
    "aac": ("adts", {"flush_packets": "1"}, "aac", {}, 64_000),
    "flac": ("flac", {"flush_packets": "1"}, "flac", {}, 0),
}


class _Muxed:
    """A container that FFmpeg writes, without going back in it."""

    def __init__(self, container: str, ways: dict[str, str], codec: str, options: dict[str, str], bits: int) -> None:
        import av

        self._written = bytearray()
        self._container = av.open(self, "w", format=container, container_options=ways)
        self._stream: av.AudioStream = self._container.add_stream(codec, rate=RATE, options=options, layout="mono")  # type: ignore[assignment]
        if bits:
            self._stream.bit_rate = bits
        self._av = av
        self._at = 0

    def write(self, data: bytes) -> int:
        """What FFmpeg writes into."""
        self._written += data
        return len(data)

    def feed(self, samples: bytes) -> bytes:
        frame = self._av.AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
        frame.planes[0].update(samples)
        frame.sample_rate = RATE
        frame.pts = self._at
        self._at += frame.samples
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        return self._ready()

    def end(self) -> bytes:
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        self._container.close()
        return self._ready()

    def _ready(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data
