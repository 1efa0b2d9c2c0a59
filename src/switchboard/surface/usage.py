"""``/api/usage``: what a caller used."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from switchboard.core.errors import Problem
from switchboard.core.types import Caller
from switchboard.engine.storage import problem_of
from switchboard.store import StoreError
from switchboard.store.usage import By, UsageLog, Used

_DAYS: Final = 30
_LONGEST: Final = 3660  # days that a question about usage may span
_REFUSED: Final[dict[int | str, dict[str, str]]] = {
    400: {"description": "Something in the question is not right."},
    503: {"description": "The database cannot be used."},
}


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


def router(usage: UsageLog) -> APIRouter:
    """``GET /api/usage``."""
    r = APIRouter(tags=["usage"])

    @r.get("/api/usage", summary="What the caller used", responses=_REFUSED)
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


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}: a day is written 2026-01-31") from None
