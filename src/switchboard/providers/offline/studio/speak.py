"""Text to samples with espeak-ng, called through its C interface. They come while the rest is still to be spoken."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Final

import espeakng_loader
import numpy as np
import soxr
from msgspec import Struct

from switchboard.dialects.openai_speech import LONGEST
from switchboard.providers.offline.studio.encode import RATE
from switchboard.providers.offline.studio.jobs import VOICES, Refused, Speak

# espeak-ng's speak_lib.h
_SYNCHRONOUS: Final = 2  # AUDIO_OUTPUT_SYNCHRONOUS
_UTF8: Final = 1  # espeakCHARS_UTF8; espeakSSML and espeakPHONEMES stay out: the text is text
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_Heard = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

_BUFFER: Final = 60  # milliseconds of sound that come at a time
_WORDS: Final = 175  # a minute, at speed 1
_SLOWEST, _FASTEST = 80, 450  # what espeak-ng takes
_TAIL: Final = 0.15  # seconds of silence after the last word, lest a player cuts it off

#: Control characters, by which espeak-ng knows commands (^A) and its end (NUL), and what is no character at all.
_CONTROLS: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class _Voice(Struct, frozen=True):
    """A voice of espeak-ng: its name with a variant, pitch and the pitch's range from 0 to 99."""

    name: bytes
    pitch: int = 50
    range: int = 50


# Voices of Klatt's synthesiser sound like machines always did, and are what the recogniser understands best. The others of
# espeak-ng also take a sample more or less from one time to the next.
_TABLE: Final = {
    "alloy": _Voice(b"en-us+klatt3"),
    "ash": _Voice(b"en-us+adam", 35),
    "ballad": _Voice(b"en-gb-x-rp+benjamin", 45),
    "cedar": _Voice(b"en-us+klatt6", 20),
    "coral": _Voice(b"en-us+edward2", 80),
    "echo": _Voice(b"en-us+klatt4", 40),
    "fable": _Voice(b"en+klatt3", 60),
    "marin": _Voice(b"en-us+klatt6", 75),
    "nova": _Voice(b"en-us+klatt3", 85, 60),
    "onyx": _Voice(b"en-us+mike2"),
    "sage": _Voice(b"en-us+klatt5", 55, 35),
    "shimmer": _Voice(b"en-us+benjamin", 95, 60),
    "verse": _Voice(b"en-us+edward", 50, 80),
}
assert tuple(_TABLE) == VOICES


class Utterance(Struct):
    """A job that can be spoken."""

    text: str
    voice: _Voice
    rate: int  # words a minute


class Speaker:
    """espeak-ng, which exists once in a process."""

    def __init__(self) -> None:
        self._espeak = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self._rate = self._espeak.espeak_Initialize(_SYNCHRONOUS, _BUFFER, data, 0)
        if self._rate <= 0:
            raise OSError("espeak-ng does not start")
        self._heard = _Heard(self._on_samples)  # espeak-ng keeps it: so do we
        self._espeak.espeak_SetSynthCallback(self._heard)
        self._take: Callable[[np.ndarray[tuple[int], np.dtype[np.int16]]], None] | None = None
        self._error: BaseException | None = None
        self._voice = b""
        self._use(_TABLE["alloy"])

    def prepare(self, job: Speak) -> Utterance:
        """Look whether `job` can be spoken. Raises `Refused`."""
        voice = _TABLE.get(job.voice)
        if voice is None:
            raise Refused(f"There is no such voice; there are {', '.join(VOICES)}.", "voice", "invalid_value")
        if not 0.25 <= job.speed <= 4.0:
            raise Refused("The speed is from 0.25 to 4.", "speed", "invalid_value")
        if len(job.input) > LONGEST:
            raise Refused(f"The input has more than {LONGEST} characters.", "input", "string_above_max_length")
        text = _CONTROLS.sub(" ", job.input)
        if not text.strip():
            raise Refused("There is nothing to say.", "input", "string_below_min_length")
        return Utterance(text, voice, round(min(max(_WORDS * job.speed, _SLOWEST), _FASTEST)))

    def say(self, utterance: Utterance, out: Callable[[bytes], None]) -> None:
        """Speak; `out` gets samples (`encode.RATE`, 16 bits, one channel) as they come. What it raises ends the speech."""
        stream = soxr.ResampleStream(self._rate, RATE, 1, dtype="int16")

        def take(samples: np.ndarray[tuple[int], np.dtype[np.int16]], last: bool = False) -> None:
            if data := stream.resample_chunk(samples, last=last).tobytes():
                out(data)

        self._use(utterance.voice)
        self._espeak.espeak_SetParameter(_PARAMETER_RATE, utterance.rate, 0)
        text = utterance.text.encode() + b"\0"
        self._take, self._error = take, None
        self._espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _UTF8, None, None)
        self._take = None
        if self._error is not None:
            raise self._error
        take(np.zeros(round(self._rate * _TAIL), dtype=np.int16), last=True)

    def _use(self, voice: _Voice) -> None:
        if voice.name != self._voice:
            if self._espeak.espeak_SetVoiceByName(voice.name) != 0:
                raise OSError(f"espeak-ng has no voice {voice.name.decode()}")
            self._voice = voice.name
        self._espeak.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
        self._espeak.espeak_SetParameter(_PARAMETER_RANGE, voice.range, 0)

    def _on_samples(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        """espeak-ng's callback: 0 to go on, 1 to stop. Nothing may be raised through C."""
        if not samples or count <= 0 or self._take is None:
            return 0
        try:
            self._take(np.ctypeslib.as_array(samples, (count,)))
        except BaseException as e:  # it is raised again on the other side of C
            self._error = e
            return 1
        return 0
