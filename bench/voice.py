"""Measure the offline voice through a server: how much of what it says it understands itself, how soon it begins to speak,
and how much a chat's stream is held up while four recordings are listened to.

python -m bench.voice PORT
"""

from __future__ import annotations

import http.client
import json
import re
import statistics
import sys
import threading
import time

#: Figure, the most it may be, and in what it is said.
LIMITS = {
    "word error rate, mp3": (15.0, "%"),
    "word error rate, wav": (15.0, "%"),
    "first bytes of speech": (60.0, "ms"),
    "chat held up by 4 transcriptions": (20.0, "ms"),
}
_PACE = 0.02  # seconds between two words of the offline chat

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


def ask(port: int, path: str, body: bytes, kind: str = "application/json") -> tuple[bytes, float]:
    """The answer's body, and the seconds to its first bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    connection.request("POST", path, body, {"content-type": kind})
    answer = connection.getresponse()
    first = answer.read(1)
    took = time.perf_counter() - began
    whole = first + answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path}: {whole.decode(errors='replace')}")
    return whole, took


def speak(port: int, text: str, sound: str) -> tuple[bytes, float]:
    """`text` as sound, and the seconds to its first bytes."""
    return ask(port, "/api/tts", json.dumps({"text": text, "format": sound}).encode())


def understood(port: int, sound: str, kind: str) -> float:
    """Errors a word, all sentences spoken."""
    wrong = total = 0
    for sentence in SENTENCES:
        heard, _ = ask(port, "/api/transcribe", speak(port, sentence, sound)[0], kind)
        said = words(sentence)
        wrong += errors(said, words(json.loads(heard)["text"]))
        total += len(said)
    return wrong / total


def gaps(port: int, seconds: float) -> list[float]:
    """Seconds between the chunks of a chat's stream, for a while."""
    text = " ".join(["word"] * int(seconds / _PACE))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"messages": [{"role": "user", "content": text}]}
    connection.request("POST", "/api/chat", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    found: list[float] = []
    before = 0.0
    while line := answer.readline():
        if line.startswith(b"data:"):
            at = time.perf_counter()
            if before:
                found.append(at - before)
            before = at
    connection.close()
    return found


def held_up(port: int) -> float:
    """Seconds by which the slowest of 100 chunks (p99) is later while four recordings are listened to."""
    quiet = gaps(port, 4)
    sound, _ = speak(port, " ".join(SENTENCES[:6]), "mp3")
    listening = [threading.Thread(target=ask, args=(port, "/api/transcribe", sound, "audio/mpeg")) for _ in range(4)]
    for t in listening:
        t.start()
    busy = gaps(port, 4)
    for t in listening:
        t.join()
    return statistics.quantiles(busy, n=100)[98] - statistics.quantiles(quiet, n=100)[98]


def measure(port: int) -> dict[str, float]:
    """The figures of the server at `port`, which answers by itself; takes about a minute."""
    for _ in range(3):
        speak(port, SENTENCES[0], "mp3")
    return {
        "first bytes of speech": statistics.median([speak(port, s, "mp3")[1] for s in SENTENCES]) * 1e3,
        "word error rate, mp3": understood(port, "mp3", "audio/mpeg") * 100,
        "word error rate, wav": understood(port, "wav", "audio/wav") * 100,
        "chat held up by 4 transcriptions": held_up(port) * 1e3,
    }


if __name__ == "__main__":
    for name, value in measure(int(sys.argv[1])).items():
        most, unit = LIMITS[name]
        print(f"{name:34}{value:9.2f}{most:9} {unit:8}{'ok' if value <= most else 'OVER'}", flush=True)
