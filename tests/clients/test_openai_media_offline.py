"""The official ``openai`` SDKs for Python and JavaScript with the offline provider's models that speak, listen and draw; and
all of them at once."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import av
import openai
import pytest
from bench.voice import errors, words
from openai import AsyncOpenAI, OpenAI
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent

pytestmark = pytest.mark.xdist_group("clients")

SENTENCE = "Hello, this is a test message."
#: How long that takes, about.
SECONDS = 2.0
#: How far a format's duration may be from the samples': encoders put silence before and behind.
PADDING = 0.15

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
Written = Literal["text", "srt", "vtt"]


def client(address: str, **more: Any) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key="unused", timeout=50, max_retries=0, **more)


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height, as its header says them."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def duration_of(sound: bytes, form: Format) -> tuple[float, str]:
    """Seconds that are really in `sound`, and its codec."""
    if form == "pcm":
        return len(sound) / 2 / 24_000, "pcm_s16le"
    with av.open(io.BytesIO(sound), "r") as container:
        stream = container.streams.audio[0]
        return sum([f.samples / f.sample_rate for f in container.decode(stream)]), stream.codec_context.name


@pytest.fixture(scope="module")
def spoken(offline: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`SENTENCE` as the server speaks it, in a file."""
    path = tmp_path_factory.mktemp("speech") / "spoken.mp3"
    with client(offline).audio.speech.with_streaming_response.create(
        model="espeak", voice="alloy", input=SENTENCE
    ) as answer:
        assert (answer.headers["content-type"], answer.headers["transfer-encoding"]) == ("audio/mpeg", "chunked")
        answer.stream_to_file(path)
    return path


def understood(text: str) -> bool:
    """Whether `text` is `SENTENCE` but for some words: which ones the recogniser gets wrong depends on the machine's floating
    point, and how many there are on average is the bench's to tell."""
    return errors(words(SENTENCE), words(text)) <= len(words(SENTENCE)) // 2


# ---- images


@pytest.mark.parametrize("size", ["256x256", "320x200", None])
def test_an_image(offline: str, size: Any) -> None:
    more = {} if size is None else {"size": size}
    done = client(offline).images.generate(model="card", prompt="a red fox", **more)
    assert done.data is not None and len(done.data) == 1
    assert size_of(b64decode(done.data[0].b64_json or "")) == tuple(map(int, (size or "1024x1024").split("x")))
    assert done.data[0].url is None


def test_several_images_and_their_addresses(offline: str) -> None:
    done = client(offline).images.generate(
        model="card", prompt="a red fox", size="256x256", n=3, response_format="url", style="vivid"
    )
    assert done.data is not None
    assert len({d.b64_json for d in done.data}) == 3
    assert [d.url for d in done.data] == [f"data:image/png;base64,{d.b64_json}" for d in done.data]


def test_a_stream_of_an_image(offline: str) -> None:
    with client(offline).images.generate(
        model="card", prompt="a red fox", size="256x256", stream=True, partial_images=1
    ) as stream:
        first, last = list(stream)
    assert (first.type, last.type) == ("image_generation.partial_image", "image_generation.completed")
    assert first.b64_json != last.b64_json
    for event in (first, last):
        assert size_of(b64decode(event.b64_json)) == (256, 256)


# ---- speech


def test_speech_into_a_file(spoken: Path) -> None:
    seconds, codec = duration_of(spoken.read_bytes(), "mp3")
    assert codec == "mp3float"
    assert seconds == pytest.approx(SECONDS, abs=0.5)


@pytest.mark.parametrize(
    ("form", "kind", "codec"),
    [
        ("pcm", "audio/pcm", "pcm_s16le"),
        ("wav", "audio/wav", "pcm_s16le"),
        ("opus", "audio/ogg", "opus"),
        ("flac", "audio/flac", "flac"),
        ("aac", "audio/aac", "aac"),
    ],
)
def test_speech_in_every_format(offline: str, spoken: Path, form: Format, kind: str, codec: str) -> None:
    answer = client(offline).audio.speech.create(model="espeak", voice="alloy", input=SENTENCE, response_format=form)
    assert answer.response.headers["content-type"] == kind
    seconds, name = duration_of(answer.content, form)
    assert name == codec
    assert seconds == pytest.approx(duration_of(spoken.read_bytes(), "mp3")[0], abs=PADDING)


def test_speech_is_as_fast_as_asked(offline: str) -> None:
    speech = client(offline).audio.speech
    slow, fast = (
        speech.create(model="espeak", voice="nova", input=SENTENCE, response_format="pcm", speed=speed).content
        for speed in (0.5, 2.0)
    )
    assert len(slow) > 2.5 * len(fast)


