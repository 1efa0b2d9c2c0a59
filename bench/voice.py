"""Measure the offline voice: how much of what it says it understands itself, and how soon it begins to speak.

python -m bench.voice
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from typing import Any

import msgspec

from bench.machine import resident_bytes
from switchboard.core.errors import UpstreamError
from switchboard.core.types import Headers, Upload
from switchboard.net.worker import WorkerPool
from switchboard.providers.offline.studio import jobs

#: The most that may be wrong: errors for each word said.
LIMIT = 0.15

# No parameter of the voice or the recogniser was chosen by these; that was done with other sentences.
SENTENCES = (
    "The weather has been very warm this week.",
    "Please call me when you get home tonight.",
    "She bought two tickets for the concert on Friday.",
    "Could you tell me where the train station is?",
    "We need more milk and bread from the store.",
    "The children are playing in the garden behind the house.",
    "I would like a cup of coffee with a little sugar.",
    "The meeting starts at nine o'clock tomorrow morning.",
    "He forgot to bring his umbrella and got wet.",
    "My sister works at a hospital in the city.",
    "Turn off the lights before you leave the room.",
    "The dog was waiting for us at the front door.",
    "They moved to a new apartment last summer.",
    "What time does the next bus leave for the airport?",
    "I have never seen such a beautiful lake before.",
    "The doctor said that he should rest for a few days.",
    "We watched an old movie and went to bed early.",
    "There is a good restaurant on the corner of the street.",
    "Can you help me carry these boxes up the stairs?",
    "Thank you very much for your kind letter.",
)


class Answer:
    """A sink that keeps what a job is answered, and when (seconds since it was made) its first bytes came."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.body = b""
        self.first = 0.0

    def on_head(self, status: int, headers: Headers) -> None:
        self.status = status

    def on_data(self, data: bytes) -> None:
        self.first = self.first or time.perf_counter() - self._began
        self.body += data

    def on_end(self) -> None:
        self._over.set_result(None)

    def on_error(self, error: UpstreamError) -> None:
        self._over.set_exception(error)

    async def whole(self) -> bytes:
        """The body. Raises `UpstreamError`."""
        await self._over
        if self.status != 200:
            raise SystemExit(f"the offline voice refuses: {self.body.decode()}")
        return self.body


def words(text: str) -> list[str]:
    """The words of `text`, as they can be compared."""
    return re.sub(r"[^a-z']+", " ", text.lower()).split()


def errors(said: list[str], heard: list[str]) -> int:
    """How many words were put in, left out or replaced."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        above, row = row, [i]
        for j, b in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


async def _answer(pool: WorkerPool, job: jobs.Job, upload: Upload | None = None) -> Answer:
    answer = Answer()
    pool.send(jobs.encode(job), upload, answer)
    await answer.whole()
    return answer


async def _understood(pool: WorkerPool, format_: str) -> float:
    """Errors a word, all sentences spoken in `format_`."""
    wrong = total = 0
    for sentence in SENTENCES:
        sound = await _answer(pool, jobs.Speak(sentence, response_format=format_))
        heard = await _answer(pool, jobs.Transcribe(), Upload((sound.body,)))
        said = words(sentence)
        wrong += errors(said, words(msgspec.json.decode(heard.body)["text"]))
        total += len(said)
    return wrong / total


async def _measure() -> dict[str, Any]:
    pool = WorkerPool(jobs.MODULE, size=1)
    found: dict[str, Any] = {}
    try:
        await _answer(pool, jobs.Speak(SENTENCES[0]))
        found["resident after speech, MB"] = resident_bytes(pool.pids[0]) / 1e6
        for format_ in jobs.CONTENT_TYPES:
            first = [(await _answer(pool, jobs.Speak(s, response_format=format_))).first for s in SENTENCES]
            found[f"first bytes of {format_}, ms"] = statistics.median(first) * 1000
        for format_ in ("mp3", "wav"):
            found[f"word error rate, {format_}"] = await _understood(pool, format_)
        found["resident after listening, MB"] = resident_bytes(pool.pids[0]) / 1e6
    finally:
        pool.close()
    return found


def measure() -> dict[str, Any]:
    """Measure and print; takes about a minute."""
    found = asyncio.run(_measure())
    for name, value in found.items():
        verdict = "" if "word error" not in name else "ok" if value <= LIMIT else "OVER"
        print(f"{name:34}{value:9.3f} {verdict}", flush=True)
    return found


if __name__ == "__main__":
    measure()
