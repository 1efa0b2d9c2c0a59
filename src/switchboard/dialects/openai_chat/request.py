"""Reading a chat request: the server's half."""

from __future__ import annotations

from typing import Any

import msgspec

from switchboard.core.errors import Problem
from switchboard.core.types import Generate
from switchboard.dialects import _openai_shapes as shapes


def read_request(body: Any, raw: bytes, *, stream_default: bool = False) -> Generate:
    """The operation that an OpenAI chat request asks for. `body` is `raw` decoded (`wire.json_body.load_json`).

    Raises `Problem` that names the field at fault.
    """
    request = check_request(body)
    members: dict[str, Any] = dict(shapes.decode_members(raw))
    raw_messages = members.pop("messages")
    members.pop("model", None)
    members.pop("stream", None)
    options = request.stream_options
    return Generate(
        model=request.model or "",
        messages=body["messages"],
        stream=stream_default if request.stream is None else request.stream,
        params=members,
        raw_messages=raw_messages,
        include_usage=bool(options and options.include_usage),
        choices=request.n or 1,
    )


def check_request(body: Any) -> shapes.ChatRequest:
    """Check the types of the members that are known. Raises `Problem`."""
    if not isinstance(body, dict):
        raise Problem("INVALID_REQUEST", "The body must be a JSON object.")
    if "messages" not in body:
        raise Problem("INVALID_REQUEST", "messages: this field is required.", param="messages")
    try:
        request = msgspec.convert(body, shapes.ChatRequest)
    except msgspec.ValidationError as e:
        raise invalid(str(e)) from None
    if not request.messages:
        raise Problem("INVALID_REQUEST", "messages: at least one message is needed.", param="messages")
    if request.max_tokens is not None:
        _between("max_tokens", request.max_tokens)
    if request.max_completion_tokens is not None:
        _between("max_completion_tokens", request.max_completion_tokens)
    if request.n is not None:
        _between("n", request.n, shapes.MOST_CHOICES)
    for i, message in enumerate(request.messages):
        if type(message.content) is not str or message.role == "tool":
            _check_message(message, f"messages[{i}]")
    return request


def _between(name: str, value: int, most: int | None = None) -> None:
    """Raises `Problem` where `value` is none from 1 to `most`."""
    if value < 1:
        raise Problem("INVALID_REQUEST", f"{name}: must be at least 1.", param=name)
    if most is not None and value > most:
        raise Problem("INVALID_REQUEST", f"{name}: must be at most {most}.", param=name)


def _check_message(message: shapes.ChatMessage, place: str) -> None:
    content = message.content
    if content is None:
        if message.role not in ("assistant", "function"):
            where = f"{place}.content"
            raise Problem("INVALID_REQUEST", f"{where}: this field is required.", param=where)
    elif not isinstance(content, str):
        for j, part in enumerate(content):
            if not isinstance(part.get("type"), str):
                where = f"{place}.content[{j}].type"
                raise Problem("INVALID_REQUEST", f"{where}: a string is required.", param=where)
    if message.role == "tool" and message.tool_call_id is None:
        where = f"{place}.tool_call_id"
        raise Problem("INVALID_REQUEST", f"{where}: this field is required.", param=where)


def invalid(complaint: str, roles: str = "system, user, assistant, tool") -> Problem:
    """msgspec's complaint as a `Problem`: "Expected `int`, got `str` - at `$.n`" names the field ``n``. `roles` are those
    that a message may have."""
    # from the right: before it there may stand what the client wrote
    what, _, where = complaint.rpartition(" - at `$")
    what, field = (what, where.rstrip("`").removeprefix(".") or "body") if what else (complaint, "body")
    if what.startswith("Invalid enum value") and field.endswith(".role"):
        shown = what.removeprefix("Invalid enum value ")[:40]
        what = f"{shown} is not a role; a role is one of {roles}"
    elif what.startswith("Object missing required field"):
        missing = what.split("`")[1]
        field = missing if field == "body" else f"{field}.{missing}"
        what = "this field is required"
    what = what.replace("`", "")[:200]
    return Problem("INVALID_REQUEST", f"{field}: {what[0].lower()}{what[1:]}.", param=field)
