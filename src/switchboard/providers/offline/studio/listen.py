"""Samples to words with pocketsphinx and the English model that comes with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np
from msgspec import Struct
from pocketsphinx import Decoder, Vad

from switchboard.providers.offline.studio.decode import RATE, measure, samples
from switchboard.providers.offline.studio.jobs import Refused, Transcribe
from switchboard.providers.offline.studio.utterances import FRAME, Utterance, utterances

# Found by trying, on other sentences than bench/voice.py measures with: a lighter language model and wider beams than the
# defaults, for a third more time.
_DECODER: Final = {"lw": 5.0, "beam": 1e-52, "pbeam": 1e-52, "wbeam": 1e-35}
_DITHER: Final = 32768 * 10 ** (-60 / 20)  # noise of -60 dBFS: digital silence makes the recogniser hear things
_LOUD: Final = 32768 * 10 ** (-3 / 20)  # what the loudest sample is brought to,
_MOST_GAIN: Final = 10 ** (30 / 20)  # within measure
_AROUND: Final = 0.3  # seconds of silence that are put before and behind everything
_FRAME_SAMPLES: Final = round(RATE * FRAME)
_KEPT: Final = 2  # decoders with their models; 70 MB each
_ENGLISH: Final = re.compile(r"(|en|eng|english|en[-_]\w+)", re.I)
_ALTERNATE: Final = re.compile(r"\(\d+\)$")


class Word(Struct):
    """A word; seconds from the sound's beginning."""

    word: str
    start: float
    end: float


class Segment(Struct):
    """An utterance; seconds from the sound's beginning."""

    id: int
    start: float
    end: float
    text: str


class Listener:
    """Recognisers, loaded when they are needed first."""

    def __init__(self) -> None:
        self._decoders: dict[tuple[str, str], Decoder] = {}
        self._vad = Vad(Vad.LOOSE, RATE, FRAME)

    def hear(self, job: Transcribe, file: BinaryIO) -> Transcript:
        """What is said in `file`; the words come as they are asked for. Raises `Refused`, here and not later."""
        if not _ENGLISH.fullmatch(job.language):
            raise Refused("The offline recogniser knows English only.", "language", "unsupported_language")
        duration, loudest = measure(file, job.max_seconds)
        return Transcript(self._decoder(job), self._vad, file, duration, loudest)

    def _decoder(self, job: Transcribe) -> Decoder:
        """Raises `RuntimeError` for a grammar or a model that cannot be read."""
        key = (job.grammar, job.language_model)
        decoder = self._decoders.pop(key, None)
        if decoder is None:
            ways: dict[str, Any] = {}
            if job.grammar:
                ways = {"lm": None, "jsgf": job.grammar}
            elif job.language_model:
                ways = {"lm": job.language_model}
            while len(self._decoders) >= _KEPT:
                del self._decoders[next(iter(self._decoders))]
            decoder = Decoder(loglevel="FATAL", **_DECODER, **ways)
        self._decoders[key] = decoder  # the last one used stands last
        return decoder


class Transcript:
    """What one file says. `segments` has to be gone through once; then `text` and `verbose` are whole."""

    def __init__(self, decoder: Decoder, vad: Vad, file: BinaryIO, duration: float, loudest: int) -> None:
        self.duration = round(duration, 2)
        self._decoder = decoder
        self._vad = vad
        self._file = file
        self._gain = min(_LOUD / max(loudest, 1), _MOST_GAIN)
        self._segments: list[Segment] = []
        self._words: list[Word] = []

    @property
    def text(self) -> str:
        """All that was said so far."""
        return " ".join(s.text for s in self._segments)

    def segments(self) -> Iterator[Segment]:
        """Each utterance that has words in it, as soon as it is understood."""
        for utterance in utterances(self._frames(), self._vad.is_speech):
            words = self._understand(utterance)
            if words:
                text = " ".join(w.word for w in words)
                segment = Segment(len(self._segments), words[0].start, words[-1].end, text)
                self._segments.append(segment)
                self._words += words
                yield segment

    def verbose(self) -> dict[str, object]:
        """OpenAI's ``verbose_json``."""
        return {
            "task": "transcribe",
            "language": "english",
            "duration": self.duration,
            "text": self.text,
            "segments": self._segments,
            "words": self._words,
        }

    def _frames(self) -> Iterator[bytes]:
        """The sound in frames of `FRAME` seconds, as loud as it should be and with silence around it, dithered."""
        noise = np.random.default_rng(1)  # the same file says the same every time
        rest = np.zeros(0, dtype=np.float32)
        for piece in self._pieces():
            rest = np.concatenate((rest, piece))
            whole = len(rest) // _FRAME_SAMPLES * _FRAME_SAMPLES
            sound = rest[:whole] + noise.normal(0.0, _DITHER, whole)
            rest = rest[whole:]
            data = np.clip(np.rint(sound), -32768, 32767).astype("<i2").tobytes()
            for at in range(0, len(data), 2 * _FRAME_SAMPLES):
                yield data[at : at + 2 * _FRAME_SAMPLES]

    def _pieces(self) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float32]]]:
        silence = np.zeros(round(_AROUND * RATE), dtype=np.float32)
        yield silence
        for piece in samples(self._file):
            yield piece * np.float32(self._gain)
        yield silence
        yield silence[:_FRAME_SAMPLES]  # fills up the last frame

    def _understand(self, utterance: Utterance) -> list[Word]:
        """The words of one utterance. All of it is given at once, so that the channel's properties are taken from all of it."""
        decoder = self._decoder
        decoder.start_utt()
        decoder.process_raw(utterance.sound, no_search=False, full_utt=True)
        decoder.end_utt()
        if decoder.hyp() is None:
            return []
        begin = utterance.start * FRAME - _AROUND
        words = []
        for part in decoder.seg():
            if part.word[0] not in "<[+":  # silence, noise
                start = min(max(begin + part.start_frame / 100, 0.0), self.duration)
                end = min(max(begin + (part.end_frame + 1) / 100, start), self.duration)
                words.append(Word(_ALTERNATE.sub("", part.word), round(start, 2), round(end, 2)))
        return words
