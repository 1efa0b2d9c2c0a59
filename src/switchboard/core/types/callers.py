"""Who asks."""

from __future__ import annotations

from msgspec import Struct

from switchboard.core.counting import Allowance


class Caller(Struct, frozen=True, gc=False):
    """Who asks. `id` is what limits, bills and ownership go by; `kind` is how they were known: "open", "access_key",
    "api_key", "jwt", "session" or "own".

    `user` is what people call them (a JWT's subject, a key's name). `profile` is the one that they may use ("": any), `models` and `surfaces`
    are those that they may (None: all). `allowance` goes over that of the profile. With `act_as` they act for the user that a
    call names.
    """

    id: str
    kind: str = "open"
    user: str = ""
    profile: str = ""
    models: frozenset[str] | None = None
    surfaces: frozenset[str] | None = None
    allowance: Allowance | None = None
    act_as: bool = False
