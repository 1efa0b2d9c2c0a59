"""The calls that Open WebUI's backend makes to a server that speaks OpenAI's wire.

Source: ``backend/open_webui/routers/openai.py`` (``send_get_request``, ``get_all_models``, ``generate_chat_completion``) and
``routers/tasks.py``: it takes ``metadata`` out of the body, sends JSON as text with ``Content-Type`` and ``Authorization``,
goes by the answer's content type, passes the lines of a stream on as they are, and reads an error's body as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from clients.conftest import ACCESS_KEY, Upstream

pytestmark = pytest.mark.xdist_group("clients")

USER = {
    "X-OpenWebUI-User-Name": "Ada%20Lovelace",
    "X-OpenWebUI-User-Id": "6f1c0d2e-0000-4000-8000-000000000000",
    "X-OpenWebUI-User-Email": "ada@example.com",
    "X-OpenWebUI-User-Role": "admin",
}
TITLE = """### Task:
Generate a concise, 3-5 word title with an emoji summarizing the chat history.
### Output:
JSON format: { "title": "your concise title here" }
### Chat History:
<chat_history>
USER: hello
ASSISTANT: Hello! How can I help you today?
</chat_history>"""
TAGS = """### Task:
Generate 1-3 broad tags categorizing the main themes of the chat history, along with 1-3 more specific subtopic tags.
### Output:
JSON format: { "tags": ["tag1", "tag2", "tag3"] }
### Chat History:
<chat_history>
USER: hello
ASSISTANT: Hello! How can I help you today?
</chat_history>"""


@pytest.fixture(params=["openai", "anthropic"])
def connection(request: pytest.FixtureRequest, guarded: str) -> Upstream:
    """A connection as an administrator sets it up: a URL that ends with /v1, a key; and one of its models."""
    model = {"openai": "openai/gpt-mock", "anthropic": "anthropic/claude-mock"}[request.param]
    return Upstream(request.param, f"{guarded}/v1", model)


def models(url: str, key: str) -> httpx.Response:
    return httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"} | USER)


def complete(url: str, payload: dict[str, Any], key: str = ACCESS_KEY) -> httpx.Response:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"} | USER
    return httpx.post(f"{url}/chat/completions", content=json.dumps(payload), headers=headers, timeout=20)


def streamed(payload: dict[str, Any]) -> dict[str, Any]:
    """What it makes of a chat's body."""
    return {"stream": True} | payload | {"stream_options": {"include_usage": True}}


def read(answer: httpx.Response) -> list[Any]:
    """The lines of a stream as it takes them apart: each begins with ``data: ``, the last says that it is over."""
    lines = [line for line in answer.text.split("\n") if line.strip()]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[len("data: ") :]) for line in lines[:-1]]


def test_models(connection: Upstream) -> None:
    answer = models(connection.address, ACCESS_KEY)
    assert answer.status_code == 200
    listed = answer.json()
    assert listed["object"] == "list"
    names = [m["id"] for m in listed["data"]]
    assert len(set(names)) == len(names)
    assert all(m["object"] == "model" and m["owned_by"] for m in listed["data"])
    if connection.kind == "anthropic":  # a model that is not the default provider's has its provider's name in front
        assert any(n.startswith("anthropic/") for n in names)


def test_a_listed_model_answers(connection: Upstream) -> None:
    """Whatever the list says is what it asks with."""
    names = [m["id"] for m in models(connection.address, ACCESS_KEY).json()["data"]]
    name = next(n for n in names if n.startswith("anthropic/") == (connection.kind == "anthropic"))
    answer = complete(connection.address, {"model": name, "messages": [{"role": "user", "content": "hello"}]})
    assert answer.json()["choices"][0]["message"]["content"] == "Hello! How can I help you today?"


def test_a_wrong_key(connection: Upstream) -> None:
    """The check of a connection shows the error's body."""
    answer = models(connection.address, "wrong")
    assert answer.status_code == 401
    assert answer.json()["error"]["message"]


def test_a_chat(connection: Upstream) -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    ]
    answer = complete(connection.address, streamed({"model": connection.model, "messages": messages}))
    assert answer.status_code == 200
    assert "text/event-stream" in answer.headers["content-type"]
    chunks = read(answer)
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    said = [c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]]
    assert "".join(said) == "Hello! How can I help you today?"
    usage = [c["usage"] for c in chunks if c.get("usage")]
    assert [(u["prompt_tokens"], u["completion_tokens"], u["total_tokens"]) for u in usage] == [(11, 9, 20)]


