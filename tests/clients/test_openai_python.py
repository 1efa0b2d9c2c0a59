"""The official ``openai`` SDK for Python, with nothing but its base URL changed."""

from __future__ import annotations

from typing import Any, cast

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from clients.conftest import Upstream

pytestmark = pytest.mark.xdist_group("clients")

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


class Person(BaseModel):
    """What is read out of a text."""

    name: str
    age: int


def client(address: str, **more: Any) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key="unused", **more)


def say(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_whole(upstream: Upstream) -> None:
    done = client(upstream.address).chat.completions.create(model=upstream.model, messages=say("hello"))
    assert done.choices[0].message.content == "Hello! How can I help you today?"
    assert done.model == upstream.model
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (11, 9, 20)
    assert done._request_id is not None


def test_stream(upstream: Upstream) -> None:
    with client(upstream.address).chat.completions.create(
        model=upstream.model, messages=say("hello"), stream=True
    ) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello! How can I help you today?"
    assert all(c.usage is None for c in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_usage_in_a_stream_when_asked_for(upstream: Upstream) -> None:
    chunks = list(
        client(upstream.address).chat.completions.create(
            model=upstream.model, messages=say("hello"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (11, 9)
    assert chunks[-1].choices == []


def test_tools(upstream: Upstream) -> None:
    done = client(upstream.address).chat.completions.create(
        model=upstream.model, messages=say("weather"), tools=[WEATHER]
    )
    calls = done.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert (calls[0].function.name, calls[0].function.arguments) == ("get_weather", '{"city":"Oslo"}')
    with client(upstream.address).chat.completions.stream(
        model=upstream.model, messages=say("weather"), tools=[WEATHER]
    ) as stream:
        final = stream.get_final_completion()
    streamed = final.choices[0].message.tool_calls
    assert streamed is not None
    assert streamed[0].function.arguments == '{"city":"Oslo"}'
    assert final.choices[0].finish_reason == "tool_calls"


def test_a_tool_s_result_goes_back(upstream: Upstream) -> None:
    completions = client(upstream.address).chat.completions
    talk = say("weather")
    asked = completions.create(model=upstream.model, messages=talk, tools=[WEATHER]).choices[0].message
    assert asked.tool_calls is not None
    answer = cast("ChatCompletionMessageParam", asked.to_dict())
    talk += [answer, {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": "7 degrees"}]
    done = completions.create(model=upstream.model, messages=talk, tools=[WEATHER])
    assert done.choices[0].message.content == "It is 7 degrees in Oslo."


def test_two_tool_calls_behind_text(upstream: Upstream) -> None:
    with client(upstream.address).chat.completions.stream(
        model=upstream.model, messages=say("two cities"), tools=[WEATHER]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.content == "Both at once."
    assert [c.function.arguments for c in message.tool_calls or ()] == ['{"city":"Oslo"}', '{"city":"Rome"}']


def test_structured_output(upstream: Upstream) -> None:
    done = client(upstream.address).chat.completions.parse(
        model=upstream.model, messages=say("Extract: Ada is 36."), response_format=Person
    )
    assert done.choices[0].message.parsed == Person(name="Ada", age=36)


def test_an_answer_that_is_too_long(upstream: Upstream) -> None:
    done = client(upstream.address).chat.completions.create(
        model=upstream.model, messages=say("length"), max_completion_tokens=3
    )
    assert done.choices[0].finish_reason == "length"


def test_errors_of_an_upstream(upstream: Upstream) -> None:
    completions = client(upstream.address, max_retries=0).chat.completions
    with pytest.raises(openai.RateLimitError):
        completions.create(model=upstream.model, messages=say("limited"))
    with pytest.raises(openai.BadRequestError) as refused:
        completions.create(model=upstream.model, messages=say("refuse"), stream=True)
    assert "temperature: must be at most 1" in refused.value.message
    assert refused.value.type == "invalid_request_error"


def test_errors_are_the_sdk_s_own(offline: str) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client(offline).chat.completions.create(model="echo", messages=[])
    assert bad.value.param == "messages"
    with pytest.raises(openai.NotFoundError) as missing:
        client(offline).chat.completions.create(model="gpt-9", messages=say("x"))
    assert missing.value.code == "model_not_found"
    for model, kind in (("error-401", openai.InternalServerError), ("error-500", openai.InternalServerError)):
        with pytest.raises(kind):
            client(offline, max_retries=0).chat.completions.create(model=model, messages=say("x"))


def test_a_429_is_tried_again_when_it_says(offline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(
        "openai._base_client.SyncAPIClient._sleep_for_retry", lambda self, **kw: waits.append(kw["retries_taken"])
    )
    with pytest.raises(openai.RateLimitError) as limited:
        client(offline, max_retries=2).chat.completions.create(model="error-429", messages=say("x"))
    assert waits == [0, 1]
    assert limited.value.response.headers["retry-after"] == "7"


def test_an_error_as_first_event_has_a_status(offline: str) -> None:
    with pytest.raises(openai.InternalServerError) as e:
        client(offline, max_retries=0).chat.completions.create(
            model="error-first-event", messages=say("x"), stream=True
        )
    assert e.value.status_code == 503


@pytest.mark.parametrize("model", ["cut-midstream", "error-midstream", "garbage"])
def test_a_cut_stream_is_an_error(offline: str, model: str) -> None:
    said = ""
    with pytest.raises(openai.APIError):  # noqa: PT012  what came before the error counts too
        for c in client(offline).chat.completions.create(model=model, messages=say("x"), stream=True):
            said += c.choices[0].delta.content or ""
    assert said == "one two three "


def test_a_stream_cut_by_the_provider_is_an_error(upstream: Upstream) -> None:
    said = ""
    with pytest.raises(openai.APIError, match="was cut off"):  # noqa: PT012  what came before the error counts too
        for c in client(upstream.address).chat.completions.create(
            model=upstream.model, messages=say("cut"), stream=True
        ):
            said += c.choices[0].delta.content or ""
    assert said.startswith("Th")


def test_several_choices(offline: str) -> None:
    done = client(offline).chat.completions.create(model="echo", messages=say("a b"), n=3)
    assert [c.message.content for c in done.choices] == ["a b"] * 3


def test_models(offline: str) -> None:
    c = client(offline)
    assert "echo" in [m.id for m in c.models.list()]
    assert c.models.retrieve("echo").owned_by == "offline"
    with pytest.raises(openai.NotFoundError):
        c.models.retrieve("gpt-9")


async def _asynchronously(address: str) -> str:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="unused") as c:
        stream = await c.chat.completions.create(model="echo", messages=say("one two three"), stream=True)
        return "".join([x.choices[0].delta.content or "" async for x in stream])


@pytest.mark.anyio
async def test_asynchronous(offline: str) -> None:
    assert await _asynchronously(offline) == "one two three"
