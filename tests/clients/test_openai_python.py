"""The official ``openai`` SDK for Python, with nothing but its base URL changed."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

pytestmark = pytest.mark.xdist_group("clients")

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def client(address: str, **more: Any) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key="unused", **more)


def say(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_whole(through_aimock: str) -> None:
    done = client(through_aimock).chat.completions.create(model="gpt-4o", messages=say("hello"))
    assert done.choices[0].message.content == "Hello! How can I help you today?"
    assert done.usage is not None
    assert done._request_id is not None


def test_stream(through_aimock: str) -> None:
    with client(through_aimock).chat.completions.create(model="gpt-4o", messages=say("hello"), stream=True) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello! How can I help you today?"
    assert all(c.usage is None for c in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_usage_in_a_stream_when_asked_for(through_aimock: str) -> None:
    chunks = list(
        client(through_aimock).chat.completions.create(
            model="gpt-4o", messages=say("hello"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].choices == []


def test_tools(through_aimock: str) -> None:
    done = client(through_aimock).chat.completions.create(model="gpt-4o", messages=say("weather"), tools=[WEATHER])
    calls = done.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert (calls[0].function.name, calls[0].function.arguments) == ("get_weather", '{"city":"Oslo"}')
    with client(through_aimock).chat.completions.stream(
        model="gpt-4o", messages=say("weather"), tools=[WEATHER]
    ) as stream:
        final = stream.get_final_completion()
    streamed = final.choices[0].message.tool_calls
    assert streamed is not None
    assert streamed[0].function.arguments == '{"city":"Oslo"}'


def test_errors_are_the_sdk_s_own(through_aimock: str, offline: str) -> None:
    with pytest.raises(openai.RateLimitError):
        client(through_aimock, max_retries=0).chat.completions.create(model="gpt-4o", messages=say("limited"))
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


def test_a_stream_cut_by_the_provider_is_an_error(through_aimock: str) -> None:
    with pytest.raises(openai.APIError):
        list(client(through_aimock).chat.completions.create(model="gpt-4o", messages=say("cut"), stream=True))


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
