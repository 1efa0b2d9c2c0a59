"""How an error looks on each surface."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from switchboard.core.errors import Problem
from switchboard.core.masking import mask_all
from switchboard.core.types import Lines, header
from switchboard.dialects.anthropic_messages import error_type
from switchboard.dialects.openai_chat import error_body

_encode: Final = msgspec.json.Encoder().encode
#: The paths of the access-key service.
_ACCESS_KEY: Final = frozenset({"/auth", "/chat", "/completion", "/images/generate", "/embeddings", "/models"})
#: Where voice sessions are.
_VOICE: Final = ("/api/voice/", "/api/v1/voice/")
_JSON: Final[Lines] = b"content-type: application/json\r\n"


def headers(problem: Problem) -> Lines:
    """The header lines that every answer to `problem` carries."""
    lines = _JSON + problem.headers
    if problem.retry_after is not None:
        lines += header(b"retry-after", problem.retry_after.encode("latin-1"))
    if problem.code == "API_KEY_NOT_CONFIGURED":
        lines += b"x-should-retry: false\r\n"  # the OpenAI SDKs try a 500 again otherwise
    return lines


def openai(problem: Problem, request_id: str, secrets: tuple[str, ...] = ()) -> tuple[int, Lines, bytes]:
    """``/v1``: OpenAI's error object. A provider's refusal keeps its status, type, param, code and message, all of them
    without secrets (`secrets` and whatever looks like one) and hosts."""
    body: dict[str, Any] = error_body(problem)
    status, u = problem.status, problem.upstream
    if u is not None:
        status = u.status or status
        own = {"message": u.message, "type": u.type, "param": u.param, "code": u.code}
        body |= {name: mask_all(said, secrets) for name, said in own.items() if said}
    return status, headers(problem), _encode({"error": body, "request_id": request_id})


def anthropic(problem: Problem, request_id: str, secrets: tuple[str, ...] = ()) -> tuple[int, Lines, bytes]:
    """``/v1/messages``: Anthropic's error object. A provider's refusal is passed on as on the rest of ``/v1``."""
    status, message, kind = problem.status, problem.message, None
    if problem.upstream is not None:
        status = problem.upstream.status or status
        kind = problem.upstream.type and mask_all(problem.upstream.type, secrets)
        message = mask_all(problem.upstream.message, secrets) or message
    error = {"type": kind or error_type(status), "message": message}
    return status, headers(problem), _encode({"type": "error", "error": error, "request_id": request_id})


def common(problem: Problem, request_id: str) -> tuple[int, Lines, bytes]:
    """The documents' paths and everything else."""
    error = {"message": problem.message, "code": problem.code}
    return problem.status, headers(problem), _encode({"error": error, "request_id": request_id})


def detailed(problem: Problem, request_id: str) -> tuple[int, Lines, bytes]:
    """The access-key service's: as the common one, with the field that is at fault."""
    error: dict[str, Any] = {"message": problem.message, "code": problem.code}
    if problem.param is not None:
        error["details"] = [{"field": problem.param, "reason": problem.message}]
    return problem.status, headers(problem), _encode({"error": error, "request_id": request_id})


def deep_chat(problem: Problem, request_id: str) -> tuple[int, Lines, bytes]:
    """What the deep-chat component shows, and clients of voice sessions read: ``error`` is a text."""
    body = {"error": problem.message, "code": problem.code, "request_id": request_id}
    return problem.status, headers(problem), _encode(body)


def within_profile(path: str) -> str:
    """`path` without the part that names a profile (``/p/NAME``)."""
    return "/" + path.split("/", 3)[-1] if path.startswith("/p/") and path.count("/") > 2 else path


def for_path(path: str, problem: Problem, request_id: str) -> tuple[int, Lines, bytes]:
    """The shape of the surface that `path` belongs to."""
    path = within_profile(path)
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return anthropic(problem, request_id)
    if path == "/v1" or path.startswith("/v1/"):
        return openai(problem, request_id)
    if path.startswith(_VOICE):
        return deep_chat(problem, request_id)
    if path in _ACCESS_KEY:
        return detailed(problem, request_id)
    return common(problem, request_id)
