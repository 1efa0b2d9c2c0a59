"""Which models there are: those of the settings, and those that the providers list themselves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from switchboard.core.clock import now
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Provider
from switchboard.engine.fetch import fetch
from switchboard.policy.profile import Profile
from switchboard.policy.retirement import Retirements

#: Seconds for which what a provider listed is believed.
FRESH: Final = 300.0
_TIMEOUT: Final = 10.0
_log: Final = logging.getLogger("switchboard.catalog")


class _Listed(Struct):
    id: str
    created: int | None = None
    owned_by: str | None = None


class _List(Struct):
    data: list[_Listed]


class Catalog:
    """The models of `providers`, and the `routes` over them. Asks each at most every `FRESH` seconds, and only when somebody wants to know."""

    def __init__(
        self, providers: Iterable[Provider], routes: Iterable[str] = (), retirements: Retirements | None = None
    ) -> None:
        self._retirements = retirements or Retirements()
        self._providers = [p for p in providers if p.configured]
        self._routes = list(routes)
        self._asked: dict[str, float] = {}
        self._known: dict[str, list[_Listed]] = {}
        self._asking = asyncio.Lock()
        self._began = int(time.time())

    async def models(self, profile: Profile) -> list[dict[str, Any]]:
        """OpenAI's model objects as `profile` has them, each name once: routes first, then the settings' models, then
        what providers list."""
        async with self._asking:
            stale = [p for p in self._providers if self._is_stale(p)]
            if stale:
                await asyncio.gather(*[self._ask(p) for p in stale])
        found = {name: self._model(name, "switchboard", self._began) for name in self._routes}
        for p in self._providers:
            names = [*p.models]
            if p.name == profile.provider and profile.model:
                names.insert(0, profile.model)
            for name in names:
                found.setdefault(name, self._model(name, p.name, self._began, self._end(p, name)))
        for p in self._providers:
            for m in self._known.get(p.name, ()):
                created = m.created if m.created is not None else self._began
                # by its bare name, one that the settings do not list is asked of the default provider only
                name = m.id if p.name == profile.provider else f"{p.name}/{m.id}"
                found.setdefault(name, self._model(name, m.owned_by or p.name, created, self._end(p, m.id)))
        allowed = profile.models
        return [m for m in found.values() if not allowed or m["id"] in allowed]

    def _model(self, name: str, owner: str, created: int, shutdown: str | None = None) -> dict[str, Any]:
        model = {"id": name, "object": "model", "created": created, "owned_by": owner}
        return model if shutdown is None else model | {"shutdown_date": shutdown}

    def _end(self, provider: Provider, model: str) -> str | None:
        end = self._retirements.find(provider.capabilities.lifecycle, model)
        return None if end is None else end.day.isoformat()

    def _is_stale(self, provider: Provider) -> bool:
        if provider.models:
            return False  # the settings list them: nothing is asked
        asked = self._asked.get(provider.name)
        return asked is None or now() - asked > FRESH

    async def _ask(self, provider: Provider) -> None:
        call = provider.list_models()
        self._asked[provider.name] = now()
        if call is None:
            return
        try:
            status, _, body = await fetch(provider.transport, call, timeout=_TIMEOUT)
            if status != 200:
                raise UpstreamError(Fault.STATUS, body[:200].decode("utf-8", "replace"), status=status)
            self._known[provider.name] = msgspec.json.decode(body, type=_List).data
        except (UpstreamError, msgspec.DecodeError) as e:
            _log.warning("the models of provider %s could not be listed: %s", provider.name, e)
            self._known.setdefault(provider.name, [])
