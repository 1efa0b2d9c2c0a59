"""Reading a request: the server's half. It becomes an OpenAI chat request, and is kept beside it as it came."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from switchboard.core.errors import Problem
from switchboard.core.types import Generate, Native
from switchboard.dialects.openai_chat import invalid
from switchboard.dialects.openai_responses import shapes
from switchboard.dialects.openai_responses.items_in import ItemReader, checked, is_own, missing

NAME: Final = "openai_responses"
_SAME: Final = ("temperature", "top_p", "user")
_CHOICES: Final = ("auto", "none", "required")
#: Members that ask for something which the provider keeps, and with which nothing else need be said.
_CONTEXTS: Final = ("previous_response_id", "conversation", "prompt")
_KEPT: Final = ("background", "store")
#: Members that are read, that the answer repeats, or that change nothing of an answer.
_READ: Final = frozenset(
    {"input", "model", "stream", "instructions", "max_output_tokens", "tools", "tool_choice", "parallel_tool_calls"}
    | {"text", "reasoning", "safety_identifier", "metadata", "include", "stream_options", *_SAME, *_CONTEXTS, *_KEPT}
)
#: Members that ask for nothing where they hold these values.
_IDLE: Final[dict[str, tuple[Any, ...]]] = {
    "service_tier": ("auto", "default"),
    "truncation": ("disabled",),
    "top_logprobs": (0,),
}
#: What of ``reasoning`` asks for nothing that the answer would not show anyway.
_SHOWN: Final = ("effort", "summary", "generate_summary")
_IDLE_REASONING: Final = {"context": "auto", "mode": "standard"}
#: What may be asked to be included and is there without asking, where the provider has it.
_INCLUDED: Final = ("reasoning.encrypted_content", "message.input_image.image_url")
_TOOL_MEMBERS: Final = ("type", "name", "description", "parameters", "strict")
_Lost = dict[str, None]


def read_request(value: Any, body: bytes) -> Generate:
    """The operation that a Responses request asks for. `value` is `body` decoded (`wire.json_body.load_json`).

    Raises `Problem` that names the field at fault.
    """
    request = _check(value)
    members = dict(shapes.decode_members(body))
    given = members.pop("input", Raw(b"null"))
    members.pop("model", None)
    members.pop("stream", None)
    reader = ItemReader()
    if request.instructions:
        reader.messages.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        reader.messages.append({"role": "user", "content": request.input})
    for i, item in enumerate(request.input if isinstance(request.input, list) else ()):
        reader.add(item, f"input[{i}]")
    reader.end()
    lost: _Lost = {}
    params = _params(request, value, lost)
    said = list(reader.lost)
    bound = next((n for n in (*_CONTEXTS, *_KEPT) if value.get(n)), reader.bound)
    if not bound and said and all(m["role"] == "system" for m in reader.messages):
        bound = said[0]  # nothing would be left of what was asked
    native = Native(
        NAME, members, _without_own(request.input, given), b"", list(dict.fromkeys([*said, *lost])), said, bound
    )
    return Generate(
        request.model or "",
        bool(request.stream),
        messages=reader.messages,
        params=params,
        include_usage=True,
        native=native,
    )


def _without_own(items: str | list[dict[str, Any]] | None, given: Raw) -> Raw:
    """The input as it came, but for reasoning of which a provider of this dialect knows nothing."""
    if not isinstance(items, list):
        return given
    kept = [i for i in items if i.get("type") != "reasoning" or not is_own(i)]
    return given if len(kept) == len(items) else Raw(shapes.encode(kept))


def _check(value: Any) -> shapes.ResponsesRequest:
    if not isinstance(value, dict):
        raise Problem("INVALID_REQUEST", "The body must be a JSON object.")
    try:
        request = msgspec.convert(value, shapes.ResponsesRequest)
    except msgspec.ValidationError as e:
        raise invalid(str(e)) from None
    if not request.input and not any(value.get(n) for n in _CONTEXTS):
        if request.input is None:
            raise missing("input")
        raise Problem("INVALID_REQUEST", "input: must not be empty.", param="input")
    if request.max_output_tokens is not None and request.max_output_tokens < 1:
        raise Problem("INVALID_REQUEST", "max_output_tokens: must be at least 1.", param="max_output_tokens")
    return request


def _params(request: shapes.ResponsesRequest, value: dict[str, Any], lost: _Lost) -> dict[str, Any]:
    params: dict[str, Any] = {n: value[n] for n in _SAME if value.get(n) is not None}
    if request.max_output_tokens is not None:
        params["max_tokens"] = request.max_output_tokens
    if request.safety_identifier is not None:
        params.setdefault("user", request.safety_identifier)  # which it takes the place of
    _tools(request, params, lost)
    _text(request.text or {}, params, lost)
    _reasoning(request.reasoning or {}, params, lost)
    if request.service_tier is not None and request.service_tier not in _IDLE["service_tier"]:
        params["service_tier"] = request.service_tier
    if any(n not in _INCLUDED for n in request.include or ()):
        lost["include"] = None
    for name, member in value.items():
        if name not in _READ and name not in params and member is not None and member not in _IDLE.get(name, ()):
            lost[name] = None
    return params


def _tools(request: shapes.ResponsesRequest, params: dict[str, Any], lost: _Lost) -> None:
    tools = [_tool(t, f"tools[{i}]", lost) for i, t in enumerate(request.tools or ())]
    functions = [t for t in tools if t is not None]
    choice: Any = request.tool_choice
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("tools")
        names = [t.get("name") for t in allowed if isinstance(t, dict)] if isinstance(allowed, list) else []
        functions = [t for t in functions if t["function"]["name"] in names]
        choice = choice.get("mode")
    if not functions:
        return  # none of the rest says anything without a tool
    params["tools"] = functions
    if request.parallel_tool_calls is not None:
        params["parallel_tool_calls"] = request.parallel_tool_calls
    if isinstance(choice, str) and choice in _CHOICES:
        params["tool_choice"] = choice
    elif isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        params["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif choice is not None:
        lost["tool_choice"] = None


def _tool(tool: dict[str, Any], place: str, lost: _Lost) -> dict[str, Any] | None:
    """A function of the client's; the tools that the provider would run itself have no counterpart."""
    kind = tool.get("type")
    if not isinstance(kind, str):
        where = f"{place}.type"
        raise Problem("INVALID_REQUEST", f"{where}: a string is required.", param=where)
    if kind != "function":
        lost[f"tools.{kind}"] = None
        return None
    known = checked(tool, shapes.FunctionTool, place)
    function: dict[str, Any] = {"name": known.name}
    if known.description is not None:
        function["description"] = known.description
    function["parameters"] = known.parameters or {"type": "object", "properties": {}}
    if known.strict is not None:
        function["strict"] = known.strict
    for name, member in tool.items():
        if name not in _TOOL_MEMBERS and member not in (None, False):
            lost[f"tools.{name}"] = None
    return {"type": "function", "function": function}


def _text(text: dict[str, Any], params: dict[str, Any], lost: _Lost) -> None:
    """In which form to answer, and how long."""
    form = text.get("format")
    kind = form.get("type") if isinstance(form, dict) else None
    if isinstance(form, dict) and kind == "json_schema":
        schema = {n: form[n] for n in ("name", "description", "schema", "strict") if form.get(n) is not None}
        params["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        params["response_format"] = {"type": "json_object"}
    elif form is not None and kind != "text":
        lost["text.format"] = None
    if text.get("verbosity") is not None:
        params["verbosity"] = text["verbosity"]
    for name in text:
        if name not in ("format", "verbosity"):
            lost[f"text.{name}"] = None


def _reasoning(reasoning: dict[str, Any], params: dict[str, Any], lost: _Lost) -> None:
    """How much to think."""
    effort = reasoning.get("effort")
    if isinstance(effort, str):
        params["reasoning_effort"] = effort
    elif effort is not None:
        lost["reasoning.effort"] = None
    for name, value in reasoning.items():
        if name not in _SHOWN and value is not None and value != _IDLE_REASONING.get(name):
            lost[f"reasoning.{name}"] = None
