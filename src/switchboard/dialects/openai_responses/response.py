"""The ``response`` object, which says again much of what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Raw

from switchboard.core.errors import Problem
from switchboard.core.ports import Context
from switchboard.core.types import Usage
from switchboard.dialects.openai_responses import shapes

#: Members that are said again as they were asked, and what stands for them where they were not. What is kept at a
#: provider was not asked of us, or it would have been refused.
_ECHOED: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "user": None,
}
_FIXED: Final[dict[str, Any]] = {
    "background": False,
    "previous_response_id": None,
    "service_tier": "default",
    "store": False,
    "top_logprobs": 0,
    "truncation": "disabled",
}


class Answering:
    """The response to one request; `members` are those of the request."""

    def __init__(self, context: Context, members: Mapping[str, Raw]) -> None:
        self._c = context
        self._members = members
        self._echo: dict[str, Any] = {}
        self.name = context.id.removeprefix("chatcmpl-")

    def _asked(self) -> dict[str, Any]:
        """What was asked, said again."""
        if not self._echo:
            given = [n for n in _ECHOED if not shapes.is_null(self._members.get(n))]
            # written anew, for there may be line ends between the members, and an event is one line
            asked = {n: Raw(shapes.encode(shapes.decode_any(self._members[n]))) for n in given}
            self._echo = _FIXED | _ECHOED | asked | {"text": _text(self._members.get("text"))}
        return self._echo

    def response(
        self,
        status: str,
        output: list[dict[str, Any]],
        usage: Usage | None = None,
        *,
        reason: str | None = None,
        error: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """The object, with `output` so far; `reason` is why it is incomplete."""
        return {
            "id": f"resp_{self.name}",
            "object": "response",
            "created_at": self._c.created,
            "status": status,
            "error": error,
            "incomplete_details": None if reason is None else {"reason": reason},
            "model": self._c.model,
            "output": output,
            "usage": None if usage is None else shapes.usage_out(usage),
            **self._asked(),
        }


def _text(asked: Raw | None) -> dict[str, Any]:
    text = shapes.decode_any(asked) if asked is not None else None
    text = {n: v for n, v in text.items() if v is not None} if isinstance(text, dict) else {}
    return {"format": {"type": "text"}} | text


def failed_code(problem: Problem) -> str:
    """What a failed response calls `problem`: one of the few codes that there are."""
    status = problem.upstream.status if problem.upstream is not None else problem.status
    if status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if 400 <= status < 500 else "server_error"
