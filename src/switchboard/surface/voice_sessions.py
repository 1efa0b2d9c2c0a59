"""``/api/voice``: voice sessions are begun, ended, listed and forgotten, and what was said in them is kept.

Errors are ``{"error": "text", "code", "request_id"}``: this interface's clients read ``error`` as a text. A session that is not there and one
that is somebody else's answer alike (403).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from msgspec import Struct
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from switchboard.core.errors import Problem
from switchboard.core.types import Caller
from switchboard.engine.gate import Gate
from switchboard.engine.voice import Connected, Voice, VoiceSession, mint_at_provider
from switchboard.engine.voice.voice import owned_by, unauthorized
from switchboard.policy.user_id import LONGEST, is_user_id
from switchboard.store.transcripts import Source

#: Messages of a transcript that is posted, and bytes of their text.
MOST_MESSAGES: Final = 2000
MOST_TEXT: Final = 1024 * 1024
_Responses = dict[int | str, dict[str, Any]]
_ID: Final = r"^[A-Za-z0-9._:~-]{1,128}$"
#: What a check of one's own that names nobody calls everybody (`policy.own_check`).
_ANYBODY: Final = "own"
_AT: Final = "2026-01-31T12:30:00.000Z"


class VoiceRules(Struct, frozen=True):
    """What the settings say of a profile's voice sessions: whether clients converse `direct`ly with the provider, the `seconds` that a
    session lasts, and the `session` that the server holds, in the shape of OpenAI's Realtime interface (GA)."""

    direct: bool
    seconds: int
    session: dict[str, Any]


def _moment(text: str) -> str:
    datetime.fromisoformat(text)  # raises ValueError
    return text


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half a character (a lone surrogate)") from None
    return text


def _user(text: str) -> str:
    if text and not is_user_id(text):
        raise ValueError("not a user's id")
    return text


SessionId = Annotated[str, Path(pattern=_ID, description="The session's id.", examples=["test-session"])]
UserId = Annotated[
    str,
    Query(
        description="Whose, where the caller acts for others; else what its own are labelled with.", max_length=LONGEST
    ),
    AfterValidator(_user),
]


class ConnectRequest(BaseModel):
    """``POST /api/voice/connect``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sessionId": "test-session", "userId": "test-user"}]})

    sessionId: str = Field(pattern=_ID, description="An id of the client's own making; a UUID, say.")  # noqa: N815
    userId: Annotated[str, AfterValidator(_user)] | None = Field(  # noqa: N815
        None, max_length=LONGEST, description="The user; with a token of an issuer it is the token's, or left out."
    )


class ConnectResponse(BaseModel):
    """Where the client converses."""

    wsUrl: str = Field(  # noqa: N815
        description="For `new WebSocket(wsUrl)`, once.", examples=["wss://…/api/voice/realtime?token=vt_…"]
    )
    sessionId: str = Field(examples=["test-session"])  # noqa: N815
    expiresAt: str = Field(description="UTC.", examples=[_AT])  # noqa: N815
    clientSecret: str | None = Field(  # noqa: N815
        None, description="With `voice.connect: direct`: what the client shows the provider.", examples=["ek_…"]
    )


class Done(BaseModel):
    """It is done."""

    success: bool = True


class TranscriptMessage(BaseModel):
    """One thing that was said."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[str, AfterValidator(_text)] = Field(examples=["Hello, I need help with my goals"])
    timestamp: Annotated[str, AfterValidator(_moment)] | None = Field(
        None, max_length=64, description="ISO 8601; kept as it is.", examples=["2026-01-31T12:00:00Z"]
    )


class TranscriptRequest(BaseModel):
    """``POST /api/voice/sessions/{sessionId}/transcript``."""

    messages: list[TranscriptMessage] = Field(max_length=MOST_MESSAGES)


class TranscriptResponse(BaseModel):
    """``GET /api/voice/sessions/{sessionId}/transcript``."""

    sessionId: str  # noqa: N815
    source: Literal["posted", "relay"] | None = Field(None, description="Absent where there is nothing.")
    updatedAt: str | None = Field(None, description="UTC.", examples=[_AT])  # noqa: N815
    messages: list[dict[str, Any]] = Field(
        examples=[[{"role": "user", "content": "Hello", "timestamp": "2026-01-31T12:00:00Z"}]]
    )


