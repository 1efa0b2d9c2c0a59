"""The official ``anthropic`` SDK for Python on ``/v1/messages``, with nothing but its base URL changed."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from anthropic.types import MessageParam, ToolParam

from clients.conftest import ACCESS_KEY, serving

pytestmark = pytest.mark.xdist_group("clients")

WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
#: The models of a server that knows both upstreams.
BOTH = ["openai/gpt-mock", "anthropic/claude-mock"]


def client(address: str, **more: Any) -> Anthropic:
    settings: dict[str, Any] = {"base_url": address, "api_key": ACCESS_KEY, "max_retries": 0}
    return Anthropic(**settings | more)


def say(text: str) -> list[MessageParam]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("model", BOTH)
def test_whole(guarded: str, model: str) -> None:
    done = client(guarded).messages.create(model=model, max_tokens=100, messages=say("hello"))
    assert [b.text for b in done.content if b.type == "text"] == ["Hello! How can I help you today?"]
    assert (done.type, done.role, done.stop_reason, done.stop_sequence) == ("message", "assistant", "end_turn", None)
    assert (done.usage.input_tokens, done.usage.output_tokens) == (11, 9)
    assert done.id.startswith("msg_")
    assert done._request_id is not None


@pytest.mark.parametrize("model", BOTH)
def test_stream_of_events(guarded: str, model: str) -> None:
    with client(guarded).messages.create(model=model, max_tokens=100, messages=say("hello"), stream=True) as stream:
        events = list(stream)
    kinds = [e.type for e in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert len(kinds) > 7  # it comes in pieces
    said = [e.delta.text for e in events if e.type == "content_block_delta" and e.delta.type == "text_delta"]
    assert "".join(said) == "Hello! How can I help you today?"


@pytest.mark.parametrize("model", BOTH)
def test_stream_helper(guarded: str, model: str) -> None:
    with client(guarded).messages.stream(model=model, max_tokens=100, messages=say("hello")) as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
        assert stream.request_id is not None
    assert said == stream.get_final_text() == "Hello! How can I help you today?"
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (11, 9)


@pytest.mark.parametrize("model", BOTH)
def test_tools(guarded: str, model: str) -> None:
    messages = client(guarded).messages
    done = messages.create(model=model, max_tokens=100, messages=say("weather"), tools=[WEATHER])
    calls = [b for b in done.content if b.type == "tool_use"]
    assert [(c.name, c.input) for c in calls] == [("get_weather", {"city": "Oslo"})]
    assert done.stop_reason == "tool_use"
    with messages.stream(model=model, max_tokens=100, messages=say("weather"), tools=[WEATHER]) as stream:
        pieces = [e.partial_json for e in stream if e.type == "input_json"]
        final = stream.get_final_message()
    assert "".join(pieces) == '{"city":"Oslo"}'
    assert [(c.name, c.input) for c in final.content if c.type == "tool_use"] == [("get_weather", {"city": "Oslo"})]
    assert final.stop_reason == "tool_use"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (20, 5)


@pytest.mark.parametrize("model", BOTH)
def test_a_tool_s_result_goes_back(guarded: str, model: str) -> None:
    messages = client(guarded).messages
    talk = say("weather")
    first = messages.create(model=model, max_tokens=100, messages=talk, tools=[WEATHER])
    (call,) = [b for b in first.content if b.type == "tool_use"]
    talk.append({"role": "assistant", "content": first.content})
    talk.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "7 degrees"}]})
    done = messages.create(model=model, max_tokens=100, messages=talk, tools=[WEATHER])
    assert [b.text for b in done.content if b.type == "text"] == ["It is 7 degrees in Oslo."]


@pytest.mark.parametrize("model", BOTH)
def test_text_and_two_tool_calls(guarded: str, model: str) -> None:
    with client(guarded).messages.stream(
        model=model, max_tokens=100, messages=say("two cities"), tools=[WEATHER], tool_choice={"type": "auto"}
    ) as stream:
        final = stream.get_final_message()
    assert [b.type for b in final.content] == ["text", "tool_use", "tool_use"]
    calls = [b for b in final.content if b.type == "tool_use"]
    assert [c.input for c in calls] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert len({c.id for c in calls}) == 2


@pytest.mark.parametrize("model", BOTH)
def test_thinking(guarded: str, model: str) -> None:
    messages = client(guarded).messages
    thinking: anthropic.types.ThinkingConfigEnabledParam = {"type": "enabled", "budget_tokens": 1024}
    done = messages.create(model=model, max_tokens=2048, messages=say("think"), thinking=thinking)
    with messages.stream(model=model, max_tokens=2048, messages=say("think"), thinking=thinking) as stream:
        final = stream.get_final_message()
    for message in (done, final):
        assert [b.thinking for b in message.content if b.type == "thinking"] == ["Let me see."]
        assert [b.text for b in message.content if b.type == "text"] == ["Forty-two."]


@pytest.mark.parametrize("model", BOTH)
def test_an_answer_that_is_too_long(guarded: str, model: str) -> None:
    done = client(guarded).messages.create(model=model, max_tokens=3, messages=say("length"))
    assert done.stop_reason == "max_tokens"


def test_what_the_upstream_is_asked(guarded: str, asked: Callable[[str], dict[str, Any]]) -> None:
    """Each on its own wire, with the server's key; the client's version goes along where it says something."""
    for model, path in zip(BOTH, ["/v1/chat/completions", "/v1/messages"], strict=True):
        text = f"hello {path}"
        asking = client(guarded)
        asking.beta.messages.create(
            model=model,
            max_tokens=100,
            messages=[{"role": "user", "content": text}],
            system="Be kind.",
            betas=["some-beta"],
        )
        request = asked(text)
        assert request["path"] == path
        assert request["body"]["model"] == model.partition("/")[2]
        assert request["body"]["max_tokens"] == 100
        assert request["body"]["messages"][0] == {"role": "system", "content": "Be kind."}
        assert ACCESS_KEY not in json.dumps(request)
        version = asking.default_headers["anthropic-version"]
        assert request["headers"].get("anthropic-version") == (version if path == "/v1/messages" else None)
        assert request["headers"].get("anthropic-beta") == ("some-beta" if path == "/v1/messages" else None)
        assert ("x-api-key" in request["headers"]) == (path == "/v1/messages")
        assert ("authorization" in request["headers"]) == (path != "/v1/messages")


def test_system_and_parts(guarded: str) -> None:
    """What the offline model repeats is what it was asked."""
    done = client(guarded).messages.create(
        model="offline/echo",
        max_tokens=100,
        system="Be brief.",
        messages=[{"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]}],
    )
    assert [b.text for b in done.content if b.type == "text"] == ["one two"]
    assert done.usage.input_tokens == 4


def test_tools_offline(guarded: str) -> None:
    with client(guarded).messages.stream(
        model="offline/tool-call", max_tokens=100, messages=say('{"city": "Rome"}'), tools=[WEATHER]
    ) as stream:
        final = stream.get_final_message()
    assert [(b.name, b.input) for b in final.content if b.type == "tool_use"] == [("get_weather", {"city": "Rome"})]


# ---- errors


def failure(
    address: str, *, model: str, text: str = "x", stream: bool = False, **more: Any
) -> anthropic.APIStatusError:
    """The error that a request ends with."""
    with pytest.raises(anthropic.APIStatusError) as e:
        client(address, **more).messages.create(model=model, max_tokens=10, messages=say(text), stream=stream)
    return e.value


def kind(error: anthropic.APIStatusError) -> Any:
    """What Anthropic calls it."""
    assert isinstance(error.body, dict)
    assert error.body["type"] == "error"
    assert error.body["request_id"] == error.response.headers["x-request-id"]
    return error.body["error"]["type"]


def test_a_wrong_key(guarded: str) -> None:
    error = failure(guarded, model="offline/echo", api_key="wrong")
    assert isinstance(error, anthropic.AuthenticationError)
    assert kind(error) == "authentication_error"


def test_a_key_as_a_bearer_token(guarded: str) -> None:
    by_token = client(guarded, api_key=None, auth_token=ACCESS_KEY)
    assert by_token.messages.create(model="offline/echo", max_tokens=10, messages=say("hi")).stop_reason == "end_turn"


def test_a_request_that_is_not_right(guarded: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as e:
        client(guarded).messages.create(model="offline/echo", max_tokens=10, messages=[])
    assert kind(e.value) == "invalid_request_error"
    assert "messages" in e.value.message


def test_a_model_that_is_not_there(offline: str) -> None:
    error = failure(offline, model="claude-9")
    assert isinstance(error, anthropic.NotFoundError)
    assert kind(error) == "not_found_error"


def test_the_provider_limits(guarded: str) -> None:
    error = failure(guarded, model="offline/error-429")
    assert isinstance(error, anthropic.RateLimitError)
    assert kind(error) == "rate_limit_error"
    assert error.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_an_upstream(guarded: str, model: str, stream: bool) -> None:
    limited = failure(guarded, model=model, text="limited", stream=stream)
    assert isinstance(limited, anthropic.RateLimitError)
    refused = failure(guarded, model=model, text="refuse", stream=stream)
    assert isinstance(refused, anthropic.BadRequestError)
    assert "temperature: must be at most 1" in refused.message
    assert kind(refused) == "invalid_request_error"
    broken = failure(guarded, model=model, text="broken", stream=stream)
    assert isinstance(broken, anthropic.InternalServerError)
    assert "Internal server error" not in broken.message


@pytest.mark.parametrize(
    ("model", "status", "called"),
    [
        ("error-401", 502, "api_error"),  # the server's key, not the client's
        ("error-500", 503, "overloaded_error"),
        ("error-529", 503, "overloaded_error"),
        ("error-first-event", 503, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_offline(guarded: str, model: str, status: int, called: str, stream: bool) -> None:
    error = failure(guarded, model=f"offline/{model}", stream=stream)
    assert (error.status_code, kind(error)) == (status, called)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that lets a caller ask once a minute."""
    directory: Path = tmp_path_factory.mktemp("narrow")
    with serving({"SWITCHBOARD_LIMITS__REQUESTS_PER_MINUTE": "1"}, directory) as address:
        yield address


