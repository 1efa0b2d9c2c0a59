"""The worker process: reads a job from its line, does it, answers, until the server is gone."""

from __future__ import annotations

import importlib.util
import io
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

import msgspec

from switchboard.dialects.openai_speech import FORMATS
from switchboard.net.line import Line
from switchboard.providers.offline.studio import jobs
from switchboard.providers.offline.studio.jobs import Draw, Refused, Speak, Transcribe

if TYPE_CHECKING:  # they take their time, and each is loaded when it is needed first
    from switchboard.providers.offline.studio.listen import Listener
    from switchboard.providers.offline.studio.speak import Speaker

_NEEDED: Final = ("PIL", "av", "espeakng_loader", "lameenc", "numpy", "pocketsphinx", "soxr")
_LIVELY: Final = 10.0  # seconds without a byte, at most about


def main() -> None:
    """Run until the server is gone."""
    for what in (signal.SIGINT, signal.SIGTERM):  # are meant for the server, which ends its workers when it is done
        signal.signal(what, signal.SIG_IGN)
    line = Line(int(sys.argv[1]))
    try:
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            text = f"the offline models lack {', '.join(missing)}: pip install 'switchboard[offline]'"
            line.send(b"X", text.encode())
            return
        try:
            worker = _Worker(line)
        except (ImportError, OSError) as e:  # a wheel for another machine, say
            line.send(b"X", f"the offline models cannot start: {e}".encode())
            return
        line.send(b"R")
        while True:
            worker.one()
    except EOFError:
        return


class _Worker:
    """Does jobs. What is loaded for one is kept for the next; how to speak is loaded at once."""

    def __init__(self, line: Line) -> None:
        from switchboard.providers.offline.studio.speak import Speaker

        self._line = line
        self._speaker: Speaker = Speaker()
        self._listener: Listener | None = None

    def one(self) -> None:
        """Read and do one job."""
        kind, data = self._line.receive()
        if kind != b"J":
            raise EOFError  # nobody who keeps to the frames is there
        try:
            job = jobs.decode(data)
        except msgspec.MsgspecError as e:
            self._upload(0)
            self._line.send(b"F", f"not a job: {e}".encode())
            return
        upload = self._upload(job.max_bytes if isinstance(job, Transcribe) else 0)
        try:
            if isinstance(job, Speak):
                self._speak(job)
            elif isinstance(job, Draw):
                self._draw(job)
            else:
                self._transcribe(job, upload)
        except Refused as e:
            self._line.head(e.status, {b"content-type": b"application/json"})
            self._line.send(b"D", msgspec.json.encode({"error": e.error}))
        except EOFError:
            raise
        except Exception as e:  # whatever a library has to say: the next job may be of another kind
            self._line.send(b"F", f"{type(e).__name__}: {e}".encode())
            return
        self._line.send(b"E")

    def _upload(self, most: int) -> io.BytesIO | None:
        """The job's upload; None if it has more than `most` bytes."""
        kept = io.BytesIO()
        size = 0
        while True:
            kind, data = self._line.receive()
            if kind == b"E":
                return kept if size <= most else None
            size += len(data)
            if size <= most:
                kept.write(data)

    def _speak(self, job: Speak) -> None:
        from switchboard.providers.offline.studio.encode import encoder_for

        encoder = encoder_for(job.response_format)
        utterance = self._speaker.prepare(job)
        self._line.head(200, {b"content-type": FORMATS[job.response_format]})

        def out(samples: bytes) -> None:
            if data := encoder.feed(samples):
                self._line.send(b"D", data)

        self._speaker.say(utterance, out)
        if rest := encoder.end():
            self._line.send(b"D", rest)

    def _draw(self, job: Draw) -> None:
        from switchboard.providers.offline.studio.draw import cards, streamed

        if job.stream:
            events = streamed(job)  # refused before anything is said
            self._line.head(200, {b"content-type": b"text/event-stream"})
            for event in events:
                self._line.send(b"D", b"data: %b\n\n" % event)
            self._line.send(b"D", b"data: [DONE]\n\n")
            return
        drawn = cards(job)
        self._line.head(200, {b"content-type": b"application/json"})
        self._line.send(b"D", drawn)

    def _transcribe(self, job: Transcribe, upload: io.BytesIO | None) -> None:
        if upload is None:
            text = f"The file is larger than {job.max_bytes} bytes."
            raise Refused(text, "file", "file_too_large", 413)
        if self._listener is None:
            from switchboard.providers.offline.studio.listen import Listener

            self._listener = Listener()
        transcript = self._listener.hear(job, upload)
        if job.stream:
            self._line.head(200, {b"content-type": b"text/event-stream"})
            for segment in transcript.segments():
                delta = segment.text if segment.id == 0 else f" {segment.text}"
                self._event({"type": "transcript.text.delta", "delta": delta})
            usage = {"type": "duration", "seconds": transcript.duration}
            self._event({"type": "transcript.text.done", "text": transcript.text, "usage": usage})
            return
        self._line.head(200, {b"content-type": b"application/json"})
        said = time.monotonic()
        for _ in transcript.segments():
            self._line.check()
            if time.monotonic() - said > _LIVELY:
                self._line.send(b"D", b"\n")  # white space may stand before JSON
                said = time.monotonic()
        self._line.send(b"D", msgspec.json.encode(transcript.verbose()))

    def _event(self, value: object) -> None:
        self._line.send(b"D", b"data: %b\n\n" % msgspec.json.encode(value))
