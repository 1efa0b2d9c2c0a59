"""Asking a provider, and reading an answer that is not streamed: the client's half."""

from __future__ import annotations

import contextlib
import re
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import Answer, Choice, Thinking, ToolCall
from switchboard.core.ports import Meter
from switchboard.core.types import Generate, Native
from switchboard.dialects.anthropic_messages import shapes
from switchboard.dialects.anthropic_messages.messages_out import awaits_thinking, build_messages, tools_spoken_of

#: Tokens that an answer may have where nobody said how many: a request has to.
DEFAULT_MAX_TOKENS: Final = 8192
#: Tokens of thinking by effort, for models that want a number.
_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_LEAST_BUDGET: Final = 1024
#: Models that decide themselves how much to think, within an effort.
_ADAPTIVE: Final = re.compile(r"claude-(?:[a-z]+-)?(?:4-[6-9]|[5-9]|\d\d).*")
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}
_SAMPLING: Final = ("temperature", "top_p", "top_k")
#: Of these, models refuse one beside the other.
_BESIDE: Final = {"temperature": "top_p", "top_p": "temperature"}
#: API versions that take no sampling parameters begin with this one.
_WITHOUT_SAMPLING: Final = b"2026-10-21"
#: Members that say nothing where they hold these values, and those that are read elsewhere.
_IDLE: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "parallel_tool_calls": (True,),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
_READ: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "user", "tools", "functions"}
    | {"tool_choice", "function_call", "parallel_tool_calls", "response_format", "reasoning_effort", "thinking"}
    | {"stream_options"}
)


def build_body(op: Generate, model: str, capabilities: Capabilities) -> bytes:
    """The body of a Messages request for `op`."""
    native = op.native_to("anthropic_messages")
    return shapes.encode(_own(op, native, model) if native is not None else _translated(op, model))


def _own(op: Generate, native: Native, model: str) -> dict[str, Any]:
    """A request that came on this wire: members as they are, but for what the server's settings change."""
    members: dict[str, Any] = {"model": model}
    if native.messages is None:  # some were left out: the rest is put together anew
        members["messages"] = build_messages(op)[1]
        for name in native.lost_said:
            op.drop(name)
    else:
        members["messages"] = native.messages
    members |= native.members
    sampled = _version(native) < _WITHOUT_SAMPLING
    for name, value in op.edits.items():
        own = _BESIDE.get(name) in native.members
        if name in _SAMPLING and value is not None and (own or not sampled):
            continue  # a default of ours must not make a request fail that is right by itself
        if name in ("max_tokens", "max_completion_tokens"):
            members["max_tokens"] = value if value is not None else DEFAULT_MAX_TOKENS
        elif value is None:
            members.pop(name, None)
        else:
            members[name] = value
    if op.prompt:
        members["system"] = _with_prompt(op.prompt, members.get("system"))
    if op.stream:
        members["stream"] = True
    return members


def _version(native: Native) -> bytes:
    found = re.search(rb"anthropic-version: ([^\r\n]*)", native.headers)
    return found[1].strip() if found else b""


def _with_prompt(prompt: str, own: Raw | None) -> Any:
    system = shapes.decode_any(own) if own is not None else None
    first = {"type": "text", "text": prompt}
    if not system:
        return prompt
    return [first, *(system if isinstance(system, list) else [{"type": "text", "text": system}])]


def _translated(op: Generate, model: str) -> dict[str, Any]:
    params = {n: msgspec.json.decode(v) if isinstance(v, Raw) else v for n, v in op.params.items()}
    params = {n: v for n, v in params.items() if v is not None}
    system, messages = build_messages(op)
    body: dict[str, Any] = {"model": model, "messages": messages}
    if system:
        body["system"] = system
    limit = params.get("max_completion_tokens") or params.get("max_tokens")
    body["max_tokens"] = limit or DEFAULT_MAX_TOKENS
    for name in _SAMPLING:
        if name in params:
            body[name] = params[name]
    if body.get("temperature", 0) > 1:  # OpenAI's scale goes to 2
        body["temperature"] = 1
        op.drop("temperature")
    if "temperature" in body and body.pop("top_p", 1) != 1:  # models refuse both together
        op.drop("top_p")
    stop = params.get("stop")
    wanted = [stop] if isinstance(stop, str) else stop or []
    sequences = [s for s in wanted if isinstance(s, str) and s.strip()]
    if sequences:
        body["stop_sequences"] = sequences
    if len(sequences) < len(wanted):  # one of blanks is refused
        op.drop("stop")
    if isinstance(params.get("user"), str):
        body["metadata"] = {"user_id": params["user"]}
    _tools(op, params, body)
    _format(op, params.get("response_format"), body)
    _think(op, params, body, model, given=limit is not None)
    for name, value in params.items():
        if name not in _READ and value not in _IDLE.get(name, ()):
            op.drop(name)
    if op.stream:
        body["stream"] = True
    return body


