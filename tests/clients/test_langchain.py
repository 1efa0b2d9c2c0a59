"""LangChain's ``ChatOpenAI``, with nothing but its base URL changed."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from clients.conftest import Upstream

pytestmark = pytest.mark.xdist_group("clients")


class Person(BaseModel):
    """Who it is about."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"{city}: 7 degrees"


def chat(upstream: Upstream, **more: Any) -> ChatOpenAI:
    address = f"{upstream.address}/v1"
    return ChatOpenAI(model=upstream.model, base_url=address, api_key=SecretStr("unused"), max_retries=0, **more)


def joined(pieces: Iterable[AIMessage]) -> AIMessage:
    """The message that the pieces of a stream add up to."""
    whole: AIMessage = functools.reduce(operator.add, pieces)
    return whole


def test_invoke(upstream: Upstream) -> None:
    said = chat(upstream, temperature=0.2, max_tokens=200).invoke([SystemMessage("Be brief."), HumanMessage("hello")])
    assert isinstance(said, AIMessage)
    assert said.content == "Hello! How can I help you today?"
    assert said.response_metadata["finish_reason"] == "stop"
    assert said.response_metadata["model_name"] == upstream.model
    assert said.usage_metadata is not None
    usage = said.usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (11, 9, 20)


def test_stream(upstream: Upstream) -> None:
    pieces = list(chat(upstream, stream_usage=True).stream("hello"))
    assert len([p for p in pieces if p.content]) > 1
    whole = joined(pieces)
    assert whole.content == "Hello! How can I help you today?"
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.usage_metadata is not None
    assert (whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"]) == (11, 9)


def test_usage_of_a_stream_is_not_told_unasked(upstream: Upstream) -> None:
    """As of a server that is not OpenAI's own LangChain does not ask for it."""
    assert all(p.usage_metadata is None for p in chat(upstream).stream("hello"))


def test_bound_tools_and_their_results(upstream: Upstream) -> None:
    bound = chat(upstream).bind_tools([get_weather], tool_choice="get_weather")
    said = bound.invoke("weather")
    assert [(c["name"], c["args"]) for c in said.tool_calls] == [("get_weather", {"city": "Oslo"})]
    assert said.response_metadata["finish_reason"] == "tool_calls"
    result = get_weather.invoke(said.tool_calls[0])
    assert isinstance(result, ToolMessage)
    done = chat(upstream).bind_tools([get_weather]).invoke([HumanMessage("weather"), said, result])
    assert done.content == "It is 7 degrees in Oslo."
    assert not done.tool_calls


def test_tool_calls_of_a_stream(upstream: Upstream) -> None:
    whole = joined(chat(upstream).bind_tools([get_weather]).stream("two cities"))
    assert whole.content == "Both at once."
    assert [c["args"] for c in whole.tool_calls] == [{"city": "Oslo"}, {"city": "Rome"}]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(upstream: Upstream, method: Any) -> None:
    found = chat(upstream).with_structured_output(Person, method=method).invoke("Extract: Ada is 36.")
    assert found == Person(name="Ada", age=36)


def test_errors(upstream: Upstream) -> None:
    with pytest.raises(openai.RateLimitError):
        chat(upstream).invoke("limited")
    with pytest.raises(openai.BadRequestError, match="temperature: must be at most 1"):
        chat(upstream).invoke("refuse")
    with pytest.raises(openai.APIError):
        list(chat(upstream).stream("cut"))


@pytest.mark.anyio
async def test_asynchronous(upstream: Upstream) -> None:
    said = [p.content async for p in chat(upstream).astream("hello")]
    assert "".join(str(s) for s in said) == "Hello! How can I help you today?"
