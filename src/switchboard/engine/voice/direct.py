"""A secret of the provider's own, with which a client converses with it directly: nothing of the conversation passes here."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.types import Caller, Converse
from switchboard.engine.fetch import fetch_by_any_key
from switchboard.engine.gate import Gate
from switchboard.engine.problems import problem_for

_TIMEOUT: Final = 15.0
#: Seconds that a provider lets a secret be good for.
LEAST: Final = 10
MOST: Final = 7200


class Minted(Struct, frozen=True):
    """Where a client converses (`url`), the secret that it shows there, and until when (seconds since the epoch) it may begin to."""

    url: str
    secret: str
    expires: int

    def __repr__(self) -> str:
        return "<Minted>"


class _Answer(Struct):
    value: str
    expires_at: int


async def mint_at_provider(gate: Gate, caller: Caller, session: dict[str, Any], seconds: int) -> Minted:
    """A secret for one conversation of `caller` as the server holds it: `session` in GA's shape, its model is put in. Raises
    `Problem`."""
    target = gate.plan(Converse(""), caller, documents=True)[0]
    provider = target.provider
    if not provider.configured:
        raise Problem("API_KEY_NOT_CONFIGURED", f"{provider.title} API key not configured", headers=b"")
    wanted = {
        "expires_after": {"anchor": "created_at", "seconds": min(max(seconds, LEAST), MOST)},
        "session": {"type": "realtime", "model": target.model, **session},
    }
    body = msgspec.json.encode(wanted)
    socket, access = provider.socket(target.model), provider.for_clients(target.model)
    if socket is None or access is None:
        text = f"{provider.title} has no secrets for clients: set voice.connect to relay."
        raise Problem("INTERNAL_ERROR", text)
    try:
        status, _, said = await fetch_by_any_key(
            provider, lambda: access.client_secret(body), timeout=_TIMEOUT, limit=1024 * 1024
        )
        if status != 200:
            text = said[:500].decode("utf-8", "replace")
            raise UpstreamError(Fault.STATUS, text, status=status)
        answer = msgspec.json.decode(said, type=_Answer)
    except UpstreamError as e:
        raise problem_for(e, provider) from None
    except msgspec.DecodeError as e:
        raise problem_for(UpstreamError(Fault.PROTOCOL, str(e)), provider) from None
    if any(shown in socket.url for key in provider.secrets if key for shown in (key, quote(key, safe=""))):
        raise Problem("INTERNAL_ERROR", detail=f"the realtime_url of {provider.name} holds its key")
    return Minted(socket.url, answer.value, answer.expires_at)
