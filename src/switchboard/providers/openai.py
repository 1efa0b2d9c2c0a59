"""OpenAI, and what every server that speaks its wire has in common with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from switchboard import __version__
from switchboard.core.capabilities import Capabilities
from switchboard.core.ports import ProviderDialect, Transport
from switchboard.core.types import Call, Operation, Timeouts
from switchboard.dialects.openai_chat import OpenAIChat

_PATHS: Final = {Operation.GENERATE: "/chat/completions"}
_CHAT: Final = OpenAIChat()


class Endpoint(Struct, frozen=True):
    """Where a provider is: `origin` for the pool, `path` in front of its own paths."""

    origin: tuple[str, str, int]
    path: str

    @property
    def host(self) -> str:
        """The value of the ``host`` header."""
        scheme, name, port = self.origin
        name = f"[{name}]" if ":" in name else name
        return name if port == {"http": 80, "https": 443}[scheme] else f"{name}:{port}"


def endpoint(base_url: str) -> Endpoint:
    """Read a base URL. Raises `ValueError` that says what is wrong with it."""
    url = urlsplit(base_url.strip())
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("a base URL begins with http:// or https:// and a host name")
    if url.username or url.password:
        raise ValueError("a base URL holds no user name or password; put the key into api_key")
    if url.query or url.fragment:
        raise ValueError("a base URL has no query and no fragment")
    if re.search(r"[\x00-\x20\x7f]", base_url.strip()):
        raise ValueError("a base URL holds no blanks or control characters")
    port = url.port or (443 if url.scheme == "https" else 80)
    return Endpoint((url.scheme, url.hostname, port), url.path.rstrip("/"))


class OpenAIProvider:
    """OpenAI's own service. `keys` are tried in order; `headers` are sent with every call."""

    capabilities = Capabilities(
        completion_tokens=re.compile(r"(?:o\d|gpt-[5-9]).*"),
        fixed_sampling=re.compile(r"(?:o\d|gpt-[5-9]).*"),
    )
    key_needed = True

    def __init__(
        self,
        name: str,
        transport: Transport,
        *,
        base_url: str,
        keys: tuple[str, ...] = (),
        title: str = "OpenAI",
        models: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.name = name
        self.title = title
        self.transport = transport
        self.timeouts = timeouts or Timeouts()
        self.models = models
        self.secrets = (*keys, *(headers or {}).values())
        self._keys = keys
        self._endpoint = endpoint(base_url)
        self._head = self._lines(headers or {})
        self._targets = {o: (self._endpoint.path + p).encode() for o, p in _PATHS.items()}

    def _lines(self, headers: Mapping[str, str]) -> bytes:
        lines = {
            "host": self._endpoint.host,
            "user-agent": f"switchboard/{__version__}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json",
        }
        if self._keys:
            lines["authorization"] = f"Bearer {self._keys[0]}"
        lines |= {k.lower(): v for k, v in headers.items()}
        return b"".join(f"{k}: {v}\r\n".encode("latin-1") for k, v in lines.items())

    @property
    def configured(self) -> bool:
        return bool(self._keys) or not self.key_needed

    def dialect(self, operation: Operation, prefer: str) -> ProviderDialect:
        return _CHAT

    def call(self, operation: Operation, body: bytes, trace: bytes) -> Call:
        head = self._head + trace if trace else self._head
        target = self._targets[operation]
        return Call(self._endpoint.origin, b"POST", target, head, body, self.timeouts.connect)

    def list_models(self) -> Call | None:
        target = (self._endpoint.path + "/models").encode()
        return Call(self._endpoint.origin, b"GET", target, self._head, b"", self.timeouts.connect)
