"""What a provider's file is made of: `Row` is what the settings say of it, `Kind` what it says of itself, and
`HttpProvider` what providers that are asked over HTTP have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from switchboard import __version__
from switchboard.core.capabilities import Capabilities
from switchboard.core.ports import ForClients, Provider, ProviderDialect, Transport
from switchboard.core.types import Call, Lines, Operation, SocketCall, Timeouts, Upload

KeyStyle = Literal["bearer", "api-key"]


class Row(Struct, frozen=True):
    """A provider's row of the settings.

    `keys` are tried in order; `headers` are sent with every call; `lacks` are features that it does not have
    (`core.capabilities.FEATURES`). `defaults` are the models that answer where nobody names one. The rest counts for some
    kinds of provider: `apis` are further wires that it speaks, `chunked_uploads` whether it takes files
    of unknown length, `api_version` and `key_style` are for Azure, `region` for
    Azure Speech, `pace` (seconds between two words) for the offline one; `realtime_url` and
    `realtime_shape` ("ga", "beta") say where and how it converses.
    """

    name: str
    base_url: str = ""
    keys: tuple[str, ...] = ()
    title: str = ""
    models: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    timeouts: Timeouts = Timeouts()
    lacks: frozenset[str] = frozenset()
    defaults: Mapping[Operation, str] = {}
    apis: tuple[str, ...] | None = None
    chunked_uploads: bool | None = None
    region: str = ""
    api_version: str | None = None
    key_style: KeyStyle = "api-key"
    realtime_url: str | None = None
    realtime_shape: str = "ga"
    pace: float = 0.02


class Kind(Struct, frozen=True):
    """A kind of provider, as its file declares it under the name ``KIND``.

    `type` is what the settings call it; `make` makes one from a row. `base_url` is where it is unless the settings say
    otherwise ("": they have to); `key_needed` is whether it can be asked without a key; `model` answers chats where the
    settings name none, `models` other operations. `chats` is whether it answers chats at all. `variables` are variables of the environment by the key of the row that each sets.
    """

    type: str
    title: str
    make: Callable[[Row, Transport], Provider]
    base_url: str = ""
    key_needed: bool = True
    network: bool = True
    model: str = ""
    models: Mapping[Operation, str] = {}
    chats: bool = True
    variables: Mapping[str, str] = {}


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


class HttpProvider:
    """A provider that is asked over HTTP; see `core.ports.Provider`.

    A file of a provider derives from it, sets `capabilities` and `chat`, the dialect in which it chats (or, in `wires`, all
    dialects that it speaks, by operation, the one first that others are translated to), and says in `path`, `key_line`
    and `fixed_headers` how it is asked.
    """

    capabilities: Capabilities = Capabilities()
    chat: ProviderDialect[Any]
    wires: Mapping[Operation, Mapping[str, ProviderDialect[Any]]]
    key_needed = True
    models_path: str | None = "/models"

    def __init__(self, row: Row, transport: Transport) -> None:
        self.name = row.name
        self.title = row.title
        self.transport = transport
        self.timeouts = row.timeouts
        self.models = row.models
        self.secrets = (*row.keys, *row.headers.values())
        self.row: Final = row
        self.endpoint: Final = self.read_base_url(row.base_url)
        self._heads: Final = [self._head(key) for key in row.keys] or [self._head(None)]
        self._key = 0  # the one that is used; the next after a refusal
        if hasattr(self, "chat"):
            self.wires = {Operation.GENERATE: {self.chat.name: self.chat}}
        if row.lacks:
            self.capabilities = _with(self.capabilities, lacks=self.capabilities.lacks | row.lacks)
        if row.chunked_uploads is not None:
            self.capabilities = _with(self.capabilities, uploads_grow=row.chunked_uploads)

    # ---- what a provider says of itself

    def read_base_url(self, base_url: str) -> Endpoint:
        """Where it is. Raises `ValueError`."""
        return endpoint(base_url)

    def path(self, wire: str, model: str) -> str:
        """The path at which the dialect `wire` is spoken, behind that of the base URL."""
        return "/chat/completions"

    def probe_path(self) -> str:
        """What is asked to see whether it can be reached and takes its key: answered with JSON."""
        return "/models"

    def key_line(self, key: str) -> tuple[str, str]:
        """The header that carries a key."""
        return "authorization", f"Bearer {key}"

    def fixed_headers(self) -> dict[str, str]:
        """Headers of every call; those of the settings go over them."""
        return {}

    # ---- core.ports.Provider

    @property
    def configured(self) -> bool:
        return bool(self.row.keys) or not self.key_needed

    def serves(self, operation: Operation, model: str) -> bool:
        return operation in self.wires

    def default_model(self, operation: Operation) -> str:
        return self.row.defaults.get(operation, "")

    def dialect(self, operation: Operation, prefer: str) -> ProviderDialect[Any]:
        spoken = self.wires[operation]
        own = spoken.get(prefer)
        return next(iter(spoken.values())) if own is None else own

    def call(self, wire: str, model: str, body: bytes | Upload, lines: Lines) -> Call:
        target = (self.endpoint.path + self.path(wire, model)).encode()
        return self._call(b"POST", target, body, lines)

    def socket(self, model: str) -> SocketCall | None:
        return None

    def for_clients(self, model: str) -> ForClients | None:
        return None

    def list_models(self) -> Call | None:
        if self.models_path is None:
            return None
        return self._call(b"GET", (self.endpoint.path + self.models_path).encode(), b"", b"")

    def probe(self) -> Call | None:
        return self._call(b"GET", (self.endpoint.path + self.probe_path()).encode(), b"", b"")

    def another_key(self, call: Call | SocketCall, tried: int) -> bool:
        if call.key == self._key:  # else another request has moved on already
            self._key = (self._key + 1) % len(self._heads)
        return tried < len(self._heads)

    def _call(self, method: bytes, target: bytes, body: bytes | Upload, lines: Lines) -> Call:
        head = self._heads[self._key]
        if lines:
            head = _over(head, lines)
        return Call(self.endpoint.origin, method, target, head, body, self.timeouts.connect, self._key)

    def _head(self, key: str | None) -> Lines:
        lines = {
            "host": self.endpoint.host,
            "user-agent": f"switchboard/{__version__}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json",
        } | self.fixed_headers()
        if key is not None:
            name, value = self.key_line(key)
            lines[name] = value
        lines |= {k.lower(): v for k, v in self.row.headers.items()}
        return b"".join(f"{k}: {v}\r\n".encode("latin-1") for k, v in lines.items())


def _over(head: Lines, lines: Lines) -> Lines:
    """`head` with `lines` in place of its lines of the same names."""
    for line in lines.split(b"\r\n")[:-1]:
        name = line.partition(b":")[0] + b":"
        if name in head:
            head = b"".join([x + b"\r\n" for x in head.split(b"\r\n")[:-1] if not x.startswith(name)])
    return head + lines


def _with(capabilities: Capabilities, **changed: Any) -> Capabilities:
    values = {n: getattr(capabilities, n) for n in Capabilities.__struct_fields__}
    return Capabilities(**values | changed)