class SessionItem(BaseModel):
    """One session in a list."""

    sessionId: str = Field(examples=["test-session"])  # noqa: N815
    userId: str = Field(examples=["test-user"])  # noqa: N815
    status: Literal["active", "ended"]
    createdAt: str = Field(description="UTC.", examples=[_AT])  # noqa: N815
    endedAt: str | None = Field(None, description="Absent while it is active.", examples=[_AT])  # noqa: N815
    endReason: Literal["ended", "expired", "lost"] | None = Field(  # noqa: N815
        None, description="lost: the server that carried it died."
    )


class _Asked(Struct):
    """Who asks, and whose sessions: `user` is the one that the call names, "": none."""

    gate: Gate
    caller: Caller
    peer: str
    user: str

    @property
    def profile(self) -> str:
        return self.gate.profile.name

    @property
    def owner(self) -> str:
        return owned_by(self.gate, self.caller, self.user)


def _about(request: Request, user: str) -> _Asked:
    """Whose sessions a call is about, that names `user`. Raises `Problem` (403)."""
    told = request.scope["switchboard"]
    gate: Gate = told["gate"]
    caller: Caller = told["caller"]
    if caller.surfaces is not None and "realtime" not in caller.surfaces:
        raise Problem("FORBIDDEN", "This caller may not use realtime.")
    if _is_somebody(caller):
        if user and user != caller.user:
            raise unauthorized()
        user = caller.user
    return _Asked(gate, caller, told["peer"], user)


async def _own(voice: Voice, request: Request, user: str, id: str) -> tuple[str, str, str]:  # noqa: A002
    """Profile, owner and id of the one session that a call is about. Raises `Problem` (403, 503)."""
    asked = _about(request, user)
    return asked.profile, await voice.owner(asked.gate, asked.caller, asked.user, id), id


def _is_somebody(caller: Caller) -> bool:
    """Whether who calls is a user, and not somebody who has users."""
    return not caller.act_as and (caller.kind == "jwt" or (caller.kind == "own" and caller.user != _ANYBODY))


def json_only(request: Request) -> None:
    """Raises `Problem` (415) for a body that is no JSON; an empty one is of no type."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Problem("UNSUPPORTED_MEDIA_TYPE", "The body must be JSON: send content-type: application/json.")


_REFUSED: Final[_Responses] = {
    400: {"description": "Something in the request is not right."},
    401: {"description": "A token is needed."},
    403: {"description": "It is not there, or not yours."},
    503: {"description": "The database cannot be used."},
}
_REFUSED_BODY: Final[_Responses] = {
    **_REFUSED,
    413: {"description": "It is too large."},
    415: {"description": "The body is not JSON."},
}


def router(voice: Voice, rules: Callable[[str], VoiceRules], address: Callable[[], str]) -> APIRouter:
    """The endpoints. `rules` are those of a profile by its name, `address` is the server's own."""
    r = APIRouter(tags=["voice sessions"], strict_content_type=False)
    many: _Responses = {429: {"description": "Too many connects, or open sessions."}}
    failed: _Responses = {
        500: {"description": "Clients are to converse with a provider that has no key."},
        502: {"description": "The provider failed."},
        504: {"description": "The provider did not answer in time."},
    }

    @r.post(
        "/connect",
        summary="Begin a voice session, or take one's own up again",
        responses={**_REFUSED_BODY, **many, **failed},
        response_model_exclude_none=True,
        dependencies=[Depends(json_only)],
    )
    async def connect(body: ConnectRequest, request: Request) -> ConnectResponse:
        asked = _about(request, body.userId or "")
        said, id = rules(asked.profile), body.sessionId  # noqa: A001
        begun = await voice.connect(
            asked.gate, asked.caller, asked.peer, id, asked.user, seconds=said.seconds, direct=said.direct
        )
        if said.direct:
            return await _direct(voice, asked, id, said, begun)
        place = "" if asked.profile == "default" else f"/p/{asked.profile}"
        url = f"ws{address().removeprefix('http')}{place}/api/voice/realtime?token={begun.token}"
        return ConnectResponse(wsUrl=url, sessionId=id, expiresAt=_iso(begun.expires))

    @r.post("/sessions/{sessionId}/end", summary="End a session", responses=_REFUSED)
    async def end(request: Request, sessionId: SessionId, userId: UserId = "") -> Done:  # noqa: N803
        await voice.end(*await _own(voice, request, userId, sessionId))
        return Done()

    _transcripts(r, voice)
    _listing(r, voice)
    out = APIRouter()
    out.include_router(r, prefix="/api/voice")
    out.include_router(r, prefix="/api/v1/voice", include_in_schema=False)
    return out


