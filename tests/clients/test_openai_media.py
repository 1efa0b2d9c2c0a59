"""The official ``openai`` SDKs for Python and JavaScript: older text, responses and vectors of the offline provider; images,
sound and vectors of an upstream that nobody here wrote."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import openai
import pytest
from openai import OpenAI
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall, ResponseInputParam
from pydantic import BaseModel

from clients.conftest import HERE, NODE, OPENAI_KEY, serving
from support.process import NODE_MODULES, program

pytestmark = pytest.mark.xdist_group("clients")

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
FIXTURES: list[dict[str, Any]] = json.loads((HERE / "media.json").read_text())["fixtures"]
PNG = b64decode(FIXTURES[0]["response"]["images"][0]["b64Json"])
SOUND = b64decode(next(f for f in FIXTURES if "audio" in f["response"])["response"]["audio"])


class Person(BaseModel):
    """What is read out of a text."""

    name: str
    age: int


def client(address: str, **more: Any) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key="unused", timeout=20, **more)


@pytest.fixture(scope="session")
def media_mock() -> Iterator[str]:
    """npm's ``@copilotkit/aimock`` with images and sound."""
    script = NODE_MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js"
    with program(NODE, script, "-p", "0", "-f", HERE / "media.json") as p:
        yield p.wait_for(r"(http://127\.0\.0\.1:\d+)")[1]


