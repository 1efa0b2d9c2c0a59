"""A function of one's own that says who may call: ``auth.validate: "package.module:function"``.

The function is given an `Asked` and says who it is:

- None or False: nobody that may call;
- True: somebody who may;
- a text: the user's id;
- a dict or an object with `user` and, if wanted, `profile`, `models`, `surfaces`, `act_as`: see `Identity`.

It may be ``async``. One that is not runs in one of few threads, so that it may wait for a database. What it raises is a refusal.
What it gives that is none of the above is one, too: a misspelled limit must not become no limit.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from switchboard.core.types import RequestHead
from switchboard.policy.functions import function, where
from switchboard.policy.threads import Full, Threads
from switchboard.policy.user_id import is_user_id

_SETTING: Final = "auth.validate"
_PROFILE: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MOST_NAMES: Final = 1000
_log: Final = logging.getLogger("switchboard.auth")


class Asked(Struct, frozen=True):
    """What the function may see of a request: the method ("POST"), the path (decoded, without the query), the headers (names
    in lower case; a copy, secrets included) and the client's address."""

    method: str
    path: str
    headers: dict[str, str]
    peer: str

    @classmethod
    def of(cls, head: RequestHead, peer: str) -> Asked:
        """What may be seen of `head`, which came from `peer`."""
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in head.headers.items()}
        return cls(head.method, head.path, headers, peer)

    def __repr__(self) -> str:
        return f"Asked(method={self.method!r}, path={self.path!r}, peer={self.peer!r})"


class Identity(Struct, frozen=True, kw_only=True):
    """Who the function says that it is. `profile` is the one that they may use ("": any); `models` and `surfaces` those that they
    may (None: all; to name none is not allowed); with `act_as` they act for the user that a call names."""

    user: str
    profile: str = ""
    models: frozenset[str] | None = None
    surfaces: frozenset[str] | None = None
    act_as: bool = False


class Denied(Struct, frozen=True):
    """Nobody that may call. `reason` is for the log; nothing of the request is in it."""

    reason: str


class Unavailable(Struct, frozen=True):
    """It cannot be told at the moment who it is: 503, and worth another try. `reason` is for the log."""

    reason: str


def load(name: str) -> Callable[[Asked], Any]:
    """The function that `name` ("package.module:function") says. Raises `ValueError` that names the setting and says what is wrong."""
    try:
        return function(name)
    except ValueError as e:
        raise ValueError(f"{_SETTING}: {e}") from e


class OwnCheck:
    """Asks `function`, for at most `timeout` seconds a request. One that is not ``async`` runs in at most `threads` threads; where
    as many requests as `waiting` wait for one, further ones are told at once that it is not available.

    A thread cannot be stopped: a function that hangs keeps its own until it returns (but not the process, when that ends).
    An ``async`` one is cancelled, and has to let itself be.
    """

    def __init__(
        self, function: Callable[[Asked], Any], *, timeout: float = 5.0, threads: int = 8, waiting: int = 256
    ) -> None:
        self._function = function
        self._timeout = timeout
        self._threads = Threads(threads, waiting, "validate")
        self._is_async = _is_async(function)

    async def ask(self, asked: Asked) -> Identity | Denied | Unavailable:
        """Who it is. Raises nothing but the cancellation of whoever waits for it."""
        try:
            async with asyncio.timeout(self._timeout) as limit:
                said = self._function(asked) if self._is_async else await self._threads.run(self._function, asked)
                if inspect.isawaitable(said):
                    said = await said
            if limit.expired():  # it swallowed its cancellation
                raise TimeoutError
        except Full:
            return self._unavailable("too many requests wait for it")
        except TimeoutError as e:
            if limit.expired():
                return self._unavailable(f"no answer within {self._timeout:g} s")
            return self._denied(where(e))
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._denied(where(e))  # something inside was cancelled, and nobody cancelled us
        except (Exception, SystemExit) as e:  # whatever somebody's function raises
            return self._denied(where(e))
        verdict = _verdict(said)
        return self._denied(verdict) if isinstance(verdict, str) else verdict

    def close(self) -> None:
        """Ask nothing any more; threads end when they are idle."""
        self._threads.close()

    def _denied(self, reason: str) -> Denied:
        _log.warning("%s: the function failed, the request is refused: %s", _SETTING, reason)
        return Denied(reason)

    def _unavailable(self, reason: str) -> Unavailable:
        _log.warning("%s: %s", _SETTING, reason)
        return Unavailable(reason)


def _is_async(function: Callable[[Asked], Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _verdict(said: Any) -> Identity | Denied | str:
    """What `said` means; a text says what is wrong with it."""
    if said is None or said is False:
        return Denied("the function refused")
    if said is True:
        return Identity(user="own")
    if isinstance(said, str):
        return Identity(user=said) if is_user_id(said) else "it gave a text that is no name of a user"
    try:
        return _identity(said)
    except (Exception, SystemExit) as e:  # properties of somebody's object
        return f"what it gave could not be read ({where(e)})"


def _identity(said: Any) -> Identity | str:
    fields = Identity.__struct_fields__
    if isinstance(said, Mapping):
        unknown = [n for n in said if n not in fields]
        if unknown:
            return "it gave a member that is not known; there are " + ", ".join(fields)
        given = dict(said)
    else:
        given = {n: getattr(said, n) for n in fields if hasattr(said, n)}
    if "user" not in given:
        return f"it gave a {type(said).__name__} that names no user"
    given = {n: v for n, v in given.items() if v is not None}
    if not is_user_id(given.get("user")):
        return "user is no name of a user"
    profile = given.get("profile", "")
    if not isinstance(profile, str) or (profile and _PROFILE.fullmatch(profile) is None):
        return "profile is no name of a profile"
    for name in ("models", "surfaces"):
        if name in given:
            names = given[name]
            if not isinstance(names, list | tuple | set | frozenset) or len(names) > _MOST_NAMES:
                return f"{name} is not a list"
            if not names:  # a list that came out empty must not open everything
                return f"{name} is empty: leave it out where all are allowed, and refuse where none is"
            if not all(is_user_id(n) for n in names):
                return f"{name} holds what is no name"
            given[name] = frozenset(names)
    if not isinstance(given.get("act_as", False), bool):
        return "act_as is neither true nor false"
    return Identity(**given)
