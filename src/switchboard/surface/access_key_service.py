"""The access-key service: ``POST /auth``, then ``/chat``, ``/completion``, ``/images/generate``, ``/embeddings`` and
``GET /models`` with the token. Requests and answers are OpenAI's objects."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.ports import ClientDialect, Surface
from switchboard.core.types import Lines, Op, RequestHead
from switchboard.dialects import openai_chat, openai_completions, openai_embeddings, openai_images
from switchboard.policy.authenticate import CHALLENGE, AccessKeys
from switchboard.policy.failures import Failures
from switchboard.surface import problem as shapes
from switchboard.surface.json_surface import JsonSurface

#: Wrong keys that an address may try in a minute.
_ATTEMPTS: Final = 10
_CHAT: Final = openai_chat.OpenAIChat()


class _Service(JsonSurface):
    """One path of the service; what is wrong with a request is told by field."""

    name = "access_key_service"

    def problem(self, problem: Problem, request_id: str, dialect: ClientDialect | None) -> tuple[int, Lines, bytes]:
        """See `core.ports.Surface`."""
        return shapes.detailed(problem, request_id)


class Chat(_Service):
    """``POST /chat``; ``prompt`` may stand in place of ``messages``."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        if isinstance(value, dict) and "messages" not in value and isinstance(value.get("prompt"), str):
            prompt = value.pop("prompt")
            if not prompt.strip():
                raise Problem("INVALID_REQUEST", "prompt: must not be empty.", param="prompt")
            value["messages"] = [{"role": "user", "content": prompt}]
            body = msgspec.json.encode(value)
        return _CHAT, openai_chat.read_request(value, body)


class Completion(_Service):
    """``POST /completion``."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        return openai_completions.read_request(value, body)


class Images(_Service):
    """``POST /images/generate``; every image has an address."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        return openai_images.OpenAIImages(True), openai_images.read_request(value, body, addresses=True)


class Embeddings(_Service):
    """``POST /embeddings``."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        op = openai_embeddings.read_request(value, body)
        return openai_embeddings.OpenAIEmbeddings(op.base64), op


def surfaces(*, nesting: int) -> dict[str, Surface]:
    """The surfaces by path. `nesting` is how deep a body may be."""
    made: dict[str, type[_Service]] = {
        "/chat": Chat,
        "/completion": Completion,
        "/images/generate": Images,
        "/embeddings": Embeddings,
    }
    return {path: surface(nesting=nesting) for path, surface in made.items()}


class AuthRequest(BaseModel):
    """``POST /auth``."""

    model_config = ConfigDict(hide_input_in_errors=True)

    access_key: SecretStr = Field(max_length=4096, examples=["the-access-key"])


class AuthResponse(BaseModel):
    """A token in place of the key."""

    success: bool = True
    token: str = Field(description="For `Authorization: Bearer`.", examples=["sbt_default.1800000000.0f1e2d.abc"])
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  a kind of token
    expires_at: str = Field(description="UTC.", examples=["2027-01-15T08:00:00Z"])


class Doorkeeper:
    """Changes access keys for tokens. `keys` gives those of every profile, none where nobody is asked for one; `lifetime` the
    seconds that a token lives."""

    def __init__(self, keys: Callable[[], list[AccessKeys]], lifetime: Callable[[], float]) -> None:
        self._keys = keys
        self._lifetime = lifetime
        self._failures = Failures(_ATTEMPTS)

    def admit(self, key: str, peer: str) -> AuthResponse:
        """A token for `key`. Raises `Problem` (401, 429)."""
        at = now()
        if self._failures.blocked(peer, at):
            raise Problem("RATE_LIMITED", "Too many wrong access keys; try again in a minute.", retry_after="60")
        expires = int(time.time() + self._lifetime())
        rings = self._keys()
        tokens = [k.token(key.encode("utf-8", "surrogatepass"), expires) for k in rings]
        token = next((t for t in tokens if t is not None), None if rings else "open")
        if token is None:
            self._failures.failed(peer, at)
            raise Problem("UNAUTHORIZED", "The access key is not valid.", headers=CHALLENGE)
        until = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return AuthResponse(token=token, expires_at=until)


def router(doorkeeper: Doorkeeper) -> APIRouter:
    """``POST /auth``."""
    r = APIRouter()

    @r.post(
        "/auth",
        tags=["access key"],
        summary="A token for an access key",
        responses={401: {"description": "The access key is not valid."}, 429: {"description": "Too many wrong keys."}},
    )
    async def auth(body: AuthRequest, request: Request) -> AuthResponse:
        return doorkeeper.admit(body.access_key.get_secret_value(), request.scope["switchboard"]["peer"])

    return r
