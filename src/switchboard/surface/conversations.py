"""``/api/conversations``: what the server holds for a caller; ``/api/chat/{id}/stream``: an answer that is picked up."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import Send

from switchboard.core.clock import wall_iso
from switchboard.core.errors import Problem
from switchboard.core.types import header_pairs
from switchboard.engine.conversations import Conversations
from switchboard.engine.gate import Gate
from switchboard.engine.journals_of_all import JournalsOfAll
from switchboard.engine.storage import problem_of
from switchboard.engine.turns_of_all import TurnsOfAll
from switchboard.store import StoreError
from switchboard.store.conversations import Conversation

_Responses = dict[int | str, dict[str, Any]]
_NAME: Final = re.compile(r"[A-Za-z0-9._:~-]{1,128}")


class ConversationItem(BaseModel):
    """One conversation in a list."""

    id: str = Field(examples=["conv_Zk3…"])
    title: str = Field(description="The beginning of the first question.", examples=["What is a gateway?"])
    createdAt: str = Field(description="UTC.", examples=["2026-01-31T12:00:00.000Z"])  # noqa: N815  as on the wire
    updatedAt: str = Field(examples=["2026-01-31T12:05:00.000Z"])  # noqa: N815
    messages: int = Field(description="How many there are.", examples=[4])


class ConversationList(BaseModel):
    """``GET /api/conversations``."""

    items: list[ConversationItem]
    next: str | None = Field(description="For `before`, where there are more.")


class ConversationWhole(BaseModel):
    """``GET /api/conversations/{id}``."""

    id: str
    title: str
    createdAt: str  # noqa: N815
    updatedAt: str  # noqa: N815
    messages: list[dict[str, Any]] = Field(examples=[[{"role": "user", "content": "Hello"}]])


class Deleted(BaseModel):
    """Something is gone."""

    success: bool = True


class _Following(StreamingResponse):
    """A stream that is read from a journal; cut as the answer was cut."""

    async def stream_response(self, send: Send) -> None:
        """See Starlette."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for data in self.body_iterator:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except EOFError:
            return  # without an end, so that the client sees the cut
        await send({"type": "http.response.body", "body": b""})


def item_of(c: Conversation) -> ConversationItem:
    """A conversation as a list shows it."""
    return ConversationItem(
        id=c.id, title=c.title, createdAt=_iso(c.created), updatedAt=_iso(c.updated), messages=c.messages
    )


_BAD: Final[_Responses] = {
    400: {"description": "Something in the question is not right."},
    503: {"description": "The database cannot be used."},
}
_NONE: Final[_Responses] = {**_BAD, 404: {"description": "There is nothing of that name, or it is not yours."}}
#: Whose conversations a request is about, that names a user: profile and owner. Raises `Problem`.
_About = Callable[[Request, str], tuple[str, str]]


def router(conversations: Callable[[], Conversations], journals: JournalsOfAll, turns: TurnsOfAll) -> APIRouter:
    """The endpoints of both."""

    def about(request: Request, user: str) -> tuple[str, str]:
        told = request.scope["switchboard"]
        gate: Gate = told["gate"]
        if user and _NAME.fullmatch(user) is None:
            raise Problem("INVALID_REQUEST", "userId: letters, digits and . _ : ~ - are allowed.", param="userId")
        return gate.profile.name, conversations().owner(told["caller"], user)

    r = APIRouter(tags=["conversations"])
    _held(r, conversations, turns, about)
    _under_way(r, journals, about)
    return r


def _held(r: APIRouter, conversations: Callable[[], Conversations], turns: TurnsOfAll, about: _About) -> None:
    """``/api/conversations``."""

    @r.get("/api/conversations", summary="The caller's conversations, the newest first", responses=_BAD)
    @r.get("/api/v1/conversations", include_in_schema=False)
    async def listed(
        request: Request,
        limit: int = Query(20, ge=1, le=100),
        before: str = Query("", max_length=200, description="`next` of the page before."),
        userId: str = Query("", description="For whom, where the caller acts for others."),  # noqa: N803
    ) -> ConversationList:
        profile, owner = about(request, userId)
        try:
            page = await conversations().repository.list(profile, owner, limit, before)
        except ValueError:
            raise Problem("INVALID_REQUEST", "before: not what a page gave as next.", param="before") from None
        except StoreError as e:
            raise problem_of(e) from None
        return ConversationList(items=[item_of(c) for c in page.items], next=page.next or None)

    @r.get("/api/conversations/{id}", summary="One conversation with its messages", responses=_NONE)
    @r.get("/api/v1/conversations/{id}", include_in_schema=False)
    async def one(request: Request, id: str, userId: str = Query("")) -> ConversationWhole:  # noqa: A002, N803
        profile, owner = about(request, userId)
        held, item = None, None
        try:
            if _NAME.fullmatch(id) is not None:
                item = await conversations().repository.get(profile, owner, id)
                held = await conversations().repository.load(profile, owner, id)
        except StoreError as e:
            raise problem_of(e) from None
        if item is None or held is None:
            raise Problem("CONVERSATION_NOT_FOUND")
        shown = item_of(item).model_dump() | {"messages": held.messages}
        return ConversationWhole(**shown)

    @r.delete("/api/conversations/{id}", summary="Forget a conversation", responses=_NONE)
    @r.delete("/api/v1/conversations/{id}", include_in_schema=False)
    async def forgotten(request: Request, id: str, userId: str = Query("")) -> Deleted:  # noqa: A002, N803
        """With the answer that is under way in it: that goes on to its client, and is not kept."""
        key = (*about(request, userId), id)
        if _NAME.fullmatch(id) is None:
            raise Problem("CONVERSATION_NOT_FOUND")
        answering = await turns.forget(key)
        try:
            held = await conversations().repository.delete(*key)
        except StoreError as e:
            raise problem_of(e) from None
        if not (answering or held):
            raise Problem("CONVERSATION_NOT_FOUND")
        return Deleted()


def _under_way(r: APIRouter, journals: JournalsOfAll, about: _About) -> None:
    """``/api/chat/{id}/stream``."""

    @r.get(
        "/api/chat/{id}/stream",
        summary="Pick up the answer that is under way",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {}}},
            204: {"description": "Nothing is under way."},
            400: {"description": "userId is not one."},
        },
    )
    @r.get("/api/v1/chat/{id}/stream", include_in_schema=False)
    async def followed(request: Request, id: str, userId: str = Query("")) -> Response:  # noqa: A002, N803
        """Events behind `Last-Event-ID`; without it, all of an answer that has not ended yet."""
        said = request.headers.get("last-event-id", "")
        last = int(said) if said.isascii() and said.isdigit() and len(said) < 16 else None
        journal = await journals.find((*about(request, userId), id), last)
        if journal is None:
            return Response(status_code=204)
        response = _Following(journal.read(last or 0))
        response.raw_headers = [
            *header_pairs(journal.kind),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        return response

    @r.delete("/api/chat/{id}/stream", summary="Stop the answer that is under way", responses=_NONE)
    @r.delete("/api/v1/chat/{id}/stream", include_in_schema=False)
    async def stopped(request: Request, id: str, userId: str = Query("")) -> Deleted:  # noqa: A002, N803
        if not await journals.stop((*about(request, userId), id)):
            raise Problem("CONVERSATION_NOT_FOUND", "No answer is under way in this conversation.")
        return Deleted()


def _iso(ms: int) -> str:
    return wall_iso(ms / 1000)