def test_the_server_limits(narrow: str) -> None:
    assert client(narrow).messages.create(model="echo", max_tokens=10, messages=say("hi")).stop_reason == "end_turn"
    error = failure(narrow, model="echo")
    assert isinstance(error, anthropic.RateLimitError)
    assert kind(error) == "rate_limit_error"
    assert 0 < int(error.response.headers["retry-after"]) <= 62


# ---- streams that fail


def cut(address: str, model: str, text: str) -> tuple[str, anthropic.APIError]:
    """What a stream said, and the error it ended with."""
    said = ""
    messages = client(address).messages
    with messages.stream(model=model, max_tokens=100, messages=say(text)) as stream:
        with pytest.raises(anthropic.APIError) as e:  # noqa: PT012  what came before the error counts too
            for piece in stream.text_stream:
                said += piece
        return said, e.value


@pytest.mark.parametrize("model", ["cut-midstream", "error-midstream", "garbage"])
def test_a_cut_stream_is_an_error(guarded: str, model: str) -> None:
    said, error = cut(guarded, f"offline/{model}", "x")
    assert said == "one two three "
    assert isinstance(error.body, dict)
    assert error.body["type"] == "error"


@pytest.mark.parametrize("model", BOTH)
def test_a_stream_cut_by_the_provider_is_an_error(guarded: str, model: str) -> None:
    said, error = cut(guarded, model, "cut")
    assert said
    assert "This answer".startswith(said)
    assert "cut off" in error.message