@pytest.fixture(scope="session")
def through(media_mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with OPENAI_API_KEY and OPENAI_BASE_URL set at it."""
    environment = {"OPENAI_API_KEY": OPENAI_KEY, "OPENAI_BASE_URL": f"{media_mock}/v1"}
    with serving(environment, tmp_path_factory.mktemp("media")) as address:
        yield address


def asked(mock: str, path: str) -> dict[str, Any]:
    """What aimock was asked last at `path`."""
    with urlopen(f"{mock}/__aimock/journal", timeout=10) as answer:
        entries: list[dict[str, Any]] = json.load(answer)
    return next(e for e in reversed(entries) if e["path"] == path)


# ---- offline: older text


def test_completions(offline: str) -> None:
    done = client(offline).completions.create(model="echo", prompt="one two three", max_tokens=9)
    assert (done.object, done.model, done.choices[0].text) == ("text_completion", "echo", "one two three")
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None and done.usage.total_tokens == 6
    assert done.id.startswith("cmpl-")


def test_completions_echo_and_several(offline: str) -> None:
    done = client(offline).completions.create(model="echo", prompt=["a b"], echo=True, n=2)
    assert [(c.index, c.text) for c in done.choices] == [(0, "a ba b"), (1, "a ba b")]


def test_a_stream_of_completions(offline: str) -> None:
    with client(offline).completions.create(
        model="echo", prompt="one two", stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "one two"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 4
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_completions_that_are_refused(offline: str) -> None:
    with pytest.raises(openai.BadRequestError) as several:
        client(offline).completions.create(model="echo", prompt=["a", "b"])
    assert several.value.param == "prompt"
    with pytest.raises(openai.NotFoundError) as missing:
        client(offline).completions.create(model="gpt-9", prompt="a")
    assert missing.value.code == "model_not_found"


# ---- offline: responses


def test_responses(offline: str) -> None:
    done = client(offline).responses.create(model="echo", input="one two three", instructions="Be brief.")
    assert (done.output_text, done.status, done.model, done.instructions) == (
        "one two three",
        "completed",
        "echo",
        "Be brief.",
    )
    assert done.usage is not None and done.usage.output_tokens == 3
    assert done._request_id is not None


def test_a_stream_of_responses(offline: str) -> None:
    deltas = []
    with client(offline).responses.stream(model="echo", input="one two three") as stream:
        for e in stream:
            if e.type == "response.output_text.delta":
                deltas.append(e.delta)
        final = stream.get_final_response()
    assert deltas == ["one ", "two ", "three"]
    assert (final.output_text, final.status) == ("one two three", "completed")


def test_tools_of_responses(offline: str) -> None:
    responses = client(offline).responses
    done = responses.create(model="tool-call", input='{"city": "Oslo"}', tools=[WEATHER])
    (call,) = [i for i in done.output if isinstance(i, ResponseFunctionToolCall)]
    assert (call.name, call.arguments) == ("get_weather", '{"city": "Oslo"}')
    with responses.stream(model="tool-call", input='{"city": "Rome"}', tools=[WEATHER]) as stream:
        pieces = [e.delta for e in stream if e.type == "response.function_call_arguments.delta"]
        (streamed,) = [i for i in stream.get_final_response().output if i.type == "function_call"]
    assert "".join(pieces) == streamed.arguments == '{"city": "Rome"}'
    back: ResponseInputParam = [
        {"role": "user", "content": "How is it there?"},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "7 degrees"},
    ]
    assert responses.create(model="echo", input=back).output_text == "How is it there?"


def test_structured_output_of_responses(offline: str) -> None:
    done = client(offline).responses.parse(model="echo", input='{"name":"Ada","age":36}', text_format=Person)
    assert done.output_parsed == Person(name="Ada", age=36)


def test_responses_that_are_refused(offline: str) -> None:
    with pytest.raises(openai.BadRequestError) as kept:
        client(offline).responses.create(model="echo", input="a", previous_response_id="resp_1")
    assert kept.value.param == "previous_response_id"
    with pytest.raises(openai.RateLimitError):
        client(offline, max_retries=0).responses.create(model="error-429", input="a")


@pytest.mark.parametrize("model", ["cut-midstream", "error-midstream", "garbage"])
def test_a_stream_of_responses_that_is_cut_is_an_error(offline: str, model: str) -> None:
    said = ""
    asking = client(offline).responses.stream(model=model, input="x")
    with pytest.raises(openai.APIError), asking as stream:  # noqa: PT012  what came before the error counts too
        for e in stream:
            if e.type == "response.output_text.delta":
                said += e.delta
    assert said == "one two three "


# ---- offline: vectors


def test_embeddings(offline: str) -> None:
    """The SDK asks for base64 where nobody says otherwise."""
    embeddings = client(offline).embeddings
    done = embeddings.create(model="hashed-words", input=["Hello there", "Hello", "something else"])
    first, second, third = (d.embedding for d in done.data)
    assert (len(first), [d.index for d in done.data]) == (256, [0, 1, 2])
    assert sum(a * b for a, b in zip(first, second, strict=True)) > sum(
        a * b for a, b in zip(first, third, strict=True)
    )
    assert done.usage.total_tokens == 5
    plain = embeddings.create(model="hashed-words", input="Hello there", encoding_format="float").data[0].embedding
    assert first == pytest.approx(plain, abs=1e-6)
    assert len(embeddings.create(model="hashed-words", input=[1, 2, 3], dimensions=8).data[0].embedding) == 8


def test_embeddings_that_are_refused(offline: str) -> None:
    with pytest.raises(openai.BadRequestError) as empty:
        client(offline).embeddings.create(model="hashed-words", input=["a", ""])
    assert empty.value.param == "input[1]"
    with pytest.raises(openai.BadRequestError, match="does not make embeddings"):
        client(offline).embeddings.create(model="echo", input="a")


def test_models(offline: str) -> None:
    c = client(offline)
    assert {"echo", "hashed-words"} <= {m.id for m in c.models.list()}
    assert c.models.retrieve("hashed-words").owned_by == "offline"


# ---- through an upstream


def test_embeddings_of_an_upstream(through: str) -> None:
    """It gives numbers, whatever it is asked for."""
    done = client(through).embeddings.create(model="text-embedding-x", input="Hello there")
    assert done.data[0].embedding == [0.25, -0.5, 1.0]
    assert (
        client(through).embeddings.create(model="e", input="Hello", encoding_format="float").data[0].embedding[1]
        == -0.5
    )


def test_responses_of_an_upstream(through: str, media_mock: str) -> None:
    """It has that wire itself."""
    done = client(through).responses.create(model="gpt-x", input="hello", metadata={"a": "b"})
    assert done.output_text == "Hello! How can I help you today?"
    assert asked(media_mock, "/v1/responses")["body"]["model"] == "gpt-x"
    with client(through).responses.stream(model="gpt-x", input="weather", tools=[WEATHER]) as stream:
        (call,) = [i for i in stream.get_final_response().output if i.type == "function_call"]
    assert (call.name, call.arguments) == ("get_weather", '{"city":"Oslo"}')


def test_completions_of_an_upstream(through: str, media_mock: str) -> None:
    """It is asked as a chat."""
    done = client(through).completions.create(model="gpt-x", prompt="hello")
    assert done.choices[0].text == "Hello! How can I help you today?"
    assert asked(media_mock, "/v1/chat/completions")["body"]["messages"] == [{"role": "user", "content": "hello"}]


def test_images(through: str) -> None:
    images = client(through).images
    done = images.generate(model="gpt-image-x", prompt="a cat", n=1, size="1024x1024", quality="high")
    assert done.data is not None
    assert b64decode(done.data[0].b64_json or "") == PNG
    assert (done.data[0].revised_prompt, done.data[0].url) == ("A cat.", None)


def test_an_image_s_address(through: str) -> None:
    """As code asks that was written for models that are gone."""
    done = client(through).images.generate(
        model="gpt-image-x", prompt="a cat", response_format="url", quality="hd", style="vivid"
    )
    assert done.data is not None and done.data[0].url is not None
    with urlopen(done.data[0].url) as image:
        assert (image.read(), image.headers["content-type"]) == (PNG, "image/png")


def test_a_stream_of_images(through: str) -> None:
    """What comes whole from the upstream is the last event of a stream."""
    with client(through).images.generate(model="gpt-image-x", prompt="a cat", stream=True, partial_images=1) as stream:
        (event,) = list(stream)
    assert event.type == "image_generation.completed"
    assert b64decode(event.b64_json) == PNG


def test_edits_of_images(through: str) -> None:
    images = client(through).images
    one = images.edit(model="gpt-image-x", image=("a cat.png", PNG, "image/png"), prompt="a cat")
    assert one.data is not None and b64decode(one.data[0].b64_json or "") == PNG
    several = [("a.png", PNG, "image/png"), ("b.png", PNG, "image/png")]
    two = images.edit(model="gpt-image-x", image=several, mask=("m.png", PNG, "image/png"), prompt="a cat")
    assert two.data is not None
    with images.edit(model="gpt-image-x", image=PNG, prompt="a cat", stream=True) as stream:
        assert [e.type for e in stream] == ["image_edit.completed"]


def test_images_that_are_refused(through: str) -> None:
    images = client(through).images
    with pytest.raises(openai.BadRequestError) as refused:
        images.generate(model="gpt-image-x", prompt="forbidden")
    assert refused.value.code == "moderation_blocked"
    assert "safety system" in refused.value.message
    with pytest.raises(openai.BadRequestError) as empty:
        images.edit(model="gpt-image-x", image=("a.png", b"", "image/png"), prompt="a cat")
    assert empty.value.param == "image"


def test_speech_into_a_file(through: str, tmp_path: Path) -> None:
    with client(through).audio.speech.with_streaming_response.create(
        model="tts-x", voice="alloy", input="Hello there", response_format="wav", speed=1.5
    ) as answer:
        assert answer.headers["content-type"] == "audio/wav"
        answer.stream_to_file(tmp_path / "hello.wav")
    assert (tmp_path / "hello.wav").read_bytes() == SOUND
    whole = client(through).audio.speech.create(model="tts-x", voice="nova", input="Hello")
    assert whole.read() == SOUND


def test_speech_that_is_refused(through: str) -> None:
    speech = client(through, max_retries=0).audio.speech
    with pytest.raises(openai.BadRequestError) as voice:
        speech.create(model="tts-x", voice="bogus", input="Hello")
    assert voice.value.param == "voice"
    with pytest.raises(openai.BadRequestError) as long:
        speech.create(model="tts-x", voice="alloy", input="x" * 4097)
    assert long.value.param == "input"
    with pytest.raises(openai.RateLimitError):
        speech.create(model="tts-x", voice="alloy", input="limited")


def test_transcriptions(through: str, tmp_path: Path) -> None:
    transcriptions = client(through).audio.transcriptions
    path = tmp_path / "zażółć.wav"
    path.write_bytes(SOUND)
    with path.open("rb") as file:
        done = transcriptions.create(model="gpt-transcribe", file=file, language="en", prompt="Names: Ada.")
    assert done.text == "Hello there"
    assert done.usage is not None and done.usage.type == "tokens" and done.usage.total_tokens == 17
    assert transcriptions.create(model="gpt-transcribe", file=path).text == "Hello there"


def test_a_large_file(through: str, tmp_path: Path) -> None:
    """It goes on to the upstream while it comes in."""
    path = tmp_path / "long.wav"
    path.write_bytes(SOUND.ljust(4_000_000, b"\0"))
    for _ in range(5):
        assert client(through).audio.transcriptions.create(model="gpt-transcribe", file=path).text == "Hello there"


def test_a_transcription_with_times(through: str) -> None:
    done = client(through).audio.transcriptions.create(
        model="gpt-listens-with-times",
        file=("a.wav", SOUND),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (done.text, done.language, float(done.duration)) == ("Hello there", "english", 1.5)
    assert done.words is not None and [(w.word, w.end) for w in done.words] == [("Hello", 0.5)]
    assert done.segments is not None and done.segments[0].end == 1.5


def test_a_stream_of_a_transcription(through: str) -> None:
    with client(through).audio.transcriptions.create(
        model="gpt-transcribe", file=("a.wav", SOUND), stream=True
    ) as stream:
        events = list(stream)
    assert [e.delta for e in events if isinstance(e, TranscriptionTextDeltaEvent)] == ["Hell", "o th", "ere"]
    last = events[-1]
    assert isinstance(last, TranscriptionTextDoneEvent)
    assert last.text == "Hello there"


def test_transcriptions_that_are_refused(through: str) -> None:
    transcriptions = client(through).audio.transcriptions
    with pytest.raises(openai.BadRequestError) as empty:
        transcriptions.create(model="gpt-transcribe", file=("a.wav", b""))
    assert empty.value.param == "file"
    with pytest.raises(openai.APIStatusError) as large:
        transcriptions.create(model="gpt-transcribe", file=("a.wav", b"x" * 27_000_000))
    assert large.value.status_code == 413


async def _asynchronously(address: str) -> tuple[bytes, str]:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="unused", timeout=20) as c:
        sound = b""
        async with c.audio.speech.with_streaming_response.create(model="tts-x", voice="alloy", input="Hello") as answer:
            async for piece in answer.iter_bytes():
                sound += piece
        return sound, (await c.audio.transcriptions.create(model="gpt-transcribe", file=("a.wav", sound))).text


@pytest.mark.anyio
async def test_asynchronous(through: str) -> None:
    assert await _asynchronously(through) == (SOUND, "Hello there")


# ---- in Node


def test_npm_s_sdk_offline(offline: str, node: Callable[..., dict[str, Any]]) -> None:
    seen = node("media.mjs", "offline", offline)
    assert (seen["lengths"], seen["same"]) == ([64, 64], True)
    assert (seen["completion"], seen["streamed"]) == ("one two", "one two")
    assert seen["response"] == ["one two three", "completed", 6]
    assert (seen["deltas"], seen["final"]) == (3, "one two three")
    assert seen["tool"] == [["get_weather", '{"city": "Oslo"}']]
    assert (seen["bound"]["name"], seen["bound"]["param"]) == ("BadRequestError", "previous_response_id")
    assert (seen["empty"]["name"], seen["empty"]["param"]) == ("BadRequestError", "input")


def test_npm_s_sdk_through_an_upstream(through: str, node: Callable[..., dict[str, Any]]) -> None:
    seen = node("media.mjs", "upstream", through)
    assert seen["image"] == ["data:image/png;base64,", "A cat."]
    assert seen["edited"] == 1
    assert seen["speech"] == ["audio/wav", len(SOUND), "RIFF"]
    assert (seen["text"], seen["deltas"]) == ("Hello there", "Hello there")
    assert seen["done"] == ["transcript.text.done", "Hello there"]
    assert (seen["limited"]["name"], seen["limited"]["status"]) == ("RateLimitError", 429)
    assert (seen["voice"]["name"], seen["voice"]["param"]) == ("BadRequestError", "voice")
    assert (seen["nothing"]["name"], seen["nothing"]["param"]) == ("BadRequestError", "file")
