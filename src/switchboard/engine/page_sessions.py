"""Who is logged in at the page: a signed cookie, and a row that ends when they log out."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from switchboard.core.clock import now
from switchboard.core.types import Lines, RequestHead
from switchboard.engine.storage import problem_of
from switchboard.policy import cookies
from switchboard.store import StoreError
from switchboard.store.web_sessions import WebSession, WebSessions

_FRESH: Final = 2.0  # seconds for which a session is taken as it was when it was last looked up
_MOST: Final = 10_000


class PageSessions:
    """Sessions in `repository`, their cookies signed with `secret`. `tls` is whether browsers reach this server over TLS."""

    def __init__(self, repository: WebSessions, secret: bytes, *, tls: bool) -> None:
        self._repository = repository
        self._signer = cookies.Signer(secret)
        self.tls = tls
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()  # whose, and when that was looked up

    def shown(self, head: RequestHead) -> bytes | None:
        """The cookie that a request shows, None where it shows none of ours."""
        line = head.headers.get(b"cookie")
        return None if line is None else cookies.sent(line, tls=self.tls)

    async def begin(self, caller: str, profile: str, seconds: int) -> Lines:
        """Log `caller` in; the header line that sets the cookie. Raises `Problem` (503, 507)."""
        at = time.time()
        value, name = self._signer.issue(int(at) + seconds)
        try:
            begun = int(at * 1000)
            await self._repository.add(WebSession(name, caller, "{}", profile, begun, begun + seconds * 1000))
        except StoreError as e:
            raise problem_of(e) from None
        return cookies.setting(value, seconds, tls=self.tls)

    async def find(self, cookie: bytes) -> str | None:
        """The id of the caller who is logged in with `cookie`. Raises `Problem` (503)."""
        name = self._signer.read(cookie, time.time())
        if name is None:
            return None
        known = self._known.get(name)
        if known is not None and now() - known[1] < _FRESH:
            return known[0]
        try:
            session = await self._repository.get(name, int(time.time() * 1000))
        except StoreError as e:
            if known is not None:
                return known[0]
            raise problem_of(e) from None
        if session is None:
            self._known.pop(name, None)
            return None
        self._known[name] = (session.owner, now())
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return session.owner

    async def end(self, line: bytes) -> Lines:
        """Log out who sends the ``cookie`` header `line`; the header line that takes the cookie away. Raises `Problem` (503)."""
        cookie = cookies.sent(line, tls=self.tls)
        name = None if cookie is None else self._signer.read(cookie, time.time())
        if name is not None:
            self._known.pop(name, None)
            try:
                await self._repository.delete(name)
            except StoreError as e:
                raise problem_of(e) from None
        return cookies.clearing(tls=self.tls)
