"""The access-key service: ``POST /auth``, then ``/chat``, ``/completion``, ``/images/generate``, ``/embeddings`` and
``GET /models`` with the token. Requests and answers are OpenAI's objects."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.ports import ClientDialect, Surface
from switchboard.core.types import Lines, Op, RequestHead
from switchboard.dialects import openai_chat, openai_completions, openai_embeddings, openai_images
from switchboard.engine.page_sessions import PageSessions
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


class SessionResponse(BaseModel):
    """Somebody is logged in at the page, or logged out."""

    success: bool = True
    expires_at: str | None = Field(None, description="UTC.", examples=["2027-01-15T08:00:00Z"])


class Doorkeeper:
    """Changes access keys for tokens and cookies.

    `keys` gives those of every profile, none where nobody is asked for one; `lifetime` the seconds that a token and a cookie
    live. `sessions` are those of the page, None where there are none.
    """

    def __init__(
        self,
        keys: Callable[[], list[AccessKeys]],
        lifetime: Callable[[], tuple[int, int]],
        sessions: PageSessions | None,
    ) -> None:
        self._keys = keys
        self._lifetime = lifetime
        self.sessions = sessions
        self._failures = Failures(_ATTEMPTS)

    def _right(self, key: str, peer: str) -> tuple[AccessKeys | None, bytes]:
        """Whose `key` it is, None where nobody is asked for one. Raises `Problem` (401, 429)."""
        at = now()
        wait = self._failures.blocked(peer, at)
        if wait:
            text = "Too many wrong access keys; try again in a minute."
            raise Problem("RATE_LIMITED", text, retry_after=str(ceil(wait)))
        shown, rings = key.encode("utf-8", "surrogatepass"), self._keys()
        found = [ring for ring in rings if ring.holder(shown) is not None]
        if rings and not found:
            self._failures.failed(peer, at)
            raise Problem("UNAUTHORIZED", "The access key is not valid.", headers=CHALLENGE)
        return (found[0] if found else None), shown

    def admit(self, key: str, peer: str) -> AuthResponse:
        """A token for `key`. Raises `Problem` (401, 429)."""
        ring, shown = self._right(key, peer)
        expires = int(time.time()) + self._lifetime()[0]
        token = None if ring is None else ring.token(shown, expires)
        return AuthResponse(token=token or "open", expires_at=_iso(expires))

    async def log_in(self, key: str, peer: str) -> tuple[SessionResponse, Lines]:
        """A session for the holder of `key`, and the header that sets its cookie. Raises `Problem` (401, 429, 503)."""
        ring, shown = self._right(key, peer)
        seconds = self._lifetime()[1]
        caller = None if ring is None else ring.holder(shown)
        if self.sessions is None or ring is None or caller is None:
            return SessionResponse(), b""
        line = await self.sessions.begin(caller.id, ring.profile, seconds)
        return SessionResponse(expires_at=_iso(int(time.time()) + seconds)), line


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def router(doorkeeper: Doorkeeper) -> APIRouter:
    """``POST /auth`` and ``/auth/session``."""
    r = APIRouter(tags=["access key"])
    refused: dict[int | str, dict[str, Any]] = {
        401: {"description": "The access key is not valid."},
        429: {"description": "Too many wrong keys."},
    }

    @r.post("/auth", summary="A token for an access key", responses=refused)
    async def auth(body: AuthRequest, request: Request) -> AuthResponse:
        return doorkeeper.admit(body.access_key.get_secret_value(), request.scope["switchboard"]["peer"])

    @r.post("/auth/session", summary="Log in with an access key: sets a cookie", responses=refused)
    async def log_in(body: AuthRequest, request: Request, response: Response) -> SessionResponse:
        peer = request.scope["switchboard"]["peer"]
        session, line = await doorkeeper.log_in(body.access_key.get_secret_value(), peer)
        _set(response, line)
        return session

    @r.delete("/auth/session", summary="Log out: the cookie is good no more")
    async def log_out(request: Request, response: Response) -> SessionResponse:
        if doorkeeper.sessions is not None:
            cookies = request.headers.get("cookie", "").encode("latin-1")
            _set(response, await doorkeeper.sessions.end(cookies))
        return SessionResponse()

    return r


def _set(response: Response, line: Lines) -> None:
    """Put a header line on an answer."""
    name, found, value = line.strip().partition(b": ")
    if found:
        response.headers.append(name.decode(), value.decode())
