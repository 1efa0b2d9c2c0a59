"""``/api/conversations``: what the server holds for a caller; ``/api/usage``: what they used."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Send

from switchboard.core.clock import wall_iso
from switchboard.core.errors import Problem
from switchboard.core.types import Caller, header_pairs
from switchboard.engine.conversations import Conversations
from switchboard.engine.gate import Gate
from switchboard.engine.journals_of_all import JournalsOfAll
from switchboard.engine.storage import problem_of
from switchboard.store import StoreError
from switchboard.store.conversations import Conversation
from switchboard.store.usage import By, UsageLog, Used

_Responses = dict[int | str, dict[str, Any]]
_NAME: Final = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
_DAYS: Final = 30
_LONGEST: Final = 3660  # days that a question about usage may span


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


class UsageItem(BaseModel):
    """What was used on a day, of a model or in a profile."""

    key: str = Field(description="The day, model or profile.", examples=["2026-01-31"])
    requests: int
    errors: int
    inputTokens: int  # noqa: N815
    outputTokens: int  # noqa: N815
    cachedTokens: int  # noqa: N815
    characters: int = Field(description="Characters that were spoken.")
    audioSeconds: float = Field(description="Seconds of sound that were listened to.")  # noqa: N815
    images: int
    cost: float = Field(description="US dollars, by public prices.", examples=[0.0123])
    unpriced: int = Field(description="Requests whose price is not known, and not in `cost`.")


class UsageView(BaseModel):
    """``GET /api/usage``."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    since: str = Field(alias="from", examples=["2026-01-02"])
    to: str = Field(examples=["2026-01-31"])
    by: str
    items: list[UsageItem]
    total: UsageItem


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


def usage_of(used: Used, by: By) -> UsageItem:
    """A sum as it is shown."""
    key = f"{used.what[:4]}-{used.what[4:6]}-{used.what[6:]}" if by is By.DAY else used.what
    return UsageItem(
        key=key,
        requests=used.requests,
        errors=used.errors,
        inputTokens=used.tokens_in,
        outputTokens=used.tokens_out,
        cachedTokens=used.cached,
        characters=used.characters,
        audioSeconds=used.seconds_ms / 1000,
        images=used.images,
        cost=used.cost_nano / 1e9,
        unpriced=used.unpriced,
    )


def total_of(items: list[UsageItem]) -> UsageItem:
    """All of them together."""
    names = [n for n in UsageItem.model_fields if n != "key"]
    return UsageItem(key="total", **{n: sum(getattr(i, n) for i in items) for n in names})


def days_between(since: str | None, until: str | None) -> tuple[date, date]:
    """The days that a question names, else the last thirty. Raises `ValueError` with what is wrong."""
    last = _day("to", until) if until else datetime.now(UTC).date()
    first = _day("from", since) if since else last - min(timedelta(days=_DAYS - 1), last - date.min)
    if first > last:
        raise ValueError("from: it is after to")
    if (last - first).days > _LONGEST:
        raise ValueError("from: at most ten years can be asked for at once")
    return first, last


def number_of(day: date) -> int:
    """A day as the store counts it."""
    return day.year * 10_000 + day.month * 100 + day.day


def router(conversations: Callable[[], Conversations], journals: JournalsOfAll, usage: UsageLog) -> APIRouter:
    """The endpoints of both."""
    r = APIRouter(tags=["conversations"])
    bad: _Responses = {
        400: {"description": "Something in the question is not right."},
        503: {"description": "The database cannot be used."},
    }
    none: _Responses = {**bad, 404: {"description": "There is nothing of that name, or it is not yours."}}

    def about(request: Request, user: str) -> tuple[str, str]:
        """Profile and owner."""
        told = request.scope["switchboard"]
        gate: Gate = told["gate"]
        if user and _NAME.fullmatch(user) is None:
            raise Problem("INVALID_REQUEST", "userId: letters, digits and . _ : ~ - are allowed.", param="userId")
        return gate.profile.name, conversations().owner(told["caller"], user)

    @r.get("/api/conversations", summary="The caller's conversations, the newest first", responses=bad)
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

    @r.get("/api/conversations/{id}", summary="One conversation with its messages", responses=none)
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

    @r.delete("/api/conversations/{id}", summary="Forget a conversation", responses=none)
    @r.delete("/api/v1/conversations/{id}", include_in_schema=False)
    async def forgotten(request: Request, id: str, userId: str = Query("")) -> Deleted:  # noqa: A002, N803
        profile, owner = about(request, userId)
        try:
            gone = _NAME.fullmatch(id) is not None and await conversations().repository.delete(profile, owner, id)
        except StoreError as e:
            raise problem_of(e) from None
        if not gone:
            raise Problem("CONVERSATION_NOT_FOUND")
        return Deleted()

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

    @r.delete("/api/chat/{id}/stream", summary="Stop the answer that is under way", responses=none)
    @r.delete("/api/v1/chat/{id}/stream", include_in_schema=False)
    async def stopped(request: Request, id: str, userId: str = Query("")) -> Deleted:  # noqa: A002, N803
        if not await journals.stop((*about(request, userId), id)):
            raise Problem("CONVERSATION_NOT_FOUND", "No answer is under way in this conversation.")
        return Deleted()

    @r.get("/api/usage", tags=["usage"], summary="What the caller used", responses=bad)
    @r.get("/api/v1/usage", include_in_schema=False)
    async def used(
        request: Request,
        since: str | None = Query(None, alias="from", examples=["2026-01-01"]),
        to: str | None = Query(None, examples=["2026-01-31"]),
        by: Literal["day", "model", "profile"] = "day",
    ) -> UsageView:
        caller: Caller = request.scope["switchboard"]["caller"]
        try:
            first, last = days_between(since, to)
        except ValueError as e:
            raise Problem("INVALID_REQUEST", f"{e}.", param=str(e).partition(":")[0]) from None
        try:
            sums = await usage.view(caller.id, None, number_of(first), number_of(last), By(by))
        except StoreError as e:
            raise problem_of(e) from None
        items = [usage_of(u, By(by)) for u in sums]
        return UsageView(since=first.isoformat(), to=last.isoformat(), by=by, items=items, total=total_of(items))

    return r


def _iso(ms: int) -> str:
    return wall_iso(ms / 1000)


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}: a day is written 2026-01-31") from None
