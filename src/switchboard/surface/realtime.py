"""``WS /api/realtime``, ``WS /v1/realtime`` and ``WS /api/voice/realtime``: which requests ask for a conversation, and how."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from msgspec.structs import replace

from switchboard.core.errors import Problem
from switchboard.core.types import Lines, RequestHead
from switchboard.dialects.realtime import Shape
from switchboard.engine.converse import Asked
from switchboard.policy import tickets
from switchboard.policy.authenticate import presented
from switchboard.surface import problem as shapes

#: Paths by the shape of their clients, where these do not say.
PATHS: Final = {
    "/api/realtime": Shape.BETA,
    "/api/v1/realtime": Shape.BETA,
    "/api/voice/realtime": Shape.BETA,
    "/api/v1/voice/realtime": Shape.BETA,
    "/v1/realtime": Shape.GA,
}
_KEY: Final = "openai-insecure-api-key."
_BETA: Final = "openai-beta.realtime-v1"
#: What the service takes in a query and this server does not, and what to do in its place.
_ELSEWHERE: Final = {
    "call_id": "calls are joined by this server itself; POST /v1/realtime/calls begins one.",
    "intent": "ask for a session that writes down with session.update and the type transcription.",
}
_RATES: Final = (8_000, 48_000)
_BEATS: Final = (1, 3600)


def read(head: RequestHead, path: str, offered: tuple[str, ...]) -> Asked:
    """What is asked for; `head` is `known_by`'s. Raises `Problem` for a query that cannot be."""
    query = parse_qs(head.query.decode("latin-1"), keep_blank_values=True)

    def said(name: str) -> str:
        return query.get(name, [""])[-1]

    def number(name: str, bounds: tuple[int, int]) -> int:
        text = said(name)
        if not (text.isascii() and text.isdigit() and len(text) < 7 and bounds[0] <= int(text) <= bounds[1]):
            text = f"{name}: it is a whole number from {bounds[0]} to {bounds[1]}."
            raise Problem("INVALID_REQUEST", text, param=name)
        return int(text)

    shape = PATHS[path]
    if b"realtime=v1" in head.headers.get(b"openai-beta", b"") or _BETA in offered:
        shape = Shape.BETA
    if said("dialect"):
        try:
            shape = {"ga": Shape.GA, "beta": Shape.BETA}[said("dialect")]
        except KeyError:
            raise Problem("INVALID_REQUEST", "dialect: it is ga or beta.", param="dialect") from None
    for name, text in _ELSEWHERE.items():
        if said(name):
            raise Problem("INVALID_REQUEST", f"{name}: {text}", param=name)
    if said("audio") not in ("", "binary", "base64"):
        raise Problem("INVALID_REQUEST", "audio: it is binary or base64.", param="audio")
    return Asked(
        head,
        said("model"),
        shape,
        binary=said("audio") == "binary",
        rate=number("rate", _RATES) if said("rate") else 24_000,
        subprotocol="realtime" if "realtime" in offered else next((o for o in offered if not o.startswith(_KEY)), None),
        ticket=ticket_of(head, path, said("token")),
        heartbeat=number("heartbeat", _BEATS) if said("heartbeat") else None,
        documents=not path.startswith("/v1/"),
    )


def known_by(head: RequestHead, offered: tuple[str, ...]) -> RequestHead:
    """The head with the token of a browser, which cannot set headers, where others have theirs."""
    token = next((o.removeprefix(_KEY) for o in offered if o.startswith(_KEY)), "")
    if not token or b"authorization" in head.headers:
        return head
    return replace(head, headers={**head.headers, b"authorization": b"Bearer " + token.encode("latin-1")})


def ticket_of(head: RequestHead, path: str = "", token: str = "") -> str:
    """The ticket of this server that is shown, in place of a key or as `token` in the query; "" where none is. Raises `Problem`."""
    if token.startswith(tickets.SESSION) and token.isascii():
        return token
    if token or path.endswith("/voice/realtime"):
        text = "A token of POST /api/voice/connect is needed: connect, and open the wsUrl as it is."
        raise Problem("UNAUTHORIZED", text)
    shown = presented(head.headers).decode("latin-1")
    return shown if shown.startswith(tickets.CLIENT) else ""


def refused(path: str, problem: Problem, request_id: str) -> tuple[int, Lines, bytes]:
    """How a client is told that there is no conversation."""
    if problem.code == "API_KEY_NOT_CONFIGURED":  # a handshake has no other way to say so
        problem.status = 503
        problem.retry_after = problem.retry_after or "60"
    return shapes.for_path(path, problem, request_id)