def _tools(op: Generate, params: dict[str, Any], body: dict[str, Any]) -> None:
    tools = []
    functions = params.get("functions")
    legacy = [{"type": "function", "function": f} for f in functions] if isinstance(functions, list) else []
    for tool in [*(params.get("tools") or ()), *legacy]:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            op.drop(f"tools.{tool.get('type') if isinstance(tool, dict) else tool}")
            continue
        made = {"name": function.get("name"), "input_schema": function.get("parameters") or {"type": "object"}}
        for name in ("description", "strict"):
            if function.get(name) is not None:
                made[name] = function[name]
        if tool.get("cache_control") is not None:
            made["cache_control"] = tool["cache_control"]
        tools.append(made)
    spoken_of = tools_spoken_of(op.messages) if not tools else []
    if spoken_of:  # a conversation with tools in it wants them declared, though none may be called
        body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in spoken_of]
        body["tool_choice"] = {"type": "none"}
        return
    if not tools:
        return
    body["tools"] = tools
    choice = _tool_choice(op, params.get("tool_choice") or params.get("function_call"))
    if params.get("parallel_tool_calls") is False and (choice is None or choice["type"] != "none"):
        choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _tool_choice(op: Generate, choice: Any) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    function = choice.get("function", choice) if isinstance(choice, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return {"type": "tool", "name": function["name"]}
    op.drop("tool_choice")
    return None


def _format(op: Generate, form: Any, body: dict[str, Any]) -> None:
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_schema":
        wanted = form.get("json_schema")
        schema = wanted.get("schema") if isinstance(wanted, dict) else None
        if isinstance(schema, dict):
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
            return
    if form is not None and kind != "text":
        op.drop("response_format")


def _think(op: Generate, params: dict[str, Any], body: dict[str, Any], model: str, *, given: bool) -> None:
    """Thinking, as ``reasoning_effort`` or, from clients that know what is behind the wire, ``thinking`` asks for it.

    `given` is whether the request bounds the answer's length.
    """
    effort = params.get("reasoning_effort")
    thinking = params.get("thinking")
    if thinking is not None and not isinstance(thinking, dict):
        op.drop("thinking")
    if isinstance(thinking, dict):
        body["thinking"] = thinking
        budget = thinking.get("budget_tokens")
        if not given and isinstance(budget, int) and budget >= body["max_tokens"]:
            body["max_tokens"] = budget + DEFAULT_MAX_TOKENS
    elif effort is None or effort == "none":
        return
    elif not isinstance(effort, str) or effort not in _BUDGETS:
        op.drop("reasoning_effort")
        return
    elif _ADAPTIVE.fullmatch(model):
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = body.get("output_config", {}) | {"effort": _EFFORTS[effort]}
    else:
        budget = _BUDGETS[effort]
        if not given:
            body["max_tokens"] = budget + DEFAULT_MAX_TOKENS
        budget = min(budget, body["max_tokens"] // 2)
        if budget < _LEAST_BUDGET:
            op.drop("reasoning_effort")
            return
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    if body["thinking"].get("type") == "disabled":
        return
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if forced or awaits_thinking(op.messages):  # either makes the provider refuse a request with thinking
        del body["thinking"]
        body.get("output_config", {}).pop("effort", None)
        if body.get("output_config") == {}:
            del body["output_config"]
        op.drop("reasoning_effort" if effort is not None else "thinking")
        return
    for name in _SAMPLING:
        if body.pop(name, None) is not None:
            op.drop(name)


def read_error(raw: bytes | Raw, fault: Fault, status: int = 0, retry_after: str | None = None) -> UpstreamError:
    """Anthropic's error (``{"type": "error", "error": {type, message}}``), or whatever stands in its place."""
    value: Any = None
    with contextlib.suppress(*shapes.NOT_JSON):
        value = shapes.decode_any(raw)
    if isinstance(value, dict) and isinstance(value.get("error"), dict | str):
        value = value["error"]
    if isinstance(value, dict):
        message, kind = value.get("message"), value.get("type")
        kind = kind if isinstance(kind, str) else None
        return UpstreamError(
            fault,
            message if isinstance(message, str) else "",
            status=status,
            type=kind,
            retry_after=retry_after,
        )
    message = value if isinstance(value, str) else bytes(raw)[:500].decode("utf-8", "replace")
    return UpstreamError(fault, message, status=status, retry_after=retry_after)


def _read(body: bytes) -> tuple[shapes.Answered, list[shapes.Block]]:
    try:
        answered = shapes.decode_answer(body)
    except shapes.NOT_JSON as e:
        raise UpstreamError(Fault.PROTOCOL, f"not a message ({e}): {body[:200]!r}") from None
    if answered.error is not UNSET and answered.type == "error":
        raise read_error(answered.error, Fault.EVENT)
    if answered.content is UNSET:
        raise UpstreamError(Fault.PROTOCOL, f"not a message: {body[:200]!r}")
    return answered, answered.content


def read_answer(body: bytes) -> Answer:
    """A ``message``. Raises `UpstreamError` when it is something else."""
    answered, blocks = _read(body)
    choice = Choice(finish=shapes.FINISH.get(answered.stop_reason or "", "stop"), tool_calls=[], thinking=[])
    for block in blocks:
        _add(choice, block)
    usage = shapes.Counter().add(answered.usage) if answered.usage is not None else None
    return Answer([choice], answered.model, usage)


def _add(choice: Choice, block: shapes.Block) -> None:
    """Add what `block` says to an answer. Raises `UpstreamError`."""
    match block.type:
        case "text":
            choice.text += block.text or ""
        case "thinking":
            choice.reasoning += block.thinking or ""
            choice.thinking.append(Thinking(block.thinking or "", block.signature or ""))
        case "redacted_thinking":
            choice.thinking.append(Thinking(redacted=block.data or ""))
        case "tool_use":
            try:
                arguments = "{}" if block.input is UNSET else bytes(block.input).decode()
            except UnicodeDecodeError:
                raise UpstreamError(Fault.PROTOCOL, "a tool's input that is not UTF-8") from None
            choice.tool_calls.append(ToolCall(block.id or "", block.name or "", arguments))


def meter_answer(body: bytes, meter: Meter) -> None:
    """Look into a whole answer that passes as it is. Raises `UpstreamError` when it is not one."""
    answered, blocks = _read(body)
    if answered.usage is not None:
        meter.usage(shapes.Counter().add(answered.usage))
    else:
        meter.saw(1, sum([len(b.text or b.thinking or "") for b in blocks]))