def test_speech_in_events(offline: str, spoken: Path) -> None:
    """The SDK has no type for them: they are read as they come."""
    with client(offline).audio.speech.with_streaming_response.create(
        model="espeak", voice="alloy", input=SENTENCE, stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
    assert [e["type"] for e in events] == ["speech.audio.delta"] * (len(events) - 1) + ["speech.audio.done"]
    assert len(events) > 2
    sound, plain = b"".join(b64decode(e["audio"]) for e in events[:-1]), spoken.read_bytes()
    assert len(sound) == len(plain)  # the voice is not the same to the last bit each time
    assert duration_of(sound, "mp3") == duration_of(plain, "mp3")
    assert set(events[-1]["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}


# ---- transcription


def test_a_transcription(offline: str, spoken: Path) -> None:
    with spoken.open("rb") as file:
        done = client(offline).audio.transcriptions.create(
            model="pocketsphinx", file=file, language="en", prompt="A test.", temperature=0
        )
    assert understood(done.text)
    assert done.usage is not None and done.usage.type == "duration"
    assert done.usage.seconds == pytest.approx(SECONDS, abs=0.5)


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_a_transcription_as_text(offline: str, spoken: Path, form: Written) -> None:
    said = client(offline).audio.transcriptions.create(model="pocketsphinx", file=spoken, response_format=form)
    lines = said.splitlines()
    if form == "text":
        assert understood(said) and said.endswith("\n") and len(lines) == 1
        return
    times, passage = lines[1:3] if form == "srt" else lines[2:4]
    assert lines[0] == ("1" if form == "srt" else "WEBVTT")
    comma = "," if form == "srt" else "."
    begin, arrow, end = times.split(" ")
    assert (arrow, begin[8], end[8]) == ("-->", comma, comma)
    assert begin.startswith("00:00:00") and "00:00:01" < end < "00:00:03"
    assert understood(passage)


def test_a_transcription_with_times(offline: str, spoken: Path) -> None:
    done = client(offline).audio.transcriptions.create(
        model="pocketsphinx", file=spoken, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert understood(done.text)
    assert done.language == "english"
    assert float(done.duration) == pytest.approx(SECONDS, abs=0.5)
    assert done.words is not None and [w.word for w in done.words] == done.text.split()
    times = [t for w in done.words for t in (w.start, w.end)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= float(done.duration)
    assert done.segments is not None and " ".join(s.text for s in done.segments) == done.text


def test_a_stream_of_a_transcription(offline: str, spoken: Path) -> None:
    with client(offline).audio.transcriptions.create(model="pocketsphinx", file=spoken, stream=True) as stream:
        events = list(stream)
    deltas = [e.delta for e in events if isinstance(e, TranscriptionTextDeltaEvent)]
    last = events[-1]
    assert isinstance(last, TranscriptionTextDoneEvent)
    assert "".join(deltas) == last.text and understood(last.text)
    assert len(events) == len(deltas) + 1


# ---- what is refused


@pytest.mark.parametrize(
    ("what", "param", "message"),
    [
        (lambda c: c.audio.speech.create(model="espeak", voice="bogus", input="Hello"), "voice", "'bogus' is not one of alloy"),
        (lambda c: c.audio.speech.create(model="espeak", voice="alloy", input=" "), "input", "must not be empty"),
        (lambda c: c.audio.speech.create(model="espeak", voice="alloy", input="\0\x01"), "input", "nothing to say"),
        (lambda c: c.audio.speech.create(model="espeak", voice="alloy", input="a", response_format="au"), "response_format", "'au' is not one of mp3"),
        (lambda c: c.audio.speech.create(model="espeak", voice="alloy", input="a", speed=9), "speed", "between 0.25 and 4"),
        (lambda c: c.audio.speech.create(model="echo", voice="alloy", input="Hello"), "model", "'echo' does not speak"),
        (lambda c: c.audio.transcriptions.create(model="pocketsphinx", file=("a.wav", b"Hello there")), "file", "not one with sound"),
        (lambda c: c.audio.transcriptions.create(model="pocketsphinx", file=("a.wav", b"Hello"), stream=True), "file", "not one with sound"),
        (lambda c: c.audio.transcriptions.create(model="pocketsphinx", file=("a.wav", b"Hello"), language="de"), "language", "English only"),
        (lambda c: c.audio.transcriptions.create(model="pocketsphinx", file=("a.wav", b"Hello"), response_format="diarized_json"), "response_format", "who speaks"),
        (lambda c: c.audio.transcriptions.create(model="espeak", file=("a.wav", b"Hello")), "model", "'espeak' does not transcribe"),
        (lambda c: c.images.generate(model="card", prompt="a", size="9x9"), "size", "WIDTHxHEIGHT"),
        (lambda c: c.images.generate(model="card", prompt="a", size="9x9", stream=True), "size", "WIDTHxHEIGHT"),
        (lambda c: c.images.generate(model="hashed-words", prompt="a"), "model", "'hashed-words' does not draw"),
        (lambda c: c.embeddings.create(model="echo", input="Hello"), "model", "'echo' does not make embeddings"),
        (lambda c: c.chat.completions.create(model="card", messages=[{"role": "user", "content": "a"}]), "model", "'card' does not write text"),
        (lambda c: c.responses.create(model="pocketsphinx", input="a"), "model", "'pocketsphinx' does not write text"),
    ],
)  # fmt: skip
def test_errors_are_the_sdk_s_own_and_name_the_field(
    offline: str, what: Callable[[OpenAI], Any], param: str, message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as refused:
        what(client(offline))
    assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")
    assert refused.value.code == "invalid_request"


def test_a_model_that_there_is_not(offline: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client(offline).audio.speech.create(model="tts-1", voice="alloy", input="Hello")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


# ---- everything at once


async def _text(c: AsyncOpenAI) -> str:
    said = ""
    async for chunk in await c.completions.create(model="echo", prompt="one two three", echo=True, stream=True):
        said += chunk.choices[0].text
    return said


async def _response(c: AsyncOpenAI) -> tuple[list[str], str]:
    async with c.responses.stream(model="echo", input="one two three") as stream:
        pieces = [e.delta async for e in stream if e.type == "response.output_text.delta"]
        return pieces, (await stream.get_final_response()).output_text


async def _nearness(c: AsyncOpenAI) -> list[float]:
    """How near a text is to one like it and to one that is not; the SDK asks for base64."""
    texts = ["How do I reset my password?", "I forgot my password, how can I reset it?", "Bananas are yellow."]
    done = await c.embeddings.create(model="hashed-words", input=texts, dimensions=512)
    first, *others = [d.embedding for d in done.data]
    return [sum([a * b for a, b in zip(first, x, strict=True)]) for x in others]


async def _sound(c: AsyncOpenAI) -> tuple[str, int]:
    async with c.audio.speech.with_streaming_response.create(
        model="espeak", voice="coral", input="Hello there.", response_format="wav"
    ) as answer:
        sound = b"".join([piece async for piece in answer.iter_bytes()])
    return sound[:4].decode(), len(sound)


async def _models(c: AsyncOpenAI) -> set[str]:
    return {m.id async for m in c.models.list()}


@pytest.mark.anyio
async def test_all_of_them_at_once(offline: str) -> None:
    async with (
        AsyncOpenAI(base_url=f"{offline}/v1", api_key="unused", timeout=30, max_retries=0) as c,
        asyncio.TaskGroup() as tasks,
    ):
        text = tasks.create_task(_text(c))
        response = tasks.create_task(_response(c))
        near = tasks.create_task(_nearness(c))
        sound = tasks.create_task(_sound(c))
        image = tasks.create_task(c.images.generate(model="card", prompt="a", size="256x256"))
        whole = tasks.create_task(c.responses.create(model="echo", input="one two"))
        models = tasks.create_task(_models(c))
    assert text.result() == "one two threeone two three"
    assert response.result() == (["one ", "two ", "three"], "one two three")
    like, other = near.result()
    assert like > other + 0.3
    assert sound.result()[0] == "RIFF" and sound.result()[1] > 24_000
    drawn = image.result().data
    assert drawn is not None and size_of(b64decode(drawn[0].b64_json or "")) == (256, 256)
    assert whole.result().output_text == "one two"
    assert {"echo", "hashed-words", "card", "espeak", "pocketsphinx"} <= models.result()


# ---- in Node


def test_npm_s_sdk(offline: str, node: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    seen = node("studio.mjs", offline, str(tmp_path), SENTENCE)
    assert seen["type"] == "audio/mpeg" and seen["begin"].startswith("ff")
    assert duration_of((tmp_path / "spoken.mp3").read_bytes(), "mp3")[0] == pytest.approx(SECONDS, abs=0.5)
    assert understood(seen["text"])
    assert seen["deltas"] == seen["text"] and seen["done"] == ["transcript.text.done", seen["text"]]
    assert seen["images"] == [["PNG", 64, 48]] * 2
    assert seen["event"] == ["image_generation.completed", 64]
    assert seen["nearer"] is True
    assert (seen["pieces"], seen["response"]) == (["one ", "two ", "three"], "one two three")
    assert seen["voice"] == {"name": "BadRequestError", "status": 400, "param": "voice"}
    assert seen["kind"] == {"name": "BadRequestError", "status": 400, "param": "model"}
