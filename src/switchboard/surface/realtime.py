"""``WS /api/realtime`` and ``WS /v1/realtime``: which requests ask for a conversation, and how."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from msgspec.structs import replace

from switchboard.core.errors import Problem
from switchboard.core.types import Lines, RequestHead
from switchboard.dialects.realtime import Shape
from switchboard.engine.converse import Asked
from switchboard.surface import problem as shapes

#: Paths by the shape of their clients, where these do not say.
PATHS: Final = {"/api/realtime": Shape.BETA, "/api/v1/realtime": Shape.BETA, "/v1/realtime": Shape.GA}
_KEY: Final = "openai-insecure-api-key."
_BETA: Final = "openai-beta.realtime-v1"


def read(head: RequestHead, path: str, offered: tuple[str, ...]) -> Asked:
    """What is asked for. Raises `Problem` for a query that cannot be."""
    query = parse_qs(head.query.decode("latin-1"), keep_blank_values=True)

    def said(name: str) -> str:
        return query.get(name, [""])[-1]

    shape = PATHS[path]
    if b"realtime=v1" in head.headers.get(b"openai-beta", b"") or _BETA in offered:
        shape = Shape.BETA
    if said("dialect"):
        try:
            shape = {"ga": Shape.GA, "beta": Shape.BETA}[said("dialect")]
        except KeyError:
            raise Problem("INVALID_REQUEST", "dialect: it is ga or beta.", param="dialect") from None
    if said("audio") not in ("", "binary", "base64"):
        raise Problem("INVALID_REQUEST", "audio: it is binary or base64.", param="audio")
    return Asked(
        _known_by(head, offered),
        said("model"),
        shape,
        binary=said("audio") == "binary",
        subprotocol="realtime" if "realtime" in offered else next((o for o in offered if not o.startswith(_KEY)), None),
    )


def _known_by(head: RequestHead, offered: tuple[str, ...]) -> RequestHead:
    """The head with the token of a browser, which cannot set headers, where others have theirs."""
    token = next((o.removeprefix(_KEY) for o in offered if o.startswith(_KEY)), "")
    if not token or b"authorization" in head.headers:
        return head
    return replace(head, headers={**head.headers, b"authorization": b"Bearer " + token.encode("latin-1")})


def refused(path: str, problem: Problem, request_id: str) -> tuple[int, Lines, bytes]:
    """How a client is told that there is no conversation."""
    if problem.code == "API_KEY_NOT_CONFIGURED":  # a handshake has no other way to say so
        problem.status = 503
        problem.retry_after = problem.retry_after or "60"
    return shapes.for_path(path, problem, request_id)
