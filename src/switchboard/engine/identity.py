"""Who asks: every way to be known that the settings of a profile name, told apart by the looks of what a request shows."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Coroutine, Mapping
from math import ceil
from typing import Any, Final
from weakref import WeakSet

from msgspec import Struct, field

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.types import Caller, RequestHead
from switchboard.engine.jwks import KeySets, VerifiedTokens
from switchboard.engine.keyring import KeyRing
from switchboard.engine.page_sessions import PageSessions
from switchboard.policy import api_keys, cookies, jwt
from switchboard.policy.authenticate import CHALLENGE, AccessKeys, presented
from switchboard.policy.failures import Failures
from switchboard.policy.own_check import Asked, Denied, OwnCheck, Unavailable

_log: Final = logging.getLogger("switchboard.auth")
_KEY: Final = b"sb_"
Found = Caller | Coroutine[Any, Any, Caller]


class Doors(Struct):
    """What the ways to be known have in common over all profiles, and keep across a reload."""

    failures: Failures
    keyring: KeyRing | None = None
    keysets: KeySets | None = None
    sessions: PageSessions | None = None
    verified: WeakSet[VerifiedTokens] = field(default_factory=WeakSet)  # of each profile apart: audiences differ

    def keys_changed(self, issuer: str) -> None:
        """What was found valid with the keys that `issuer` had is to be looked at again."""
        for tokens in self.verified:
            tokens.forget(issuer)


class Identity:
    """The ways to be known of one `profile`.

    Not `closed`: nobody is asked, whoever comes is known by their address. `issuers` are those of tokens (by `iss`), `own` is a check of
    one's own. `public` are surfaces that ask nobody; `origins` those of pages that may ask with a cookie. `users` names whose users those
    of `issuers` and `own` are, where not all profiles share them: equal names are not equal people.
    """

    def __init__(
        self,
        profile: str,
        access: AccessKeys,
        doors: Doors,
        *,
        closed: bool,
        api_keys: bool = False,
        issuers: Mapping[str, jwt.Issuer] | None = None,
        own: OwnCheck | None = None,
        public: Container[str] = frozenset(),
        origins: Container[str] = frozenset(),
        users: str = "",
    ) -> None:
        self.profile = profile
        self._users = f"@{users}" if users else ""
        self.access = access
        self.closed = closed
        self._doors = doors
        self._keyring = doors.keyring if api_keys else None
        self._issuers = issuers or {}
        self._tokens = VerifiedTokens()
        doors.verified.add(self._tokens)
        self._own = own
        self._public = public
        self._origins = origins

    def identify(self, head: RequestHead, peer: str, surface: str = "") -> Found:
        """Who asks `surface` ("": none in particular) from the address `peer`, by the headers alone. Raises `Problem` (401, 429, 503)."""
        if not self.closed:
            return Caller(peer)
        headers = head.headers
        authorization = headers.get(b"authorization", b"")
        known = self.access.known(authorization)
        if known is not None:
            return known
        shown = presented(headers)
        if shown.startswith(_KEY) and self._keyring is not None:
            return self._by_key(self._keyring, shown, peer)
        if self._issuers and jwt.looks_like_jwt(shown):
            return self._by_token(shown, head, peer)
        if shown:  # what follows can be guessed; what came before cannot, and may come from the same address
            self.stopped(peer)
            found = self.access.find(shown, authorization)
            if found is not None:
                return found
        return self._otherwise(head, peer, surface, shown)

    def _otherwise(self, head: RequestHead, peer: str, surface: str, shown: bytes) -> Found:
        """By the page's cookie, or without."""
        sessions = self._doors.sessions
        if not shown and sessions is not None:
            cookie = sessions.shown(head)
            if cookie is not None:
                if cookies.cross_site(head.headers, head.method, self._origins):
                    raise Problem("ORIGIN_NOT_ALLOWED", "A page of another site asks with this server's cookie.")
                return self._by_cookie(sessions, cookie, head, peer, surface)
        return self._without_session(head, peer, surface, shown)

    def _without_session(self, head: RequestHead, peer: str, surface: str, shown: bytes) -> Found:
        """By a check of one's own, or not at all."""
        if self._own is not None:
            return self._by_own_check(self._own, head, peer, surface, shown)
        return self._unknown(peer, surface, shown)

    def _unknown(self, peer: str, surface: str, shown: bytes) -> Caller:
        """Nobody that is known. Raises `Problem` (401), but where nobody is asked."""
        if not shown and surface in self._public:
            return Caller(peer)
        raise self._refused(peer, "a wrong key" if shown else "")

    def stopped(self, peer: str) -> None:
        """Raises `Problem` (429) where `peer` has tried too often."""
        wait = self._doors.failures.blocked(peer, now())
        if wait:
            text = "Too many wrong keys or tokens from this address; try again later."
            raise Problem("RATE_LIMITED", text, retry_after=str(ceil(wait)))

    def failed(self, peer: str) -> None:
        """What `peer` showed is not valid. Raises `Problem` (429) where that was too often."""
        self.stopped(peer)
        self._doors.failures.failed(peer, now())

    def _refused(self, peer: str, why: str, *, attempt: bool = True) -> Problem:
        """A 401; `why` is for the log, "" where nothing was shown, which is no `attempt`."""
        only = self._keyring is None and not self._issuers and self._own is None
        what = "access key" if only else "key or token"
        if not why:
            text = f"{'An' if only else 'A'} {what} is needed: Authorization: Bearer KEY."
            return Problem("UNAUTHORIZED", text, headers=CHALLENGE)
        if attempt:
            self.failed(peer)
        return Problem("UNAUTHORIZED", f"The {what} is not valid.", detail=why, headers=CHALLENGE)

    # ---- the ways

    def _by_key(self, keyring: KeyRing, shown: bytes, peer: str) -> Found:
        parsed = api_keys.read(shown)
        if parsed is None:
            raise self._refused(peer, "an API key that is mistyped")
        if parsed.profile != self.profile:
            raise self._refused(peer, "an API key of another profile")
        found = keyring.get(shown)
        return self._looked_up(keyring, shown, peer) if found is None else found

    async def _looked_up(self, keyring: KeyRing, shown: bytes, peer: str) -> Caller:
        found = await keyring.find(shown)
        if found is None:
            raise self._refused(peer, "an API key that is not there, revoked or expired")
        return found

    def _by_token(self, shown: bytes, head: RequestHead, peer: str) -> Found:
        keysets = self._doors.keysets
        assert keysets is not None
        at = time.time()
        verified = self._tokens.get(shown, at)
        if verified is None:
            found = jwt.verify(shown, self._issuers, keysets.get, at)
            if isinstance(found, jwt.KeyNeeded):
                return self._with_new_keys(found, shown, head, peer)
            verified = self._verified(found, shown, peer)
        return self._user(verified)

    async def _with_new_keys(self, needed: jwt.KeyNeeded, shown: bytes, head: RequestHead, peer: str) -> Caller:
        keysets = self._doors.keysets
        assert keysets is not None
        keys = await keysets.refresh(needed.issuer)
        if keys is None:
            raise Problem("IDENTITY_UNAVAILABLE", detail=f"there are no keys of issuer {needed.issuer.name}")
        return self._user(self._verified(jwt.verify(shown, self._issuers, lambda _: keys, time.time()), shown, peer))

    def _verified(self, found: jwt.Verified | jwt.KeyNeeded | jwt.Refused, shown: bytes, peer: str) -> jwt.Verified:
        if isinstance(found, jwt.Refused):
            # nothing is found out with one that has expired, and pages that were left open go on sending theirs
            raise self._refused(peer, f"a token: {found.reason}", attempt=found.reason != jwt.EXPIRED)
        if isinstance(found, jwt.KeyNeeded):
            # perhaps not yet: keys are asked for once a minute
            raise self._refused(peer, "a token signed with a key that its issuer does not have", attempt=False)
        self._tokens.put(shown, found, time.time())
        return found

    def _user(self, verified: jwt.Verified) -> Caller:
        name = f"jwt{self._users}:{verified.issuer}:{_part(verified.subject)}"
        return Caller(name, "jwt", user=verified.subject)

    async def _by_cookie(
        self, sessions: PageSessions, cookie: bytes, head: RequestHead, peer: str, surface: str
    ) -> Caller:
        name = await sessions.find(cookie)
        found = None if name is None else self.access.by_id(name)
        if found is not None:
            return found
        if self._own is None and surface not in self._public:
            text = "The session is over: log in again."
            raise Problem("UNAUTHORIZED", text, detail="a cookie of no session", headers=CHALLENGE)
        other = self._without_session(head, peer, surface, b"")  # an old cookie takes nothing away
        return other if isinstance(other, Caller) else await other

    async def _by_own_check(self, own: OwnCheck, head: RequestHead, peer: str, surface: str, shown: bytes) -> Caller:
        said = await own.ask(Asked.of(head, peer))
        if isinstance(said, Unavailable):
            raise Problem("IDENTITY_UNAVAILABLE", detail=said.reason)
        if isinstance(said, Denied):
            return self._unknown(peer, surface, shown)
        if said.profile and said.profile != self.profile:
            raise self._refused(peer, "the check names another profile")
        return Caller(
            f"own{self._users}:{_part(said.user)}",
            "own",
            user=said.user,
            profile=said.profile,
            models=said.models,
            surfaces=said.surfaces,
            act_as=said.act_as,
        )


def _part(name: str) -> str:
    """A user's `name` as the last part of a caller's id: what stands before it, and a user behind it for whom the caller acts,
    cannot be mistaken for a piece of it."""
    return name.replace("%", "%25").replace(":", "%3A").replace("/", "%2F")