def left(address: str) -> float:
    """How many requests for the endless model ended because their client had gone, as the server counts them."""
    asking = urllib.request.Request(f"{address}/metrics", headers={"authorization": f"Bearer {ACCESS_KEY}"})
    with urllib.request.urlopen(asking, timeout=10) as answer:
        text = answer.read().decode()
    lines = re.findall(r"^switchboard_requests_total\{(.*)\} ([\d.]+)$", text, re.M)
    return sum(float(n) for labels, n in lines if 'model="endless"' in labels and 'outcome="client_left"' in labels)


def test_a_client_may_leave(guarded: str) -> None:
    before = left(guarded)
    with client(guarded).messages.stream(model="offline/endless", max_tokens=100, messages=say("x")) as stream:
        said = list(islice(stream.text_stream, 6))
        assert said == ["again "] * 6
        assert left(guarded) == before  # it is still being answered
    until = time.monotonic() + 5
    while left(guarded) == before and time.monotonic() < until:
        time.sleep(0.02)
    assert left(guarded) == before + 1


def test_models(guarded: str) -> None:
    models = client(guarded).models
    found = {m.id: m for m in models.list()}
    assert "echo" in found
    assert any(name.startswith("anthropic/") for name in found)
    assert all(m.type == "model" and m.display_name and m.created_at.tzinfo for m in found.values())
    one = models.retrieve("echo")
    assert (one.type, one.id, one.display_name) == ("model", "echo", found["echo"].display_name)
    with pytest.raises(anthropic.NotFoundError):
        models.retrieve("claude-9")


def test_tokens_are_not_counted(guarded: str) -> None:
    """Nothing here counts tokens: it is said as Anthropic would say it."""
    with pytest.raises(anthropic.NotFoundError) as missing:
        client(guarded).messages.count_tokens(model="offline/echo", messages=say("hi"))
    assert kind(missing.value) == "not_found_error"


async def _asynchronously(address: str) -> str:
    async with (
        anthropic.AsyncAnthropic(base_url=address, api_key=ACCESS_KEY) as c,
        c.messages.stream(model="offline/echo", max_tokens=100, messages=say("one two three")) as stream,
    ):
        return "".join([text async for text in stream.text_stream])


@pytest.mark.anyio
async def test_asynchronous(guarded: str) -> None:
    assert await _asynchronously(guarded) == "one two three"
