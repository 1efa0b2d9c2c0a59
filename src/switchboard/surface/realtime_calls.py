"""``POST /v1/realtime/calls``: a client offers to converse over WebRTC, as OpenAI has it.

The offer comes as ``application/sdp``, or in a form with the fields ``sdp`` and ``session``. The answer is the provider's SDP (201), and
``location`` names the call.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from msgspec import Struct
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from switchboard.core.errors import Problem
from switchboard.core.types import Envelope, RequestHead, header_pairs
from switchboard.engine.converse import Call, HeldSession, Hub, Offer
from switchboard.engine.exchange import Kit
from switchboard.surface.realtime import ticket_of
from switchboard.wire.json_body import load_json

PATH: Final = "/v1/realtime/calls"
#: Bytes of an offer, with its session.
MOST: Final = 256 * 1024
_SDP: Final = "application/sdp"
_FORM: Final = "multipart/form-data"
_ERROR: Final[dict[str, Any]] = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        _SDP: {"schema": {"type": "string"}, "example": "v=0\r\n…"},
        _FORM: {
            "schema": {
                "type": "object",
                "properties": {
                    "sdp": {"type": "string"},
                    "session": {"type": "string", "description": "JSON: type, model, audio, …"},
                },
                "required": ["sdp"],
            }
        },
    },
}


class Way(Struct, frozen=True):
    """How a request came, for endpoints that go on by themselves."""

    head: RequestHead
    envelope: Envelope
    kit: Kit
    session: HeldSession


def router(hub: Hub) -> APIRouter:
    """The endpoint."""
    r = APIRouter(tags=["realtime"])

    @r.post(
        PATH,
        summary="Converse over WebRTC",
        status_code=201,
        response_class=Response,
        openapi_extra={"requestBody": _BODY},
        responses={
            201: {"content": {_SDP: {}}, "description": "The provider's SDP; `location` names the call."},
            400: {"content": _ERROR, "description": "The offer is none, or cannot be taken."},
            401: {"content": _ERROR, "description": "No key, or a wrong one."},
            429: {"content": _ERROR, "description": "Too many conversations, or nothing is left."},
            502: {"content": _ERROR, "description": "The provider failed."},
        },
    )
    async def call(request: Request) -> Response:
        """With a client secret in place of a key the session is the one that the secret was made for."""
        way: Way = request.scope["switchboard"]["way"]
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (_SDP, _FORM):
            raise Problem("UNSUPPORTED_MEDIA_TYPE", f"Send the offer as {_SDP}, or in a form with sdp and session.")

        async def read() -> Offer:
            return await _read(request, form=kind == _FORM)

        begun = Call(way.kit, hub, way.session, way.envelope, PATH)
        answer = await begun.open(way.head, ticket_of(way.head), read)
        response = Response(answer.sdp, 201, media_type=_SDP)
        lines = b"location: %b/%b\r\n" % (PATH.encode(), answer.call.encode())
        if answer.session:
            lines += b"x-switchboard-session: %b\r\n" % answer.session.encode()
        response.raw_headers += header_pairs(lines)
        return response

    return r


async def _read(request: Request, *, form: bool) -> Offer:
    """The offer in a body. Raises `Problem`."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MOST:
        raise Problem("PAYLOAD_TOO_LARGE", f"An offer has at most {MOST} bytes.")
    sdp, session = (await _fields(request)) if form else (await _body(request), "")
    if not sdp.startswith("v=0"):
        raise Problem("INVALID_REQUEST", "sdp: an offer begins with v=0.", param="sdp")
    asked: Any = load_json(session.encode()) if session else {}
    if not isinstance(asked, dict):
        raise Problem("INVALID_REQUEST", "session: it is a JSON object.", param="session")
    return Offer(sdp, asked)


async def _body(request: Request) -> str:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MOST:
            raise Problem("PAYLOAD_TOO_LARGE", f"An offer has at most {MOST} bytes.")
    return data.decode("utf-8", "replace")


async def _fields(request: Request) -> tuple[str, str]:
    try:
        async with request.form(max_files=2, max_fields=8, max_part_size=MOST) as form:
            found = []
            for name in ("sdp", "session"):
                value = form.get(name, "")
                if isinstance(value, UploadFile):  # some name a file for each
                    value = (await value.read(MOST)).decode("utf-8", "replace")
                found.append(value)
            return found[0], found[1]
    except HTTPException as e:
        raise Problem("INVALID_REQUEST", f"The form cannot be read: {e.detail}.") from None
