"""What may be asked of the studio, in the shapes of OpenAI's API; and how it refuses."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Struct

from switchboard.core import capabilities

#: The module that workers run.
MODULE: Final = "switchboard.providers.offline.studio"

#: The names of voices, which are OpenAI's.
VOICES: Final = tuple(sorted(capabilities.VOICES))


class Speak(Struct, tag_field="job", tag="speak"):
    """Say `input`. `speed` is from 0.25 to 4, as far as the synthesiser can; `model` makes no difference.

    The answer's body is sound in `response_format`.
    """

    input: str
    voice: str = "alloy"
    response_format: str = "mp3"
    speed: float = 1.0
    model: str = ""


class Transcribe(Struct, tag_field="job", tag="transcribe"):
    """Write down what is said in the upload: a file with sound, in any usual container.

    `language` is a code of ISO 639-1 or an English name; "" is English, and nothing else is known. The recogniser has no
    use for `prompt` and `model`. `grammar` (JSGF) and `language_model` (ARPA, or pocketsphinx's binary) are paths that
    take the place of its own language model: an operator's, never a client's. `max_seconds` and `max_bytes` bound what is
    listened to.

    The answer is one JSON object, OpenAI's ``verbose_json`` with segments and words, which may begin with line ends; or if
    `stream` OpenAI's events, a ``transcript.text.delta`` for each utterance and ``transcript.text.done`` in the end.
    """

    language: str = ""
    prompt: str = ""
    model: str = ""
    stream: bool = False
    grammar: str = ""
    language_model: str = ""
    max_seconds: float = 7200.0
    max_bytes: int = 25 * 1024 * 1024


class Draw(Struct, tag_field="job", tag="draw"):
    """Draw `n` cards with `prompt` on them; `size` is WIDTHxHEIGHT in pixels, "" or "auto" a square of 1024.

    The answer is one JSON object, OpenAI's list of images; or if `stream` OpenAI's events, for each card `partials` of type
    ``image_generation.partial_image`` and one ``image_generation.completed``, and ``[DONE]`` in the end.
    """

    prompt: str
    size: str = ""
    n: int = 1
    stream: bool = False
    partials: int = 0


Job = Speak | Transcribe | Draw
_decoder: Final[msgspec.json.Decoder[Job]] = msgspec.json.Decoder(Job)


def decode(data: bytes) -> Job:
    """Read a job. Raises `msgspec.MsgspecError`."""
    return _decoder.decode(data)


def encode(job: Job) -> bytes:
    """`job` as `net.worker.WorkerPool.send` takes it."""
    return msgspec.json.encode(job)


class Refused(Exception):  # noqa: N818  it is told to a client
    """The job is not done: what a client is told, in OpenAI's words."""

    def __init__(self, message: str, param: str | None, code: str | None, status: Literal[400, 413] = 400) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
