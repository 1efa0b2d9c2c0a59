"""Reading a request: the server's half. It becomes an OpenAI request, and is kept beside it as it came."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from switchboard.core.errors import Problem
from switchboard.core.types import Generate, Headers, Native, header
from switchboard.dialects.anthropic_messages import shapes
from switchboard.dialects.anthropic_messages.messages_in import Losses, read_messages
from switchboard.dialects.openai_chat import invalid

NAME: Final = "anthropic_messages"
_HEADERS: Final = (b"anthropic-version", b"anthropic-beta")
_SAME: Final = ("max_tokens", "temperature", "top_p", "top_k")
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_READ: Final = frozenset(shapes.MessagesRequest.__struct_fields__)
#: Members that ask for nothing where they hold these values.
_IDLE: Final[dict[str, tuple[Any, ...]]] = {"service_tier": ("auto",), "speed": ("standard",)}
#: From how many tokens of thinking on it counts as medium and as high effort.
_MEDIUM, _HIGH = 4096, 16384


def read_request(body: Any, raw: bytes, headers: Headers) -> Generate:
    """The operation that an Anthropic request asks for. `body` is `raw` decoded (`wire.json_body.load_json`).

    Raises `Problem` that names the field at fault.
    """
    request = _check(body)
    members = dict(shapes.decode_members(raw))
    messages = members.pop("messages")
    members.pop("model", None)
    members.pop("stream", None)
    lines = b"".join([header(name, headers[name]) for name in _HEADERS if name in headers])
    losses, said = Losses(), Losses()
    conversation = read_messages(request, said)
    params = _params(request, body, losses)
    return Generate(
        request.model or "",
        bool(request.stream),
        messages=conversation,
        params=params,
        include_usage=True,
        native=Native(NAME, members, messages, lines, [*said.names, *losses.names], said.names),
    )


def _check(body: Any) -> shapes.MessagesRequest:
    if not isinstance(body, dict):
        raise Problem("INVALID_REQUEST", "The body must be a JSON object.")
    for name in ("messages", "max_tokens"):
        if name not in body:
            raise Problem("INVALID_REQUEST", f"{name}: this field is required.", param=name)
    try:
        request = msgspec.convert(body, shapes.MessagesRequest)
    except msgspec.ValidationError as e:
        raise invalid(str(e), "user, assistant, system") from None
    if not request.messages:
        raise Problem("INVALID_REQUEST", "messages: at least one message is needed.", param="messages")
    if request.max_tokens < 0:
        raise Problem("INVALID_REQUEST", "max_tokens: must not be negative.", param="max_tokens")
    places = [("system", request.system)] + [
        (f"messages[{i}].content", m.content) for i, m in enumerate(request.messages)
    ]
    for place, content in places:
        for j, block in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(block.get("type"), str):
                where = f"{place}[{j}].type"
                raise Problem("INVALID_REQUEST", f"{where}: a string is required.", param=where)
    return request


def _params(request: shapes.MessagesRequest, body: dict[str, Any], losses: Losses) -> dict[str, Any]:
    params: dict[str, Any] = {n: body[n] for n in _SAME if body.get(n) is not None}
    if request.stop_sequences:
        params["stop"] = request.stop_sequences
    if request.tools:
        tools = [t for tool in request.tools if (t := _tool(tool, losses)) is not None]
        if tools:
            params["tools"] = tools
    if request.tool_choice is not None and "tools" in params:
        params.update(_tool_choice(request.tool_choice, losses))
    user = (request.metadata or {}).get("user_id")
    if isinstance(user, str):
        params["user"] = user
    _thinking(request, params, losses)
    for name, value in body.items():
        if name not in _READ and value is not None and value not in _IDLE.get(name, ()):
            losses.add(name)
    return params


def _tool(tool: dict[str, Any], losses: Losses) -> dict[str, Any] | None:
    """A tool of the client's own; those that the provider would run itself have no counterpart."""
    if tool.get("type", "custom") not in ("custom", None):
        losses.add(f"tools.{tool['type']}")
        return None
    function = {"name": tool.get("name"), "parameters": tool.get("input_schema") or {"type": "object"}}
    for name in ("description", "strict"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    for name in tool:
        if name not in ("name", "type", "input_schema", "description", "strict"):
            losses.add(name)
    return {"type": "function", "function": function}


def _tool_choice(choice: dict[str, Any], losses: Losses) -> dict[str, Any]:
    out: dict[str, Any] = {}
    kind = choice.get("type")
    if kind == "tool":
        out["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif isinstance(kind, str) and kind in _CHOICES:
        out["tool_choice"] = _CHOICES[kind]
    else:
        losses.add("tool_choice")
    if choice.get("disable_parallel_tool_use") is True:
        out["parallel_tool_calls"] = False
    return out


def _thinking(request: shapes.MessagesRequest, params: dict[str, Any], losses: Losses) -> None:
    """How much to think, and in which form to answer."""
    output = request.output_config or {}
    effort = _EFFORTS.get(str(output.get("effort")))
    thinking = request.thinking or {}
    if thinking.get("type") == "disabled":
        effort = None
    elif thinking and effort is None:
        budget = thinking.get("budget_tokens")
        known = budget if isinstance(budget, int) else _MEDIUM
        effort = "high" if known >= _HIGH else "medium" if known >= _MEDIUM else "low"
    if effort is not None:
        params["reasoning_effort"] = effort
    form = output.get("format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = {"name": "answer", "schema": form.get("schema"), "strict": True}
        params["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form is not None:
        losses.add("output_config.format")
    for name in output:
        if name not in ("effort", "format"):
            losses.add(f"output_config.{name}")
