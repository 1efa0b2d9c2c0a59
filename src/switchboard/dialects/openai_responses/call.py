"""Asking a provider, and reading an answer that is not streamed: the client's half."""

from __future__ import annotations

import re
from typing import Any, Final

from msgspec import UNSET, Raw

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import Answer, Choice, Thinking, ToolCall
from switchboard.core.ports import Meter
from switchboard.core.types import Generate
from switchboard.dialects.openai_chat import read_error as read_object
from switchboard.dialects.openai_responses import shapes
from switchboard.dialects.openai_responses.items_out import build_items, build_tool
from switchboard.dialects.openai_responses.request import NAME

#: What chat calls a member, and what it is called here.
_MEMBERS: Final = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
_SAMPLING: Final = ("temperature", "top_p")
#: Events that tell an error.
_EVENTS: Final = ("error", "response.failed", "response.cancelled")
#: Codes of errors that the request is to blame for.
_REQUEST_S: Final = re.compile(r"invalid_.*|.*image.*|.*_policy.*|data_residency_mismatch")


def build_body(op: Generate, model: str, capabilities: Capabilities) -> bytes:
    """The body of a Responses request for `op`, which came as one: members as they are, but for what the server's
    settings change."""
    native = op.native_to(NAME)
    assert native is not None
    members: dict[str, Any] = {"model": model, "input": native.messages} | native.members
    if native.messages is None:  # some were left out: the rest is put together anew
        _put_messages(members, op)
        for name in native.lost_said:
            op.drop(name)
    elif shapes.is_null(native.messages):
        del members["input"]
    fixed = capabilities.fixed_sampling is not None and capabilities.fixed_sampling.fullmatch(model) is not None
    _edit(members, op, fixed=fixed)
    if fixed:
        for name in _SAMPLING:
            if not shapes.is_null(members.pop(name, None)):
                op.drop(name)
    if op.prompt:
        said = members.get("instructions")
        before = shapes.decode_any(said) if said is not None else None
        members["instructions"] = f"{op.prompt}\n\n{before}" if before else op.prompt
    if op.stream:
        members["stream"] = True
    else:
        members.pop("stream_options", None)
    return shapes.encode(members)


def _put_messages(members: dict[str, Any], op: Generate) -> None:
    """Put the messages of `op` in the place of the input. ``instructions`` stand first among them; where they do no more,
    they are taken out."""
    messages = op.messages
    given = members.get("instructions")
    said = shapes.decode_any(given) if given is not None else None
    if said:
        if messages and messages[0] == {"role": "system", "content": said}:
            messages = messages[1:]
        else:
            del members["instructions"]
    members["input"] = build_items(messages)


def _edit(members: dict[str, Any], op: Generate, *, fixed: bool) -> None:
    """Put in what the server's settings have changed. `fixed`: the model takes no sampling parameters."""
    for name, value in op.edits.items():
        if fixed and name in _SAMPLING and value is not None:
            continue  # a default of ours must not make a request fail that is right by itself
        own = _MEMBERS.get(name, name)
        if value is None:
            members.pop(own, None)
        elif name == "tools":
            members[own] = [build_tool(t) for t in value]
        else:
            members[own] = value


def read_error(raw: bytes | Raw, fault: Fault, status: int = 0, retry_after: str | None = None) -> UpstreamError:
    """OpenAI's error object, also as it stands in an event or a failed response."""
    error = read_object(raw, fault, status, retry_after)
    if error.type in _EVENTS:  # the event's own type, where the error is not an object in it
        error.type = None
    if not error.status:
        kinds = (error.code or "", error.type or "")
        if "too_many_requests" in kinds:
            error.status = 429
        elif any(_REQUEST_S.fullmatch(k) for k in kinds):
            error.status = 400
    return error


def failure(head: shapes.ResponseHead) -> UpstreamError | None:
    """Why a response has failed, if it has."""
    if head.error is not UNSET and not shapes.is_null(head.error):
        return read_error(head.error, Fault.EVENT)
    if head.status == "failed":
        return UpstreamError(Fault.EVENT, "the response failed, and nothing says why")
    return None


def _not_one(body: bytes, why: object = "") -> UpstreamError:
    return UpstreamError(Fault.PROTOCOL, f"not a response ({why}): {body[:200]!r}")


def meter_answer(body: bytes, meter: Meter) -> None:
    """Look into a whole answer that passes as it is. Raises `UpstreamError` when it is not one, or has failed."""
    try:
        head = shapes.decode_head(body)
    except shapes.NOT_JSON as e:
        raise _not_one(body, e) from None
    error = failure(head)
    if error is not None:
        raise error
    if head.object != "response":
        raise _not_one(body)
    if head.usage is not None:
        meter.usage(shapes.usage_of(head.usage))
    elif head.status in ("completed", "incomplete", None):  # nothing was said yet where it goes on in the background
        meter.saw(1, _size(body))


def _size(body: bytes) -> int:
    """Characters of text in an answer, as far as it can be read."""
    try:
        return read_answer(body).size()
    except UpstreamError:
        return 0


def read_answer(body: bytes) -> Answer:
    """A ``response``. Raises `UpstreamError` when it is something else, or has failed."""
    try:
        response = shapes.decode_response(body)
    except shapes.NOT_JSON as e:
        raise _not_one(body, e) from None
    error = failure(response)
    if error is not None:
        raise error
    if response.output is None:
        raise _not_one(body)
    choice = Choice(tool_calls=[], thinking=[])
    for item in response.output:
        _add(choice, item)
    choice.finish = finish_of(response, called=bool(choice.tool_calls))
    usage = shapes.usage_of(response.usage) if response.usage is not None else None
    return Answer([choice], response.model, usage)


def finish_of(head: shapes.ResponseHead, *, called: bool) -> str:
    """Why an answer ended, in the words of OpenAI's chat. `called`: tools were called in it."""
    details = head.incomplete_details
    if details is not None and details.reason is not None:
        return shapes.FINISH.get(details.reason, "length")
    return "tool_calls" if called else "stop"


def _add(choice: Choice, item: shapes.OutputItem) -> None:
    """Add what `item` says to an answer."""
    match item.type:
        case "message":
            for part in item.content or ():
                if part.type == "refusal":
                    choice.refusal += part.refusal or ""
                else:
                    choice.text += part.text or ""
        case "reasoning":
            passage = reasoning_text(item)
            if passage:
                choice.reasoning += passage
                choice.thinking.append(Thinking(passage))
        case "function_call":
            call = item.call_id or f"call_{len(choice.tool_calls)}"
            choice.tool_calls.append(ToolCall(call, item.name or "", item.arguments or ""))


def reasoning_text(item: shapes.OutputItem) -> str:
    """What a reasoning item shows: its summary, or where there is none its content."""
    return "\n\n".join([p.text for p in item.summary or item.content or () if p.text])
