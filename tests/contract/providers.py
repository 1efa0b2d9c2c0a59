"""The providers, a row each, and what stands in for them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct

from contract.wires import ANTHROPIC, OPENAI, Said, Wire
from support.gateway import Gateway, gateway
from switchboard.net.script import Request, ScriptServer, Step


class Provider(Struct):
    """`wire` is what it speaks; None: it needs no network, and its models play the scenes. `row` are its settings
    besides where it is; `root`: its base URL has no path. `path` and `key` are what its requests have to carry."""

    wire: Wire | None
    row: dict[str, Any]
    path: str = ""
    key: tuple[str, str] | None = None
    root: bool = False


_KEY = "sk-contract-1"
_BEARER = ("authorization", f"Bearer {_KEY}")
_AZURE = ("api-key", _KEY)
_DATED = "/openai/deployments/m1/chat/completions?api-version=2024-10-21"
_ENTRA = {"type": "azure", "models": ["m1"], "api_key": _KEY, "key_style": "bearer"}

PROVIDERS = {
    "openai": Provider(OPENAI, {"api_key": _KEY}, "/v1/chat/completions", _BEARER),
    "compatible": Provider(OPENAI, {}, "/v1/chat/completions"),
    "azure": Provider(OPENAI, {"api_key": _KEY, "models": ["m1"]}, "/openai/v1/chat/completions", _AZURE, root=True),
    "azure-dated": Provider(OPENAI, _ENTRA | {"api_version": "2024-10-21"}, _DATED, _BEARER, root=True),
    "huggingface": Provider(OPENAI, {"api_key": _KEY}, "/v1/chat/completions", _BEARER),
    "anthropic": Provider(ANTHROPIC, {"api_key": _KEY}, "/v1/messages", ("x-api-key", _KEY), root=True),
    "offline": Provider(None, {}),
}

#: Which of the offline provider's models plays a scene.
_MODELS = {
    "text": "echo",
    "tools": "tool-call",
    "401": "error-401",
    "429": "error-429",
    "500": "error-500",
    "529": "error-529",
    "first_event": "error-first-event",
    "midstream": "error-midstream",
    "cut": "cut-midstream",
    "garbled": "garbage",
}


class Upstream:
    """A provider that plays the scene it is told to, and a gateway before it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.provider = PROVIDERS[name]
        self.gateway: Gateway | None = None
        self.server: ScriptServer | None = None
        self._scene, self._streamed = "text", True
        self._heard: list[bytes] = []

    def plays(self, scene: str) -> bool:
        """Whether it can."""
        return self.provider.wire is not None or scene in _MODELS

    def set(self, scene: str, streamed: bool) -> dict[str, Any]:
        """Have it play `scene` from now on; gives what a request's body has to name for that."""
        self._scene, self._streamed = scene, streamed
        self._heard.clear()
        return {"model": "m1" if self.provider.wire is not None else _MODELS[scene]}

    def script(self, number: int) -> Iterator[Step]:
        """One request, and the scene that is set when it has come."""
        assert self.server is not None and self.provider.wire is not None
        yield Request()
        self._heard.append(self.server.connections[number].requests[-1])
        yield from self.provider.wire.play(self._scene, self._streamed)

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self._heard)

    def heard(self) -> Said | None:
        """What it was asked, once path, headers and key are right; None where there is no network."""
        p = self.provider
        if p.wire is None:
            return None
        (request,) = self._heard
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = dict(x.split(": ", 1) for x in lines)
        assert line == f"POST {p.path} HTTP/1.1"
        assert headers["content-type"] == "application/json"
        assert self.server is not None and headers["host"] == f"127.0.0.1:{self.server.port}"
        carried = {n: headers[n] for n in ("authorization", "api-key", "x-api-key") if n in headers}
        assert carried == (dict([p.key]) if p.key is not None else {})
        assert headers.get("anthropic-version") == ("2023-06-01" if p.wire is ANTHROPIC else None)
        return p.wire.read(json.loads(body))


@asynccontextmanager
async def serving(name: str, shell: str = "splice", **settings: Any) -> AsyncIterator[tuple[Upstream, Gateway]]:
    """The provider `name`, behind a gateway."""
    up = Upstream(name)
    tree: dict[str, Any] = {"retry": {"attempts": 1}} | settings
    if up.provider.wire is None:
        async with gateway(shell, chat={"provider": "offline"}, **tree) as g:
            yield up, g
        return
    async with ScriptServer(up.script) as up.server:
        base_url = up.server.base_url.removesuffix("/v1") if up.provider.root else up.server.base_url
        row = {"type": name, "title": "Offline", "base_url": base_url} | up.provider.row
        if up.provider.wire is OPENAI:
            row["apis"] = []  # its chats are what everything is translated to here
        async with gateway(shell, providers={"up": row}, chat={"provider": "up", "model": "m1"}, **tree) as g:
            yield up, g