def test_a_chat_with_its_settings(connection: Upstream, asked: Callable[[str], dict[str, Any]]) -> None:
    """Every parameter that a model's settings there can have, and tools of the native way of calling."""
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    settings: dict[str, Any] = {
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 500,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.1,
        "seed": 7,
        "stop": ["\n\n\n"],
        "logit_bias": {"50256": -100},
        "reasoning_effort": "low",
    }
    text = f"weather with settings of {connection.kind}"
    payload = streamed({"model": connection.model, "messages": [{"role": "user", "content": text}], "tools": [tool]})
    answer = complete(connection.address, payload | settings)
    assert answer.status_code == 200, answer.text
    chunks = read(answer)
    deltas = [d for c in chunks if c["choices"] for d in c["choices"][0]["delta"].get("tool_calls") or ()]
    assert [d["function"]["name"] for d in deltas if d["function"].get("name")] == ["get_weather"]
    assert {d["index"] for d in deltas} == {0}
    assert json.loads("".join(d["function"].get("arguments") or "" for d in deltas)) == {"city": "Oslo"}
    body = asked(text)["body"]
    assert body["temperature"] == 0.7
    assert body["max_tokens"] == 500
    dropped = answer.headers.get("x-switchboard-dropped", "").split(", ")
    if connection.kind == "openai":
        assert dropped == [""]
        assert settings.items() <= body.items()
    else:
        assert {"frequency_penalty", "presence_penalty", "seed", "logit_bias"} <= set(dropped)


def test_temperature_and_top_p_do_not_both_go_to_anthropic(
    guarded: str, asked: Callable[[str], dict[str, Any]]
) -> None:
    """Models from Opus 4.1 and Sonnet 4.5 on refuse them together ("`temperature` and `top_p` cannot both be specified for
    this model"), and Open WebUI sends what its settings hold."""
    text = "hello at 0.7 and 0.9"
    messages = [{"role": "user", "content": text}]
    payload = {"model": "anthropic/claude-mock", "messages": messages, "temperature": 0.7, "top_p": 0.9}
    answer = complete(f"{guarded}/v1", payload)
    assert answer.status_code == 200
    assert asked(text)["body"]["temperature"] == 0.7
    # aimock's journal keeps no top_p of a request on Anthropic's wire: what was not sent is told
    assert answer.headers.get("x-switchboard-dropped") == "top_p"


def test_a_tool_s_result(connection: Upstream) -> None:
    """As it writes them: the call's arguments as text, the result with its call's id."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    messages = [
        {"role": "user", "content": "weather"},
        {"role": "assistant", "content": "", "tool_calls": [call | {"index": 0}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "7 degrees"},
    ]
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    payload = streamed({"model": connection.model, "messages": messages, "tools": tools})
    said = [
        c["choices"][0]["delta"].get("content") or ""
        for c in read(complete(connection.address, payload))
        if c["choices"]
    ]
    assert "".join(said) == "It is 7 degrees in Oslo."


@pytest.mark.parametrize(
    ("prompt", "more", "name", "value"),
    [
        (TITLE, {"max_completion_tokens": 1000}, "title", "A Friendly Greeting"),
        (TAGS, {}, "tags", ["General", "Greeting"]),
    ],
)
def test_titles_and_tags(connection: Upstream, prompt: str, more: dict[str, Any], name: str, value: Any) -> None:
    payload = {"model": connection.model, "messages": [{"role": "user", "content": prompt}], "stream": False} | more
    answer = complete(connection.address, payload)
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()["choices"][0]["message"]["content"]
    found = json.loads(content[content.find("{") : content.rfind("}") + 1])  # so it looks for the JSON
    assert found[name] == value


@pytest.mark.parametrize("stream", [False, True])
def test_errors(connection: Upstream, stream: bool) -> None:
    messages = [{"role": "user", "content": "limited"}]
    payload: dict[str, Any] = {"model": connection.model, "messages": messages, "stream": stream}
    answer = complete(connection.address, payload | ({"stream_options": {"include_usage": True}} if stream else {}))
    assert answer.status_code == 429
    assert "text/event-stream" not in answer.headers["content-type"]
    assert "is limiting requests" in answer.json()["error"]["message"]
