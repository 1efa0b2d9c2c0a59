"""An issuer of tokens on loopback: its OpenID configuration, its keys, and tokens that it signed."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from support.tokens import document, jwk, now_token


class IssuerServer:
    """A server that tells its configuration and its keys (`rows`, which may be changed while it runs); an asynchronous context
    manager. `asked` are the paths that were asked for."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows) or [jwk("RS256", "one"), jwk("ES256", "two"), jwk("RS256", "any", alg=None)]
        self.asked: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """What its tokens carry as ``iss``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def jwks_url(self) -> str:
        """Where its keys are."""
        return self.url + "/keys"

    @property
    def fetched(self) -> int:
        """How often its keys were asked for."""
        return self.asked.count("/keys")

    def settings(self, audience: str | list[str] = "app", **more: Any) -> dict[str, Any]:
        """What a server's settings say of it."""
        return {"issuer": self.url, "audience": audience, **more}

    def token(self, user: str = "alice", **changes: Any) -> str:
        """A token of `user`, good at this moment; `changes` as in `support.tokens.token`."""
        return now_token(**({"iss": self.url, "aud": "app", "sub": user} | changes)).decode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good token."""
        at = time.time()
        return {"iss": self.url, "aud": "app", "sub": "alice", "iat": at, "exp": at + 600, **changes}

    def bearer(self, user: str = "alice", **changes: Any) -> dict[str, str]:
        """The header that shows a token of `user`."""
        return {"authorization": f"Bearer {self.token(user, **changes)}"}

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, and end those that are open."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        await self.stop()

    def said(self, path: str) -> bytes | None:
        """The document at `path`; None where there is none."""
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": self.jwks_url}).encode()
        return document(*self.rows) if path == "/keys" else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                line = await reader.readuntil(b"\r\n\r\n")
                path = line.split(b" ", 2)[1].decode()
                self.asked.append(path)
                body = self.said(path)
                status = b"404 Not Found" if body is None else b"200 OK"
                body = body or b"{}"
                head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                writer.write(head % (status, len(body)) + body)
                await writer.drain()
        self._open.discard(writer)
        writer.close()
