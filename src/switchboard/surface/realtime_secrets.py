"""``POST /v1/realtime/client_secrets``: what a browser shows in place of a key, as OpenAI gives it.

Source: the types of the official ``openai`` SDK, ``types.realtime`` (client secrets).
"""

from __future__ import annotations

import secrets
from typing import Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from msgspec import Struct, field

from switchboard.core.errors import Problem
from switchboard.core.types import Caller, Converse, header_pairs
from switchboard.engine.gate import Gate
from switchboard.engine.voice import Voice
from switchboard.policy import tickets
from switchboard.policy.authenticate import presented
from switchboard.policy.routing import MODEL_NAME
from switchboard.surface.voice_sessions import json_only
from switchboard.wire.json_body import load_json

#: Bytes of a session that is kept with a secret.
MOST: Final = 64 * 1024
_LEAST_SECONDS: Final = 10
_MOST_SECONDS: Final = 7200
_SECONDS: Final = 600
_OBJECTS: Final = {"realtime": "realtime.session", "transcription": "realtime.transcription_session"}


class _ExpiresAfter(Struct):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = _SECONDS


class _Asked(Struct):
    expires_after: _ExpiresAfter | None = None
    session: dict[str, Any] | None = field(default_factory=dict)


_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "expires_after": {
            "type": ["object", "null"],
            "properties": {
                "anchor": {"type": "string", "enum": ["created_at"]},
                "seconds": {
                    "type": "integer",
                    "minimum": _LEAST_SECONDS,
                    "maximum": _MOST_SECONDS,
                    "default": _SECONDS,
                },
            },
        },
        "session": {
            "type": ["object", "null"],
            "properties": {
                "type": {"type": "string", "enum": list(_OBJECTS), "default": "realtime"},
                "model": {"type": "string", "pattern": f"^{MODEL_NAME.pattern}$"},
            },
        },
    },
}
_ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "value": {"type": "string"},
        "expires_at": {"type": "integer", "description": "Seconds since the epoch."},
        "session": {"type": "object"},
    },
    "required": ["value", "expires_at", "session"],
}
_ERROR: Final[dict[str, Any]] = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            "application/json": {
                "schema": _ANSWER,
                "example": {
                    "value": "ek_…",
                    "expires_at": 1800000000,
                    "session": {
                        "type": "realtime",
                        "object": "realtime.session",
                        "id": "sess_…",
                        "model": "gpt-realtime",
                    },
                },
            }
        }
    },
    **{
        status: {"description": text, "content": _ERROR}
        for status, text in {
            400: "Something in the request is not right.",
            401: "A key or token is needed.",
            403: "This caller may not do so.",
            404: "There is no such model.",
            413: "The session is too large.",
            415: "The body is not JSON.",
            429: "Too many requests, or secrets.",
            503: "The database cannot be used.",
        }.items()
    },
}


def router(voice: Voice) -> APIRouter:
    """The endpoint."""
    r = APIRouter(tags=["realtime"])
    body: dict[str, Any] = {
        "schema": _BODY,
        "example": {
            "expires_after": {"anchor": "created_at", "seconds": _SECONDS},
            "session": {"type": "realtime", "model": "gpt-realtime", "audio": {"output": {"voice": "marin"}}},
        },
    }

    @r.post(
        "/v1/realtime/client_secrets",
        summary="A secret with which a client may converse for a while",
        response_class=Response,
        responses=_RESPONSES,
        dependencies=[Depends(json_only)],
        openapi_extra={"requestBody": {"content": {"application/json": body}}},
    )
    async def create(request: Request) -> Response:
        told = request.scope["switchboard"]
        gate: Gate = told["gate"]
        caller: Caller = told["caller"]
        if presented({k.lower(): v for k, v in request.headers.raw}).startswith(tickets.CLIENT.encode()):
            raise Problem("FORBIDDEN", "A client secret gives no other one: ask with a key.")
        lines = gate.admit(caller, told["peer"], "realtime")
        lines = lines if isinstance(lines, bytes) else await lines
        asked, seconds = _read(await request.body())
        session = asked.session or {}
        model = gate.plan(Converse(str(session.get("model", ""))), caller, documents=False)[0].model
        value, expires = await voice.mint(caller, gate.profile.name, session, seconds)
        kind = session.get("type", "realtime")
        shown = {**session, "type": kind, "object": _OBJECTS[kind], "id": f"sess_{secrets.token_hex(12)}"}
        shown.setdefault("model", model)
        answer = {"value": value, "expires_at": expires, "session": shown}
        response = Response(msgspec.json.encode(answer), media_type="application/json")
        response.raw_headers += header_pairs(lines)
        return response

    return r


def _read(body: bytes) -> tuple[_Asked, int]:
    """What is asked for, and for how many seconds. Raises `Problem` (400, 413)."""
    try:
        asked = msgspec.convert(load_json(body) if body.strip() else {}, _Asked)
    except msgspec.ValidationError as e:
        what, _, where = str(e).partition(" - at `$.")
        name = where.rstrip("`")
        raise Problem("INVALID_REQUEST", f"{name or 'body'}: {what}.", param=name or None) from None
    seconds = _SECONDS if asked.expires_after is None else asked.expires_after.seconds
    if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        text = f"expires_after.seconds: it is {_LEAST_SECONDS} to {_MOST_SECONDS}."
        raise Problem("INVALID_REQUEST", text, param="expires_after.seconds")
    session = asked.session or {}
    kind, model = session.get("type", "realtime"), session.get("model")
    if not isinstance(kind, str) or kind not in _OBJECTS:
        raise Problem("INVALID_REQUEST", "session.type: it is realtime or transcription.", param="session.type")
    if "model" in session and (not isinstance(model, str) or MODEL_NAME.fullmatch(model) is None):
        raise Problem("INVALID_MODEL", param="session.model")
    if len(msgspec.json.encode(session)) > MOST:
        raise Problem("PAYLOAD_TOO_LARGE", f"The session is larger than {MOST} bytes.")
    return asked, seconds
