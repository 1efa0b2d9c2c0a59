"""A file with sound to samples, with FFmpeg (PyAV), a little at a time: what a container claims takes no memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import av
import numpy as np
from av.container import InputContainer

from switchboard.providers.offline.studio.jobs import Refused

Samples = np.ndarray[tuple[int], np.dtype[np.int16]]

#: Samples a second of all that is listened to.
RATE: Final = 16_000

# What a recording may have. The rest costs more than listening does: a second of 655 kHz in 8 channels, which FLAC keeps in 2 kB,
# takes 50 ms, one of 192 kHz in 8 takes 11 ms, and one of 16 kHz in one 1.5 ms.
_MOST_RATE: Final = 192_000
_MOST_CHANNELS: Final = 8

# Containers that hold their own sound. Others (playlists, say) name files and addresses, and FFmpeg would go there.
_CONTAINERS: Final = "aac,aiff,amr,au,caf,flac,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,ogg,w64,wav"
_OPTIONS: Final = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}


def unreadable(why: str) -> Refused:
    """The file has no sound that can be had."""
    return Refused(why, "file", "invalid_audio")


def samples(file: BinaryIO) -> Iterator[Samples]:
    """The sound in `file`, one channel. Packets that are broken are left out. Raises `Refused` where there is none."""
    file.seek(0)
    try:
        container = av.open(file, "r", options=_OPTIONS, metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as e:
        raise unreadable("The file is not one with sound, or of a kind that is not read here.") from e
    with container:
        if not container.streams.audio:
            raise unreadable("There is no sound in the file.")
        some = False
        for piece in _resampled(_frames(container)):
            some = True
            yield piece
        if not some:
            raise unreadable("There is no sound in the file that can be decoded.")


def _frames(container: InputContainer) -> Iterator[av.AudioFrame]:
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, ValueError):
            return  # the file is cut off: what was there was heard
        if packet is None:
            return
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError):
            continue
        for frame in frames:
            if isinstance(frame, av.AudioFrame):
                yield frame


def _resampled(frames: Iterator[av.AudioFrame]) -> Iterator[Samples]:
    """The frames' samples at `RATE`, mixed to one channel."""
    resampler: av.AudioResampler | None = None
    before: tuple[int, str, str] | None = None
    for frame in frames:
        shape = (frame.sample_rate, frame.format.name, frame.layout.name)
        if resampler is None or shape != before:  # a file may change in the middle
            _check(frame)
            if resampler is not None:
                yield from _flat(resampler.resample(None))
            resampler, before = av.AudioResampler(format="s16", layout="mono", rate=RATE), shape
        frame.pts = None  # gaps in time are not silence here
        yield from _flat(resampler.resample(frame))
    if resampler is not None:
        yield from _flat(resampler.resample(None))


def _check(frame: av.AudioFrame) -> None:
    """Raises `Refused` for more samples than anybody records."""
    rate, channels = frame.sample_rate, frame.layout.nb_channels
    if rate > _MOST_RATE or channels > _MOST_CHANNELS:
        text = f"The sound in the file has {rate} samples a second in {channels} channels;"
        raise unreadable(f"{text} no more than {_MOST_RATE} in {_MOST_CHANNELS} are read here.")


def _flat(frames: list[av.AudioFrame]) -> Iterator[Samples]:
    for frame in frames:
        if frame.samples:
            yield frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)


def measure(file: BinaryIO, max_seconds: float) -> tuple[float, int]:
    """How long the sound in `file` is, in seconds, and its loudest sample; costs a hundredth of what listening does.

    Raises `Refused`: there is none, or more than `max_seconds` of it."""
    count = loudest = 0
    for piece in samples(file):
        count += len(piece)
        loudest = max(loudest, int(piece.max()), -int(piece.min()))
        if count > max_seconds * RATE:
            raise Refused(f"The sound in the file is longer than {max_seconds:g} seconds.", "file", "audio_too_long")
    return count / RATE, loudest
