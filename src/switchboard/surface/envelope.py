"""What every request gets before anybody asks what it wants: an id, a look at its host and origin, CORS headers, the
client's real address. Code that both shells call, not middleware."""

from __future__ import annotations

import re
from os import urandom
from random import random
from typing import Final
from urllib.parse import quote

from switchboard.core.errors import Problem
from switchboard.core.types import Envelope, Lines, RequestHead, SpanIds, header
from switchboard.net.address import is_loopback, split_host
from switchboard.surface.envelope_settings import EnvelopeSettings

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]{0,200})?")
_NO_TRACE: Final = b"0" * 32  # by the specification no id
_TRACESTATE: Final = re.compile(rb"[\x20-\x7e]{1,512}")
_EXPOSED: Final[Lines] = (
    b"access-control-expose-headers: x-request-id, request-id, retry-after, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
    b"x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, "
    b"x-switchboard-model, x-switchboard-dropped, x-switchboard-conversation, x-should-retry\r\n"
)
_HOSTS_KNOWN: Final = 1024
_HSTS: Final[Lines] = b"strict-transport-security: max-age=31536000\r\n"
_PATH: Final = "/:@!$&'()*+,;=~-._"  # what a path may hold unquoted
_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class _RequestIds:
    """Random names of 96 bits, in hexadecimal; asks the system for randomness once in a thousand."""

    def __init__(self) -> None:
        self._stock = ""
        self._next = 0

    def __call__(self) -> bytes:
        start = self._next
        if start >= len(self._stock):
            self._stock = urandom(12 * 1024).hex()
            start = 0
        self._next = start + 24
        return self._stock[start : start + 24].encode()