def _transcripts(r: APIRouter, voice: Voice) -> None:
    """The endpoints for what was said."""

    @r.post(
        "/sessions/{sessionId}/transcript",
        summary="Keep what was said, in place of what was kept before",
        responses=_REFUSED_BODY,
        dependencies=[Depends(json_only)],
    )
    async def said(
        body: TranscriptRequest,
        request: Request,
        sessionId: SessionId,  # noqa: N803
        userId: UserId = "",  # noqa: N803
    ) -> Done:
        about = await _own(voice, request, userId, sessionId)
        if sum(len(m.content.encode()) for m in body.messages) > MOST_TEXT:
            raise Problem("PAYLOAD_TOO_LARGE", f"The messages hold more than {MOST_TEXT} bytes of text.")
        messages = [m.model_dump(exclude_none=True) for m in body.messages]
        await voice.put_transcript(*about, messages)
        return Done()

    @r.get(
        "/sessions/{sessionId}/transcript",
        summary="What was said, as the client posted it, else as the server heard it",
        responses=_REFUSED,
        response_model_exclude_none=True,
    )
    async def transcript(
        request: Request,
        sessionId: SessionId,  # noqa: N803
        userId: UserId = "",  # noqa: N803
        source: Literal["posted", "relay"] | None = None,
    ) -> TranscriptResponse:
        about = await _own(voice, request, userId, sessionId)
        wanted = None if source is None else Source(source)
        found = await voice.transcript(*about, wanted)
        if found is None:
            return TranscriptResponse(sessionId=sessionId, messages=[])
        return TranscriptResponse(
            sessionId=sessionId, source=found.source.value, updatedAt=_iso(found.updated), messages=found.messages
        )


def _listing(r: APIRouter, voice: Voice) -> None:
    """The endpoints for several sessions, and to forget."""

    @r.get(
        "/sessions",
        summary="The caller's sessions, the newest first",
        responses=_REFUSED,
        response_model_exclude_none=True,
    )
    async def listed(
        request: Request,
        userId: UserId = "",  # noqa: N803
        limit: int = Query(10, ge=1, le=100),
    ) -> list[SessionItem]:
        asked = _about(request, userId)
        found = await voice.listed(asked.profile, asked.owner, asked.user or None, limit)
        return [item_of(s) for s in found]

    @r.delete("/sessions", summary="Forget all sessions of a user", responses=_REFUSED)
    async def forgotten(request: Request, userId: UserId = "") -> Done:  # noqa: N803
        asked = _about(request, userId)
        if not asked.user:
            raise Problem("INVALID_REQUEST", "userId: say whose sessions are to be forgotten.", param="userId")
        await voice.delete_all(asked.profile, asked.owner, asked.user)
        return Done()

    @r.delete("/sessions/{sessionId}", summary="Forget a session", responses=_REFUSED)
    async def forgotten_one(request: Request, sessionId: SessionId, userId: UserId = "") -> Done:  # noqa: N803
        await voice.delete(*await _own(voice, request, userId, sessionId))
        return Done()


async def _direct(voice: Voice, asked: _Asked, id: str, said: VoiceRules, begun: Connected) -> ConnectResponse:  # noqa: A002
    """Where the client converses with the provider itself. Raises `Problem`."""
    try:
        minted = await mint_at_provider(asked.gate, asked.caller, said.session, said.seconds)
    except Problem:
        await voice.end(asked.profile, asked.owner, id)
        raise
    until = min(begun.expires, minted.expires * 1000)
    return ConnectResponse(wsUrl=minted.url, sessionId=id, expiresAt=_iso(until), clientSecret=minted.secret)


def item_of(s: VoiceSession) -> SessionItem:
    """A session as a list shows it."""
    ended: dict[str, Any] = {} if s.ended is None else {"endedAt": _iso(s.ended), "endReason": s.end_reason}
    status: Any = s.status
    return SessionItem(sessionId=s.id, userId=s.user, status=status, createdAt=_iso(s.created), **ended)


def _iso(ms: int) -> str:
    """A time in milliseconds since the epoch."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