class Envelopes:
    """Makes the `Envelope` of each request."""

    def __init__(self, settings: EnvelopeSettings) -> None:
        self._s = settings
        self._new_id = _RequestIds()
        self._hosts: dict[bytes, bool] = {}  # verdicts on values of the host header

    @property
    def own_origins(self) -> frozenset[str]:
        """Origins of pages that may ask with a cookie."""
        return (self._s.origins | self._s.own) - {"*"}

    def open(self, head: RequestHead) -> Envelope:
        """The envelope of a request; its `problem` says if the request is to be refused at once."""
        h = head.headers
        asked = h.get(b"x-request-id")
        if asked is not None and _REQUEST_ID.fullmatch(asked):
            request_id = asked
        else:
            request_id = self._new_id()
        lines = b"x-request-id: %b\r\n" % request_id
        if b"anthropic-version" in h:  # where Anthropic's clients look for it
            lines += b"request-id: %b\r\n" % request_id
        s = self._s
        peer, scheme = head.peer, head.scheme
        if s.proxies and peer in s.proxies:
            peer, scheme = self._forwarded(head)
        problem = None
        if not head.path.startswith("/health"):
            problem = self._host(h.get(b"host", b""))
            if s.https:
                if scheme == "https":
                    lines += _HSTS
                else:
                    problem = problem or self._redirect(head)
        origin = h.get(b"origin")
        if origin is not None:
            allowed = self._origin(origin, head)
            lines += b"vary: Origin\r\n" + allowed
            # A page elsewhere could send what needs no preflight; it cannot read the answer, but it would be paid for.
            if not allowed and head.method in _UNSAFE:
                text = "This origin is not allowed; add it to `cors.origins`."
                problem = problem or Problem("ORIGIN_NOT_ALLOWED", text)
        trace = self._trace(head) if b"traceparent" in h else b""
        span = None
        if s.traced:
            span = self._span(trace)
            if span is not None:
                state = trace.partition(b"\r\n")[2]
                trace = f"traceparent: 00-{span.trace}-{span.client}-01\r\n".encode() + state
        return Envelope(request_id.decode(), lines, peer, trace, problem, span)

    def _host(self, value: bytes) -> Problem | None:
        known = self._hosts.get(value)
        if known is None:
            s = self._s
            name, _ = split_host(value.decode("latin-1"))
            known = not (s.loopback or s.hosts) or name in s.hosts or is_loopback(name)
            if len(self._hosts) < _HOSTS_KNOWN:
                self._hosts[value] = known
        if known:
            return None
        return Problem("UNKNOWN_HOST", "This server does not answer for that host name; add it to `hosts`.")

    def _redirect(self, head: RequestHead) -> Problem:
        host = head.headers.get(b"host", b"").decode("latin-1")
        base = self._s.public_url or f"https://{host}"
        query = "?" + head.query.decode("latin-1") if head.query else ""
        location = f"{base.rstrip('/')}{quote(head.path, safe=_PATH)}{query}".encode("latin-1", "replace")
        return Problem("HTTPS_REQUIRED", headers=header(b"location", location))

    def allows(self, origin: str) -> bool:
        """Whether a page of `origin` may ask, and with credentials."""
        return origin != "*" and (origin in self._s.origins or origin in self._s.own)

    def _origin(self, value: bytes, head: RequestHead) -> Lines:
        """The CORS headers for a page of the origin `value`; b"" if it may not ask."""
        origin = value.decode("latin-1")
        if self.allows(origin) or self._same(origin, head):
            allow = header(b"access-control-allow-origin", value)
            return allow + b"access-control-allow-credentials: true\r\n" + _EXPOSED
        if "*" in self._s.origins:  # pages from anywhere, but none of them with cookies
            return b"access-control-allow-origin: *\r\n" + _EXPOSED
        return b""

    def _same(self, origin: str, head: RequestHead) -> bool:
        """A page of this very server, as long as it is reached over loopback."""
        if not self._s.loopback:
            return False
        scheme, _, authority = origin.partition("://")
        host = head.headers.get(b"host", b"").decode("latin-1").lower()
        return scheme in ("http", "https") and authority == host and is_loopback(split_host(host)[0])

    def preflight(self, head: RequestHead, envelope: Envelope) -> Lines | None:
        """The answer's header lines if `head` is a CORS preflight, else None."""
        h = head.headers
        if head.method != "OPTIONS" or b"access-control-request-method" not in h or b"origin" not in h:
            return None
        lines = envelope.headers
        if b"access-control-allow-origin: " in lines:
            lines += b"access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
            asked = h.get(b"access-control-request-headers")
            if asked:
                lines += header(b"access-control-allow-headers", asked)
            lines += b"access-control-max-age: 600\r\n"
            if h.get(b"access-control-request-private-network") == b"true":
                lines += b"access-control-allow-private-network: true\r\n"
        return lines

    def _forwarded(self, head: RequestHead) -> tuple[str, str]:
        """Address and scheme as the trusted proxies tell them: the last address that is not a proxy's own."""
        peer = head.peer
        hops = head.headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        for hop in reversed([x.strip() for x in hops if x.strip()]):
            name, _ = split_host(hop)
            peer = name
            if name not in self._s.proxies:
                break
        scheme = head.headers.get(b"x-forwarded-proto", b"").decode("latin-1").split(",")[-1].strip().lower()
        return peer[:64], scheme if scheme in ("http", "https") else head.scheme

    def _span(self, trace: Lines) -> SpanIds | None:
        """The ids of a request that is traced. `trace` is the client's line of the trace that it belongs to, or b""."""
        new = (
            self._new_id() + self._new_id() + self._new_id()
        ).decode()  # 72 digits: 32 for the trace, 16 for each span
        if trace:
            _, trace_id, parent, flags = trace[13:68].decode().split("-")
            return SpanIds(trace_id, parent, new[32:48], new[48:64]) if int(flags, 16) & 1 else None
        if random() >= self._s.traced:  # noqa: S311  a sample
            return None
        return SpanIds(new[:32], "", new[32:48], new[48:64])

    def _trace(self, head: RequestHead) -> bytes:
        parent = head.headers[b"traceparent"]
        if not _TRACEPARENT.fullmatch(parent) or parent[3:35] == _NO_TRACE or parent[36:52] == _NO_TRACE[:16]:
            return b""
        line = b"traceparent: " + parent + b"\r\n"
        state = head.headers.get(b"tracestate")
        if state is not None and _TRACESTATE.fullmatch(state):
            line += b"tracestate: " + state + b"\r\n"
        return line
